// What the page knows, and who wants to hear of changes. The server's answers are the truth; a draft is what a control
// says while it is being moved.

import * as api from "./api.js";

export const store = {
  model: null,
  directions: [],
  photos: [],
  current: null, // id
  draft: null, // the edit state that the controls show
  images: { input: null, plain: null, result: null }, // ImageBitmaps of the current photograph
  latency: null, // milliseconds of the last preview
};

const listeners = {};
/** Events: photos, current, state, picture, directions. */
export const on = (event, listener) => (listeners[event] ??= []).push(listener);
export const emit = (event) => (listeners[event] ?? []).forEach((listener) => listener());

export const photo = (id = store.current) => store.photos.find((one) => one.id === id) ?? null;
const copy = (state) => structuredClone(state);

export const notices = document.querySelector("#notices");
let timer;
export function say(text, kind = "info") {
  const line = document.createElement("p");
  line.className = `notice ${kind}`;
  // A sentence begins with a capital letter; a file's name at its beginning stays as it is.
  line.textContent = /^[a-z]+[ ,]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  notices.replaceChildren(line);
  clearTimeout(timer);
  timer = setTimeout(() => line.remove(), kind === "error" ? 9000 : 4000);
}

/** Run something; a failure becomes a notice, and undefined. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message, "error");
    return undefined;
  }
}

/** Put a photograph's new description in the place of the old one. */
export function update(described) {
  const at = store.photos.findIndex((one) => one.id === described.id);
  if (at < 0) store.photos.push(described);
  else store.photos[at] = described;
  emit("photos");
}

export async function choose(id) {
  store.current = id;
  store.draft = id ? copy(photo(id).state) : null;
  store.images = { input: null, plain: null, result: null };
  emit("current");
  emit("state");
  if (id) await reload();
}

/** Read the current photograph's pictures again: its square may have changed. */
export async function reload() {
  const id = store.current;
  await attempt(async () => {
    const [input, plain] = await Promise.all(["input.png", "plain.png"].map(async (name) => createImageBitmap(await api.image(id, name))));
    if (id !== store.current) return;
    Object.assign(store.images, { input, plain });
    await show();
  });
}

let running = false;
let again = false;
/** Show the draft. While one preview is under way only the newest draft waits. */
export async function show() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  const id = store.current;
  const started = performance.now();
  const blob = await attempt(() => api.preview(id, store.draft));
  if (blob && id === store.current) {
    store.images.result = await createImageBitmap(blob);
    store.latency = performance.now() - started;
    emit("picture");
  }
  running = false;
  if (again) {
    again = false;
    if (store.current) await show();
  } else settled();
}

/** Say on the page which step of the history its picture shows, for people's tools and for tests. */
function settled() {
  if (!waiting) document.body.dataset.steps = store.current ? String(photo().history.position) : "";
}

/** Change the draft and show it. */
export function draft(change) {
  change(store.draft);
  return show();
}

let waiting = 0; // steps that the server has not confirmed
let line = Promise.resolve();

/** Make the draft a step of the history. Steps are sent one after another; the controls need not wait for them. */
export function commit(label, change = () => {}) {
  change(store.draft);
  const id = store.current;
  const state = copy(store.draft);
  waiting += 1;
  delete document.body.dataset.steps;
  emit("state");
  line = line.then(async () => {
    const described = await attempt(() => api.commit(id, state, label.slice(0, 80)));
    waiting -= 1;
    if (described) update(described);
    else if (id === store.current && !waiting) adopt(photo().state);
    if (id === store.current) await show();
  });
  return line;
}

/** Let the controls show a state that the server holds. */
function adopt(state) {
  store.draft = copy(state);
  emit("state");
}

export function travel(where) {
  line = line.then(async () => {
    const id = store.current;
    const described = id && (await attempt(() => api.travel(id, where)));
    if (!described) return;
    update(described);
    adopt(described.state);
    await show();
  });
  return line;
}

export async function addPhotos(files) {
  let first = null;
  for (const file of files) {
    say(`inverting ${file.name} …`);
    const described = await attempt(() => api.addPhoto(file));
    if (described && !described.note) notices.replaceChildren();
    if (!described) continue;
    first ??= described.id;
    update(described);
    if (described.note) say(described.note, "warning");
  }
  return first;
}
