// What a page owes assistive tools; returns what is wrong with it, a line each.
() => {
  const faults = [];
  const named = (node) => (node.getAttribute("aria-label") || node.textContent || "").trim();
  const labelled = (node) => (node.getAttribute("aria-labelledby") || "").split(" ").every((id) => !id || document.getElementById(id));
  const fault = (text, node) => faults.push(`${text}: ${node.outerHTML.slice(0, 120)}`);
  for (const node of document.querySelectorAll("button, a[href], summary")) if (!named(node)) fault("no name", node);
  for (const node of document.querySelectorAll("[aria-labelledby]")) if (!labelled(node)) fault("label is nowhere", node);
  for (const node of document.querySelectorAll("figure")) {
    const picture = node.querySelector("[role=img]");
    if (!picture || !picture.getAttribute("aria-label")) fault("no alternative text", node);
    if (!node.querySelector("details table tbody tr")) fault("no table", node);
    if (!node.querySelector("figcaption")?.textContent.trim()) fault("no caption", node);
  }
  for (const node of document.querySelectorAll("table")) {
    if (!node.caption?.textContent.trim()) fault("no caption", node);
    for (const row of node.tBodies[0].rows) if (row.cells.length !== node.tHead.rows[0].cells.length) fault("ragged", row);
  }
  for (const node of document.querySelectorAll("*")) {
    const style = getComputedStyle(node);
    const scrolls = /auto|scroll/.test(style.overflowX) && node.scrollWidth > node.clientWidth + 1;
    if (scrolls && node !== document.documentElement && node.tabIndex < 0 && !node.querySelector("a, button")) fault("cannot be scrolled by keyboard", node);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids.filter((id, place) => ids.indexOf(id) !== place)) faults.push(`id twice: ${id}`);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((node) => Number(node.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push("not one h1");
  levels.forEach((level, place) => { if (place && level > levels[place - 1] + 1) faults.push(`heading level skipped at ${place}`); });
  for (const name of ["main", "header", "footer", "nav[aria-label]"]) if (document.querySelectorAll(name).length < 1) faults.push(`no ${name}`);
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  return faults;
}
