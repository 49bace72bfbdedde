// What the robot's view asks the server for: the robot's name, its readings, and the events that it missed.

import { history, robots, telemetry } from "../api.js";
import { toast } from "../dom.js";
import { sentence } from "../format.js";

/**
 * `known(values)` takes readings, `named(device)` the robot's entry in the list, `onRefused(notice)` is called when
 * the sign-in no longer holds.
 */
export function feed({ lan, deviceId, link, log, known, named, onRefused }) {
  const guarded = async (action, complain) => {
    try {
      await action();
    } catch (error) {
      if (error.status === 401) onRefused("Please sign in again.");
      else complain(sentence(error));
    }
  };
  /** Readings; where they cannot be had, they stay as they were, or unknown. */
  const readings = () => {
    if (document.visibilityState === "hidden" || (!lan && link.path === "none")) return;
    const read = async () => known(lan ? await telemetry() : ((await link.request("get_status")) ?? {}));
    guarded(read, (words) => console.info("No readings:", words));
  };
  const missed = () => {
    if (lan) return;
    const fetchEvents = async () => {
      for (const event of await history(deviceId, log.lastSeq)) log.add(event, true);
    };
    guarded(fetchEvents, (words) => toast(`Earlier events: ${words}`, "warning"));
  };
  const introduce = () => {
    if (lan) return;
    const find = async () => {
      const device = (await robots()).find((each) => each.device_id === deviceId);
      if (device) {
        named(device);
        return;
      }
      toast("This robot is not among yours.");
      location.hash = "#/";
    };
    guarded(find, (words) => console.info("No name for the robot:", words));
  };
  return { readings, missed, introduce };
}
