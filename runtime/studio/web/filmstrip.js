// Several photographs as a film strip.

import * as api from "./api.js";
import { el, fileButton } from "./dom.js";
import { addPhotos, attempt, choose, emit, on, store } from "./store.js";

export const ACCEPT = ".png,.jpg,.jpeg,.webp,.bmp,.tif,.tiff,image/*";

export function mount(strip) {
  const list = el("ul", {});
  const add = fileButton({ label: "Add photographs", accept: ACCEPT, multiple: true, kind: "add", onfiles: take });
  strip.append(list, add);
  const draw = () => list.replaceChildren(...store.photos.map(tile));
  on("photos", draw);
  on("current", draw);
}

export async function take(files) {
  const first = await addPhotos(files);
  if (first) await choose(first);
}

function tile(photo) {
  const current = photo.id === store.current;
  const edited = photo.history.position > 0;
  return el(
    "li",
    { class: current ? "current" : "" },
    el(
      "button",
      { type: "button", "aria-current": current ? "true" : undefined, "aria-label": `${photo.name}${edited ? ", edited" : ""}`, title: photo.name, onclick: () => choose(photo.id) },
      el("img", { src: `${api.pictureUrl(photo.id, "thumb.jpg")}?${photo.square?.flat().join() ?? ""}`, alt: "", width: 72, height: 72 }),
      el("span", {}, photo.name),
    ),
    edited && el("i", { class: "dot", title: "Edited" }),
    el("button", { type: "button", class: "remove", "aria-label": `Remove ${photo.name}`, title: "Remove", onclick: () => remove(photo) }, "×"),
  );
}

async function remove(photo) {
  if (!(await attempt(() => api.removePhoto(photo.id)))) return;
  store.photos = store.photos.filter((one) => one.id !== photo.id);
  if (store.current === photo.id) await choose(store.photos[0]?.id ?? null);
  emit("photos");
}
