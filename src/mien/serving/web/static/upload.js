// Resumable uploads (tus 1.0): after a cut the server is asked how much has arrived, and the rest is sent.
//
// Where an upload is goes into the session's storage, so that the same file continues after the page was reloaded.

import { ask, Problem, problem } from "./interface.js";
import { t } from "./texts.js";

const PAUSES = [500, 1000, 2000, 4000, 8000, 15000, 30000, 30000, 60000, 60000];
const places = new Map(); // where the files go that are being sent
const TUS = { "Tus-Resumable": "1.0.0" };

// Send a file; the result is its id. `progress(share, cut)` is called with the share that has arrived, from 0 to 1, and
// whether the connection is lost at the moment.
export async function upload(file, progress, signal) {
  try {
    return await arrive(file, known(file), progress, signal);
  } finally {
    places.delete(file);
  }
}

async function arrive(file, place, progress, signal) {
  let pause = 0, best = -1;
  for (;;) {
    await check(file);
    let arrived = 0;
    try {
      if (place) arrived = await offset(place, signal);
      else place = await create(file, signal);
      if (arrived > best) [best, pause] = [arrived, 0]; // it goes on, however slowly
      if (arrived < file.size) await send(file, place, arrived, progress, signal);
      forget(file);
      return place.split("/").pop();
    } catch (error) {
      if (signal.aborted) {
        if (place) stop(place, file);
        throw error;
      }
      if (place && (error.status === 404 || error.status === 410)) { // it was too old
        place = null;
        forget(file);
        if (pause++ < PAUSES.length) continue;
      }
      const again = error.status === 0 || error.status === 408 || error.status === 409 || error.status === 423 ||
        error.status === 429 || (error.status >= 502 && error.status !== 507);
      if (!again || pause >= PAUSES.length) throw error;
      progress(Math.max(best, 0) / file.size, error.status !== 429);
      await wait(PAUSES[pause++], signal);
    }
  }
}

// A folder that was dropped cannot be read, nor a file that was moved or changed since it was chosen. Sending it would
// look like a lost connection.
async function check(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error(t("unreadable", { name: file.name }));
  }
}

async function create(file, signal) {
  const bytes = new TextEncoder().encode(file.name);
  const name = btoa(String.fromCharCode(...bytes));
  const headers = { "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` };
  const answer = await ask("/v1/uploads", { method: "POST", headers: { ...TUS, ...headers }, signal });
  const place = answer.headers.get("Location");
  remember(file, place);
  return place;
}

async function offset(place, signal) {
  return Number((await ask(place, { method: "HEAD", headers: TUS, signal })).headers.get("Upload-Offset"));
}

// XMLHttpRequest, because fetch does not say how much of a body was sent.
function send(file, place, from, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", place);
    for (const [name, value] of Object.entries({ ...TUS, "Upload-Offset": from })) request.setRequestHeader(name, value);
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.upload.addEventListener("progress", (event) => progress((from + event.loaded) / file.size, false));
    request.addEventListener("load", () => request.status < 300 ? resolve() : reject(problem(request.status, request.responseText)));
    for (const name of ["error", "abort"]) request.addEventListener(name, () => reject(new Problem(0, t("error_unreachable"))));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(from ? file.slice(from) : file);
  });
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const over = () => { clearTimeout(timer); removeEventListener("online", over); resolve(); };
    const timer = setTimeout(over, milliseconds);
    addEventListener("online", over);
    signal.addEventListener("abort", over, { once: true });
  });
}

function stop(place, file) {
  forget(file);
  fetch(place, { method: "DELETE", headers: TUS }).catch(() => {}); // it expires by itself otherwise
}

const key = (file) => `upload ${file.name} ${file.size} ${file.lastModified}`;

function known(file) {
  let place = null;
  try { place = sessionStorage.getItem(key(file)); } catch { /* storage may be forbidden */ }
  if ([...places.values()].includes(place)) return null; // the same file a second time, or one that looks like it
  if (place) places.set(file, place);
  return place;
}

function remember(file, place) {
  places.set(file, place);
  try { sessionStorage.setItem(key(file), place); } catch { /* then it starts again after a reload */ }
}

function forget(file) {
  try { sessionStorage.removeItem(key(file)); } catch { /* nothing was stored */ }
}
