// The mode, and the missions: start one, stop it, see how it stands.

import { h, toast } from "../dom.js";
import { count, sentence, short, title } from "../format.js";
import { MODES } from "../messages.js";

const READ_EVERY_MS = 5_000;
const MAX_MISSIONS = 100;
const SHOWN_MODES = MODES.filter((mode) => mode !== "docking"); // no robot has a dock yet

/** The panel; `refresh()` asks the robot how things stand, `remove()` ends asking by itself. */
export function missionPanel(link) {
  const choices = SHOWN_MODES.map((mode) => h("option", { value: mode }, title(mode)));
  const mode = h("select", { id: "mode" }, h("option", { value: "", hidden: true }, "Unknown"), choices);
  const why = h("p", { id: "mode-reason", class: "muted" });
  const list = h("ul", { id: "missions", class: "missions" });
  let asking = false;

  const act = async (command, fields) => {
    try {
      await link.request(command, fields);
    } catch (error) {
      toast(sentence(error), "warning");
    }
    await refresh();
  };
  mode.addEventListener("change", () => act("mode", { mode: mode.value }));

  const row = (mission) => {
    const label = mission.is_active ? "Stop" : "Start";
    const button = h("button", { type: "button", class: "quiet", "data-mission": mission.id }, label);
    const name = short(mission.name, 80);
    button.setAttribute("aria-label", `${label} ${name}`);
    button.addEventListener("click", () => {
      button.disabled = true;
      act(mission.is_active ? "mission_stop" : "mission_start", { mission_id: mission.id });
    });
    const today = `${count(mission.rewards_given)} of ${count(mission.daily_limit)} treats today`;
    const words = h("span", { class: "mission-words", dir: "auto" }, name, h("small", {}, today));
    return h("li", { class: mission.is_active ? "mission active" : "mission" }, words, button);
  };
  const show = (now, missions) => {
    mode.value = SHOWN_MODES.includes(now.mode) ? now.mode : "";
    why.textContent = short(now.reason);
    const focused = document.activeElement?.dataset?.mission;
    list.replaceChildren(...missions.slice(0, MAX_MISSIONS).map(row));
    [...list.querySelectorAll("button")].find((button) => button.dataset.mission === focused)?.focus();
  };

  /** Where it cannot be had (no path, an older robot), the panel stays as it was. */
  async function refresh() {
    if (asking || document.visibilityState === "hidden" || link.path === "none") return;
    asking = true;
    try {
      const [now, { missions }] = await Promise.all([link.request("mode_get"), link.request("mission_list")]);
      show(now, missions);
    } catch (error) {
      console.info("No missions:", sentence(error));
    } finally {
      asking = false;
    }
  }
  const timer = setInterval(refresh, READ_EVERY_MS);
  const element = h("div", { class: "mission-box" }, h("label", { class: "led-field" }, h("span", {}, "Mode"), mode), why, list);
  return { element, refresh, remove: () => clearInterval(timer) };
}
