// The padding brush: a mask over the aligned square. White may change, the rest keeps its padding.

import * as api from "./api.js";
import { el } from "./dom.js";
import { attempt } from "./store.js";
import { brushCanvas as canvas } from "./viewer.js";

const SIDE = canvas.width;
const mask = new OffscreenCanvas(SIDE, SIDE); // white on transparent: where padding may change
const paint = mask.getContext("2d", { willReadFrequently: true });
const state = { active: false, size: 36, erase: false, x: SIDE / 2, y: SIDE / 2, keyed: false, onchange: () => {} };

export const REGIONS = {
  Top: () => paint.fillRect(0, 0, SIDE, SIDE / 2),
  Bottom: () => paint.fillRect(0, SIDE / 2, SIDE, SIDE / 2),
  Left: () => paint.fillRect(0, 0, SIDE / 2, SIDE),
  Right: () => paint.fillRect(SIDE / 2, 0, SIDE / 2, SIDE),
  Border: () => { paint.fillRect(0, 0, SIDE, SIDE); paint.clearRect(SIDE / 4, SIDE / 4, SIDE / 2, SIDE / 2); },
};

paint.fillStyle = "#fff";
canvas.setAttribute("role", "application");
canvas.setAttribute("aria-label", "Padding brush: arrow keys move it, space paints, E erases, [ and ] change its size");

/** Turn painting on or off; `onchange` hears of every finished stroke. */
export function activate(active, onchange = state.onchange) {
  Object.assign(state, { active, onchange });
  canvas.classList.toggle("hidden", !active);
  draw();
}
export const setSize = (size) => { state.size = size; draw(); };
export const setErase = (erase) => { state.erase = erase; };

/** Start from a named region, or from nothing. */
export function fill(name) {
  paint.clearRect(0, 0, SIDE, SIDE);
  if (name) REGIONS[name]();
  draw();
  state.onchange();
}

export function isEmpty() {
  const { data } = paint.getImageData(0, 0, SIDE, SIDE);
  for (let i = 3; i < data.length; i += 4) if (data[i]) return false;
  return true;
}

/** Send the mask; its identifier, or null where nothing is painted. */
export async function send() {
  if (isEmpty()) return null;
  const flat = new OffscreenCanvas(SIDE, SIDE);
  const context = flat.getContext("2d");
  context.fillRect(0, 0, SIDE, SIDE);
  context.drawImage(mask, 0, 0);
  const blob = await flat.convertToBlob({ type: "image/png" });
  const answer = await attempt(() => api.addMask(new File([blob], "mask.png", { type: "image/png" })));
  return answer?.id ?? null;
}

/** Show a mask of the history. */
export async function load(id) {
  paint.clearRect(0, 0, SIDE, SIDE);
  if (id) {
    const bitmap = await createImageBitmap(await api.maskBlob(id));
    paint.drawImage(bitmap, 0, 0, SIDE, SIDE);
    const image = paint.getImageData(0, 0, SIDE, SIDE);
    for (let i = 0; i < image.data.length; i += 4) {
      image.data[i + 3] = image.data[i];
      image.data[i] = image.data[i + 1] = image.data[i + 2] = 255;
    }
    paint.putImageData(image, 0, 0);
  }
  draw();
}

function dab(x, y, from) {
  paint.save();
  paint.globalCompositeOperation = state.erase ? "destination-out" : "source-over";
  paint.lineCap = "round";
  paint.lineWidth = state.size;
  paint.strokeStyle = "#fff";
  paint.beginPath();
  paint.moveTo(from?.x ?? x, from?.y ?? y);
  paint.lineTo(x + 0.01, y);
  paint.stroke();
  paint.restore();
}

function draw() {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, SIDE, SIDE);
  if (!state.active) return;
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "rgb(38 166 132 / 0.38)";
  context.fillRect(0, 0, SIDE, SIDE);
  context.globalCompositeOperation = "source-over";
  if (!state.keyed) return;
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(state.x, state.y, state.size / 2, 0, 7);
  context.stroke();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
}

canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  state.keyed = false;
  let last = place(event);
  dab(last.x, last.y);
  draw();
  const move = (next) => {
    const here = place(next);
    dab(here.x, here.y, last);
    last = here;
    draw();
  };
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", () => {
    canvas.removeEventListener("pointermove", move);
    state.onchange();
  }, { once: true });
});

canvas.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 24 : 8;
  const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [0, 0];
  if (dx || dy) {
    state.x = Math.min(SIDE, Math.max(0, state.x + dx));
    state.y = Math.min(SIDE, Math.max(0, state.y + dy));
  } else if (event.key === " ") {
    dab(state.x, state.y);
    state.onchange();
  } else if (event.key === "e") state.erase = !state.erase;
  else if (event.key === "[" || event.key === "]") state.size = Math.min(128, Math.max(8, state.size + (event.key === "]" ? 8 : -8)));
  else return;
  event.preventDefault();
  event.stopPropagation();
  state.keyed = true;
  draw();
});
canvas.addEventListener("blur", () => { state.keyed = false; draw(); });
