// Elements from data. Texts become text nodes, so nothing that a file or a server is called becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

export const one = (id) => document.getElementById(id);

// A message in an element that is hidden without one: a text, or an error. What the server says is in English.
export function notice(element, message) {
  const text = message?.message ?? message ?? "";
  element.textContent = text;
  element.hidden = !text;
  if (message?.english) element.lang = "en";
  else element.removeAttribute("lang");
}

export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
