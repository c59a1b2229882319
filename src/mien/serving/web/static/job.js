// The page of a job: progress while it is open, then its scores; cancel and delete.

import { confirmed } from "./confirm.js";
import { one } from "./elements.js";
import { call } from "./interface.js";
import { ago, t } from "./texts.js";
import { isOpen, watch } from "./watch.js";

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
if (isOpen({ state })) watch(() => isOpen({ state: now }) ? [id] : [], show, (error) => { one("offline").hidden = !error; });

function show(job) {
  now = job.state;
  if (!isOpen(job)) return location.reload(); // the server writes the scores into the page
  one("state").textContent = t(`state_${job.state}`);
  one("state").className = `badge ${job.state}`;
  one("progress").value = job.progress.done;
  one("progress-text").textContent = t("progress_of", { done: job.progress.done, n: job.progress.total });
  job.files.forEach((file, at) => {
    const badge = one("files")?.children[at]?.querySelector(".badge");
    if (!badge) return;
    badge.textContent = t(`state_${file.state}`);
    badge.className = `badge ${file.state}`;
  });
}

function complain(error) {
  one("job-problem").textContent = error.message;
  one("job-problem").hidden = false;
}
