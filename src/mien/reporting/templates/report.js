"use strict";
// Theme, sorting, downloads. Without this script the page lacks only these three.
(() => {
  const root = document.documentElement;
  const said = document.getElementById("said");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (value) => {
    try { // storage may be forbidden, as for a file opened from a mail
      if (value) localStorage.setItem("mien-theme", value);
      return localStorage.getItem("mien-theme");
    } catch { return null; }
  };
  const button = document.getElementById("theme");
  const theme = (name) => {
    root.dataset.theme = name;
    button.setAttribute("aria-pressed", String(name === "dark"));
  };
  theme(remembered() || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!remembered()) theme(dark.matches ? "dark" : "light"); });
  button.addEventListener("click", () => {
    theme(root.dataset.theme === "dark" ? "light" : "dark");
    remembered(root.dataset.theme);
  });
  button.hidden = false;

  const value = (cell) => cell.dataset.v ?? cell.textContent;
  const compare = (a, b, number) => number ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
  const sort = (table, place, header) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows];
    const number = header.classList.contains("num");
    const key = (row) => value(row.cells[place]).trim();
    const empty = (text) => text === "" || text === "–";
    rows.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (empty(a) || empty(b)) return empty(a) - empty(b); // cells without a number stay last
      return down ? compare(b, a, number) : compare(a, b, number);
    });
    table.tBodies[0].append(...rows);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    said.textContent = `Sorted by ${header.textContent.trim()}, ${down ? "descending" : "ascending"}`;
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((header, place) => {
      const press = document.createElement("button");
      press.type = "button";
      press.append(...header.childNodes);
      header.append(press);
      press.addEventListener("click", () => sort(table, place, header));
    });
  }

  const formula = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/; // as mien.spreadsheet.escaped_row
  const numeric = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
  const escaped = (text) => formula.test(text) && !numeric.test(text) ? `'${text}` : text;
  const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const csv = (table) => [...table.rows].map((row, place) =>
    [...row.cells].map((cell) => {
      const text = (place ? value(cell) : cell.textContent).trim();
      return quoted(text === "–" ? "" : escaped(text));
    }).join(",")).join("\r\n") + "\r\n";
  for (const press of document.querySelectorAll("button.csv")) {
    press.hidden = false;
    press.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(["\ufeff", csv(document.getElementById(press.dataset.table))], { type: "text/csv" }));
      link.download = `${press.dataset.table}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  let opened = []; // on paper everything is open
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of opened) part.open = false; });

  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);
})();
