// Stop and emergency stop: always in reach, sent on every path until the robot says it stands.

import { h, icon, toast } from "../dom.js";
import { sentence } from "../format.js";

const STATUS_AGE_MS = 3000;

/**
 * The bar with Stop, Emergency stop and Release. `onStop()` lets go of the stick.
 * `latched` is "off", "sending", "on", or "unsure" (sent, but nobody answered).
 */
export function stopBar(link, { onStop, onChange }) {
  let latched = "off";
  let changedAt = -Infinity;
  const words = h("p", { id: "estop-state", class: "estop-state", role: "alert" });
  const release = h("button", { id: "release", type: "button", class: "release" }, "Release");
  const notice = h("div", { class: "estop-notice", hidden: true }, icon("hand"), words, release);
  const stop = h("button", { id: "stop", type: "button", class: "stop" }, icon("square"), "Stop");
  const emergency = h("button", { id: "estop", type: "button", class: "estop" }, icon("hand"), "Emergency stop");

  const TEXT = {
    off: "",
    sending: "Stopping…",
    on: "Emergency stop is on. Driving is locked.",
    unsure: "Emergency stop was sent, but the robot has not answered.",
  };
  const become = (state) => {
    latched = state;
    changedAt = performance.now();
    words.textContent = TEXT[state];
    notice.hidden = state === "off";
    release.hidden = state === "sending";
    onChange(state);
  };

  stop.addEventListener("click", async () => {
    onStop();
    try {
      await link.urgent("stop");
    } catch (error) {
      if (error.code !== "CANCELLED") toast(`Stop: ${sentence(error)}`, "danger");
    }
  });
  emergency.addEventListener("click", async () => {
    onStop();
    become("sending");
    try {
      await link.urgent("emergency_stop");
      become("on");
    } catch (error) {
      if (error.code === "CANCELLED") return;
      become("unsure");
      toast(`Emergency stop: ${sentence(error)}`, "danger");
    }
  });
  release.addEventListener("click", async () => {
    link.cancelUrgent();
    release.disabled = true;
    try {
      await link.request("release");
      become("off");
    } catch (error) {
      toast(`Release: ${sentence(error)}`, "danger");
    } finally {
      release.disabled = false;
    }
  });
  return {
    element: h("div", { class: "stop-bar" }, notice, h("div", { class: "stop-buttons" }, stop, emergency)),
    get latched() {
      return latched;
    },
    stop: () => stop.click(),
    /** The robot itself said that its emergency stop is on. */
    learn: () => latched !== "sending" && become("on"),
    /** What the robot's status says of it, which may be a little older than what was done here. */
    told: (on) => {
      if (latched === "sending" || performance.now() - changedAt < STATUS_AGE_MS) return;
      if (on ? latched !== "on" : latched === "on") become(on ? "on" : "off");
    },
  };
}
