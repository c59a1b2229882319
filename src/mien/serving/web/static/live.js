// Live scores: slices of the recording go to /v1/live while it is made, and come back as scores.

import { clock, closeCamera, followConsent, obstacle, openCamera, recorderOf, show as play } from "./capture.js";
import { make, notice, one } from "./elements.js";
import { call } from "./interface.js";
import { Levels } from "./levels.js";
import { say, t } from "./texts.js";

const SLICE = 250; // milliseconds
const MOST_WAITING = 8e6; // bytes that the connection has not taken yet
const WORDS = 24;
const preview = one("preview");
let stream = null, recorder = null, socket = null, levels = null, began = 0, timer = 0, over = true, stopping = false;

if (obstacle()) {
  complain(obstacle());
  one("camera-use").hidden = true;
} else {
  followConsent(off);
  one("camera-on").addEventListener("click", on);
  one("start").addEventListener("click", start);
  one("stop").addEventListener("click", stop);
  one("camera-off").addEventListener("click", off);
  one("marks").addEventListener("submit", mark);
  addEventListener("pagehide", off);
}
document.body.dataset.ready = "";

async function on() {
  complain("");
  try {
    const opened = await openCamera(640, 480);
    if (!opened) return;
    stream = opened;
  } catch (error) {
    return complain(error.message);
  }
  play(preview, stream);
  buttons("start", "camera-off");
  one("start").focus();
  say(t("camera_ready"));
}

function start() {
  complain("");
  for (const name of ["ended", "lost-windows", "level-note", "absent", "heard", "lag", "done-marks"]) clear(one(name));
  one("before").hidden = true;
  levels = null;
  over = stopping = false;
  recorder = recorderOf(stream);
  recorder.addEventListener("dataavailable", send);
  const mine = socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`);
  socket.addEventListener("open", () => tell({
    type: "start", mime: recorder.mimeType || "video/webm", keep: one("forget").checked ? "none" : "media",
  }));
  // What still comes from the session before does not concern this one.
  socket.addEventListener("message", (event) => { if (mine === socket) hear(JSON.parse(event.data)); });
  socket.addEventListener("close", () => { if (mine === socket) lost(); });
  buttons("stop", "camera-off");
  one("forget").disabled = true;
  state(t("live_loading"));
  one("stop").focus();
}

function hear(event) {
  if (event.type === "ready") record();
  else if (event.type === "started") {
    levels = new Levels(one("levels"), event);
    state(t("live_runs"));
  } else if (event.type === "window") scored(event);
  else if (event.type === "word") words(event);
  else if (event.type === "behind") {
    one("lost-windows").textContent = t("live_behind", { n: event.total });
    one("lost-windows").hidden = false;
  } else if (event.type === "warning") note(event.text);
  else if (event.type === "error") complain({ message: event.text, english: true });
  else if (event.type === "stopped") stopped(event);
}

function record() {
  if (over || stopping || recorder.state !== "inactive") return;
  recorder.start(SLICE);
  began = performance.now();
  one("recording").hidden = false;
  one("marks").hidden = false;
  const tick = () => { one("elapsed").textContent = clock(elapsed()); };
  tick();
  timer = setInterval(tick, 250);
  state(t("live_waits"));
  say(t("recording_starts"));
}

const elapsed = () => (performance.now() - began) / 1000;

function send(event) {
  if (socket.readyState !== WebSocket.OPEN || !event.data.size) return;
  if (socket.bufferedAmount > MOST_WAITING) {
    complain(t("live_slow"));
    return stop();
  }
  socket.send(event.data);
}

function tell(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function scored(event) {
  levels.add(event);
  const kind = t(event.state === "final" ? "live_final" : "live_provisional");
  one("lag").textContent = t("live_lag", { seconds: event.lag.toFixed(1), start: event.start.toFixed(0), end: event.end.toFixed(0), kind });
  one("lag").hidden = false;
  const missing = Object.entries(event.absent).filter(([name]) => name !== "text" || event.state === "final");
  one("absent").replaceChildren(...missing.map(([name, reason]) => without(name, reason)));
  one("absent").hidden = !missing.length;
}

function without(name, reason) {
  const known = { text: "absent_text", audio: "absent_audio", vision: "absent_vision", motion: "absent_motion" }[name];
  return known ? make("li", {}, t(known)) : make("li", { lang: "en" }, reason);
}

function words(event) {
  const said = one("heard");
  said.append(make("span", { class: event.doubtful ? "doubtful" : false }, event.text), " ");
  while (said.children.length > WORDS) { said.firstChild.remove(); said.firstChild.remove(); }
  said.hidden = false;
}

function note(text) {
  one("level-note").append(make("li", { lang: "en" }, text));
  one("level-note").hidden = false;
}

function mark(event) {
  event.preventDefault();
  const label = one("label").value.trim();
  if (!label || recorder?.state !== "recording") return;
  const seconds = elapsed();
  tell({ type: "mark", label, seconds });
  one("done-marks").append(make("li", {}, make("time", {}, clock(seconds)), " ", label));
  one("done-marks").hidden = false;
  say(t("live_marked", { label, time: clock(seconds) }));
  one("label").value = "";
  one("label").focus();
}

function stop() {
  if (over || stopping) return;
  stopping = true;
  if (socket.readyState === WebSocket.CONNECTING) { // nothing has begun
    socket.close();
    return rest();
  }
  const finish = () => tell({ type: "stop" });
  if (recorder.state === "recording") {
    recorder.addEventListener("stop", finish, { once: true }); // after the last slice
    recorder.stop();
  } else finish();
  resting();
  buttons();
  state(t("live_finishing"));
}

function stopped(event) {
  rest();
  const place = one("ended");
  place.replaceChildren(t("live_stopped", { n: event.windows, seconds: event.seconds.toFixed(1) }), " ",
    event.job ? make("a", { href: `/jobs/${event.job}`, id: "result" }, t("live_job")) : t(one("forget").checked ? "live_no_job" : "live_job_waits"));
  place.hidden = false;
  (one("result") || one("start")).focus();
  say(place.textContent);
}

function lost() {
  if (over) return;
  if (levels || began) complain(t("live_lost"));
  else refused();
  rest();
}

// Browsers do not say why a WebSocket was refused; the answer to an ordinary request says whether all is refused.
function refused() {
  complain(t("live_refused"));
  call("GET", "/v1/model").catch((error) => { if (error.status === 401 || error.status === 0) complain(error); });
}

// The session is over; another one may begin.
function rest() {
  over = true;
  resting();
  if (recorder.state === "recording") recorder.stop();
  state("");
  one("forget").disabled = false;
  buttons(...stream ? ["start", "camera-off"] : ["camera-on"]);
}

function off() {
  stop();
  closeCamera(stream);
  stream = null;
  Object.assign(preview, { srcObject: null, hidden: true });
  if (over) buttons("camera-on"); // else its end is waited for
}

function resting() {
  clearInterval(timer);
  one("recording").hidden = true;
  one("marks").hidden = true;
  began = 0;
}

function buttons(...names) {
  for (const name of ["camera-on", "start", "stop", "camera-off"]) one(name).hidden = !names.includes(name);
}

function state(text) {
  one("state").textContent = text;
  one("state").hidden = !text;
}

function clear(element) {
  element.replaceChildren();
  element.hidden = true;
}

function complain(message) {
  notice(one("camera-problem"), message);
}
