// Save: pictures, the inversion, the edit, and the command line that gives the same.

import * as api from "./api.js";
import { el } from "./dom.js";
import { on, photo, say, store } from "./store.js";

const FILES = [
  ["photo", "Save the photograph", "The whole photograph with the edited face in its place", "primary"],
  ["picture", "Square", "The model's picture alone"],
  ["inversion", "Inversion", "The edited codes, for padinv generate and further edits"],
  ["edit", "Edit", "Everything that was changed, to be put on other photographs with padinv edit"],
];

export function panel() {
  const links = FILES.map(([what, label, title, kind = ""]) => el("a", { class: `button ${kind}`, id: `save-${what}`, title, download: true }, label));
  const landmarks = el("a", { class: "button", download: true }, "Landmarks of the moved square");
  const text = el("code", { id: "command", tabindex: "0", "aria-label": "Command line" });
  const needs = el("p", { class: "soft small" });
  const copy = el("button", { type: "button", onclick: () => copied(text.textContent) }, "Copy");
  const draw = () => {
    const one = photo();
    if (!one) return;
    FILES.forEach(([what], i) => { links[i].href = api.exportUrl(one.id, what); });
    landmarks.href = api.exportUrl(one.id, "landmarks");
    landmarks.hidden = !one.moved;
    const { text: command, files, result } = one.commands.photo;
    text.textContent = command;
    const names = Object.values(files);
    needs.textContent = `${names.length ? `Save ${names.join(" and ")} beside the photograph first. ` : ""}It writes ${result}, the same picture as here, bit for bit.`;
  };
  const own = el("div", { class: "row" });
  const ownTitle = el("h3", {}, "Your directions");
  const drawOwn = () => {
    const mine = store.directions.filter((one) => one.origin !== "gallery");
    ownTitle.hidden = mine.length === 0;
    own.replaceChildren(...mine.map((one) => el("a", { class: "button", download: true, href: api.directionUrl(one.id) }, one.name)));
  };
  on("directions", drawOwn);
  on("current", draw);
  on("photos", draw);
  return el(
    "div",
    { class: "panel" },
    el("h2", {}, "Save"),
    el("div", { class: "saves" }, ...links, landmarks),
    ownTitle, own,
    el("h3", {}, "The same on the command line"),
    el("pre", { class: "command" }, text), el("div", { class: "row" }, copy), needs,
    el("p", { class: "soft small" }, "Nothing is kept after the studio ends. Save what you want to keep."),
  );
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("copied");
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector("#command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    say("select and copy it by hand: the browser allows no more", "warning");
  }
}
