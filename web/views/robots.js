// The robots of this account, with their state as it changes, and pairing a new one.

import { join, pair, robots } from "../api.js";
import { backoffMs } from "../backoff.js";
import { field, h, icon, toast } from "../dom.js";
import { sentence, short } from "../format.js";

const UNKNOWN_CODE = "This code is not known. It may be old: ask the robot, or whoever shares it, for a new one.";

/** One place for both codes: the one that a robot shows, and the one that somebody shares a robot by. */
async function useCode(code) {
  try {
    await pair(code);
    return "Paired. Say hello to your robot.";
  } catch (error) {
    if (error.code !== "NOT_FOUND") throw error;
  }
  await join(code);
  return "Joined. The robot is shared with you.";
}
const ROLES = { driver: "shared with you", viewer: "shared with you, watch only" };

export function robotsView({ socket, onSignOut, onRefused }) {
  const list = h("ul", { id: "robots", class: "robots", "aria-label": "Robots" });
  const online = new Map(); // newer than what the list said

  const card = (device) => {
    const isOnline = online.get(device.device_id) ?? device.is_online;
    return h(
      "li",
      {},
      h(
        "a",
        {
          class: "card robot-card",
          href: `#/robot/${encodeURIComponent(device.device_id)}`,
          "data-device": device.device_id,
          "data-online": isOnline ? "yes" : "no",
        },
        h("img", { src: "icon.svg", alt: "", width: 52, height: 52 }),
        h(
          "span",
          { class: "robot-words" },
          h("strong", { dir: "auto" }, short(device.name, 80)),
          h(
            "span",
            { class: "presence" },
            h("i", { class: "dot" }),
            isOnline ? "Online" : "Offline",
            ROLES[device.role] ? ` · ${ROLES[device.role]}` : null,
          ),
        ),
        icon("chevron"),
      ),
    );
  };
  let removed = false;
  let devices = null; // not known yet
  const show = () => {
    const empty = h("li", { class: "empty" }, "No robot yet. Pair the first one below.");
    list.replaceChildren(...(devices?.length ? devices.map(card) : [empty]));
  };
  let attempt = 0;
  let retry = null;
  const load = async () => {
    clearTimeout(retry);
    try {
      devices = await robots();
      attempt = 0;
      show();
    } catch (error) {
      if (error.status === 401) {
        onRefused("Please sign in again.");
        return;
      }
      list.replaceChildren(h("li", { class: "empty problem", role: "alert" }, sentence(error)));
      if (!removed) retry = setTimeout(load, backoffMs(attempt++));
    }
  };

  const code = h("input", {
    id: "pairing-code",
    required: true,
    minlength: 6,
    maxlength: 16,
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
  });
  const submit = h("button", { id: "pair", type: "submit", class: "primary" }, "Pair");
  const problem = h("p", { id: "problem", class: "problem", role: "alert" });
  const form = h(
    "form",
    { class: "card form pair" },
    h("h2", {}, "Pair or join a robot"),
    h("p", { class: "muted" }, "A new robot shows its code on its own page. For one that is shared with you, its owner makes a code."),
    h("div", { class: "row" }, field("Code", code), submit),
    problem,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit.disabled = true;
    try {
      toast(await useCode(code.value.replaceAll(/[^0-9a-z]/gi, "").toUpperCase()));
      code.value = "";
      await load();
    } catch (error) {
      problem.textContent = error.code === "NOT_FOUND" ? UNKNOWN_CODE : sentence(error);
    } finally {
      submit.disabled = false;
    }
  });

  const heard = ({ detail: message }) => {
    if (message.type === "error" && message.code === "NOT_AUTHORIZED") {
      const lost = devices?.find((device) => device.device_id === message.device_id);
      if (lost) toast(`You may not use the robot “${short(lost.name, 80)}” any more.`);
      load();
    }
    if (message.event !== "device_status") return;
    const { device_id: id, is_online: isOnline } = message.data ?? {};
    online.set(id, isOnline);
    if (devices === null) return;
    const listed = devices.find((device) => device.device_id === id);
    if (listed && (message.role === undefined || message.role === listed.role)) show();
    else load();
  };
  const back = () => {
    online.clear();
    if (devices !== null) load();
  };
  socket.addEventListener("message", heard);
  socket.addEventListener("open", back);
  list.replaceChildren(h("li", { class: "empty" }, "Looking for your robots…"));
  load();

  const header = h(
    "header",
    { class: "bar" },
    h("img", { src: "icon.svg", alt: "", width: 34, height: 34 }),
    h("h1", {}, "Your robots"),
    h("a", { id: "account-link", class: "text-link", href: "#/account" }, "Account"),
    h("button", { id: "sign-out", type: "button", class: "text", on: { click: onSignOut } }, "Sign out"),
  );
  const remove = () => {
    removed = true;
    clearTimeout(retry);
    socket.removeEventListener("message", heard);
    socket.removeEventListener("open", back);
  };
  return { element: h("div", { class: "page" }, header, h("main", {}, list, form)), remove };
}
