// Resumable uploads (tus 1.0): after a cut the server is asked how much has arrived, and the rest is sent.
//
// Where an upload is goes into the session's storage, so that the same file continues after the page was reloaded.

import { Problem, problem } from "./interface.js";
import { t } from "./texts.js";

const PAUSES = [500, 1000, 2000, 4000, 8000, 15000, 30000, 30000, 60000, 60000];
const TUS = { "Tus-Resumable": "1.0.0" };

// Send a file; the result is its id. `progress(share, cut)` is called with the share that has arrived, from 0 to 1, and
// whether the connection is lost at the moment.
export async function upload(file, progress, signal) {
  let place = known(file), pause = 0, best = -1;
  for (;;) {
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
      progress(Math.max(best, 0) / file.size, true);
      await wait(PAUSES[pause++], signal);
    }
  }
}

async function create(file, signal) {
  const bytes = new TextEncoder().encode(file.name);
  const name = btoa(String.fromCharCode(...bytes));
  const headers = { "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` };
  const answer = await ask("POST", "/v1/uploads", headers, signal);
  const place = answer.headers.get("Location");
  remember(file, place);
  return place;
}

async function offset(place, signal) {
  return Number((await ask("HEAD", place, {}, signal)).headers.get("Upload-Offset"));
}

async function ask(method, path, headers, signal) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: { ...TUS, ...headers }, signal });
  } catch {
    throw new Problem(0, t("error_unreachable"));
  }
  if (!answer.ok) throw problem(answer.status, await answer.text());
  return answer;
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
  try {
    return sessionStorage.getItem(key(file));
  } catch { return null; } // storage may be forbidden
}

function remember(file, place) {
  try { sessionStorage.setItem(key(file), place); } catch { /* then it starts again after a reload */ }
}

function forget(file) {
  try { sessionStorage.removeItem(key(file)); } catch { /* nothing was stored */ }
}
