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

/** Name of an LED pattern or mode, for people. */
export function title(name) {
  return name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
}

const SENTENCES = {
  DEVICE_OFFLINE: "The robot is offline.",
  NOT_PAIRED: "This robot is not paired with your account.",
  NOT_AUTHORIZED: "You are not allowed to do this with this robot.",
  NO_DEVICE: "No robot is chosen.",
  EMERGENCY_STOPPED: "The emergency stop is on. Release it first.",
  BUSY: "The robot is busy with something else.",
  NOT_FITTED: "This robot does not have that part.",
  EMPTY: "There are no treats left. Please refill.",
  TREAT_JAM: "The treat is stuck. Please check the dispenser.",
  RATE_LIMITED: "Too many at once. Wait a moment.",
  UNAVAILABLE: "That part of the robot is not running right now.",
  VIEWER_LIMIT: "As many people as the robot allows are watching already.",
  TURN_ERROR: "The server could not prepare the video connection.",
  CAMERA_FAULT: "The robot's camera gives no picture.",
  MOTOR_FAULT: "The motors report a fault.",
  NO_ANSWER: "The robot did not answer.",
  NO_PATH: "There is no connection to the robot right now.",
  NETWORK: "The server cannot be reached. Check the network.",
};

/** An error as a sentence: ours where we have one, else the sender's own. */
export function sentence(error) {
  return SENTENCES[error?.code] ?? error?.message ?? "Something went wrong.";
}
