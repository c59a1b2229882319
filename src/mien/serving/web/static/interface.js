// Calls of the interface under /v1; its problem details become errors with a sentence for people.

import { t } from "./texts.js";

export class Problem extends Error {
  constructor(status, detail, english = false) {
    super(detail);
    this.status = status; // 0: the server could not be reached
    this.english = english; // the server's words
  }
}

export async function call(method, path, body) {
  const asked = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, asked);
  } catch {
    throw new Problem(0, t("error_unreachable"));
  }
  if (!answer.ok) throw problem(answer.status, await answer.text());
  return answer.status === 204 ? null : answer.json();
}

export function problem(status, text) {
  if (status === 401) return new Problem(401, t("error_signin"));
  let detail;
  try {
    detail = JSON.parse(text).detail;
  } catch { /* not from the server, but from something before it */ }
  return detail ? new Problem(status, detail, true) : new Problem(status, t("error_unknown", { status }));
}
