// A bar with its interval, and a curve of the last minute, for each score.

import { drawn, make } from "./elements.js";
import { t } from "./texts.js";

const SECONDS = 60;

export class Levels {
  // `started` is the event of that type: names of the scores, their scale, the distance of windows.
  constructor(list, started) {
    [this.low, this.high] = started.scale;
    this.hop = started.hop;
    this.windows = []; // of the last minute, in order; a final one replaces its provisional one
    this.list = list;
    this.rows = started.targets.map((name, at) => new Row(name, at, this));
    list.replaceChildren(...this.rows.map((row) => row.item));
    list.hidden = false;
  }

  add(window) {
    const place = this.windows.findIndex((known) => known.start === window.start);
    if (place < 0) this.windows.push(window);
    else this.windows[place] = window;
    this.windows.sort((one, other) => one.start - other.start);
    const newest = this.windows.at(-1);
    this.windows = this.windows.filter((each) => each.end > newest.end - SECONDS);
    this.list.classList.toggle("provisional", newest.state !== "final");
    for (const row of this.rows) row.draw(this.windows);
  }

  text(value) {
    return value.toFixed(this.high - this.low > 10 ? 1 : 2).replace(/^-(?=[0.]+$)/, "");
  }

  share(value) {
    return 100 * Math.min(1, Math.max(0, (value - this.low) / (this.high - this.low)));
  }
}

class Row {
  constructor(name, at, levels) {
    this.name = name;
    this.levels = levels;
    this.score = make("span", { class: "score" }, "–");
    this.ends = make("span", { class: "soft ends" });
    this.bar = drawn("rect", { class: "bar", x: 0, y: 2, height: 6, width: 0 });
    this.whisker = drawn("path", { class: "whisker" });
    this.band = drawn("path", { class: "band" });
    this.line = drawn("path", { class: "line" });
    const box = (name, height) => ({ class: name, viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.item = make("li", { class: `series-${(at % 8) + 1}` },
      make("span", { class: "name" }, name), this.score, this.ends,
      drawn("svg", box("level", 10), this.bar, this.whisker),
      drawn("svg", box("minute", 100), this.band, this.line));
  }

  // The bar shows the latest window, but for one that waits for its words to have a score at all.
  draw(windows) {
    const newest = windows.findLast((each) => each.state === "final" || each.scores[this.name] !== null) || windows.at(-1);
    const score = newest.scores[this.name], lower = newest.lower[this.name], upper = newest.upper[this.name];
    const known = lower !== null && upper !== null;
    this.score.textContent = score === null ? "–" : this.levels.text(score);
    this.ends.textContent = known ? t("live_ends", { lower: this.levels.text(lower), upper: this.levels.text(upper) }) : "";
    this.bar.setAttribute("width", score === null ? 0 : this.levels.share(score));
    this.whisker.setAttribute("d", known ? `M${this.levels.share(lower)} 5H${this.levels.share(upper)}` : "");
    const parts = this.parts(windows.at(-1).end, windows);
    this.line.setAttribute("d", parts.map((part) => path(part, "score")).join(""));
    this.band.setAttribute("d", parts.filter((part) => part.every((point) => point.lower !== null))
      .map((part) => `${path(part, "upper")}L${path([...part].reverse(), "lower").slice(1)}Z`).join(""));
  }

  // Points of the curve, apart where windows were left out or have no score.
  parts(end, windows) {
    const parts = [];
    let last = null;
    for (const { start, end: until, scores, lower, upper } of windows) {
      const score = scores[this.name];
      if (score === null) { last = null; continue; }
      if (last === null || start > last + 1.5 * this.levels.hop) parts.push([]);
      last = start;
      const height = (value) => value === null ? null : 96 - 0.92 * this.levels.share(value);
      parts.at(-1).push({
        x: 100 - (100 * (end - (start + until) / 2)) / SECONDS,
        score: height(score), lower: height(lower[this.name]), upper: height(upper[this.name]),
      });
    }
    return parts;
  }
}

function path(points, key) {
  const [first] = points;
  if (points.length === 1) return `M${first.x.toFixed(2)} ${first[key].toFixed(2)}h.4`;
  return `M${points.map((point) => `${point.x.toFixed(2)} ${point[key].toFixed(2)}`).join("L")}`;
}
