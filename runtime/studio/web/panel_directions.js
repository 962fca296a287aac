// Directions: a slider each; the model's gallery, files, and those of the user's own image pairs.

import * as api from "./api.js";
import { el, fileButton, slider } from "./dom.js";
import { attempt, commit, draft, emit, on, say, store } from "./store.js";

const MANY = 10; // from this number on there is a field to search in

export function panel() {
  const list = el("div", { class: "sliders" });
  const search = el("input", { type: "search", placeholder: "Search", "aria-label": "Search directions" });
  const reset = el("button", { type: "button", onclick: () => commit("reset directions", (state) => { state.directions = {}; }) }, "Reset all");
  const load = fileButton({ label: "Load a direction file", accept: ".safetensors", onfiles: ([file]) => take(file) });
  const none = el("p", { class: "soft" }, "This model ships no directions. Load a direction file, or make one under Custom.");
  const rows = new Map();

  const build = () => {
    rows.clear();
    for (const one of store.directions) rows.set(one.id, row(one));
    list.replaceChildren(...rows.values());
    none.hidden = store.directions.length > 0;
    search.hidden = store.directions.length < MANY;
    filter();
  };
  const filter = () => {
    for (const one of store.directions) rows.get(one.id).hidden = !search.hidden && !one.name.toLowerCase().includes(search.value.toLowerCase());
  };
  search.addEventListener("input", filter);
  on("directions", build);
  on("state", () => {
    for (const [id, one] of rows) one.set(store.draft?.directions[id] ?? 0);
    reset.disabled = !Object.values(store.draft?.directions ?? {}).some(Boolean);
  });
  return el("div", { class: "panel" }, el("h2", {}, "Directions"), search, none, list, el("div", { class: "row" }, reset, load));
}

function row(one) {
  const set = (value) => (state) => {
    if (value) state.directions[one.id] = value;
    else delete state.directions[one.id];
  };
  return slider({
    label: one.name, min: -3, max: 3, step: 0.05, value: store.draft?.directions[one.id] ?? 0,
    note: [one.note, one.space && `in the ${one.space === "both" ? "latents and the padding" : one.space}`].filter(Boolean).join(", "),
    onmove: (value) => draft(set(value)),
    ondone: (value) => commit(`${one.name} ${value}`, set(value)),
    remove: one.origin === "gallery" ? null : () => remove(one),
  });
}

async function take(file) {
  const added = await attempt(() => api.addDirection(file));
  if (!added) return;
  add(added);
  say(`${added.name} is ready`);
}

export function add(direction) {
  store.directions.push(direction);
  emit("directions");
  emit("state");
}

async function remove(one) {
  if (!(await attempt(() => api.removeDirection(one.id)))) return;
  store.directions = store.directions.filter((other) => other.id !== one.id);
  emit("directions");
  emit("state");
}
