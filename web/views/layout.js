// Where the pieces of the robot's view stand.

import { h, icon } from "../dom.js";

const panel = (title, id, ...content) =>
  h("section", { class: "card panel", "aria-labelledby": id }, h("h2", { id }, title), ...content);

/** Something that who only watches does not see. */
const drives = (element) => {
  element.classList.add("drives");
  return element;
};

/** The header and the main part. `parts` are the elements that the view has made. */
export function layout({ lan, name, presence, settings, video, stateLine, watch, readings, stick, gentle, camera, ...parts }) {
  const home = lan
    ? h("img", { src: "icon.svg", alt: "", width: 34, height: 34 })
    : h("a", { id: "back", class: "round", href: "#/", "aria-label": "All robots" }, icon("back"));
  const sticks = h(
    "div",
    { class: "sticks drives" },
    panel("Drive", "drive-title", stick, h("div", { class: "pad-foot" }, gentle)),
    panel("Look", "look-title", camera.pad, camera.foot),
  );
  const controls = h(
    "div",
    { class: "controls" },
    parts.pairing ?? [],
    sticks,
    h("p", { class: "keys drives" }, "Arrow keys or W A S D drive, Esc stops"),
    parts.note,
    parts.stops,
    drives(parts.treat),
    drives(panel("Lights", "lights-title", parts.lights)),
    drives(panel("Missions", "missions-title", parts.missions)),
  );
  const stage = h("section", { class: "stage", "aria-label": "Video" }, video, h("div", { class: "stage-art" }));
  stage.append(stateLine, watch);
  const main = h("main", { class: "robot-grid" }, stage, readings, controls);
  main.append(panel("What happened", "events-title", parts.events));
  return [h("header", { class: "bar" }, home, name, presence, settings), main];
}
