// Custom edit: a copy of the photograph, changed in any paint program, defines a direction (paper section 4.4).

import * as api from "./api.js";
import { choice, el, fileButton } from "./dom.js";
import { ACCEPT } from "./filmstrip.js";
import { paintBox } from "./drawing.js";
import { add } from "./panel_directions.js";
import { attempt, commit, on, say, store } from "./store.js";

export function panel() {
  const name = el("input", { type: "text", id: "pair-name", maxlength: "60", value: "custom edit" });
  let space = "auto";
  const spaces = choice({
    label: "Where the edit is made", value: space, onchange: (key) => { space = key; },
    options: [["auto", "Automatic", "Try both on other faces and take the better one"], ["padding", "Padding", "Shape, glasses, hair"], ["latent", "Latents", "Colours, make-up, expression"]],
  });
  const evidence = el("div", { class: "evidence" });
  const busy = el("p", { class: "soft", role: "status" });
  const upload = fileButton({ label: "Open its changed copy", accept: ACCEPT, onfiles: ([file]) => learn(file) });
  const box = paintBox((file) => learn(file));

  async function learn(file) {
    busy.textContent = "Comparing both spaces on other faces …";
    const made = await attempt(() => api.learn(store.current, { edited: file, name: name.value.trim() || "custom edit", space }));
    busy.textContent = "";
    if (!made) return;
    add(made);
    show(made.evidence);
    say(`${made.name} is now a slider under Directions`);
    await commit(`${made.name} 1`, (state) => { state.directions[made.id] = 1; });
  }

  function show(found) {
    evidence.replaceChildren(el("p", {}, found.helps === false ? "Neither space carries this change well to other faces." : `Made in the ${found.space === "latent" ? "latents" : found.space}.`));
    const cards = Object.entries(found.pictures).map(([key, picture]) => {
      const score = found.scores?.[key];
      return el(
        "figure",
        { class: key === found.space ? "chosen" : "" },
        el("img", { src: picture, alt: `The edit in the ${key}` }),
        el("figcaption", {}, el("b", {}, key === "latent" ? "Latents" : "Padding"), score && el("span", {}, `makes ${percent(score.reproduced)} of the change`), score && el("span", {}, `disturbs ${percent(score.disturbed)} around it`)),
      );
    });
    evidence.append(el("div", { class: "pair" }, ...cards));
  }

  on("current", () => evidence.replaceChildren());
  return el(
    "div",
    { class: "panel" },
    el("h2", {}, "Custom edit"),
    el("p", { class: "soft" }, "Change the photograph, and what changed becomes a slider for every face. Draw on it here, or save the square, change it in any program, and open the changed copy."),
    el("label", { for: "pair-name" }, "Name"), name, spaces, box,
    el("div", { class: "row" }, el("a", { class: "button", id: "source", download: true, href: "" }, "Save the square"), upload),
    busy, evidence,
  );
}

const percent = (value) => `${Math.round(value * 100)} %`;

on("current", () => {
  const link = document.querySelector("#source");
  if (link && store.current) link.href = api.pictureUrl(store.current, "input.png");
});
