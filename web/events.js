// The list of what happened: bounded, newest first, in words.

import { clock, count, sentence, short, title } from "./format.js";

export const MAX_EVENTS = 200;
const QUIET = new Set(["status"]); // shown as readings, not as news

/** Robots in the field put some fields beside `event` instead of into `data`. */
const dataOf = (event) => ({ ...event, ...(event.data ?? {}) });

const WORDS = {
  treat: (data) =>
    data.dispensed === false
      ? { icon: "alert", tone: "warning", text: "No treat came out" }
      : { icon: "treat", text: "Treat given", more: `${count(data.remaining)} left` },
  detection: (data) =>
    data.detected
      ? { icon: "eye", text: "Dog in view", more: data.behavior ? title(data.behavior) : "" }
      : { icon: "eye", text: "Dog out of view" },
  mission: (data) => ({
    icon: "flag",
    text: `Mission ${data.id ?? ""}: ${title(data.status ?? "changed")}`,
    more: data.reason || `${count(data.rewards_given)} treats given`,
  }),
  alert: (data) => ({ icon: "eye", tone: "warning", text: data.message ?? "Something is going on" }),
  error: (data) => ({
    icon: "alert",
    tone: data.severity === "info" ? "info" : "warning",
    text: data.message ?? sentence(data),
    more: data.code ? title(String(data.code).toLowerCase()) : "",
  }),
  device_status: (data) => ({ icon: "link", text: data.is_online ? "Robot came online" : "Robot went offline" }),
  mode: (data) => ({ icon: "flag", text: `Mode: ${title(data.mode ?? "unknown")}`, more: data.reason ?? "" }),
};
WORDS.treat_dispensed = WORDS.treat;
WORDS.mode_changed = WORDS.mode;

/** One event for people: {icon, text, more, tone, time}. */
export function describe(event, now = new Date()) {
  const words = Object.hasOwn(WORDS, event.event) ? WORDS[event.event] : () => ({ icon: "flag", text: title(event.event) });
  const { text, more = "", ...look } = words(dataOf(event));
  return { tone: "info", ...look, text: short(text), more: short(more), time: clock(event.timestamp, now) };
}

/** Events of one robot, newest first, each once, at most 200. */
export class EventLog {
  constructor(limit = MAX_EVENTS) {
    this.limit = limit;
    this.items = [];
  }

  /** Take an event, `past` when it comes from the history. Returns whether the list changed. */
  add(event, past = false) {
    if (QUIET.has(event.event) || this.has(event)) return false;
    const newer = (item) => (item.seq === undefined ? past : item.seq > event.seq);
    let place = 0;
    while (place < this.items.length && newer(this.items[place])) place += 1;
    if (place >= this.limit || repeats(event, this.items[place])) return false;
    this.items.splice(place, 0, event);
    this.items.length = Math.min(this.items.length, this.limit);
    return true;
  }

  /** Whether it is here. One that came straight from the robot first gets its place in the history now. */
  has({ id, seq }) {
    const same = id === undefined ? undefined : this.items.find((item) => item.id === id);
    if (same !== undefined && same.seq === undefined && seq !== undefined) same.seq = seq;
    return same !== undefined;
  }
}

/** Whether it only says again what the one before it says: a detector reports many times a second. */
function repeats(event, before) {
  if (event.event !== "detection" || before?.event !== "detection") return false;
  return before.data?.detected === event.data?.detected && before.data?.behavior === event.data?.behavior;
}
