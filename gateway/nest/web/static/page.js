// Wires the parts of a page: what the server wrote, then readings as they come.
import { addChart, addPoint, reloadCharts, setSpan } from "./chart.js";
import { listen } from "./live.js";
import { drawMap, placeMarkers, showMarker, tickMarkers } from "./map.js";
import { fill, page, reading, seconds, setClock, words } from "./say.js";
import { knows, showCame, showValue, tick } from "./table.js";

const ANNOUNCE_MS = 20000; // screen readers are told of one reading in this time, not of all
const REREAD_MS = 5000;
const COUNT_MS = 1500; // readings that come back often come several at once
const counting = new Set();
const mapElement = document.getElementById("map");
let lostBefore = false;
let announced = 0;
let rereading = 0;

if (mapElement) drawMap(mapElement);
document.querySelectorAll(".chart").forEach(addChart);
document.getElementById("span")?.addEventListener("change", (event) => setSpan(Number(event.target.value)));
tick();
setInterval(tick, 1000);
setInterval(() => mapElement && tickMarkers(), 30000);

listen(`${page.api}/events`, {
  connected() {
    connection("live", words.live);
    if (lostBefore) {
      poll();
      reloadCharts();
    }
    lostBefore = false;
  },
  lost() {
    lostBefore = true;
    connection("lost", words.lost);
  },
  reading(event) {
    setClock(event.now);
    take({ slug: event.node, last_seen: event.time, values: event.values }, true);
    if (event.origin === "recovered" || event.origin === "backfilled") count(event.node);
  },
});

/** Ask for the latest values: what came while the connection was lost. */
async function poll() {
  try {
    const answer = await (await fetch(`${page.api}/nodes`)).json();
    setClock(answer.time);
    for (const node of answer.nodes) take(node, false);
  } catch (error) {
    console.warn("latest values", error); // the stream will be lost too, and says so
  }
}

/** Ask how the readings of a node came, once for all that come back together. */
function count(slug) {
  if (counting.has(slug) || (page.only && page.only !== slug)) return;
  counting.add(slug);
  setTimeout(async () => {
    counting.delete(slug);
    try {
      showCame(slug, (await (await fetch(`${page.api}/nodes/${encodeURIComponent(slug)}`)).json()).last_day);
    } catch (error) {
      console.warn("readings of the last day", error);
    }
  }, COUNT_MS);
}

/** Values of a node, from the stream (`fresh`) or from the API: newer ones replace what is shown. */
function take(update, fresh) {
  if (page.only && page.only !== update.slug) return;
  if (!knows(update.slug, update.values)) return reread();
  const node = page.nodes.find(({ slug }) => slug === update.slug);
  if (!node) return;
  if (update.last_seen && !(node.last_seen && seconds(node.last_seen) > seconds(update.last_seen))) node.last_seen = update.last_seen;
  let newer = false; // a reading that came late or another way is not, as a rule
  for (const [quantity, value] of Object.entries(update.values)) {
    const old = node.values[quantity];
    if (old && seconds(old.time) >= seconds(value.time)) continue;
    node.values[quantity] = value;
    newer = true;
    showValue(node.slug, quantity, value, fresh);
    addPoint(node.slug, quantity, seconds(value.time), value.value);
  }
  if (update.last_day) showCame(node.slug, update.last_day);
  if (mapElement) showMarker(node);
  tick();
  if (fresh && newer) announce(node, update.values);
}

/** A node or a quantity this page has no place for yet: read the page again and take its table and cards. */
function reread() {
  rereading ||= setTimeout(async () => {
    try {
      const text = await (await fetch(location.href)).text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      Object.assign(page, JSON.parse(fresh.getElementById("page-data").textContent));
      document.getElementById("latest").replaceWith(fresh.getElementById("latest"));
      const cards = document.getElementById("charts");
      if (!cards || !fresh.getElementById("charts")) return location.reload();
      for (const card of [...fresh.querySelectorAll(".chart")]) {
        const { node, quantity } = card.dataset;
        const same = [...cards.children].find((old) => old.dataset.node === node && old.dataset.quantity === quantity);
        if (!same) addChart(cards.appendChild(card));
        else sameOptions(same, card);
      }
      if (mapElement) {
        placeMarkers();
        tickMarkers();
      }
      tick();
    } catch (error) {
      console.warn("page", error);
    } finally {
      rereading = 0;
    }
  }, document.querySelector("td[data-quantity]") ? REREAD_MS * Math.random() : 0);
}

/** New choices for a chart that is already there; what was chosen stays chosen. */
function sameOptions(old, fresh) {
  const select = old.querySelector("select");
  if (!select) return;
  const chosen = select.value;
  select.replaceChildren(...fresh.querySelectorAll("option"));
  if (chosen) select.value = chosen;
  else select.dispatchEvent(new Event("change"));
}

function connection(state, text) {
  document.getElementById("live").dataset.state = state;
  document.getElementById("connection").textContent = text;
}

function announce(node, values) {
  if (Date.now() - announced < ANNOUNCE_MS) return;
  announced = Date.now();
  const texts = Object.entries(values).map(([quantity, value]) => `${page.quantities[quantity].label} ${reading(quantity, value)}`);
  document.getElementById("announce").textContent = fill(words.heard, { name: node.name, values: texts.join(", ") });
}
