// The table: a cell changes when a reading comes; ages go by every second.
import { age, fill, fullTime, number, page, seconds, words, isStale } from "./say.js";

/** The cells of one quantity of one node, on whichever page. */
const cells = (slug, quantity) =>
  document.querySelectorAll(`[data-node="${CSS.escape(slug)}"] td[data-quantity="${CSS.escape(quantity)}"]`);

/** Whether this page has a place for every value; if not, the page must be read again. */
export const knows = (slug, values) =>
  document.querySelector(`#latest [data-node="${CSS.escape(slug)}"]`) !== null &&
  Object.keys(values).every((quantity) => cells(slug, quantity).length > 0);

/** Show one value; `flash` when it has just arrived. */
export function showValue(slug, quantity, value, flash) {
  for (const cell of cells(slug, quantity)) {
    const [text, why] = words.states[value.state] ?? [number(value.value, page.quantities[quantity].decimals), ""];
    const parts = [span("value", text)];
    if (value.state === "good") parts.push("\u00a0", span("unit", value.unit));
    const time = document.createElement("time");
    time.className = "age";
    time.dateTime = value.time;
    time.textContent = age(seconds(value.time));
    cell.replaceChildren(...parts, " ", time);
    cell.dataset.state = value.state;
    cell.title = why;
    if (!flash) continue;
    cell.classList.remove("fresh");
    void cell.offsetWidth; // starts the animation anew
    cell.classList.add("fresh");
  }
}

/** How the readings of the last day came; nothing while none was lost. */
export function showCame(slug, shares) {
  const lost = shares.recovered + shares.backfilled + shares.missing;
  for (const place of document.querySelectorAll(`.came[data-of="${CSS.escape(slug)}"]`)) {
    const text = lost ? fill(words.came, shares) : "";
    if (place.textContent !== text) place.textContent = text;
  }
}

function span(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

/** Let the ages go by; mark nodes that have been silent for long. */
export function tick() {
  for (const time of document.querySelectorAll("time.age")) {
    const since = seconds(time.dateTime);
    const text = age(since);
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = fullTime(since);
  }
  for (const node of page.nodes) {
    const row = document.querySelector(`tr[data-node="${CSS.escape(node.slug)}"]`);
    if (!row) continue;
    const stale = isStale(node);
    row.classList.toggle("stale", stale);
    const note = node.last_seen === null ? words.never : stale ? words.stale : "";
    const place = row.querySelector("th .note");
    if (place && place.textContent !== note) place.textContent = note;
  }
}
