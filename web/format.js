// Values in words. What is not known is shown as a dash, never as a number.

const UNKNOWN = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Battery as "78 %"; some robots send {level: n}. */
export function battery(value, charging = false) {
  const level = typeof value === "object" && value !== null ? value.level : value;
  if (!known(level)) return UNKNOWN;
  return charging ? `${Math.round(level)} % charging` : `${Math.round(level)} %`;
}

export function temperature(celsius) {
  return known(celsius) ? `${Math.round(celsius)} °C` : UNKNOWN;
}

export function count(value) {
  return known(value) ? String(value) : UNKNOWN;
}

/** Wi-Fi signal in words, from dBm. */
export function wifi(dbm) {
  if (!known(dbm)) return UNKNOWN;
  if (dbm >= -60) return "strong";
  if (dbm >= -72) return "good";
  return dbm >= -80 ? "weak" : "very weak";
}

/** "Live · 24 ms · 15 fps", with what is known of it. */
export function liveLine({ rttMs, fps, relayed }) {
  const parts = ["Live"];
  if (known(rttMs)) parts.push(`${Math.max(1, Math.round(rttMs))} ms`);
  if (known(fps)) parts.push(`${Math.round(fps)} fps`);
  if (relayed) parts.push("relayed");
  return parts.join(" · ");
}

export function degrees(value) {
  return `${Math.round(value)}°`;
}

/** A clock time today, else with its date; empty when the timestamp cannot be read. */
export function clock(timestamp, now = new Date()) {
  const when = new Date(typeof timestamp === "number" && timestamp < 1e11 ? timestamp * 1000 : timestamp);
  if (timestamp === null || timestamp === undefined || Number.isNaN(when.getTime())) return "";
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (when.toDateString() === now.toDateString()) return time;
  return `${when.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

/** Somebody else's words, at most `limit` characters of them; what is neither text nor a number is empty. */
export function short(value, limit = 240) {
  const text = typeof value === "string" ? value : known(value) ? String(value) : "";
  if (text.length <= limit) return text;
  return `${[...text.slice(0, 2 * limit)].slice(0, limit).join("").trimEnd()}…`;
}

/** Name of an LED pattern or mode, for people. */
export function title(name) {
  const words = short(name, 60);
  return words.charAt(0).toUpperCase() + words.slice(1).replaceAll("_", " ");
}

/** A time to wait in words: "20 seconds", "3 minutes", "5 hours". */
export function waiting(seconds) {
  const [size, unit] = [[3600, "hour"], [60, "minute"]].find(([each]) => seconds > 1.5 * each) ?? [1, "second"];
  const number = Math.max(1, size === 3600 ? Math.round(seconds / size) : Math.ceil(seconds / size));
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

const SENTENCES = {
  DEVICE_OFFLINE: "The robot is offline.",
  NOT_PAIRED: "This robot is not paired with your account.",
  NOT_AUTHORIZED: "You are not allowed to do this with this robot.",
  NO_DEVICE: "No robot is chosen.",
  NOT_FOUND: "That is not there any more.",
  AUTH_FAILED: "Your sign-in has ended. Please sign in again.",
  EMERGENCY_STOPPED: "The emergency stop is on. Release it first.",
  LOW_BATTERY: "The battery is too low for this. Please charge the robot.",
  BUSY: "The robot is busy with something else.",
  SUPERSEDED: "Somebody else has taken over.",
  STALE_COMMAND: "The connection is too slow: this came too late, and nothing was done.",
  NOT_FITTED: "This robot does not have that part.",
  EMPTY: "There are no treats left. Please refill.",
  TREAT_JAM: "The treat is stuck. Please check the dispenser.",
  COOLDOWN: "A treat was just given.",
  DAILY_LIMIT: "That is enough treats for today.",
  RATE_LIMITED: "That was too often in a short time.",
  UNKNOWN_COMMAND: "This robot cannot do that. Its software may be older.",
  MESSAGE_TOO_LARGE: "That is too much at once.",
  UNAVAILABLE: "That part of the robot is not running right now.",
  VIEWER_LIMIT: "As many people as the robot allows are watching already.",
  TURN_ERROR: "The server could not prepare the video connection.",
  CAMERA_FAULT: "The robot's camera gives no picture.",
  MOTOR_FAULT: "The motors report a fault.",
  AUDIO_UNAVAILABLE: "The robot's speaker does not work right now.",
  INTERNAL_ERROR: "Something went wrong. Please try again.",
  NO_ANSWER: "The robot did not answer.",
  NO_PATH: "There is no connection to the robot right now.",
  NETWORK: "The server cannot be reached. Check the network.",
};
const SERVER_AWAY = "The server cannot do this right now. Please try again in a moment.";
const WAITS = { COOLDOWN: "The next one can be given in", DAILY_LIMIT: "The next one can be given in", RATE_LIMITED: "Try again in" };

/** An error as a sentence, with the time to wait where it is known: ours where we have one, else the sender's own. */
export function sentence(error) {
  const { status = 0, message, retry_after_s: wait } = error ?? {};
  const code = error?.code === "HTTP_429" ? "RATE_LIMITED" : short(error?.code, 60); // a proxy's refusal has no code of ours
  if (status >= 500 && (code === "UNAVAILABLE" || code.startsWith("HTTP_"))) return SERVER_AWAY;
  if (!Object.hasOwn(SENTENCES, code)) return short(message) || "Something went wrong.";
  if (!Object.hasOwn(WAITS, code)) return SENTENCES[code];
  if (known(wait) && wait > 0) return `${SENTENCES[code]} ${WAITS[code]} ${waiting(wait)}.`;
  return code === "RATE_LIMITED" ? `${SENTENCES[code]} Wait a moment.` : SENTENCES[code];
}
