// Signing in to the relay, or making an account.

import { signIn } from "../api.js";
import { field, h } from "../dom.js";
import { sentence } from "../format.js";

const WORDS = {
  AUTH_FAILED: "E-mail or password is wrong.",
  CONFLICT: "There is an account with this e-mail already. Sign in instead.",
};

export function signInView({ notice = "", onDone }) {
  let register = false;
  const email = h("input", { id: "email", type: "email", autocomplete: "username", required: true, maxlength: 254 });
  const password = h("input", { id: "password", type: "password", required: true, maxlength: 256 });
  const remember = h("input", { id: "remember", type: "checkbox" });
  const problem = h("p", { id: "problem", class: "problem", role: "alert" }, notice);
  const submit = h("button", { id: "sign-in", type: "submit", class: "primary" });
  const heading = h("h1", {});
  const hint = h("small", {}, "At least 8 characters.");
  const other = h("button", { id: "switch", type: "button", class: "text" });

  const show = () => {
    heading.textContent = register ? "Create your account" : "Welcome back";
    submit.textContent = register ? "Create account" : "Sign in";
    other.textContent = register ? "I have an account" : "Create an account";
    hint.hidden = !register;
    password.autocomplete = register ? "new-password" : "current-password";
    password.minLength = register ? 8 : 1;
  };
  other.addEventListener("click", () => {
    register = !register;
    problem.textContent = "";
    show();
  });
  const form = h(
    "form",
    { class: "card form" },
    heading,
    field("E-mail", email),
    field("Password", password),
    hint,
    h("label", { class: "check" }, remember, h("span", {}, "Stay signed in on this device")),
    problem,
    submit,
    other,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit.disabled = true;
    try {
      await signIn(email.value.trim(), password.value, { remember: remember.checked, register });
      onDone();
    } catch (error) {
      problem.textContent = WORDS[error.code] ?? sentence(error);
      password.focus();
      password.select();
    } finally {
      submit.disabled = false;
    }
  });
  show();
  const brand = h("div", { class: "brand-big" }, h("img", { src: "icon.svg", alt: "", width: 76, height: 76 }), "WIM-Z");
  return { element: h("main", { class: "page narrow" }, brand, form), remove: () => {} };
}
