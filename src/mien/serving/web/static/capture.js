// The camera and the microphone, and how this browser records them.

import { one } from "./elements.js";
import { t } from "./texts.js";

const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/mp4"];

// Why this page cannot record; empty if it can.
export function obstacle() {
  if (!isSecureContext) return t("insecure");
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") return t("no_recorder");
  return "";
}

let asked = 0; // how often the camera was asked for, or consent taken back

// The camera can be turned on while consent is given, also where it was given before the page's texts had arrived;
// `off()` is called when it is taken back.
export function followConsent(off) {
  const consent = one("consent");
  const follow = () => {
    one("camera-on").disabled = !consent.checked;
    if (consent.checked) return;
    asked += 1;
    off();
  };
  consent.addEventListener("change", follow);
  follow();
}

// A stream; null if the camera was asked for again, or consent taken back, while the browser asked for permission.
export async function openCamera(width, height) {
  const mine = asked += 1;
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 }, facingMode: "user" };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: true });
  } catch (error) {
    const known = { NotAllowedError: "camera_denied", NotFoundError: "camera_none" }[error.name];
    throw new Error(t(known || "camera_busy", { reason: error.message }));
  }
  if (mine === asked) return stream;
  closeCamera(stream);
  return null;
}

export function closeCamera(stream) {
  for (const track of stream?.getTracks() || []) track.stop();
}

export function recorderOf(stream) {
  const kind = KINDS.find((each) => MediaRecorder.isTypeSupported(each)) || "";
  return new MediaRecorder(stream, kind ? { mimeType: kind } : {});
}

export function show(preview, stream) {
  Object.assign(preview, { srcObject: stream, muted: true, controls: false, hidden: false });
  preview.classList.add("mirrored");
  preview.play().catch(() => {}); // it plays as soon as the browser allows
}

export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds) % 60).padStart(2, "0")}`;
}
