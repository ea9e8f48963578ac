// How numbers, ages and states are said; the same as nest/web/present.py, from the same words.

/** What the server wrote into the page: words, quantities, nodes, map. */
export const page = JSON.parse(document.getElementById("page-data").textContent);
export const { words, language } = page;

// This device's clock may be wrong; ages are counted by the server's.
let ahead = Date.now() / 1000 - page.now;

/** The server's time, Unix seconds. */
export const now = () => Date.now() / 1000 - ahead;

/** Take the server's time from an answer (ISO 8601). */
export function setClock(iso) {
  ahead = Date.now() / 1000 - seconds(iso);
}

export const seconds = (iso) => Date.parse(iso) / 1000;

export const fill = (message, values) => message.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export function number(value, decimals) {
  let text = value.toFixed(decimals);
  if (Number(text) === 0) text = text.replace("-", "");
  text = text.replace("-", "\u2212");
  return language === "de" ? text.replace(".", ",") : text;
}

export function age(since) {
  const ago = Math.max(0, now() - since);
  const [, unit, message] = words.ages.find(([below]) => below === null || ago < below);
  return fill(message, { n: Math.floor(ago / unit) });
}

/** `21,4 °C`, or words where there is no number. */
export function reading(quantity, value) {
  const known = page.quantities[quantity];
  if (value?.state === "good") return `${number(value.value, known.decimals)}\u00a0${known.unit}`;
  return words.states[value?.state ?? "missing"][0];
}

const locale = language === "en" ? "en-GB" : language; // 24 hours and day before month, as people here write
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { day: "2-digit", month: "2-digit" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
export const clockTime = (unix) => clock.format(unix * 1000);
export const dayOfMonth = (unix) => day.format(unix * 1000);
export const fullTime = (unix) => full.format(unix * 1000);

export const isStale = (node) => node.last_seen === null || now() - seconds(node.last_seen) > page.stale_after_s;
