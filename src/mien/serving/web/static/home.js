// The first page: send clips, and see what became of them.

import { useCamera } from "./camera.js";
import { one } from "./elements.js";
import { call } from "./interface.js";
import { add, showJobs } from "./jobs.js";
import { sendFiles, take } from "./send.js";

sendFiles(add);
useCamera((file) => take([file]));
showJobs();
model();
document.body.dataset.ready = "";

async function model() {
  const missing = await call("GET", "/v1/model").then(() => false, (error) => error.status === 503);
  one("loading").hidden = !missing;
  if (missing) setTimeout(model, 3000);
}
