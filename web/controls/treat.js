// One treat at a time, and what came of it.

import { h, icon } from "../dom.js";
import { count, sentence } from "../format.js";

/** The treat button. `remaining(n)` shows how many are left. */
export function treatButton(link, { onGiven }) {
  const left = h("span", { id: "treats-left", class: "treats-left" });
  const label = h("span", {}, "Give a treat");
  const outcome = h("p", { id: "treat-state", class: "outcome", role: "status" });
  const button = h("button", { id: "treat", type: "button", class: "treat" }, icon("treat"), label, left);

  const remaining = (number) => {
    left.textContent = number === null ? "" : `${count(number)} left`;
  };
  const say = (text, tone) => {
    outcome.textContent = text;
    outcome.className = `outcome ${tone}`;
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    label.textContent = "Giving a treat…";
    say("", "");
    try {
      const given = await link.request("treat");
      if (typeof given?.remaining === "number") {
        remaining(given.remaining);
        onGiven(given.remaining);
      }
      say(given?.confirmed === false ? "Done. (No sensor is fitted to see it fall.)" : "Done. Enjoy!", "good");
    } catch (error) {
      say(sentence(error), "bad");
    } finally {
      button.disabled = false;
      label.textContent = "Give a treat";
    }
  });
  remaining(null);
  return { element: h("div", { class: "treat-box" }, button, outcome), remaining };
}
