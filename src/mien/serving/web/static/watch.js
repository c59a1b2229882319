// A job while it is open: its events, and as a fallback its state every few seconds.
//
// Browsers open six connections to a server in all. So only one job per page is watched by events, and none in a tab
// that nobody sees; the others are asked for.

import { notice, one } from "./elements.js";
import { call } from "./interface.js";
import { t } from "./texts.js";

const EVERY = 3000;
const KINDS = ["state", "clip", "progress"];
const isOpen = (job) => job.state === "queued" || job.state === "running";

// Show why the server cannot be asked; with null, nothing.
export function lost(error) {
  notice(one("offline"), error && !error.status ? t("offline") : error);
}

// `ids()` are the open jobs, the running one first; `show(job)` is called with each change.
export function watch(ids, show) {
  let source = null, watched = "", timer = 0, busy = false, soon = 0;

  // Events come in bursts, at first all of the past; the job is asked for once.
  function after(id) {
    clearTimeout(soon);
    soon = setTimeout(look, 100, id);
  }

  async function look(id) {
    try {
      show(await call("GET", `/v1/jobs/${id}`));
      lost(null);
    } catch (error) {
      if (error.status === 404) show({ id, state: "deleted" });
      else lost(error);
    }
  }

  function listen() {
    const first = document.hidden ? "" : ids()[0] || "";
    if (first === watched && source?.readyState !== EventSource.CLOSED) return;
    source?.close();
    [source, watched] = [null, first];
    if (!first) return;
    source = new EventSource(`/v1/jobs/${first}/events`);
    for (const kind of KINDS) source.addEventListener(kind, () => after(first));
    source.addEventListener("done", (event) => {
      event.target.close();
      after(first);
    });
  }

  async function round() {
    if (busy) return;
    busy = true;
    listen();
    const all = document.hidden ? [] : ids();
    for (const id of all) if (id !== watched || source?.readyState !== EventSource.OPEN) await look(id);
    listen();
    busy = false;
    clearTimeout(timer);
    timer = setTimeout(round, EVERY);
  }

  document.addEventListener("visibilitychange", round);
  addEventListener("pagehide", () => source?.close());
  round();
  return round;
}

export { isOpen };
