// All cards are in the data of the page, and only one page of them is in the document: 100,000 stay usable.
const PER_PAGE = 48;
const data = JSON.parse(document.querySelector("#data").textContent);
const find = (selector) => document.querySelector(selector);
const grid = find(".grid");
const keys = [...document.querySelectorAll(".bar .keys button")];
const state = { key: -1, rising: true, order: [], page: 0, cut: 50 };
const names = data.cards.map((card) => card.n.toLowerCase());

function labels(card) { return card.l ?? data.labels; }

// The source of a card's picture: what is in the page, or the file beside it.
function source(card, side, large) {
  const inside = data.pictures[card[side]], file = card["f" + side];
  return large ? file ?? inside : inside ?? file;
}

function part(card, side, large) {
  const box = document.createElement("div");
  const label = labels(card)[side === "a" ? 0 : 1];
  box.className = "part";
  const gone = () => {
    const none = document.createElement("div");
    none.className = "none";
    none.textContent = label.toLowerCase() + " not found";
    box.replaceChildren(none);
  };
  const url = source(card, side, large);
  if (url === undefined) { gone(); return box; }
  const image = document.createElement("img");
  image.alt = label + ": " + card.n;
  image.addEventListener("error", () => {
    const inside = data.pictures[card[side]];
    if (inside !== undefined && image.src !== inside) image.src = inside;
    else gone();
  });
  image.classList.toggle("file", data.pictures[card[side]] === undefined);
  image.src = url;
  const caption = document.createElement("span");
  caption.textContent = label;
  box.append(image, caption);
  return box;
}

function fillValues(line, card) {
  line.replaceChildren(...data.columns.map((label, k) => {
    const span = document.createElement("span"), value = document.createElement("i");
    value.textContent = card.v?.[k] == null ? "–" : card.v[k].toFixed(data.digits[k]) + data.units[k];
    span.append(label + " ", value);
    return span;
  }));
}

function figure(place) {
  const card = data.cards[place];
  const made = find("#card").content.firstElementChild.cloneNode(true);
  const pair = made.querySelector(".pair"), enlarge = made.querySelector(".enlarge");
  enlarge.setAttribute("aria-label", "Enlarge " + card.n);
  enlarge.addEventListener("click", () => show(place));
  enlarge.before(part(card, "a"), part(card, "b"));
  if (data.slider) {
    const slider = document.createElement("input");
    pair.classList.add("slider");
    enlarge.textContent = "⤢";
    Object.assign(slider, { type: "range", min: 0, max: 100, value: state.cut });
    slider.setAttribute("aria-label", labels(card).join(" or ") + ": " + card.n);
    const cut = () => pair.style.setProperty("--cut", slider.value + "%");
    slider.addEventListener("input", cut);
    slider.addEventListener("cut", cut);
    pair.addEventListener("pointermove", (event) => {
      if (event.target !== slider || (event.pointerType === "mouse" && !event.buttons)) return;
      const box = pair.getBoundingClientRect();
      slider.value = Math.round(((event.clientX - box.left) / box.width) * 100);
      cut();
    });
    enlarge.before(slider);
    cut();
  }
  for (const [label, picture] of card.s ?? []) {
    const box = document.createElement("div"), image = document.createElement("img");
    image.src = data.pictures[picture];
    image.alt = label;
    box.append(image, label);
    made.querySelector(".with").append(box);
  }
  const name = made.querySelector("b");
  name.textContent = name.title = card.n;
  fillValues(made.querySelector(".values"), card);
  made.querySelector(".warnings").append(...(card.w ?? []).map((sentence) => {
    const item = document.createElement("li");
    item.textContent = "⚠ " + sentence;
    return item;
  }));
  return made;
}

// The cards that match, in order. They come sorted by name, so that names need no comparing here.
function select() {
  const text = find("#search").value.trim().toLowerCase(), warned = find("#warned")?.checked;
  const order = [];
  for (let k = 0; k < names.length; k++) if (names[k].includes(text) && (!warned || data.cards[k].w)) order.push(k);
  const sign = state.rising ? 1 : -1;
  if (state.key < 0) { if (!state.rising) order.reverse(); }
  else order.sort((i, j) => {
    const x = data.cards[i].v?.[state.key] ?? null, y = data.cards[j].v?.[state.key] ?? null;
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y) || i - j;
  });
  state.order = order;
  draw(0);
}

function draw(page) {
  const count = state.order.length, pages = Math.max(1, Math.ceil(count / PER_PAGE));
  state.page = Math.min(Math.max(0, page), pages - 1);
  const from = state.page * PER_PAGE, shown = state.order.slice(from, from + PER_PAGE);
  grid.replaceChildren(...shown.map(figure));
  const range = count === 0 ? "No picture matches." : (from + 1).toLocaleString("en") + " to " + (from + shown.length).toLocaleString("en") + " of " + count.toLocaleString("en");
  find("#shown").textContent = range;
  find(".pager").hidden = pages === 1;
  Object.assign(find("#number"), { max: pages, value: state.page + 1 });
  find("#pages").textContent = pages.toLocaleString("en");
  find("#before").disabled = state.page === 0;
  find("#after").disabled = state.page === pages - 1;
}

function turn(page) { draw(page); grid.scrollIntoView({ block: "start" }); }

function sort(button) {
  const key = Number(button.dataset.key);
  // The first press of a figure shows the worst pictures. A second press turns the order round.
  state.rising = key === state.key ? !state.rising : key < 0 || data.worst[key] === "low";
  state.key = key;
  for (const one of keys) {
    const active = one === button;
    one.setAttribute("aria-pressed", active);
    one.textContent = one.dataset.label + (active ? (state.rising ? " ↑" : " ↓") : "");
  }
  select();
}

const dialog = find("dialog"), stage = find(".stage");
const modes = [...dialog.querySelectorAll("[data-mode]")];
const large = { place: 0, mode: "both", second: false };

function show(place) {
  large.place = place;
  large.second = false;
  const card = data.cards[place];
  find("#enlarged").textContent = card.n;
  fillValues(dialog.querySelector(".values"), card);
  set(large.mode);
  if (!dialog.open) dialog.showModal();
}

function set(mode) {
  large.mode = mode;
  const card = data.cards[large.place];
  // A difference compares like with like: both pictures as they are in the page, where both are in it.
  const full = mode !== "difference" || card.a === undefined || card.b === undefined;
  stage.className = "stage " + mode + (mode === "both" ? "" : " one");
  stage.replaceChildren(part(card, "a", full), part(card, "b", full));
  for (const button of modes) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  turnOver(large.second);
}

function turnOver(second) {
  large.second = second;
  [...stage.children].forEach((one, k) => one.classList.toggle("on", k === Number(second)));
}

function flip() {
  if (large.mode === "flip") turnOver(!large.second);
  else set("flip");
}

function step(by) {
  const next = state.order.indexOf(large.place) + by;
  if (next >= 0 && next < state.order.length) show(state.order[next]);
}

if (grid) {
  grid.classList.toggle("slider", Boolean(data.slider));
  for (const button of keys) button.addEventListener("click", () => sort(button));
  find("#search").addEventListener("input", select);
  find("#warned")?.addEventListener("change", select);
  const resize = () => document.documentElement.style.setProperty("--side", find("#size").value + "px");
  find("#size").addEventListener("input", resize);
  resize();
  find("#all")?.addEventListener("input", (event) => {
    state.cut = event.target.value;
    for (const slider of grid.querySelectorAll(".slider input")) {
      slider.value = state.cut;
      slider.dispatchEvent(new Event("cut"));
    }
  });
  find("#before").addEventListener("click", () => turn(state.page - 1));
  find("#after").addEventListener("click", () => turn(state.page + 1));
  find("#number").addEventListener("change", (event) => turn(Number(event.target.value) - 1 || 0));
  for (const button of modes) button.addEventListener("click", () => (button.dataset.mode === "flip" ? flip() : set(button.dataset.mode)));
  find("#left").addEventListener("click", () => step(-1));
  find("#right").addEventListener("click", () => step(1));
  find("#close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), " ": flip,
      d: () => set(large.mode === "difference" ? "both" : "difference"),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    // The space bar still presses a button that has the focus, except the one that flips.
    if (!act || (event.key === " " && event.target.matches("button:not([data-mode=flip])"))) return;
    event.preventDefault();
    act();
  });
  select();
}
