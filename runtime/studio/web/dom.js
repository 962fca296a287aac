// Elements without markup: every text goes in as text, so nothing in a file name can become HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `props` are attributes, `on...` functions are listeners; children are nodes or texts. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const PAUSE = 400; // milliseconds
let count = 0;
export const newId = (prefix) => `${prefix}-${(count += 1)}`;

/** A slider with a number field: dragging gives `onmove`, letting go gives `ondone`. */
export function slider({ label, min, max, step, value, neutral = 0, note, onmove, ondone, remove }) {
  const id = newId("slider");
  const range = el("input", { type: "range", id, min, max, step, value });
  const number = el("input", { type: "number", min, max, step, value, "aria-label": `${label}, value` });
  const row = el(
    "div",
    { class: "slider" },
    el("label", { for: id, title: note }, label),
    number,
    el("button", { type: "button", class: "reset", "aria-label": `Reset ${label}`, title: "Reset", onclick: () => set(neutral, true) }, "↺"),
    range,
    remove && el("button", { type: "button", class: "remove", "aria-label": `Remove ${label}`, title: "Remove", onclick: remove }, "×"),
  );
  const paint = () => {
    const position = ((range.value - min) / (max - min)) * 100;
    const zero = ((Math.min(Math.max(neutral, min), max) - min) / (max - min)) * 100;
    range.style.setProperty("--from", `${Math.min(zero, position)}%`);
    range.style.setProperty("--to", `${Math.max(zero, position)}%`);
    row.classList.toggle("changed", Number(range.value) !== neutral);
  };
  function set(next, tell) {
    range.value = number.value = String(next);
    paint();
    if (tell) ondone?.(Number(range.value));
  }
  range.addEventListener("input", () => {
    number.value = range.value;
    paint();
    onmove?.(Number(range.value));
  });
  // A slider that is moved by keys changes with every press: a pause, or leaving it, ends the movement.
  let timer = null;
  let held = false;
  const done = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    ondone?.(Number(range.value));
  };
  range.addEventListener("pointerdown", () => { held = true; });
  range.addEventListener("change", () => {
    clearTimeout(timer);
    timer = setTimeout(done, held ? 0 : PAUSE);
    held = false;
  });
  range.addEventListener("blur", done);
  range.addEventListener("finish", done); // another action is about to follow
  number.addEventListener("change", () => {
    const wanted = Number(number.value);
    set(Number.isFinite(wanted) ? Math.min(Math.max(wanted, min), max) : neutral, true);
  });
  range.addEventListener("dblclick", () => set(neutral, true));
  paint();
  row.set = (next) => set(next, false);
  return row;
}

/** A group of buttons of which one is pressed. */
export function choice({ label, options, value, onchange }) {
  const buttons = options.map(([key, text, title]) =>
    el("button", { type: "button", "aria-pressed": String(key === value), title, onclick: () => set(key, true) }, text),
  );
  const group = el("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
  function set(key, tell) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === key)));
    if (tell) onchange(key);
  }
  group.set = (key) => set(key, false);
  return group;
}

/** A button that opens the file chooser. */
export function fileButton({ label, accept, multiple, onfiles, kind = "" }) {
  const input = el("input", { type: "file", accept, multiple, class: "hidden", tabindex: "-1", "aria-label": label });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) onfiles(files);
  });
  const button = el("button", { type: "button", class: kind, onclick: () => input.click() }, label);
  return el("span", { class: "file" }, button, input);
}
