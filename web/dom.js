// Building the page without innerHTML: text stays text, and a strict content security policy holds.

import { ICONS } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. `props` are attributes; `on` holds listeners; true gives an empty attribute; null and false leave
 * it out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** One of the drawings in icons.js. */
export function icon(name) {
  const [look, shapes] = ICONS[name];
  const svg = draw("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", ...look });
  svg.append(...shapes.map(([tag, attributes]) => draw(tag, attributes)));
  return svg;
}

function draw(tag, attributes) {
  const shape = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
  return shape;
}

/** A labelled input. */
export function field(label, input, hint = null) {
  return h("label", { class: "field" }, h("span", { class: "field-label" }, label), input, hint && h("small", {}, hint));
}

/** Say something for a few seconds at the foot of the page. The same words are not said twice at once. */
export function toast(text, tone = "info") {
  const region = document.getElementById("toasts");
  if ([...region.children].some((child) => child.textContent === text)) return;
  const note = h("p", { class: `toast ${tone}` }, text);
  region.append(note);
  while (region.children.length > 3) region.firstElementChild.remove();
  setTimeout(() => note.remove(), 5000);
}
