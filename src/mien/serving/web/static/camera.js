// Record a clip with the camera, after consent. Nothing leaves the browser before the recording is used.

import { clock, closeCamera, followConsent, obstacle, openCamera, recorderOf, show as play } from "./capture.js";
import { notice, one } from "./elements.js";
import { say, t } from "./texts.js";

const LONGEST = 120; // seconds
const preview = one("preview");
let stream = null, recorder = null, made = null, url = "", timer = 0;

// `use(file)` is called with a recording that is to be scored.
export function useCamera(use) {
  one("camera").hidden = false;
  if (obstacle()) return unusable(obstacle());
  followConsent(off);
  one("camera-on").addEventListener("click", on);
  one("record").addEventListener("click", record);
  one("stop").addEventListener("click", () => recorder.stop());
  one("again").addEventListener("click", again);
  one("camera-off").addEventListener("click", off);
  one("use").addEventListener("click", () => {
    use(made);
    off();
    one("score").focus();
  });
  addEventListener("pagehide", off);
}

function unusable(text) {
  complain(text);
  one("camera-use").hidden = true;
}

async function on() {
  complain("");
  try {
    const opened = await openCamera(1280, 720);
    if (!opened) return;
    stream = opened;
  } catch (error) {
    return complain(error.message);
  }
  live();
  show("record", "camera-off");
  one("record").focus();
  say(t("camera_ready"));
}

function live() {
  forget();
  play(preview, stream);
}

function record() {
  const parts = [];
  recorder = recorderOf(stream);
  recorder.addEventListener("dataavailable", (event) => { if (event.data.size) parts.push(event.data); });
  recorder.addEventListener("stop", () => stopped(new Blob(parts, { type: recorder.mimeType })), { once: true });
  recorder.start(1000);
  const began = performance.now();
  one("recording").hidden = false;
  const tick = () => {
    const seconds = Math.floor((performance.now() - began) / 1000);
    one("elapsed").textContent = `${clock(seconds)} · ${t("longest", { minutes: LONGEST / 60 })}`;
    if (seconds >= LONGEST && recorder.state === "recording") recorder.stop();
  };
  tick();
  timer = setInterval(tick, 250);
  recorder.began = began;
  show("stop");
  one("stop").focus();
  say(t("recording_starts"));
}

function stopped(blob) {
  clearInterval(timer);
  one("recording").hidden = true;
  if (!stream) return; // turned off while recording
  const seconds = ((performance.now() - recorder.began) / 1000).toFixed(1);
  const type = blob.type.split(";")[0], ending = type === "video/mp4" ? "mp4" : "webm";
  const now = new Date(), two = (number) => String(number).padStart(2, "0");
  const time = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  made = new File([blob], `camera-${time}.${ending}`, { type });
  url = URL.createObjectURL(made);
  preview.classList.remove("mirrored");
  Object.assign(preview, { srcObject: null, src: url, muted: false, controls: true });
  show("use", "again", "camera-off");
  one("use").focus();
  say(t("recording_stops", { seconds }));
}

function again() {
  live();
  show("record", "camera-off");
  one("record").focus();
}

function off() {
  closeCamera(stream);
  stream = null;
  if (recorder?.state === "recording") recorder.stop();
  forget();
  Object.assign(preview, { srcObject: null, hidden: true });
  one("recording").hidden = true;
  clearInterval(timer);
  show("camera-on");
}

function forget() {
  if (url) URL.revokeObjectURL(url);
  [made, url] = [null, ""];
  preview.removeAttribute("src");
}

function show(...names) {
  for (const name of ["camera-on", "record", "stop", "use", "again", "camera-off"]) one(name).hidden = !names.includes(name);
}

function complain(text) {
  notice(one("camera-problem"), text);
}
