// Blend: latent codes and padding of a second photograph, at chosen layers, resolutions and places.

import * as api from "./api.js";
import * as brush from "./brush.js";
import { choice, el, fileButton, slider } from "./dom.js";
import { ACCEPT } from "./filmstrip.js";
import { addPhotos, commit, draft, emit, on, photo, say, store } from "./store.js";
import { mode, setMode } from "./viewer.js";

const PRESETS = [
  ["shape", "Hair and shape", "Padding of the second photograph: its hair, shape and background"],
  ["style", "Features", "Latent codes of the second photograph: its features and colours"],
  ["both", "Both", "Everything of the second photograph"],
];

export function panel() {
  const others = el("div", { class: "thumbs", role: "group", "aria-label": "Second photograph" });
  const controls = el("div", {});
  const body = el("div", { class: "panel" }, el("h2", {}, "Blend"), el("p", { class: "soft" }, "Borrow from a second photograph."), others, controls);
  const preset = choice({ label: "What is borrowed", options: PRESETS, value: null, onchange: (key) => commit(`borrow ${key}`, (state) => fill(state.blend, key)) });
  const amount = (key, label) => slider({
    label, min: 0, max: 1, step: 0.01, neutral: 1, value: 1,
    onmove: (value) => draft((state) => { state.blend[key] = value; }),
    ondone: (value) => commit(`${label.toLowerCase()} ${value}`, (state) => { state.blend[key] = value; }),
  });
  const latents = amount("latents", "Strength of codes");
  const padding = amount("padding", "Strength of padding");
  const layers = el("div", { class: "cells", role: "group", "aria-label": "Latent codes" });
  const resolutions = el("div", { class: "cells", role: "group", "aria-label": "Padding resolutions" });
  const painting = el("button", { type: "button", id: "paint", "aria-pressed": "false", onclick: () => paint(painting.getAttribute("aria-pressed") !== "true") }, "Paint where padding may change");
  const tools = brushTools();
  const stop = el("button", { type: "button", onclick: () => commit("no blend", (state) => { state.blend = null; }) }, "End the blend");

  function paint(active) {
    painting.setAttribute("aria-pressed", String(active));
    tools.hidden = !active;
    if (active && mode() === "whole") setMode("result");
    brush.activate(active, async () => {
      const id = await brush.send();
      commit(id ? "paint region" : "no region", (state) => { if (state.blend) state.blend.mask = id; });
    });
  }

  const drawOthers = () => {
    const chosen = store.draft?.blend?.photo;
    others.replaceChildren(
      ...store.photos.filter((one) => one.id !== store.current).map((one) => el(
        "button",
        { type: "button", "aria-pressed": String(one.id === chosen), title: one.name, "aria-label": one.name, onclick: () => pick(one.id) },
        el("img", { src: api.pictureUrl(one.id, "thumb.jpg"), alt: "", width: 64, height: 64 }),
      )),
      fileButton({ label: "Open a photograph", accept: ACCEPT, onfiles: open }),
    );
  };
  const drawControls = () => {
    const blend = store.draft?.blend;
    controls.hidden = !blend;
    if (!blend) {
      paint(false);
      return;
    }
    preset.set(PRESETS.map(([key]) => key).find((key) => same(blend, key)));
    latents.set(blend.latents);
    padding.set(blend.padding);
    layers.replaceChildren(...Array.from({ length: store.model.layers }, (_, i) => cell(String(i), blend.layers.includes(i), () => toggle("layers", i))));
    resolutions.replaceChildren(...store.model.padding.map((r) => cell(`${r}`, blend.resolutions.includes(r), () => toggle("resolutions", r))));
    if (blend.mask !== shownMask) {
      shownMask = blend.mask;
      brush.load(blend.mask).catch((error) => say(error.message, "error"));
    }
  };
  let shownMask = null;
  controls.append(
    preset,
    el("h3", {}, "Latent codes"), el("p", { class: "soft small" }, "Low numbers are coarse, high ones are colours and texture."), layers, latents,
    el("h3", {}, "Padding"), el("p", { class: "soft small" }, "Resolution in pixels: 4 is the coarsest form."), resolutions, padding,
    painting, tools, el("div", { class: "row" }, stop),
  );
  on("photos", drawOthers);
  on("current", () => { paint(false); drawOthers(); });
  on("state", () => { drawOthers(); drawControls(); });
  on("leave-blend", () => paint(false));
  return body;
}

const cell = (text, pressed, onclick) => el("button", { type: "button", "aria-pressed": String(pressed), onclick }, text);
const everything = () => ({ layers: Array.from({ length: store.model.layers }, (_, i) => i), resolutions: [...store.model.padding] });

function fill(blend, key) {
  const all = everything();
  blend.layers = key === "shape" ? [] : all.layers;
  blend.resolutions = key === "style" ? [] : all.resolutions;
}

function same(blend, key) {
  const wanted = {};
  fill(wanted, key);
  return wanted.layers.length === blend.layers.length && wanted.resolutions.length === blend.resolutions.length;
}

function toggle(list, value) {
  commit(`${list} ${value}`, ({ blend }) => {
    const values = new Set(blend[list]);
    values.has(value) ? values.delete(value) : values.add(value);
    blend[list] = [...values].sort((a, b) => a - b);
  });
}

function pick(id) {
  commit(`borrow from ${photo(id).name}`.slice(0, 80), (state) => {
    state.blend = { layers: [], resolutions: [...store.model.padding], latents: 1, padding: 1, mask: null, ...state.blend, photo: id };
  });
}

async function open(files) {
  const first = await addPhotos(files);
  if (first) pick(first);
}

function brushTools() {
  const erase = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
    const on_ = erase.getAttribute("aria-pressed") !== "true";
    erase.setAttribute("aria-pressed", String(on_));
    brush.setErase(on_);
  } }, "Erase");
  return el(
    "div",
    { class: "brush", hidden: true },
    el("p", { class: "soft small" }, "Paint on the picture. Only padding under the paint is borrowed; without paint all of it."),
    slider({ label: "Brush size", min: 8, max: 128, step: 4, neutral: 36, value: 36, onmove: brush.setSize, ondone: brush.setSize }),
    el("div", { class: "row" }, ...Object.keys(brush.REGIONS).map((name) => el("button", { type: "button", onclick: () => brush.fill(name) }, name))),
    el("div", { class: "row" }, erase, el("button", { type: "button", onclick: () => brush.fill(null) }, "Clear")),
  );
}
