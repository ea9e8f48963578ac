// One uPlot chart per card. A gap in the readings is a gap in the line: nothing is guessed between two readings.
import { clockTime, dayOfMonth, fill, fullTime, number, now, page, words } from "./say.js";

const HEIGHT = 220;
const LEAST_SPAN_S = 600; // a minute of data is not stretched over the whole width
const charts = new Map(); // card -> {plot, slug, quantity, times, values}
let hours = 24;

const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const onScreen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    onScreen.unobserve(target); // a village phone loads what it looks at
    load(target);
  }
}, { rootMargin: "200px" });
const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) target.uplot?.setSize({ width: contentRect.width, height: HEIGHT });
});

/** Fill a card when it comes into sight, and whenever another quantity is chosen. */
export function addChart(card) {
  card.querySelector("select")?.addEventListener("change", () => load(card));
  resized.observe(card.querySelector(".plot"));
  onScreen.observe(card);
}

/** All charts over another span of time. */
export function setSpan(newHours) {
  hours = newHours;
  for (const card of charts.keys()) load(card);
}

/** Charts whose end is out of date, after the connection was lost. */
export const reloadCharts = () => [...charts.keys()].forEach(load);

async function load(card) {
  const slug = card.dataset.node;
  const quantity = card.dataset.quantity ?? card.querySelector("select").value;
  const chart = { plot: charts.get(card)?.plot, slug, quantity, times: [], values: [], late: [] };
  charts.set(card, chart);
  if (!quantity) return sayNothing(card);
  try {
    let start = new Date((now() - hours * 3600) * 1000).toISOString();
    while (start) { // long spans come in several parts
      const query = new URLSearchParams({ quantity, start });
      const answer = await fetch(`${page.api}/nodes/${encodeURIComponent(slug)}/readings?${query}`);
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const part = await answer.json();
      if (charts.get(card) !== chart) return; // something else was chosen meanwhile
      for (const [time, value] of part.readings) append(chart, time, value);
      start = part.next;
    }
  } catch (error) {
    console.warn("chart", error);
    chart.failed = true;
    if (charts.get(card) === chart) say(card, words.unavailable);
    return;
  }
  for (const [time, value] of chart.late) append(chart, time, value);
  chart.late = null;
  draw(card, chart);
}

function append(chart, time, value) {
  const last = chart.times.at(-1);
  if (last !== undefined && time <= last) return;
  chart.times.push(time);
  chart.values.push(value);
}

/** A reading has come: put it at the end of the charts that show it. */
export function addPoint(slug, quantity, time, value) {
  for (const [card, chart] of charts) {
    if (chart.slug !== slug) continue;
    if (!chart.quantity) load(card); // the node's first reading ever
    if (chart.quantity !== quantity) continue;
    if (chart.failed) { // the nest is there again
      load(card);
      continue;
    }
    if (chart.late) { // its history is still on the way, and comes first
      chart.late.push([time, value]);
      continue;
    }
    append(chart, time, value);
    const start = now() - hours * 3600;
    while (chart.times[0] < start) {
      chart.times.shift();
      chart.values.shift();
    }
    draw(card, chart);
  }
}

/** uPlot's columns, with a null wherever a reading is missing by the usual distance of this node. */
function withGaps({ times, values }) {
  const steps = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
  const longest = Math.max(2.5 * (steps[steps.length >> 1] ?? 0), 30);
  const data = [[], []];
  if (times.length === 1) { // uPlot stretches a single moment to a day; two empty edges keep it in its place
    return [[times[0] - LEAST_SPAN_S, times[0], Math.max(times[0] + 1, now())], [null, values[0], null]];
  }
  times.forEach((time, index) => {
    if (index && time - times[index - 1] > longest) {
      data[0].push((time + times[index - 1]) / 2);
      data[1].push(null);
    }
    data[0].push(time);
    data[1].push(values[index]);
  });
  return data;
}

function draw(card, chart) {
  const good = chart.values.filter((value) => value !== null);
  if (!good.length) {
    clear(card, chart);
    return sayNothing(card);
  }
  const holder = card.querySelector(".plot");
  const data = withGaps(chart);
  if (chart.plot && chart.plot.quantity === chart.quantity) {
    chart.plot.setData(data);
  } else {
    clear(card, chart);
    chart.plot = new uPlot(options(chart.quantity, holder.clientWidth), data, holder);
    chart.plot.quantity = chart.quantity;
    holder.uplot = chart.plot;
  }
  const { decimals, unit, label } = page.quantities[chart.quantity];
  const name = page.nodes.find((node) => node.slug === chart.slug)?.name ?? chart.slug;
  let [low, high] = [good[0], good[0]];
  for (const value of good) { // a month of readings is too much for the arguments of Math.min
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const at = (value) => (hours > 24 ? fullTime : clockTime)(chart.times[chart.values.indexOf(value)]);
  const text = fill(good.length === 1 ? words.single : words.summary, {
    low: `${number(low, decimals)}\u00a0${unit}`, low_at: at(low),
    high: `${number(high, decimals)}\u00a0${unit}`, high_at: at(high),
    count: good.length,
  });
  say(card, text);
  holder.setAttribute("aria-label", `${fill(words.chart_of, { quantity: label, name })}. ${text}`);
}

function clear(card, chart) {
  chart.plot?.destroy();
  chart.plot = undefined;
  card.querySelector(".plot").uplot = undefined;
}

const say = (card, text) => (card.querySelector(".summary").textContent = text);

function sayNothing(card) {
  say(card, words.nothing);
  card.querySelector(".plot").setAttribute("aria-label", words.nothing);
}

function options(quantity, width) {
  const { decimals, unit } = page.quantities[quantity];
  const least = 20 * 10 ** -decimals; // noise of the last digit must not look like weather
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    padding: [10, 12, 0, 0],
    cursor: { drag: { x: false, y: false } },
    scales: {
      x: { range: (_, from, to) => [Math.min(from, now() - LEAST_SPAN_S), Math.max(to, now())] },
      y: { range: (_, low, high) => {
        const pad = Math.max((high - low) * 0.1, (least - (high - low)) / 2, 0);
        return [low - pad, high + pad];
      } },
    },
    axes: [
      { ...axis, space: 60, values: (_, times) => times.map((time, index) =>
        hours > 24 && (index === 0 || dayOfMonth(time) !== dayOfMonth(times[index - 1])) ? dayOfMonth(time) : clockTime(time)) },
      { ...axis, size: 56, values: (_, values) => {
        const needed = [0, 1, 2].find((digits) => values.every((value) => Math.abs(value - value.toFixed(digits)) < 1e-6)) ?? 3;
        return values.map((value) => number(value, needed));
      } },
    ],
    series: [
      { label: words.time, value: (_, time) => (time == null ? "–" : fullTime(time)) },
      { label: words.value, stroke: colour("--accent"), width: 2, spanGaps: false,
        value: (_, value) => (value == null ? "–" : `${number(value, decimals)} ${unit}`) },
    ],
  };
}

// colours are functions of the palette: draw again when the device goes dark or light
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of charts.values()) plot?.redraw(false, true);
});
