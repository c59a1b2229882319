// The player: a clip's video, its curves over time, and its words, synchronised.
//
// The page holds the clips as JSON. Times are seconds from the start of the clip; the video may begin earlier. While it
// plays, the video is the clock; without a video, the slider sets the time.
(() => {
  const root = document.querySelector("[data-player]");
  if (!root) return;
  const one = (name) => root.querySelector(name), all = (name) => [...root.querySelectorAll(name)];
  const { clips, targets, scale, videos } = JSON.parse(one("script.clips").textContent);
  const [low, high] = scale;
  const video = one("video"), slider = one(".scrub"), chooser = one("select"), words = one(".words");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const shown = { clip: clips[0], now: 0, part: -1, word: -1, url: "" };

  // ---- a clip is chosen -------------------------------------------------------------------------------------------

  function choose(index) {
    shown.clip = clips[index];
    Object.assign(shown, { now: 0, part: -1, word: -1 });
    if (chooser) chooser.value = index;
    if (chooser) one(".title").textContent = shown.clip.clip;
    all("[data-step]").forEach((button) => {
      button.disabled = !clips[index + Number(button.dataset.step)];
    });
    slider.setAttribute("aria-valuemax", shown.clip.seconds.toFixed(1));
    load(videos.find((each) => each.id === shown.clip.video));
    all("[data-curve]").forEach((track) => draw(track, Number(track.dataset.curve)));
    all("[data-strip]").forEach((track) => lay(track, shown.clip.strips[track.dataset.strip]));
    all("[data-whole]").forEach((cell) => {
      cell.textContent = number(shown.clip.scores[cell.dataset.whole]);
    });
    one(".level").hidden = shown.clip.windowed;
    tick();
    say();
    contributions();
    show(0);
  }

  function load(source) {
    video.pause();
    if (shown.url) URL.revokeObjectURL(shown.url);
    shown.url = "";
    video.hidden = !source;
    one(".no-video").hidden = Boolean(source);
    one(".no-video").textContent = shown.clip.without;
    if (!source) return video.removeAttribute("src");
    video.classList.toggle("sound", source.media.startsWith("audio/"));
    video.setAttribute("aria-label", `Video of ${shown.clip.clip}`);
    video.src = source.link || (shown.url = embedded(source));
    video.currentTime = shown.clip.start;
  }

  function embedded(source) {
    const text = document.getElementById(source.id).textContent;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: source.media }));
  }

  // ---- curves and strips: 1000 wide, 100 high, stretched to their place -------------------------------------------

  const x = (seconds) => ((1000 * seconds) / shown.clip.seconds).toFixed(1);
  const y = (score) => (100 - (100 * (score - low)) / (high - low)).toFixed(1);
  const middle = (part) => (part.since + part.until) / 2;

  function draw(track, target) {
    const parts = shown.clip.parts;
    const [band, rest, line, dots, zero, whole] = ["band", "rest", "line", "dots", "zero", "whole"].map((name) =>
      track.querySelector(`.${name}`));
    const known = runs(parts, (part) => part.scores[target] !== null);
    const points = (run) => run.map((part) => `${x(middle(part))} ${y(part.scores[target])}`);
    line.setAttribute("d", known.map((run) => `M${points(run).join("L")}`).join(""));
    rest.setAttribute("d", known.map((run) => ends(run, target)).join(""));
    dots.setAttribute("d", parts.length > 60 ? "" : known.flatMap(points).map((at) => `M${at}h0`).join(""));
    const sure = runs(parts, (part) => part.lower[target] != null && part.upper[target] != null);
    band.setAttribute("d", sure.map((run) => area(run, target)).join(""));
    zero.setAttribute("d", `M0 ${y(0)}H1000`);
    whole.setAttribute("d", shown.clip.scores[target] === null ? "" : `M0 ${y(shown.clip.scores[target])}H1000`);
  }

  // The first and the last score extend to the ends of their windows.
  function ends(run, target) {
    const [first, last] = [run[0], run[run.length - 1]];
    return `M${x(first.since)} ${y(first.scores[target])}H${x(middle(first))}` +
      `M${x(middle(last))} ${y(last.scores[target])}H${x(last.until)}`;
  }

  function area(run, target) {
    const [first, last] = [run[0], run[run.length - 1]];
    const edge = (side) => [
      `${x(first.since)} ${y(first[side][target])}`,
      ...run.map((part) => `${x(middle(part))} ${y(part[side][target])}`),
      `${x(last.until)} ${y(last[side][target])}`,
    ];
    return `M${edge("upper").join("L")}L${edge("lower").reverse().join("L")}Z`;
  }

  // Runs of consecutive known parts.
  function runs(parts, known) {
    const made = [[]];
    for (const part of parts) known(part) ? made[made.length - 1].push(part) : made.push([]);
    return made.filter((run) => run.length);
  }

  function lay(track, strip) {
    const box = (since, until, top) => `M${x(since)} 100V${top}H${x(until)}V100Z`;
    track.querySelector(".available").setAttribute("d", strip.there.map(([since, until]) => box(since, until, 0)).join(""));
    const attention = strip.weights.map((each) => box(each.since, each.until, (100 - 100 * each.share).toFixed(1)));
    track.querySelector(".attention").setAttribute("d", attention.join(""));
    track.closest("[data-row]").title = strip.reason;
  }

  function tick() {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
    const room = Math.max(2, Math.floor(slider.clientWidth / 70));
    const step = steps.find((each) => shown.clip.seconds / each <= room) || shown.clip.seconds;
    const marks = [];
    for (let at = 0; at <= shown.clip.seconds + 1e-6; at += step) {
      const mark = document.createElement("span");
      mark.style.left = `${x(at) / 10}%`;
      mark.textContent = clock(at, step < 1 ? 1 : 0);
      marks.push(mark);
    }
    one(".axis").replaceChildren(...marks);
  }

  // ---- the transcript: one stop of the tab key, arrow keys from word to word ---------------------------------------

  function say() {
    const timed = shown.clip.words;
    words.classList.toggle("timed", timed.length > 0);
    const doubtful = timed.filter((word) => word.doubtful).length;
    one(".doubt").hidden = !doubtful;
    one(".doubt").textContent = `Dotted underline: doubtful words, ${doubtful} of ${timed.length}.`;
    one(".file-notes").hidden = !shown.clip.notes.length;
    one(".file-notes").textContent = `Notes: ${shown.clip.notes.join("; ")}.`;
    if (!timed.length) {
      const reason = shown.clip.strips.find((strip) => strip.modality === "text")?.reason;
      return words.replaceChildren(shown.clip.transcript || (reason ? `No words: ${reason}.` : "No transcript."));
    }
    words.replaceChildren(...timed.flatMap((word, index) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "word", textContent: word.text, tabIndex: index ? -1 : 0 });
      button.classList.toggle("doubtful", word.doubtful);
      button.title = `${clock(word.since, 1)} s, recognised with ${Math.round(100 * word.probability)} %`;
      if (word.doubtful) button.title += ": doubtful";
      return [button, " "];
    }));
  }

  words.addEventListener("click", (event) => {
    const index = all(".word").indexOf(event.target);
    if (index < 0) return;
    stop(index);
    seek(shown.clip.words[index].since);
  });
  words.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = all(".word")[all(".word").indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    stop(all(".word").indexOf(next));
    next.focus();
  });

  function stop(index) {
    all(".word").forEach((word, each) => {
      word.tabIndex = each === index ? 0 : -1;
    });
  }

  // ---- modality contributions ---------------------------------------------------------------------------------------

  function contributions() {
    const table = one(".of-clip");
    if (!table) return;
    const { baseline, shapley, left_out: left } = shown.clip;
    table.hidden = one(".of-clip-note").hidden = !baseline.length;
    const most = Math.max(1e-9, ...Object.values(shapley).flat().map((value) => Math.abs(value)));
    all("[data-baseline]").forEach((cell) => {
      cell.textContent = baseline.length ? number(baseline[cell.dataset.baseline]) : "";
    });
    all("[data-contribution]").forEach((cell) => {
      const [modality, target] = cell.dataset.contribution.split(" ");
      const value = shapley[modality]?.[target] ?? null, out = left[modality]?.[target] ?? null;
      const bar = cell.querySelector(".bar");
      cell.classList.toggle("none", value === null);
      bar.classList.toggle("less", value < 0);
      bar.style.width = value === null ? "0" : `${(50 * Math.abs(value)) / most}%`;
      cell.querySelector(".amount").textContent = signed(value);
      cell.querySelector(".without").textContent = value === null ? "" : `(${signed(out)})`;
    });
  }

  // ---- a moment -----------------------------------------------------------------------------------------------------

  function show(moment) {
    const clip = shown.clip, now = (shown.now = Math.min(Math.max(moment, 0), clip.seconds));
    const part = clip.parts.findIndex((each) => now >= each.since && now < each.until);
    root.style.setProperty("--now", `${x(now) / 10}%`);
    one(".moment").textContent = clock(now, 1);
    if (part !== shown.part || shown.part < 0) state(part < 0 && now >= clip.seconds ? clip.parts.length - 1 : part);
    slider.setAttribute("aria-valuenow", now.toFixed(1));
    slider.setAttribute("aria-valuetext", `${now.toFixed(1)} seconds: ${spoken()}`);
    light(clip.words.findIndex((word) => now >= word.since && now < Math.max(word.until, word.since + 0.05)));
  }

  function state(index) {
    shown.part = index;
    const part = shown.clip.parts[index];
    all("[data-value]").forEach((cell) => {
      cell.textContent = part ? number(part.scores[cell.dataset.value]) : "–";
    });
    one(".window").style.left = part ? `${x(part.start) / 10}%` : "0";
    one(".window").style.width = part && shown.clip.windowed ? `${x(part.end - part.start) / 10}%` : "0";
    one(".stretch").textContent = !part ? "no window here" : shown.clip.windowed
      ? `window ${clock(part.start, 1)}–${clock(part.end, 1)} s` : "whole clip";
    all("[data-here]").forEach((cell) => {
      const strip = shown.clip.strips[cell.dataset.here];
      const here = part && strip.there.some(([since, until]) => middle(part) >= since && middle(part) < until);
      cell.textContent = here ? "available" : "missing";
    });
  }

  function spoken() {
    const part = shown.clip.parts[shown.part];
    return part ? targets.map((name, at) => `${name} ${number(part.scores[at])}`).join(", ") : "no window here";
  }

  function light(index) {
    if (index === shown.word) return;
    const each = all(".word"), word = each[index];
    each[shown.word]?.removeAttribute("aria-current");
    shown.word = index;
    if (!word) return;
    word.setAttribute("aria-current", "true");
    const above = word.offsetTop - words.offsetTop;
    if (above < words.scrollTop || above > words.scrollTop + words.clientHeight - 2 * word.offsetHeight) {
      words.scrollTop = above - words.clientHeight / 2;
    }
  }

  function seek(moment) {
    const now = Math.min(Math.max(moment, 0), shown.clip.seconds);
    if (video.hasAttribute("src")) video.currentTime = shown.clip.start + now;
    show(now);
  }

  // ---- the slider over the curves -----------------------------------------------------------------------------------

  const under = (event) => {
    const box = slider.getBoundingClientRect();
    return (shown.clip.seconds * (event.clientX - box.left)) / box.width;
  };
  slider.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    slider.setPointerCapture(event.pointerId);
    seek(under(event));
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) seek(under(event));
    root.style.setProperty("--under", `${Math.min(100, Math.max(0, x(under(event)) / 10))}%`);
    one(".ghost").dataset.at = clock(Math.max(0, under(event)), 1);
  });
  slider.addEventListener("keydown", (event) => {
    const small = shown.clip.seconds > 120 ? 1 : 0.5, { now, clip, part } = shown;
    const window = (step) => middle(clip.parts[Math.min(Math.max(part + step, 0), clip.parts.length - 1)]);
    const moments = {
      ArrowRight: now + small, ArrowUp: now + small, ArrowLeft: now - small, ArrowDown: now - small,
      PageUp: window(1), PageDown: window(-1), Home: 0, End: clip.seconds,
    };
    if (event.key in moments) seek(moments[event.key]);
    else if (event.key === " " && video.hasAttribute("src")) video.paused ? play() : video.pause();
    else return;
    event.preventDefault();
  });

  // ---- the video is the clock ---------------------------------------------------------------------------------------

  const play = () => video.play().catch(() => {});
  function follow() {
    const moment = video.currentTime - shown.clip.start;
    if (moment >= shown.clip.seconds && !video.paused) video.pause();
    show(moment);
    if (!video.paused && !still.matches) requestAnimationFrame(follow);
  }
  for (const name of ["play", "seeked", "timeupdate"]) video.addEventListener(name, () => video.readyState && follow());
  video.addEventListener("loadedmetadata", () => { // of a file whose pictures it cannot decode, it plays the sound alone
    const source = videos.find((each) => each.id === shown.clip.video);
    if (!source?.media.startsWith("video/") || video.videoWidth) return;
    video.classList.add("sound");
    one(".no-video").hidden = false;
    one(".no-video").textContent = `This browser shows no pictures of ${source.name}; it plays the sound.`;
  });
  video.addEventListener("error", () => {
    if (!video.hasAttribute("src")) return;
    const source = videos.find((each) => each.id === shown.clip.video);
    video.hidden = true;
    one(".no-video").hidden = false;
    one(".no-video").textContent = source.link && !source.link.startsWith("/")
      ? `This browser cannot open ${source.name}. The page looks for it at ${decodeURIComponent(source.link)}.`
      : `This browser cannot play ${source.name}.`;
  });

  // ---- clip selection -----------------------------------------------------------------------------------------------

  const at = () => clips.indexOf(shown.clip);
  chooser?.addEventListener("change", () => choose(Number(chooser.value)));
  all("[data-step]").forEach((button) => {
    button.addEventListener("click", () => clips[at() + Number(button.dataset.step)] && choose(at() + Number(button.dataset.step)));
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-clip]");
    if (link) choose(Number(link.dataset.clip));
  });

  // Names of clips in tables are links to the player.
  const places = new Map(clips.map((clip, index) => [clip.clip, index]));
  for (const head of document.querySelectorAll("main table tbody th")) {
    const name = head.textContent.trim();
    if (!places.has(name)) continue;
    const link = document.createElement("a");
    Object.assign(link, { href: `#${root.closest("section").id}`, textContent: name, title: "Show in the player" });
    link.dataset.clip = places.get(name);
    head.replaceChildren(link);
  }

  // ---- how things are written ---------------------------------------------------------------------------------------

  function number(score) {
    return score === null || score === undefined ? "–" : score.toFixed(2).replace(/^-(?=.*[1-9])/, "−").replace("-", "");
  }
  function signed(score) {
    return score > 0 && number(score) !== "0.00" ? `+${number(score)}` : number(score);
  }
  function clock(seconds, digits) {
    if (shown.clip.seconds < 60) return seconds.toFixed(digits);
    const whole = Math.floor(seconds / 60), rest = (seconds % 60).toFixed(digits);
    return `${whole}:${rest.padStart(digits ? 3 + digits : 2, "0")}`;
  }

  root.hidden = false;
  new ResizeObserver(tick).observe(slider);
  choose(0);
})();
