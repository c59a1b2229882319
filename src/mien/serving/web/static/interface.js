// Calls of the interface under /v1; its problem details become errors with a sentence for people.

import { t } from "./texts.js";

const SOON = 5; // seconds; a full queue says more

export class Problem extends Error {
  constructor(status, detail, english = false) {
    super(detail);
    this.status = status; // 0: the server could not be reached
    this.english = english; // the server's words
  }
}

export async function call(method, path, body, headers = {}) {
  const asked = { method, headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers["Content-Type"] = "application/json";
  }
  const answer = await ask(path, asked);
  return answer.status === 204 ? null : answer.json();
}

// An answer that is no refusal. Where requests come too fast, as with many small files, it is asked again in a moment.
export async function ask(path, asked) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, asked);
    } catch {
      throw new Problem(0, t("error_unreachable"));
    }
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get("Retry-After"));
    if (answer.status !== 429 || !seconds || seconds > SOON) throw problem(answer.status, await answer.text());
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

export function problem(status, text) {
  if (status === 401) return new Problem(401, t("error_signin"));
  let detail;
  try {
    detail = JSON.parse(text).detail;
  } catch { /* not from the server, but from something before it */ }
  return detail ? new Problem(status, detail, true) : new Problem(status, t("error_unknown", { status }));
}
