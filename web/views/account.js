// The account: its password, signing out everywhere, and its end.

import { changePassword, deleteAccount, me, signOutEverywhere } from "../api.js";
import { field, h, icon, toast } from "../dom.js";
import { sentence } from "../format.js";

const secret = (id, autocomplete, more = {}) => h("input", { id, type: "password", autocomplete, required: true, maxlength: 256, ...more });

/** A form with its own button and place for complaints. */
function form({ id, title, words, fields, button, danger = false }, action) {
  const problem = h("p", { class: "problem", role: "alert" });
  const submit = h("button", { type: "submit", class: danger ? "quiet danger" : "primary" }, button);
  const made = h("form", { id, class: "card form" }, h("h2", {}, title), h("p", { class: "muted" }, words), fields, problem, submit);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit.disabled = true;
    try {
      await action();
      made.reset();
    } catch (error) {
      problem.textContent = error.code === "NOT_AUTHORIZED" ? "The password is not right." : sentence(error);
    } finally {
      submit.disabled = false;
    }
  });
  return made;
}

/** `apart(action)` runs what ends the account's sockets while ours is closed; `onEnd(notice)` leaves for good. */
export function accountView({ apart, onEnd, onRefused }) {
  const email = h("p", { id: "account-email", class: "muted" }, "…");
  const old = secret("old-password", "current-password");
  const fresh = secret("new-password", "new-password", { minlength: 8 });
  const password = form(
    {
      id: "password-form",
      title: "Change the password",
      words: "Everything else that is signed in to this account is signed out.",
      fields: [field("Current password", old), field("New password", fresh, "At least 8 characters.")],
      button: "Change",
    },
    async () => {
      await apart(() => changePassword(old.value, fresh.value));
      toast("The password is changed.");
    },
  );
  const everywhere = form(
    { id: "everywhere-form", title: "Sign out everywhere", words: "On every device, this one too.", fields: [], button: "Sign out everywhere" },
    async () => {
      await apart(signOutEverywhere);
      onEnd("You are signed out everywhere.");
    },
  );
  const confirm = secret("delete-password", "current-password");
  const end = form(
    {
      id: "delete-form",
      title: "Delete the account",
      words: "With everything that the server has of it: events, sharing, and the pairing of your robots. It cannot be undone.",
      fields: [field("Password", confirm)],
      button: "Delete the account",
      danger: true,
    },
    async () => {
      await apart(() => deleteAccount(confirm.value));
      onEnd("The account is deleted.");
    },
  );
  const load = async () => {
    try {
      email.textContent = (await me()).email;
    } catch (error) {
      if (error.status === 401) onRefused("Please sign in again.");
      else email.textContent = sentence(error);
    }
  };
  load();
  const back = h("a", { id: "back", class: "round", href: "#/", "aria-label": "All robots" }, icon("back"));
  const header = h("header", { class: "bar" }, back, h("h1", {}, "Your account"));
  const main = h("main", { id: "account", class: "stack" }, email, password, everywhere, end);
  return { element: h("div", { class: "page" }, header, main), remove: () => {} };
}
