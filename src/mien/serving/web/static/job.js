// The page of a job: progress while it is open, then its scores; cancel and delete.

import { confirmed } from "./confirm.js";
import { notice, one } from "./elements.js";
import { call } from "./interface.js";
import { ago, doing, t } from "./texts.js";
import { isOpen, lost, watch } from "./watch.js";

const { job: id, state } = one("job").dataset;
let now = state;

for (const name of ["cancel", "delete"]) one(name)?.removeAttribute("hidden");
one("when").textContent = ago(one("when").dataset.created);
one("cancel")?.addEventListener("click", () => call("POST", `/v1/jobs/${id}/cancel`).then(show, complain));
one("delete").addEventListener("click", async () => {
  if (!await confirmed()) return;
  try {
    await call("DELETE", `/v1/jobs/${id}`);
  } catch (error) {
    if (error.status !== 404) return complain(error);
  }
  location.assign("/");
});
if (isOpen({ state })) watch(() => isOpen({ state: now }) ? [id] : [], show);

function show(job) {
  now = job.state;
  if (!isOpen(job)) return location.reload(); // the server writes the scores into the page
  one("state").textContent = t(`state_${job.state}`);
  one("state").className = `badge ${job.state}`;
  one("progress").value = job.progress.done;
  one("progress-text").textContent = t("progress_of", { done: job.progress.done, n: job.progress.total }) + doing(job);
  job.files.forEach((file, at) => {
    const badge = one("files")?.children[at]?.querySelector(".badge");
    if (!badge) return;
    const now = file.stage ? "running" : file.state;
    badge.textContent = t(`state_${now}`);
    badge.className = `badge ${now}`;
  });
}

function complain(error) {
  notice(one("job-problem"), error);
}
