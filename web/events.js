// The list of what happened: bounded, newest first, in words.

import { clock, count, sentence, title } from "./format.js";

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
    more: data.code ? title(data.code.toLowerCase()) : "",
  }),
  device_status: (data) => ({ icon: "link", text: data.is_online ? "Robot came online" : "Robot went offline" }),
  mode: (data) => ({ icon: "flag", text: `Mode: ${title(data.mode ?? "unknown")}`, more: data.reason ?? "" }),
};
WORDS.treat_dispensed = WORDS.treat;
WORDS.mode_changed = WORDS.mode;

/** One event for people: {icon, text, more, tone, time}. */
export function describe(event, now = new Date()) {
  const words = WORDS[event.event] ?? (() => ({ icon: "flag", text: title(String(event.event)) }));
  return { tone: "info", more: "", ...words(dataOf(event)), time: clock(event.timestamp, now) };
}

/** Events of one robot, newest first, each once, at most 200. */
export class EventLog {
  constructor(limit = MAX_EVENTS) {
    this.limit = limit;
    this.items = [];
    this.lastSeq = null;
  }

  /** Whether events before this one are missing: numbers grow by one. Until the history is here, nothing is known. */
  misses(event) {
    return typeof event.seq === "number" && this.lastSeq !== null && event.seq > this.lastSeq + 1;
  }

  /** Everything up to this number is here. */
  complete(seq) {
    this.lastSeq = Math.max(this.lastSeq ?? 0, seq);
  }

  /** Take an event, `past` when it comes from the history. Returns whether the list changed. */
  add(event, past = false) {
    if (typeof event.seq === "number" && (past || (this.lastSeq !== null && !this.misses(event)))) this.complete(event.seq);
    if (QUIET.has(event.event) || this.has(event) || this.repeats(event)) return false;
    const newer = (item) => (item.seq === undefined ? past : item.seq > event.seq);
    let place = 0;
    while (place < this.items.length && newer(this.items[place])) place += 1;
    this.items.splice(place, 0, event);
    this.items.length = Math.min(this.items.length, this.limit);
    return true;
  }

  has(event) {
    return event.id !== undefined && this.items.some((item) => item.id === event.id);
  }

  /** Whether it only says again what the newest says: a detector reports many times a second. */
  repeats(event) {
    const newest = this.items[0];
    if (event.event !== "detection" || newest?.event !== "detection") return false;
    return newest.data?.detected === event.data?.detected && newest.data?.behavior === event.data?.behavior;
  }
}
