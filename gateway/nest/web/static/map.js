// The map: nodes on the operator's outlines, on plain ground, or on tiles where the operator switched them on.
import { age, isStale, page, reading, seconds, words } from "./say.js";

const TOUCH = matchMedia("(pointer: coarse)").matches;
const STACKED_PX = 42; // a label's height without its tip
const markers = new Map();
let map;

/** Draw the map into `element`. */
export async function drawMap(element) {
  map = L.map(element, {
    zoomControl: false,
    attributionControl: false, // its text is HTML; ours stands under the map as text
    scrollWheelZoom: false, // the page scrolls, the map does not catch it
    dragging: !TOUCH,
    maxZoom: 19,
    zoomSnap: 0.5,
  });
  map.setView([page.map.latitude ?? 51, page.map.longitude ?? 10.5], page.map.latitude === null ? 5 : 13);
  L.control.zoom({ position: "bottomright", zoomInTitle: words.zoom_in, zoomOutTitle: words.zoom_out }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  map.on("popupopen", ({ popup: { _closeButton: button } }) => button.setAttribute("aria-label", words.close));
  const credits = [];
  if (page.map.tiles_url) {
    // the page itself sends no referrer; tile servers ask for the origin, and get no more
    L.tileLayer(page.map.tiles_url, { maxZoom: 19, referrerPolicy: "origin" }).addTo(map);
    credits.push("© OpenStreetMap contributors");
  }
  placeMarkers();
  let bounds = boundsOfNodes();
  if (page.map.outlines_url) {
    try {
      const outlines = await (await fetch(page.map.outlines_url)).json();
      const layer = L.geoJSON(outlines, {
        interactive: false,
        style: { className: "outline" },
        pointToLayer: (_, place) => L.circleMarker(place, { radius: 3, className: "outline" }),
      }).addTo(map);
      if (typeof outlines.attribution === "string") credits.push(outlines.attribution);
      if (!bounds.isValid()) bounds = layer.getBounds();
    } catch (error) {
      console.warn("outlines", error); // the nodes are what matters; they are on the map without outlines too
    }
  }
  document.getElementById("map-credit").textContent = credits.join(" · ");
  if (bounds.isValid()) map.fitBounds(bounds, { paddingTopLeft: [60, 70], paddingBottomRight: [60, 30], maxZoom: 15 });
}

const boundsOfNodes = () => L.latLngBounds([...markers.values()].map((marker) => marker.getLatLng()));

/** Markers for all nodes that have a position; called again when nodes were added. */
export function placeMarkers() {
  for (const node of page.nodes) {
    if (node.latitude === null || markers.has(node.slug)) continue;
    const marker = L.marker([node.latitude, node.longitude], { icon: icon(node), riseOnHover: true, keyboard: true });
    marker.bindPopup(() => popup(nodeOf(node.slug)), { maxWidth: 260, autoPanPadding: [20, 20] });
    // Published positions are rounded, so neighbours may share one: their labels stand on top of each other.
    const below = [...markers.values()].filter((other) => other.getLatLng().equals(marker.getLatLng())).length;
    markers.set(node.slug, marker.addTo(map));
    marker.getElement().style.marginTop = `${-STACKED_PX * below}px`;
    showMarker(node);
  }
}

const nodeOf = (slug) => page.nodes.find((node) => node.slug === slug);

/** The quantity a marker shows: temperature, else the first one the node has. */
function shown(node) {
  return node.values.temperature ? "temperature" : Object.keys(page.quantities).find((name) => node.values[name]);
}

function icon(node) {
  const label = document.createElement("span");
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = node.name;
  label.append(name, document.createElement("b"));
  return L.divIcon({ className: "marker", html: label, iconSize: null, popupAnchor: [0, -44] });
}

/** Bring a node's marker up to date. */
export function showMarker(node) {
  const element = markers.get(node.slug)?.getElement();
  if (!element) return;
  const quantity = shown(node);
  const text = quantity ? reading(quantity, node.values[quantity]) : "–";
  element.querySelector("b").textContent = text;
  element.classList.toggle("stale", isStale(node));
  element.setAttribute("aria-label", isStale(node) ? `${node.name}: ${text}. ${words.stale}` : `${node.name}: ${text}`);
}

export const tickMarkers = () => page.nodes.forEach(showMarker);

function popup(node) {
  const box = document.createElement("div");
  box.className = "popup";
  const link = document.createElement("a");
  link.href = `/nodes/${encodeURIComponent(node.slug)}${location.search}`;
  link.textContent = node.name;
  const list = document.createElement("ul");
  for (const [quantity, known] of Object.entries(page.quantities)) {
    const value = node.values[quantity];
    if (!value) continue;
    const item = document.createElement("li");
    const when = age(seconds(value.time)).replaceAll(" ", "\u00a0");
    item.textContent = `${known.label}: ${reading(quantity, value)} (${when})`;
    list.append(item);
  }
  if (!list.children.length) list.append(Object.assign(document.createElement("li"), { textContent: words.never }));
  box.append(link, list);
  return box;
}
