// What the robot's view asks the server for: the robot's name, its readings, and the events that it missed.

import { history, robots, telemetry } from "../api.js";
import { CatchUp } from "../catchup.js";
import { toast } from "../dom.js";
import { sentence } from "../format.js";
import { seen } from "../seen.js";

/**
 * `known(values)` takes readings, `named(device)` the robot's entry in the list, `onRefused(notice)` is called when
 * the sign-in no longer holds, `gone()` when the robot is not the account's any more.
 */
export function feed({ lan, deviceId, socket, link, log, known, named, gone, onRefused }) {
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

  const catchUp = new CatchUp({
    ask: (after) => socket.send({ type: "catch_up", device_id: deviceId, after }),
    keep: (seq) => seen.set(socket.account, deviceId, seq),
  });
  let filled = false;
  let filling = false;
  let remembered = null; // how far an earlier visit was
  let away = 0; // events that were missed, until the last page is here
  /** The latest events once, for a list that is not empty. Without a cursor of an earlier visit, it begins here. */
  const fill = async () => {
    if (filled || filling) return;
    filling = true;
    try {
      const events = await history(deviceId);
      for (const event of events) log.add(event, true);
      filled = true;
      const newest = events.at(-1)?.seq ?? 0;
      if (remembered !== null && remembered <= newest) return;
      catchUp.reached(Math.min(catchUp.cursor ?? newest, newest)); // a first visit, or a history that has begun anew
      catchUp.begin(); // what happened since that answer
    } finally {
      filling = false;
    }
  };
  const fillAgain = () => {
    if (!lan && socket.ready) guarded(fill, (words) => console.info("No earlier events:", words));
  };
  const missed = () => {
    if (lan) return;
    if (catchUp.cursor === null) remembered = catchUp.cursor = seen.get(socket.account, deviceId);
    away = 0;
    catchUp.begin();
    guarded(fill, (words) => toast(`Earlier events: ${words}`, "warning"));
  };
  const page = (frame) => {
    for (const event of frame.events) log.add(event, true);
    away += catchUp.page(frame);
    if (frame.more) return;
    if (away > 0) toast(away === 1 ? "One event while you were away." : `${away} events while you were away.`);
    away = 0;
  };

  const introduce = () => {
    if (lan) return;
    const find = async () => {
      const device = (await robots()).find((each) => each.device_id === deviceId);
      if (device) named(device);
      else gone();
    };
    guarded(find, (words) => console.info("No name for the robot:", words));
  };
  return { readings, missed, fillAgain, page, introduce, live: (event) => catchUp.live(event), refused: () => catchUp.refused(), lost: () => catchUp.lost() };
}
