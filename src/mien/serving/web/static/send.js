// The form: files are dropped, chosen or pasted, sent at once, and scored when asked for.

import { make, notice, one } from "./elements.js";
import { call } from "./interface.js";
import { say, t } from "./texts.js";
import { upload } from "./upload.js";

const AT_ONCE = 2;
const form = one("send"), list = one("uploads"), chosen = one("chosen"), zone = one("drop"), score = one("score");
const files = new Set(); // { file, row, id, error, stop }
let running = 0, scoring = false;

// `added(job)` is called with each new job.
export function sendFiles(added) {
  const takeChosen = () => {
    take(chosen.files);
    chosen.value = "";
  };
  chosen.addEventListener("change", takeChosen);
  takeChosen(); // what was chosen before the page's texts had arrived
  document.addEventListener("paste", (event) => take(event.clipboardData?.files || []));
  for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(added);
  });
}

export function take(found) {
  complain("");
  for (const file of found) {
    const kind = file.type.split("/")[0];
    if (file.type && kind !== "video" && kind !== "audio") complain(t("no_media", { name: file.name }));
    else if (file.size > Number(form.dataset.fileBytes)) complain(t("too_large", { name: file.name, gigabytes: form.dataset.fileBytes / 1e9 }));
    else if (files.size >= Number(form.dataset.jobFiles)) return complain(t("too_many", { n: form.dataset.jobFiles }));
    else enter(file);
  }
}

function enter(file) {
  const stop = new AbortController();
  const bar = make("progress", { max: 1, value: 0, "aria-label": file.name });
  const state = make("span", { class: "soft state" }, t("waiting"));
  const away = make("button", { type: "button", class: "button quiet small", "aria-label": t("remove", { name: file.name }) }, "×");
  const row = make("li", {}, make("span", { class: "name" }, file.name), bar, state, away);
  const entry = { file, row, bar, state, stop, id: null, error: null, begun: false };
  away.addEventListener("click", () => leave(entry));
  files.add(entry);
  list.append(row);
  count();
  next();
}

function leave(entry) {
  const neighbour = entry.row.nextElementSibling || entry.row.previousElementSibling;
  entry.stop.abort();
  if (entry.id) fetch(`/v1/uploads/${entry.id}`, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" } }).catch(() => {});
  entry.row.remove();
  files.delete(entry);
  count();
  (neighbour?.querySelector("button") || chosen).focus();
}

function count() {
  score.textContent = files.size ? t("score_n", { n: files.size }) : t("score");
}

function next() {
  for (const entry of files) {
    if (running >= AT_ONCE) return;
    if (!entry.begun) begin(entry);
  }
}

async function begin(entry) {
  entry.begun = true;
  entry.error = null;
  running += 1;
  try {
    entry.id = await upload(entry.file, (share, cut) => {
      const percent = Math.floor(100 * share);
      entry.bar.value = share;
      notice(entry.state, t(cut ? "retrying" : "sending", { percent }));
    }, entry.stop.signal);
    entry.bar.value = 1;
    entry.row.classList.add("sent");
    entry.state.textContent = t("sent");
  } catch (error) {
    if (!entry.stop.signal.aborted) failed(entry, error);
  }
  running -= 1;
  next();
}

function failed(entry, error) {
  entry.error = error;
  entry.row.classList.add("failed");
  const again = make("button", { type: "button", class: "button quiet small" }, t("retry"));
  again.addEventListener("click", () => {
    again.remove();
    entry.row.classList.remove("failed");
    begin(entry);
  });
  notice(entry.state, error);
  entry.state.after(again);
  say(error);
}

async function submit(added) {
  complain("");
  if (scoring) return;
  if (!files.size) {
    complain(t("choose_first"));
    return chosen.focus();
  }
  scoring = true;
  score.setAttribute("aria-disabled", "true");
  try {
    const sent = await allSent();
    if (!sent.length) throw new Error(t("none_left"));
    const key = `page ${sent[0].id}`; // an upload is used by one job; if its answer is lost, this one finds it
    const job = await call("POST", "/v1/jobs", asked(sent), { "Idempotency-Key": key });
    for (const entry of sent) {
      entry.row.remove();
      files.delete(entry);
    }
    added(job);
    say(`${t("score_n", { n: sent.length })}: ${t(`state_${job.state}`)}`);
  } catch (error) {
    complain(error);
  }
  scoring = false;
  score.removeAttribute("aria-disabled");
  count();
}

async function allSent() {
  while ([...files].some((entry) => !entry.id && !entry.error)) await new Promise((resolve) => setTimeout(resolve, 100));
  return [...files].filter((entry) => entry.id);
}

function asked(sent) {
  const { windows, why, forget } = form.elements;
  return {
    files: sent.map((entry) => entry.id),
    windows: windows.value ? Number(windows.value) : null,
    why: why.checked,
    keep: forget.checked ? "none" : "media",
  };
}

function complain(message) {
  notice(one("send-problem"), message);
}
