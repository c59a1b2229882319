// Text whose contrast with its ground is below 4.5 : 1 (WCAG 2.2, AA).
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = (node) => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor); if (c[3] === 255) return c; } return rgb(getComputedStyle(document.documentElement).backgroundColor); };
  const poor = new Set();
  for (const node of document.querySelectorAll("p, li, dt, dd, td, th, a, button, summary, h1, h2, h3, figcaption, caption, text")) {
    if (!node.textContent.trim() || node.closest(".unseen, .skip")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgb(node.tagName === "text" ? style.fill : style.color)), light(ground(node))].sort();
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.add(`${node.tagName}.${node.className.baseVal ?? node.className} ${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 30)}`);
  }
  return [...poor];
}
