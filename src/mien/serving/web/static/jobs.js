// The list of jobs: state and progress while they are open; then words, and a sparkline per emotion.

import { confirmed } from "./confirm.js";
import { drawn, make, one } from "./elements.js";
import { call } from "./interface.js";
import { ago, doing, say, t } from "./texts.js";
import { isOpen, lost, watch } from "./watch.js";

const PAGE = 20;
const jobs = new Map(); // by id: what the server said last, and the row
let round = () => {};

export async function showJobs() {
  try {
    await older();
    one("offline").hidden = true;
  } catch (error) {
    lost(error);
    setTimeout(showJobs, 3000);
    return;
  }
  round = watch(open, add);
}

one("older").addEventListener("click", () => older().catch(lost));

// Enter a new job at the top, or show a change.
export function add(job, last = false) {
  if (job.state === "deleted") return drop(job.id);
  const before = jobs.get(job.id);
  const row = before?.row || make("li", { class: "job", id: job.id });
  jobs.set(job.id, { job, row });
  if (!before) {
    last ? one("jobs").append(row) : one("jobs").prepend(row);
    if (isOpen(job) && !last) round();
  }
  const seen = JSON.stringify([job.state, job.progress, job.reason]);
  if (row.dataset.seen !== seen) draw(row, job);
  row.dataset.seen = seen;
  if (before && isOpen(before.job) && job.state === "completed") say(t("done_of", { name: named(job) }));
  one("empty").hidden = jobs.size > 0;
}

const named = (job) => job.files.length === 1 ? job.files[0].name : t("recordings", { n: job.files.length });

function open() {
  const found = [...jobs.values()].map(({ job }) => job).filter(isOpen);
  return [...found.filter((job) => job.state === "running"), ...found.filter((job) => job.state === "queued").reverse()]
    .map((job) => job.id);
}

async function older() {
  const last = jobs.size ? one("jobs").lastElementChild.id : "";
  let found;
  try {
    found = (await call("GET", `/v1/jobs?limit=${PAGE}${last && `&before=${last}`}`)).jobs;
  } catch (error) {
    if (error.status !== 404) throw error;
    drop(last); // it was deleted elsewhere; so from the one before
    return older();
  }
  for (const job of found) add(job, true);
  one("older").hidden = found.length < PAGE;
  one("empty").hidden = jobs.size > 0;
}

// ---- a row ----------------------------------------------------------------------------------------------------------

function draw(row, job) {
  const held = row.contains(document.activeElement) ? document.activeElement.dataset.does : null;
  row.replaceChildren(head(job), ...body(job));
  if (held) (row.querySelector(`[data-does=${held}]`) || row.querySelector("a"))?.focus();
  if (job.state === "completed") fill(row, job);
}

function head(job) {
  const name = named(job);
  const act = (does, key, act) => make("button", {
    type: "button", class: "button quiet small", "data-does": does, "aria-label": t(`${key}_of`, { name }), onclick: act,
  }, t(key));
  return make("div", { class: "head" },
    make("h3", {}, make("a", { href: `/jobs/${job.id}`, "data-does": "open" }, name)),
    make("span", { class: `badge ${job.state}` }, t(`state_${job.state}`)),
    make("time", { class: "soft", datetime: job.created, title: new Date(job.created).toLocaleString() }, ago(job.created)),
    make("span", { class: "actions" },
      job.state === "completed" && make("a", {
        href: job.links["scores.csv"], download: true, "data-does": "table", "aria-label": t("table_of", { name }),
      }, t("table")),
      isOpen(job) && act("cancel", "cancel", () => cancel(job)),
      act("delete", "delete", () => remove(job))));
}

function body(job) {
  const { done, failed, total } = job.progress, made = [];
  if (isOpen(job)) {
    made.push(make("p", { class: "progress" },
      make("progress", { max: total, value: job.state === "queued" && !done ? 0 : done, "aria-label": t("progress") }),
      make("span", { class: "soft" }, t("progress_of", { done, n: total }) + doing(job))));
  }
  if (job.reason) made.push(make("p", { class: "problem", lang: "en" }, job.reason));
  else if (failed) {
    const first = job.files.find((file) => file.reason);
    made.push(make("p", { class: "problem" }, `${t("failed_n", { n: failed })}: `, make("span", { lang: "en" }, first?.reason)));
  }
  return made;
}

async function fill(row, job) {
  let summary;
  try {
    summary = await call("GET", `/jobs/${job.id}/summary`);
  } catch { return; } // deleted meanwhile, or the connection is lost: the row stays as it is
  row.querySelector(".clips")?.remove();
  row.append(make("div", { class: "clips" },
    ...summary.clips.map((clip) => shown(clip, summary, summary.clips.length + summary.more > 1)),
    summary.more > 0 && make("p", { class: "soft" }, make("a", { href: `/jobs/${job.id}` }, t("and_more", { n: summary.more })))));
}

function shown(clip, summary, many) {
  return make("div", { class: "clip" },
    make("p", { class: "words-of" },
      many && make("strong", {}, clip.clip),
      clip.words ? make("q", {}, clip.words) : make("span", { class: "soft", lang: clip.silent ? "en" : false }, clip.silent || t("no_words"))),
    make("ul", { class: "sparks" }, ...summary.targets.map((name, at) => make("li", {},
      make("span", { class: "name" }, name),
      make("span", { class: "score" }, clip.scores[at] === null ? "–" : clip.scores[at].toFixed(2)),
      spark(clip, summary, at)))));
}

function spark(clip, { zero }, at) {
  const curve = clip.curves[at];
  const box = { class: "spark one", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" };
  const colour = `series-${(at % 8) + 1}`;
  if (curve !== undefined) {
    return drawn("svg", box, drawn("path", { class: "zero", d: `M0 ${zero}H100` }), drawn("path", { class: colour, d: curve }));
  }
  const share = clip.shares[at]; // one score for the whole clip: a bar from the left
  box.class += " bars level";
  return drawn("svg", box, share !== null && drawn("path", { class: colour, d: `M0 0H${(100 * share).toFixed(1)}V100H0Z` }));
}

// ---- what can be done with it ---------------------------------------------------------------------------------------

async function cancel(job) {
  try {
    add(await call("POST", `/v1/jobs/${job.id}/cancel`));
  } catch (error) {
    lost(error);
    round();
  }
}

async function remove(job) {
  if (!await confirmed()) return;
  try {
    await call("DELETE", `/v1/jobs/${job.id}`);
  } catch (error) {
    if (error.status !== 404) return lost(error);
  }
  drop(job.id);
  say(t("deleted"));
}

function drop(id) {
  const row = jobs.get(id)?.row;
  const next = row?.nextElementSibling || row?.previousElementSibling;
  const inside = row?.contains(document.activeElement);
  row?.remove();
  jobs.delete(id);
  one("empty").hidden = jobs.size > 0;
  if (inside || document.activeElement === document.body) (next?.querySelector("a") || one("chosen")).focus();
}
