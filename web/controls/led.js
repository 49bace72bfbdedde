// The lights: a pattern, one colour, or off.

import { h, toast } from "../dom.js";
import { RateLimit } from "../drive.js";
import { sentence, title } from "../format.js";
import { LED_PATTERNS } from "../messages.js";

const COLOUR_EVERY_MS = 250;

/** "#rrggbb" as r, g, b. */
export function rgb(hex) {
  const value = Number.parseInt(hex.slice(1), 16);
  return { r: value >> 16, g: (value >> 8) & 255, b: value & 255 };
}

export function ledPanel(link) {
  const choices = LED_PATTERNS.map((name) => h("option", { value: name }, title(name)));
  const pattern = h("select", { id: "led-pattern" }, h("option", { value: "", hidden: true }, "Choose…"), choices);
  const colour = h("input", { id: "led-color", type: "color", value: "#ffb45a" });
  const off = h("button", { id: "led-off", type: "button", class: "quiet" }, "Off");

  const send = async (fields) => {
    try {
      await link.request("led", fields);
    } catch (error) {
      toast(`Lights: ${sentence(error)}`, "warning");
    }
  };
  const limit = new RateLimit(COLOUR_EVERY_MS, send);
  pattern.addEventListener("change", () => send({ pattern: pattern.value }));
  colour.addEventListener("input", () => {
    pattern.value = "";
    limit.push(rgb(colour.value));
  });
  off.addEventListener("click", () => {
    pattern.value = "off";
    send({ pattern: "off" });
  });
  return h(
    "div",
    { class: "led" },
    h("label", { class: "led-field wide" }, h("span", {}, "Pattern"), pattern),
    h("label", { class: "led-field" }, h("span", {}, "Colour"), colour),
    off,
  );
}
