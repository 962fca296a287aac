// The photograph with its faces: choose one, and adjust its square.

import * as api from "./api.js";
import { el, slider, svg } from "./dom.js";
import { add } from "./panel_directions.js";
import { attempt, commit, on, photo, reload, store, update, emit, say } from "./store.js";

const SLIDERS = [["right", "Move right", -0.5, 0.5, 0.01, 0], ["down", "Move down", -0.5, 0.5, 0.01, 0], ["scale", "Size", 0.5, 2, 0.01, 1], ["turn", "Turn, degrees", -45, 45, 0.5, 0]];

export function panel() {
  const picture = el("div", { class: "whole" });
  const faces = el("div", { class: "row" });
  const adjust = el("fieldset", {}, el("legend", {}, "Adjust the square"));
  const body = el("div", { class: "panel" }, el("h2", {}, "Photograph"), picture, faces, refinement(), adjust);
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

/** Optimise the codes for this photograph; what that adds becomes a slider, so that it can be weakened and undone. */
function refinement() {
  const steps = el("input", { type: "number", id: "refine-steps", min: 1, max: 300, step: 1, value: 30 });
  const button = el("button", { type: "button", id: "refine", onclick: run }, "Refine");
  const bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress of the refinement" });
  const told = el("p", { class: "soft small", role: "status" });
  const body = el("fieldset", {}, el("legend", {}, "Refine the inversion"), el("div", { class: "row" }, el("label", { for: "refine-steps" }, "Steps"), steps, button, bar), told);

  async function run() {
    const id = store.current;
    button.disabled = true;
    bar.value = 0;
    bar.hidden = false;
    told.textContent = "";
    const timer = setInterval(() => api.refined(id).then((done) => { bar.value = done ?? bar.value; }, () => {}), 300);
    const made = await attempt(() => api.refine(id, Number(steps.value)));
    clearInterval(timer);
    button.disabled = false;
    bar.hidden = true;
    if (!made) return;
    add(made);
    if (id !== store.current) return;
    told.textContent = `${made.note}. It is a slider under Directions.`;
    await commit(made.name, (state) => { state.directions[made.id] = 1; });
  }
  on("current", () => { told.textContent = ""; body.hidden = !store.model.refines; });
  return body;
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
