// The calls to the studio's server. Every failure becomes one sentence.

let session = null;

export class ApiError extends Error {}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new ApiError("the studio does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  let text = `the studio answered ${answer.status}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // A body that is not JSON says nothing more.
  }
  throw Object.assign(new ApiError(text), { status: answer.status });
}

const json = (method, body) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });
const form = (fields) => {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) value instanceof Blob ? body.append(name, value, value.name ?? name) : body.append(name, value);
  return { method: "POST", body };
};
const base = () => `/api/sessions/${session}`;
const photo = (id) => `${base()}/photos/${id}`;

/** The session of this tab: the one of before a reload, or a new one. */
export async function start() {
  const before = sessionStorage.getItem("padinv-session");
  let answer;
  if (before) answer = await ask(`/api/sessions/${before}`).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
  answer ??= await ask("/api/sessions", json("POST"));
  const found = await answer.json();
  session = found.session;
  sessionStorage.setItem("padinv-session", session);
  return found;
}

export const addPhoto = async (file) => (await ask(`${base()}/photos`, form({ photo: file }))).json();
export const removePhoto = async (id) => (await ask(photo(id), { method: "DELETE" })).json();
export const place = async (id, placing) => (await ask(`${photo(id)}/placing`, json("POST", placing))).json();
export const preview = async (id, state) => (await ask(`${photo(id)}/preview`, json("POST", state))).blob();
export const commit = async (id, state, label) => (await ask(`${photo(id)}/state`, json("POST", { state, label }))).json();
export const travel = async (id, where) => (await ask(`${photo(id)}/history/${where}`, json("POST"))).json();
export const addMask = async (blob) => (await ask(`${base()}/masks`, form({ mask: blob }))).json();
export const maskBlob = async (id) => (await ask(`${base()}/masks/${id}`)).blob();
export const addDirection = async (file) => (await ask(`${base()}/directions`, form({ direction: file }))).json();
export const removeDirection = async (id) => (await ask(`${base()}/directions/${id}`, { method: "DELETE" })).json();
export const learn = async (id, fields) => (await ask(`${photo(id)}/pair`, form(fields))).json();
export const refine = async (id, steps) => (await ask(`${photo(id)}/refine`, json("POST", { steps }))).json();
export const refined = async (id) => (await (await ask(`${photo(id)}/refine`)).json()).done;
export const image = async (id, name) => (await ask(`${photo(id)}/${name}`)).blob();
export const way = async (id, query) => (await ask(`${photo(id)}/way.png?${new URLSearchParams(query)}`)).blob();
export const wayUrl = (id, query) => `${photo(id)}/way.webp?${new URLSearchParams(query)}`;
export const pictureUrl = (id, name) => `${photo(id)}/${name}`;
export const exportUrl = (id, what) => `${photo(id)}/export/${what}`;
export const directionUrl = (id) => `${base()}/directions/${id}/file`;
