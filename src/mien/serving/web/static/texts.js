// The texts of the page's language, the same as those of its HTML.

const language = document.documentElement.lang;
const texts = await arrived();

// Without its texts a page does nothing, so they are asked for until they come.
async function arrived() {
  for (;;) {
    try {
      const answer = await fetch(`/static/texts.${language}.json`);
      if (answer.ok) return await answer.json();
    } catch { /* the connection is lost */ }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

// A text with its values filled in; `n` chooses between singular and plural.
export function t(key, values = {}) {
  const text = Array.isArray(texts[key]) ? texts[key][values.n === 1 ? 0 : 1] : texts[key];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

export function ago(time) {
  const minutes = (Date.now() - new Date(time)) / 60000;
  if (minutes < 1) return t("now");
  if (minutes < 60) return relative.format(-Math.round(minutes), "minute");
  return minutes < 60 * 12 ? relative.format(-Math.round(minutes / 60), "hour") : absolute.format(new Date(time));
}

// What is being done with the clip at hand; a stage that no text knows is not shown.
export function doing({ progress }) {
  const key = `stage_${progress.stage}`;
  return texts[key] ? `: ${t(key)}` : "";
}

// Tell assistive tools what happened: a text, or an error.
export function say(message) {
  const said = document.getElementById("said");
  said.lang = message.english ? "en" : language;
  said.textContent = message.message ?? message;
}
