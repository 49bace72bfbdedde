// One treat at a time, and what came of it.

import { h, icon } from "../dom.js";
import { count, sentence } from "../format.js";

/** Tells the robot how many treats are in it after a refill; `onRefilled(n)` hears what it took. */
function refillForm(link, { say, onRefilled }) {
  const number = h("input", { id: "refill-count", type: "number", min: 0, max: 10000, step: 1, required: true });
  const send = h("button", { id: "refill", type: "submit", class: "quiet" }, "Refilled");
  const label = h("label", { for: "refill-count" }, "Treats in it now");
  const form = h("form", { class: "refill" }, label, number, send);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const told = await link.request("treat_refill", { count: number.valueAsNumber });
      if (typeof told?.remaining === "number") onRefilled(told.remaining);
      say("Thank you. I count from here.", "good");
      number.value = "";
    } catch (error) {
      say(sentence(error), "bad");
    } finally {
      send.disabled = false;
    }
  });
  return h("details", { class: "refill-box" }, h("summary", { id: "refill-open" }, "Refill"), form);
}

/** The treat button, and the form for a refill. `remaining(n)` shows how many are left. */
export function treatButton(link, { onGiven }) {
  const left = h("span", { id: "treats-left", class: "treats-left" });
  const label = h("span", {}, "Give a treat");
  const outcome = h("p", { id: "treat-state", class: "outcome", role: "status" });
  const button = h("button", { id: "treat", type: "button", class: "treat" }, icon("treat"), label, left);

  const remaining = (number) => {
    left.textContent = number === null ? "" : `${count(number)} left`;
  };
  let fades = null;
  const say = (text, tone, forS = Infinity) => {
    clearTimeout(fades);
    if (forS < 3600) fades = setTimeout(() => say("", ""), forS * 1000); // by then it is no longer true
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
      say(sentence(error), "bad", error.retry_after_s);
    } finally {
      button.disabled = false;
      label.textContent = "Give a treat";
    }
  });
  const onRefilled = (number) => {
    remaining(number);
    onGiven(number);
  };
  remaining(null);
  const refill = refillForm(link, { say, onRefilled });
  return { element: h("div", { class: "treat-box" }, button, outcome, refill), remaining };
}
