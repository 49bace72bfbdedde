// The robot's own page asks for the robot's token once; a cookie remembers it.

import { unlock } from "../api.js";
import { field, h } from "../dom.js";
import { sentence } from "../format.js";

export function unlockView({ onDone }) {
  const token = h("input", { id: "robot-token", type: "password", autocomplete: "off", required: true, maxlength: 4096 });
  const problem = h("p", { id: "problem", class: "problem", role: "alert" });
  const submit = h("button", { id: "unlock", type: "submit", class: "primary" }, "Open the robot");
  const form = h(
    "form",
    { class: "card form" },
    h("h1", {}, "Your robot"),
    h("p", { class: "muted" }, "This robot is locked. Type its token; it is written in the robot's configuration."),
    field("Token", token),
    problem,
    submit,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit.disabled = true;
    try {
      await unlock(token.value.trim());
      onDone();
    } catch (error) {
      problem.textContent = error.code === "AUTH_FAILED" ? "This is not the robot's token." : sentence(error);
      token.select();
    } finally {
      submit.disabled = false;
    }
  });
  const brand = h("div", { class: "brand-big" }, h("img", { src: "icon.svg", alt: "", width: 76, height: 76 }), "WIM-Z");
  return { element: h("main", { class: "page narrow" }, brand, form), remove: () => {} };
}
