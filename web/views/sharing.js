// Whom a robot is shared with: its owner invites and takes out, everybody else may leave.

import { leave, members, removeMember, rename, setRole, share, unpair, withdrawCodes } from "../api.js";
import { field, h, toast } from "../dom.js";
import { sentence, short } from "../format.js";

const ROLES = { viewer: "Watches", driver: "Drives" };
const TO_DO = { viewer: "to watch", driver: "to drive" };
const EXPLAINED = "Who watches sees the video and may stop the robot. Who drives may do all but rename, share and unpair.";

const roleSelect = (label, value, props = {}) => {
  const options = Object.entries(ROLES).map(([role, words]) => h("option", { value: role, selected: role === value }, words));
  return h("select", { "aria-label": label, ...props }, options);
};

/**
 * Open the dialog for `device` (its entry in the list). `onChange(device)` is called when it was renamed, `onGone()`
 * when it is not the account's any more.
 */
export function openSharing({ device, onChange, onGone }) {
  const problem = h("p", { id: "sharing-problem", class: "problem", role: "alert" });
  const content = h("div", { class: "dialog-body" });
  const close = h("button", { id: "sharing-close", type: "button", class: "text" }, "Done");
  const head = h("header", { class: "dialog-head" }, h("h1", { id: "sharing-title", dir: "auto" }, short(device.name, 80)), close);
  const dialog = h("dialog", { id: "sharing", class: "card dialog", "aria-labelledby": "sharing-title" }, head, content, problem);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());

  const act = async (button, action) => {
    problem.textContent = "";
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      problem.textContent = sentence(error);
    } finally {
      button.disabled = false;
    }
  };
  /** A button for what cannot be undone: it asks once more, by itself. */
  const twice = (id, words, sure, action) => {
    const button = h("button", { id, type: "button", class: "quiet danger" }, words);
    button.addEventListener("click", () => {
      if (button.textContent === sure) act(button, action);
      else button.textContent = sure;
    });
    return button;
  };
  const gone = (words) => {
    dialog.close();
    toast(words);
    onGone();
  };

  const parts = device.role === "owner" ? ownersPart({ device, act, twice, gone, onChange, head }) : membersPart({ device, twice, gone });
  content.append(...parts.elements);
  document.body.append(dialog);
  dialog.showModal();
  if (parts.load) act(close, parts.load);
}

function membersPart({ device, twice, gone }) {
  const words = device.role === "driver" ? "This robot is shared with you: you may watch and drive." : "This robot is shared with you: you may watch, and stop it.";
  const leaving = twice("leave", "Leave this robot", "Really leave?", async () => {
    await leave(device.device_id);
    gone("You have left the robot.");
  });
  return { elements: [h("p", {}, words), leaving], load: null };
}

function ownersPart({ device, act, twice, gone, onChange, head }) {
  const id = device.device_id;
  const list = h("ul", { id: "members", class: "members", "aria-label": "People" });
  const open = h("p", { class: "muted" });
  const load = async () => {
    const { members: people, invitations } = await members(id);
    list.replaceChildren(...people.map(person));
    const unused = Object.entries(TO_DO).map(([role, words]) => [invitations.filter((each) => each.role === role).length, words]);
    const counted = unused.filter(([number]) => number > 0).map(([number, words]) => `${number} ${words}`);
    open.textContent = counted.length ? `Codes that nobody has used yet: ${counted.join(", ")}.` : "";
    withdraw.hidden = invitations.length === 0;
  };
  const person = (member) => {
    const name = h("span", { class: "member-name", dir: "auto" }, short(member.email, 254));
    if (member.role === "owner") return h("li", { "data-role": "owner" }, name, h("span", { class: "muted" }, "Owner"));
    const role = roleSelect(`Role of ${member.email}`, member.role);
    role.addEventListener("change", () => act(role, async () => {
      await setRole(id, member.user_id, role.value).finally(load);
    }));
    const out = twice(null, "Remove", "Sure?", async () => {
      await removeMember(id, member.user_id);
      await load();
    });
    return h("li", { "data-role": member.role, "data-member": member.user_id }, name, role, out);
  };

  const as = roleSelect("What the other person may do", "viewer", { id: "share-role" });
  const invite = h("button", { id: "share-make", type: "button", class: "primary" }, "Make a code");
  const code = h("output", { id: "share-code", class: "code" });
  const hint = h("small", { hidden: true }, "For one person, good for a day. They type it under “Pair or join a robot”. It is shown only now.");
  invite.addEventListener("click", () => act(invite, async () => {
    const made = (await share(id, as.value)).share_code;
    code.textContent = `${made.slice(0, 4)}-${made.slice(4)}`;
    hint.hidden = false;
    await load();
  }));
  const withdraw = h("button", { id: "share-withdraw", type: "button", class: "text", hidden: true }, "Withdraw the codes");
  withdraw.addEventListener("click", () => act(withdraw, async () => {
    await withdrawCodes(id);
    code.textContent = "";
    hint.hidden = true;
    await load();
  }));

  const name = h("input", { id: "rename", maxlength: 64, required: true, value: device.name });
  const save = h("button", { id: "rename-save", type: "submit", class: "quiet" }, "Rename");
  const naming = h("form", { class: "row" }, field("Name", name), save);
  naming.addEventListener("submit", (event) => {
    event.preventDefault();
    act(save, async () => {
      const renamed = await rename(id, name.value.trim());
      head.querySelector("h1").textContent = short(renamed.name, 80);
      onChange(renamed);
    });
  });
  const ending = twice("unpair", "Unpair this robot", "Unpair, and end all sharing?", async () => {
    await unpair(id);
    gone("The robot is unpaired.");
  });
  const inviting = h("div", { class: "row" }, h("label", { class: "field" }, h("span", { class: "field-label" }, "Somebody who"), as), invite);
  const elements = [h("h2", {}, "People"), list, h("h2", {}, "Share"), inviting, code, hint, open, withdraw, h("small", {}, EXPLAINED), h("h2", {}, "Robot"), naming, ending];
  return { elements, load };
}
