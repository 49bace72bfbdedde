// Commands to one robot, over its data channel and over the socket. Nothing is kept for later: a command goes out now,
// or is refused now.

import { COMMANDS } from "./messages.js";

const URGENT_EVERY_MS = 100;
const URGENT_FOR_MS = 2_000;
const AGAIN_EVERY_MS = 500; // a reliable command over the data channel, which may lose it
const GRACE_MS = 3_000; // the way there and back, on top of the command's own time
const MOTION_BACKLOG_BYTES = 2_048; // with more than this waiting, motion would arrive late

/** A command that was refused or never answered. */
export class CommandError extends Error {
  constructor({ code = "INTERNAL_ERROR", message = "", retry_after_s: wait } = {}) {
    super(message);
    this.code = code;
    this.retry_after_s = wait; // named as on the wire
  }
}

/** An id that no other command has. (randomUUID does not exist on the robot's own http page.) */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Events: "path" when the best way to the robot changes. */
export class RobotLink extends EventTarget {
  /** `deviceId` is null on the robot's own page, where there is only one. */
  constructor({ socket, deviceId, now = () => performance.now() }) {
    super();
    this.socket = socket;
    this.deviceId = deviceId;
    this.now = now;
    this.channel = null;
    this.reachable = true;
    this.pending = new Map(); // id → handler of results
    this.urgents = new Set();
  }

  /** "datachannel", "relay" (the socket) or "none". */
  get path() {
    if (this.channel?.readyState === "open") return "datachannel";
    return this.socket.ready && this.reachable ? "relay" : "none";
  }

  /** Why there is no way to the robot. */
  get noPath() {
    return this.socket.ready && !this.reachable ? "DEVICE_OFFLINE" : "NO_PATH";
  }

  setChannel(channel) {
    this.channel = channel;
    this.changed();
  }

  /** Whether the server says that the robot is online. */
  setReachable(reachable) {
    this.reachable = reachable;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("path"));
  }

  overChannel(message, { motion = false } = {}) {
    if (this.channel?.readyState !== "open") return false;
    if (motion && this.channel.bufferedAmount > MOTION_BACKLOG_BYTES) return false;
    this.channel.send(JSON.stringify(message));
    return true;
  }

  overSocket(message, { motion = false } = {}) {
    if (motion && this.socket.backlog > MOTION_BACKLOG_BYTES) return false;
    return this.socket.send(this.deviceId === null ? message : { ...message, device_id: this.deviceId });
  }

  everywhere(message) {
    const byChannel = this.overChannel(message);
    return this.overSocket(message) || byChannel;
  }

  /** Motion at a rate, over the best open path. Returns false when there is none, or when it would come late. */
  motion(command, fields, id = undefined) {
    const message = { command, ...fields, t: this.stamp(), ...(id === undefined ? {} : { id }) };
    if (this.path === "datachannel") return this.overChannel(message, { motion: true });
    return this.path === "relay" && this.overSocket(message, { motion: true });
  }

  /** Let go of the motors: one zero on every open path. */
  zero() {
    const message = { command: "motor", left: 0, right: 0, t: this.stamp() };
    const byChannel = this.overChannel(message);
    return (this.reachable && this.overSocket(message)) || byChannel;
  }

  stamp() {
    return Math.round(this.now() * 10) / 10;
  }

  /** Motion whose refusal matters (the first of a push): resolves to null, or to the refusal; silence is no refusal. */
  watchedMotion(command, fields) {
    const id = newId();
    if (!this.motion(command, fields, id)) return Promise.resolve(null);
    return new Promise((resolve) => {
      const done = (error) => {
        this.pending.delete(id);
        clearTimeout(timer);
        resolve(error);
      };
      const timer = setTimeout(() => done(null), GRACE_MS);
      this.pending.set(id, (result) => done(result.success ? null : new CommandError(result.error)));
    });
  }

  /**
   * A command that is carried out once. Resolves to the result's data, after the robot has done it.
   * @throws {CommandError} refused, no path, or NO_ANSWER.
   */
  request(command, fields = {}) {
    const id = newId();
    const message = { command, ...fields, id };
    return new Promise((resolve, reject) => {
      let again = null;
      const done = (settle, value) => {
        this.pending.delete(id);
        clearTimeout(timer);
        clearInterval(again);
        settle(value);
      };
      const viaChannel = () => {
        // The same id again is answered from memory, so that a lost packet costs nothing and nothing happens twice.
        if (!this.overChannel(message)) return false;
        again ??= setInterval(() => this.overChannel(message), AGAIN_EVERY_MS);
        return true;
      };
      const limit = COMMANDS[command].timeout_s * 1000 + GRACE_MS;
      const timer = setTimeout(() => done(reject, new CommandError({ code: "NO_ANSWER" })), limit);
      this.pending.set(id, (result) => {
        if (result.success) done(resolve, result.data ?? null);
        else if (result.error?.code !== "DEVICE_OFFLINE" || !viaChannel()) {
          done(reject, new CommandError(result.error));
        }
      });
      const sent = this.reachable && this.overSocket(message);
      if (!sent && !viaChannel()) done(reject, new CommandError({ code: this.noPath }));
    });
  }

  /**
   * Stop and emergency stop: on every open path at once, again every 100 ms until the robot says it is done.
   * @throws {CommandError} after 2 s without success.
   */
  urgent(command) {
    return new Promise((resolve, reject) => {
      const ids = new Set();
      let id = null;
      let last = null;
      let sent = false;
      const renew = () => {
        id = newId();
        ids.add(id);
        this.pending.set(id, answer);
      };
      const done = (settle, value) => {
        clearInterval(timer);
        for (const used of ids) this.pending.delete(used);
        this.urgents.delete(cancel);
        settle(value);
      };
      const cancel = () => done(reject, new CommandError({ code: "CANCELLED" }));
      const answer = (result) => {
        if (result.success) return done(resolve, result.data ?? null);
        last = result.error;
        // A refusal is remembered under its id; ask afresh. (Offline is the relay's word: the other path may do.)
        if (last?.code !== "DEVICE_OFFLINE") renew();
        return null;
      };
      const until = this.now() + URGENT_FOR_MS;
      const attempt = () => {
        if (this.now() >= until) done(reject, new CommandError(last ?? { code: sent ? "NO_ANSWER" : this.noPath }));
        else sent = this.everywhere({ command, id }) || sent;
      };
      const timer = setInterval(attempt, URGENT_EVERY_MS);
      this.urgents.add(cancel);
      renew();
      attempt();
    });
  }

  /** Give up repeating stops: a release must not be overtaken by an old emergency stop. */
  cancelUrgent() {
    for (const cancel of [...this.urgents]) cancel();
  }

  /** Take a command_result, or an error that carries an id. Returns whether it was ours. */
  handle(message) {
    const handler = this.pending.get(message.id);
    if (!handler) return false;
    handler(message.type === "error" ? { success: false, error: message } : message);
    return true;
  }
}
