// Where the camera looks: a pad for fingers, two real sliders for keys and screen readers.

import { h, icon, toast } from "../dom.js";
import { RateLimit } from "../drive.js";
import { degrees, sentence } from "../format.js";
import { COMMANDS } from "../messages.js";

const SEND_EVERY_MS = 70; // under 15 Hz
const { pan: PAN, tilt: TILT } = COMMANDS.servo.fields;

const slider = (id, label, limits) =>
  h("input", {
    id,
    type: "range",
    min: limits.minimum,
    max: limits.maximum,
    step: 1,
    value: 0,
    "aria-label": label,
    class: "pad-slider",
  });

/** The panel "Look". Pan is positive to the right, tilt upwards. */
export function cameraPad(link) {
  const pan = slider("pan", "Pan, degrees to the right", PAN);
  const tilt = slider("tilt", "Tilt, degrees up", TILT);
  const knob = h("div", { class: "knob small" });
  const pad = h("div", { id: "look", class: "pad look" }, h("span", { class: "pad-mark" }), knob, pan, tilt);
  const readout = h("output", { id: "angles", class: "readout" });
  let pointer = null;

  const limit = new RateLimit(SEND_EVERY_MS, (angles) => link.motion("servo", angles));

  const show = () => {
    knob.style.setProperty("--x", (pan.valueAsNumber / PAN.maximum).toFixed(3));
    knob.style.setProperty("--y", (-tilt.valueAsNumber / TILT.maximum).toFixed(3));
    readout.value = `${degrees(pan.valueAsNumber)} / ${degrees(tilt.valueAsNumber)}`;
  };
  const angles = () => ({ pan: pan.valueAsNumber, tilt: tilt.valueAsNumber });
  const point = () => {
    show();
    limit.push(angles());
  };
  /** The last of a movement is said twice: a data channel that never resends may have lost it. */
  const settle = () => {
    limit.push(angles());
    setTimeout(() => limit.push(angles()), 2 * SEND_EVERY_MS);
  };

  const follow = (event) => {
    const box = pad.getBoundingClientRect();
    const x = (event.clientX - box.left - box.width / 2) / (box.width * 0.4);
    const y = -(event.clientY - box.top - box.height / 2) / (box.height * 0.4);
    pan.valueAsNumber = Math.round(Math.max(-1, Math.min(1, x)) * PAN.maximum);
    tilt.valueAsNumber = Math.round(Math.max(-1, Math.min(1, y)) * TILT.maximum);
    point();
  };
  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    event.preventDefault();
    pointer = event.pointerId;
    pad.setPointerCapture(pointer);
    follow(event);
  });
  pad.addEventListener("pointermove", (event) => event.pointerId === pointer && follow(event));
  for (const type of ["pointerup", "pointercancel"]) {
    pad.addEventListener(type, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      settle();
    });
  }
  for (const input of [pan, tilt]) {
    input.addEventListener("input", point);
    input.addEventListener("change", settle);
  }

  const centre = h("button", { id: "center", type: "button", class: "quiet" }, icon("centre"), "Centre");
  centre.addEventListener("click", async () => {
    [pan.valueAsNumber, tilt.valueAsNumber] = [0, 0];
    show();
    try {
      await link.request("servo_center");
    } catch (error) {
      toast(sentence(error), "warning");
    }
  });
  show();
  return { pad, foot: h("div", { class: "pad-foot" }, readout, centre) };
}
