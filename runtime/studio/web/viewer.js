// The stage: the edited picture beside its original, as a slider with a grip, a flip, or their difference.

import * as api from "./api.js";
import { choice, el } from "./dom.js";
import { emit, on, photo, store } from "./store.js";

const PIXELS = 768; // side of the canvas; pictures are scaled to it
const canvas = el("canvas", { id: "picture", width: PIXELS, height: PIXELS, role: "img", "aria-label": "The edited picture" });
const overlay = el("canvas", { id: "brush", width: 256, height: 256, class: "hidden", tabindex: "0" });
const grip = el("div", {
  id: "grip", role: "slider", tabindex: "0", "aria-label": "Boundary between before and after", "aria-valuemin": "0",
  "aria-valuemax": "100", class: "hidden",
}, el("span", { "aria-hidden": "true" }, "⟷"));
const frame = el("div", { id: "frame" }, canvas, overlay, grip);
const tags = el("div", { class: "tags", "aria-hidden": "true" }, el("span", { class: "before" }, "Before"), el("span", { class: "after" }, "After"));
frame.append(tags);
const whole = el("img", { id: "whole", class: "hidden", alt: "The photograph with the edited face in its place" });

const opened = el("img", { id: "opened", class: "hidden", alt: "The photograph as it was opened" });

const view = { mode: "result", before: "input", split: 0.5, flipped: false, frame: null, whole: null };
export const brushCanvas = overlay;

const modes = choice({
  label: "View",
  value: view.mode,
  options: [["result", "Result", "The edited picture"], ["compare", "Compare", "Before and after, with a grip (C)"], ["difference", "Difference", "What changed (D)"], ["whole", "In photo", "Pasted back into the photograph (P)"]],
  onchange: (mode) => setMode(mode),
});
const before = el("select", { "aria-label": "Compare with", hidden: true }, el("option", { value: "input" }, "Before: the original"), el("option", { value: "plain" }, "Before: its reconstruction"));
before.addEventListener("change", () => { view.before = before.value; draw(); });
const flip = el("button", { type: "button", id: "flip", "aria-pressed": "false", title: "Hold to see the picture before the edit (X)" }, "Before");
const figures = el("dl", { class: "figures" });
const warning = el("p", { class: "warning hidden" });

export function mount(stage) {
  stage.append(
    el("div", { class: "views" }, modes),
    el("div", { class: "canvas" }, frame, whole, opened),
    el("div", { class: "below" }, figures, warning, el("div", { class: "with" }, before, flip)),
  );
  for (const [kind, pressed] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false]]) flip.addEventListener(kind, () => hold(pressed));
  flip.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && (event.preventDefault(), hold(!view.flipped)));
  frame.addEventListener("pointerdown", drag);
  grip.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    split(view.split + step);
  });
  on("picture", () => { view.frame = null; draw(); });
  on("current", () => { view.frame = null; describe(); draw(); });
  on("photos", () => { describe(); if (view.mode === "whole") loadWhole(); });
}

export function setMode(mode) {
  view.mode = mode;
  modes.set(mode);
  before.hidden = !["compare", "difference"].includes(mode);
  frame.classList.toggle("hidden", mode === "whole");
  if (mode === "whole") loadWhole();
  drawWhole();
  draw();
  emit("view");
}
export const mode = () => view.mode;
export const toggleMode = (name) => setMode(view.mode === name ? "result" : name);

/** Show the picture before the edit while `pressed`. */
export function hold(pressed) {
  view.flipped = pressed;
  flip.setAttribute("aria-pressed", String(pressed));
  drawWhole();
  draw();
}

/** The edited photograph, or the one that was opened in its place and size. */
function drawWhole() {
  const before = view.mode === "whole" && view.flipped && photo();
  if (before) opened.src = api.pictureUrl(before.id, "shown.jpg");
  if (before && whole.clientWidth) Object.assign(opened, { width: whole.clientWidth, height: whole.clientHeight });
  opened.classList.toggle("hidden", !before);
  whole.classList.toggle("hidden", view.mode !== "whole" || Boolean(before));
}

/** Show a frame of an interpolation instead of the result; null ends it. */
export function showFrame(bitmap) {
  view.frame = bitmap;
  draw();
}

function drag(event) {
  if (view.mode !== "compare" || event.target === overlay) return;
  event.preventDefault();
  grip.focus({ preventScroll: true });
  const move = (where) => {
    const box = frame.getBoundingClientRect();
    split((where.clientX - box.left) / box.width);
  };
  move(event);
  frame.setPointerCapture(event.pointerId);
  frame.addEventListener("pointermove", move);
  frame.addEventListener("pointerup", () => frame.removeEventListener("pointermove", move), { once: true });
}

function split(value) {
  view.split = Math.min(1, Math.max(0, value));
  draw();
}

function loadWhole() {
  const one = photo();
  if (!one) return;
  // The photograph is large, so it is made for steps of the history and not for every move.
  const wanted = `${one.id} ${JSON.stringify([one.state, one.placing])}`;
  if (wanted === view.whole) return;
  view.whole = wanted;
  whole.src = `${api.exportUrl(one.id, "photo")}?${Date.now()}`;
}

function draw() {
  const context = canvas.getContext("2d");
  const { input, plain, result } = store.images;
  const first = view.before === "input" ? input : plain;
  const second = view.frame ?? result ?? plain;
  context.clearRect(0, 0, PIXELS, PIXELS);
  context.imageSmoothingQuality = "high";
  const comparing = view.mode === "compare" && !view.flipped && first;
  frame.classList.toggle("comparing", Boolean(comparing));
  grip.classList.toggle("hidden", !comparing);
  if (!second) return;
  if (view.flipped && first) context.drawImage(first, 0, 0, PIXELS, PIXELS);
  else if (view.mode === "difference" && first) drawDifference(context, first, second);
  else {
    context.drawImage(second, 0, 0, PIXELS, PIXELS);
    if (comparing) drawBefore(context, first);
  }
}

function drawBefore(context, first) {
  const x = Math.round(view.split * PIXELS);
  context.save();
  context.beginPath();
  context.rect(0, 0, x, PIXELS);
  context.clip();
  context.drawImage(first, 0, 0, PIXELS, PIXELS);
  context.restore();
  const percent = Math.round(view.split * 100);
  grip.style.setProperty("left", `${view.split * 100}%`);
  grip.setAttribute("aria-valuenow", String(percent));
  grip.setAttribute("aria-valuetext", `${percent} % before`);
}

/** The size of the change as brightness, four times enlarged; where nothing changed it is black. */
function drawDifference(context, first, second) {
  const side = second.width;
  const read = (bitmap) => {
    const small = new OffscreenCanvas(side, side).getContext("2d");
    small.drawImage(bitmap, 0, 0, side, side);
    return small.getImageData(0, 0, side, side);
  };
  const [a, b] = [read(first), read(second)];
  for (let i = 0; i < a.data.length; i += 4) {
    const change = (Math.abs(a.data[i] - b.data[i]) + Math.abs(a.data[i + 1] - b.data[i + 1]) + Math.abs(a.data[i + 2] - b.data[i + 2])) / 3;
    const t = Math.min(1, (change * 4) / 255);
    b.data[i] = 255 * Math.min(1, t * 1.8);
    b.data[i + 1] = 255 * Math.max(0, t * 1.6 - 0.45);
    b.data[i + 2] = 255 * (0.28 * Math.sin(Math.PI * t) + Math.max(0, t - 0.75) * 3);
  }
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(b, 0, 0);
  context.drawImage(small, 0, 0, PIXELS, PIXELS);
}

function describe() {
  const one = photo();
  figures.replaceChildren();
  warning.classList.toggle("hidden", !one?.note);
  if (!one) return;
  warning.textContent = one.note ?? "";
  for (const [name, title, digits, unit] of [["psnr", "PSNR", 1, " dB"], ["ssim", "SSIM", 3, ""], ["mse", "MSE", 4, ""]]) {
    const value = one.metrics[name];
    if (value !== undefined) figures.append(el("div", {}, el("dt", { title: "Of the reconstruction, before any edit" }, title), el("dd", {}, value.toFixed(digits) + unit)));
  }
}
