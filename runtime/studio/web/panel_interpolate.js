// Interpolate: the way from this photograph to another one, step by step.

import * as api from "./api.js";
import { choice, el } from "./dom.js";
import { attempt, on, photo, store } from "./store.js";
import { showFrame } from "./viewer.js";

const STEPS = 25;
/** A word for a shell. */
const quoted = (word) => (/^[\w./@%+=:,][\w./@%+=:,-]*$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

export function panel() {
  const target = el("select", { id: "target" });
  let space = "both";
  let frames = [];
  const scrubber = el("input", { type: "range", id: "scrubber", min: 0, max: STEPS - 1, step: 1, value: 0, disabled: true });
  const save = el("a", { class: "button", download: true, hidden: true }, "Save the animation");
  const play = el("button", { type: "button", disabled: true, onclick: () => toggle() }, "Play");
  let timer = null;

  const command = el("code", { tabindex: "0", "aria-label": "Command line" });
  const shown = el("pre", { class: "command", hidden: true }, command);
  const query = () => ({ photo: target.value, space, steps: STEPS });
  async function load() {
    stop();
    frames = [];
    scrubber.disabled = play.disabled = true;
    save.hidden = shown.hidden = true;
    if (!target.value || !store.current) return;
    const strip = await attempt(async () => createImageBitmap(await api.way(store.current, query())));
    if (!strip) return;
    const side = strip.height;
    frames = await Promise.all(Array.from({ length: STEPS }, (_, i) => createImageBitmap(strip, i * side, 0, side, side)));
    scrubber.disabled = play.disabled = false;
    save.hidden = false;
    // Another face, or a square that was moved, would need options for each of the two: the animation alone is offered.
    shown.hidden = [photo(), photo(target.value)].some((one) => one.moved || one.placing.face > 1);
    command.textContent = `padinv interpolate ${[photo(), photo(target.value)].map((one) => quoted(one.path ?? one.name)).join(" ")} --space ${space} --steps ${STEPS}`;
    save.href = api.wayUrl(store.current, query());
    show();
  }
  const show = () => {
    scrubber.setAttribute("aria-valuetext", `${Math.round((scrubber.value / (STEPS - 1)) * 100)} %`);
    showFrame(frames[Number(scrubber.value)] ?? null);
  };
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }
  function toggle() {
    if (timer) return stop();
    let step = 1;
    play.textContent = "Stop";
    timer = setInterval(() => {
      const at = Number(scrubber.value);
      if (at + step < 0 || at + step >= STEPS) step = -step;
      scrubber.value = String(at + step);
      show();
    }, 80);
    return undefined;
  }
  scrubber.addEventListener("input", show);
  target.addEventListener("change", load);
  const fill = () => {
    const before = target.value;
    const others = store.photos.filter((one) => one.id !== store.current);
    target.replaceChildren(el("option", { value: "" }, others.length ? "Choose a photograph" : "Add a second photograph first"), ...others.map((one) => el("option", { value: one.id }, one.name)));
    target.value = others.some((one) => one.id === before) ? before : "";
    if (before !== target.value) load();
  };
  on("photos", fill);
  on("current", () => { fill(); load(); });
  on("leave-interpolate", () => { stop(); showFrame(null); });
  const spaces = choice({
    label: "What moves", value: space, onchange: (key) => { space = key; load(); },
    options: [["both", "Everything"], ["latent", "Latents", "Style moves, shape stays"], ["padding", "Padding", "Shape moves, style stays"]],
  });
  return el(
    "div",
    { class: "panel" },
    el("h2", {}, "Interpolate"),
    el("label", { for: "target" }, "To"), target, spaces,
    el("label", { for: "scrubber" }, "Position"), scrubber,
    el("div", { class: "row" }, play, save),
    shown,
    el("p", { class: "soft small" }, "From the photograph as it was inverted, without edits."),
  );
}
