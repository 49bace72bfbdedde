// What the robot's view asks the server for: the robot's name, its readings, and the events that it missed.

import { history, robots, telemetry } from "../api.js";
import { toast } from "../dom.js";
import { sentence } from "../format.js";

/**
 * `known(values)` takes readings, `named(device)` the robot's entry in the list, `onRefused(notice)` is called when
 * the sign-in no longer holds.
 */
export function feed({ lan, deviceId, socket, link, log, known, named, onRefused }) {
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
  let asked = false; // for what was missed; its pages come over the socket
  const missed = () => {
    if (lan || asked) return;
    if (log.lastSeq !== null) {
      asked = socket.send({ type: "catch_up", device_id: deviceId, after: log.lastSeq });
      return;
    }
    const fetchEvents = async () => {
      const events = await history(deviceId);
      for (const event of events) log.add(event, true);
      if (events.length === 0) log.complete(0);
    };
    guarded(fetchEvents, (words) => toast(`Earlier events: ${words}`, "warning"));
  };
  /** A page of what was missed. */
  const page = ({ events, next_after: nextAfter, more }) => {
    for (const event of events) log.add(event, true);
    log.complete(nextAfter);
    asked = more;
  };
  /** The socket is gone, or the server gave up: ask again when there is a way. */
  const giveUp = () => {
    asked = false;
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
  return { readings, missed, page, giveUp, introduce };
}
