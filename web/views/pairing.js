// On the robot's own page: the code by which its first owner pairs it.

import { pairing } from "../api.js";
import { h } from "../dom.js";
import { sentence, short, waiting } from "../format.js";

const LOOK_EVERY_MS = 10_000;

/** The note's element, hidden where the robot has an owner, and a function that ends looking. */
export function pairingNote() {
  const code = h("output", { id: "own-code", class: "code" });
  const until = h("small", {});
  const words = h("p", {}, "Sign in to your relay’s page and type this code under “Pair or join a robot”.");
  const element = h("section", { id: "pairing", class: "card panel pairing-note", "aria-label": "Pairing", hidden: true });
  element.append(h("h2", {}, "This robot has no owner yet"), words, code, until);

  const show = (state) => {
    const open = state.paired === false && typeof state.code === "string";
    element.hidden = !open;
    if (!open) return;
    const shown = short(state.code, 16);
    code.textContent = shown.length === 8 ? `${shown.slice(0, 4)}-${shown.slice(4)}` : shown;
    until.textContent = `Good for another ${waiting(state.expires_in_s ?? 0)}, then there is a new one.`;
  };
  const look = async () => {
    if (document.visibilityState === "hidden") return;
    try {
      show(await pairing());
    } catch (error) {
      element.hidden = true; // a code that may be over is none
      console.info("No pairing code:", sentence(error));
    }
  };
  const timer = setInterval(look, LOOK_EVERY_MS);
  look();
  return { element, remove: () => clearInterval(timer) };
}
