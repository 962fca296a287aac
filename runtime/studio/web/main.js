// The page: loads the session, builds the panels, and hands keys and drops to whom they concern.

import * as api from "./api.js";
import { el } from "./dom.js";
import * as filmstrip from "./filmstrip.js";
import { panel as blend } from "./panel_blend.js";
import { panel as custom } from "./panel_custom.js";
import { panel as directions } from "./panel_directions.js";
import { panel as interpolate } from "./panel_interpolate.js";
import { panel as photograph } from "./panel_photo.js";
import { panel as save } from "./panel_save.js";
import { attempt, choose, emit, on, photo, say, store, travel } from "./store.js";
import * as viewer from "./viewer.js";

const TABS = [["photo", "Photo", photograph], ["directions", "Directions", directions], ["blend", "Blend", blend], ["custom", "Custom", custom], ["interpolate", "Interpolate", interpolate], ["save", "Save", save]];
const KEYS = [
  ["Ctrl+Z, Ctrl+Shift+Z", "Undo, redo"], ["X (hold)", "The picture before the edit"], ["C", "Compare with a grip; arrow keys move it"], ["D", "Difference"],
  ["P", "In the photograph"], ["1 to 6", "Photo, Directions, Blend, Custom, Interpolate, Save"], [", and .", "Previous and next photograph"], ["?", "This list"],
];
const $ = (selector) => document.querySelector(selector);
const dialog = $("#dialog");
const tabs = new Map();

function buildPanels() {
  const bar = el("div", { class: "tabs", role: "tablist", "aria-label": "Tools" });
  const bodies = el("div", { class: "bodies" });
  for (const [key, label, make] of TABS) {
    const tab = el("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": `body-${key}`, onclick: () => open(key) }, label);
    const body = el("div", { role: "tabpanel", id: `body-${key}`, "aria-labelledby": `tab-${key}` }, make());
    tabs.set(key, { tab, body });
    bar.append(tab);
    bodies.append(body);
  }
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const keys = [...tabs.keys()];
    const next = keys[(keys.indexOf(opened) + step + keys.length) % keys.length];
    open(next);
    tabs.get(next).tab.focus();
  });
  $("#panel").append(bar, bodies);
  open("directions");
}

let opened = null;
function open(key) {
  if (opened && opened !== key) emit(`leave-${opened}`);
  opened = key;
  for (const [name, { tab, body }] of tabs) {
    tab.setAttribute("aria-selected", String(name === key));
    tab.tabIndex = name === key ? 0 : -1;
    body.hidden = name !== key;
  }
}

function showDialog(title, ...children) {
  dialog.replaceChildren(
    el("header", {}, el("h2", { id: "dialog-title" }, title), el("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
    ...children,
  );
  dialog.showModal();
}

function showHistory() {
  const { labels, position } = photo().history;
  const steps = labels.map((label, i) => el("li", {}, el("button", { type: "button", "aria-current": i === position ? "step" : undefined, class: i > position ? "undone" : "", onclick: () => { dialog.close(); travel(i); } }, label)));
  showDialog("History", el("ol", { class: "history" }, ...steps));
}

const showKeys = () => showDialog("Keys", el("dl", { class: "keys" }, ...KEYS.flatMap(([key, what]) => [el("dt", {}, key), el("dd", {}, what)])));

function keydown(event) {
  const typing = event.target.matches("input:not([type=range]), select, textarea");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !typing) {
    event.preventDefault();
    event.target.dispatchEvent(new Event("finish"));
    travel(event.shiftKey ? "redo" : "undo");
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  const action = {
    x: () => event.repeat || viewer.hold(true), c: () => viewer.toggleMode("compare"), d: () => viewer.toggleMode("difference"), p: () => viewer.toggleMode("whole"),
    "?": showKeys, ",": () => step(-1), ".": () => step(1),
  }[event.key] ?? (/^[1-6]$/.test(event.key) ? () => open(TABS[Number(event.key) - 1][0]) : null);
  if (!action || (!store.current && event.key !== "?")) return;
  event.preventDefault();
  action();
}

function step(by) {
  const at = store.photos.findIndex((one) => one.id === store.current);
  const next = store.photos[at + by];
  if (next) choose(next.id);
}

function theme() {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("padinv-theme", document.documentElement.dataset.theme);
}

function welcome() {
  const input = el("input", { type: "file", id: "first", class: "hidden", tabindex: "-1", accept: filmstrip.ACCEPT, multiple: true, "aria-label": "Photographs" });
  input.addEventListener("change", () => filmstrip.take([...input.files]));
  return el(
    "div",
    { id: "welcome" },
    el("h2", {}, "Drop a photograph"),
    el("p", {}, "It is inverted into latent codes and padding, and you edit both: smile and age, the hair of a second photograph, a change you paint."),
    el("button", { type: "button", class: "primary", onclick: () => input.click() }, "Choose photographs"), input,
    el("p", { class: "soft small" }, "PNG, JPEG, WebP, BMP or TIFF. Everything stays on this machine."),
  );
}

function handleDrops() {
  let depth = 0;
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (files(event)) { depth += 1; document.body.classList.add("dropping"); } });
  addEventListener("dragleave", (event) => { if (files(event) && (depth -= 1) <= 0) { depth = 0; document.body.classList.remove("dropping"); } });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) filmstrip.take([...event.dataTransfer.files]);
  });
}

function refresh() {
  const one = photo();
  $("#app").classList.toggle("empty", !one);
  $("#undo").disabled = !one || one.history.position === 0;
  $("#redo").disabled = !one || one.history.position === one.history.labels.length - 1;
  $("#history").disabled = !one;
}

async function main() {
  const saved = localStorage.getItem("padinv-theme");
  if (saved) document.documentElement.dataset.theme = saved;
  const found = await attempt(api.start);
  if (!found) return;
  Object.assign(store, { model: found.model, directions: found.directions, photos: found.photos });
  $("#model").textContent = `${found.model.name} · ${found.model.resolution} px`;
  viewer.mount($("#stage"));
  $("#stage").prepend(welcome());
  filmstrip.mount($("#strip"));
  buildPanels();
  on("photos", refresh);
  on("current", refresh);
  on("state", refresh);
  $("#undo").addEventListener("click", () => travel("undo"));
  $("#redo").addEventListener("click", () => travel("redo"));
  $("#history").addEventListener("click", showHistory);
  $("#help").addEventListener("click", showKeys);
  $("#theme").addEventListener("click", theme);
  addEventListener("keydown", keydown);
  addEventListener("keyup", (event) => event.key === "x" && viewer.hold(false));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  handleDrops();
  emit("directions");
  emit("photos");
  for (const one of found.photos) if (one.note) say(one.note, "warning");
  await choose(found.photos[0]?.id ?? null);
  document.body.dataset.ready = "true";
}

main();
