// The photograph with its faces: choose one, and adjust its square.

import * as api from "./api.js";
import { el, slider, svg } from "./dom.js";
import { attempt, on, photo, reload, store, update, emit, say } from "./store.js";

const SLIDERS = [["right", "Move right", -0.5, 0.5, 0.01, 0], ["down", "Move down", -0.5, 0.5, 0.01, 0], ["scale", "Size", 0.5, 2, 0.01, 1], ["turn", "Turn, degrees", -45, 45, 0.5, 0]];

export function panel() {
  const picture = el("div", { class: "whole" });
  const faces = el("div", { class: "row" });
  const adjust = el("fieldset", {}, el("legend", {}, "Adjust the square"));
  const body = el("div", { class: "panel" }, el("h2", {}, "Photograph"), picture, faces, adjust);
  const draw = () => {
    const one = photo();
    if (!one) return;
    picture.replaceChildren(el("img", { src: api.pictureUrl(one.id, "shown.jpg"), alt: one.name }), outlines(one));
    faces.replaceChildren(el("p", { class: "soft" }, about(one)), ...(one.faces.length > 1 ? one.faces.map((_, i) => faceButton(one, i)) : []));
    adjust.replaceChildren(el("legend", {}, "Adjust the square"), ...SLIDERS.map(([key, label, min, max, step, neutral]) =>
      slider({ label, min, max, step, neutral, value: one.placing.square[key], ondone: (value) => placed({ face: one.placing.face, square: { ...one.placing.square, [key]: value } }) }),
    ));
    adjust.hidden = !store.model.template;
  };
  on("current", draw);
  on("photos", draw);
  return body;
}

function about(one) {
  const size = `${one.size[0]} × ${one.size[1]} pixels`;
  if (!store.model.template) return `${size}. This model takes the middle square of a picture.`;
  if (!one.faces.length) return `${size}. No face was found, so the middle square is taken; move it below.`;
  return `${size}, ${one.faces.length === 1 ? "one face" : `${one.faces.length} faces`}.`;
}

const points = (corners) => corners.map((corner) => corner.join(",")).join(" ");

function outlines(one) {
  const drawing = svg("svg", { viewBox: `0 0 ${one.size[0]} ${one.size[1]}`, "aria-hidden": "true" });
  one.faces.forEach((face, i) => {
    if (i + 1 !== one.placing.face) drawing.append(svg("polygon", { points: points(face), class: "other" }));
  });
  if (one.square) drawing.append(svg("polygon", { points: points(one.square), class: "chosen" }));
  return drawing;
}

function faceButton(one, i) {
  return el("button", { type: "button", "aria-pressed": String(i + 1 === one.placing.face), onclick: () => placed({ face: i + 1 }) }, `Face ${i + 1}`);
}

async function placed(placing) {
  const described = await attempt(() => api.place(store.current, placing));
  if (!described) {
    emit("photos");
    return;
  }
  update(described);
  if (described.note) say(described.note, "warning");
  emit("state");
  emit("placed");
  await reload();
}
