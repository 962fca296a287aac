// A small paint box: the photograph's square, to be changed by hand into A' of a custom edit.

import * as api from "./api.js";
import { el, slider } from "./dom.js";
import { on, store } from "./store.js";

const SIDE = 360; // of the canvas on the page; what is sent has the size of the model's input

/** The paint box; `onuse` gets the drawing as a PNG file. */
export function paintBox(onuse) {
  const canvas = el("canvas", { width: SIDE, height: SIDE, class: "drawing", "aria-label": "Drawing: change the photograph with the mouse or a pen", role: "img" });
  const layer = new OffscreenCanvas(SIDE, SIDE); // the strokes alone: what is not painted on keeps its exact pixels
  const context = layer.getContext("2d", { willReadFrequently: true });
  let input = null;
  const colour = el("input", { type: "color", value: "#1b1c1a", "aria-label": "Colour" });
  const undo = el("button", { type: "button", disabled: true, onclick: () => { context.putImageData(strokes.pop(), 0, 0); show(); } }, "Undo stroke");
  const use = el("button", { type: "button", class: "primary", disabled: true, onclick: send }, "Use the drawing");
  const strokes = [];
  let size = 14;

  function show() {
    const page = canvas.getContext("2d");
    page.clearRect(0, 0, SIDE, SIDE);
    if (input) page.drawImage(input, 0, 0, SIDE, SIDE);
    page.drawImage(layer, 0, 0);
    undo.disabled = use.disabled = strokes.length === 0;
  }

  async function load() {
    strokes.length = 0;
    context.clearRect(0, 0, SIDE, SIDE);
    const id = store.current;
    input = null;
    const picture = id && (await createImageBitmap(await api.image(id, "input.png")));
    if (id === store.current) input = picture;
    show();
  }

  async function send() {
    const whole = new OffscreenCanvas(input.width, input.height);
    const drawn = whole.getContext("2d");
    drawn.drawImage(input, 0, 0);
    drawn.imageSmoothingQuality = "high";
    drawn.drawImage(layer, 0, 0, input.width, input.height);
    const blob = await whole.convertToBlob({ type: "image/png" });
    onuse(new File([blob], "drawing.png", { type: "image/png" }));
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    strokes.push(context.getImageData(0, 0, SIDE, SIDE));
    if (strokes.length > 50) strokes.shift();
    Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: size, strokeStyle: colour.value });
    let last = place(event);
    const move = (next) => {
      const here = place(next);
      context.beginPath();
      context.moveTo(...last);
      context.lineTo(here[0] + 0.01, here[1]);
      context.stroke();
      last = here;
      show();
    };
    move(event);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", () => { canvas.removeEventListener("pointermove", move); show(); }, { once: true });
  });
  on("current", () => load().catch(() => {}));
  on("placed", () => load().catch(() => {}));
  const width = slider({ label: "Brush size", min: 2, max: 60, step: 1, neutral: 14, value: size, onmove: (value) => { size = value; }, ondone: (value) => { size = value; } });
  return el("div", { class: "paintbox" }, canvas, el("div", { class: "row" }, colour, undo, use), width);
}
