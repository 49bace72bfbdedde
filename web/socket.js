// A WebSocket that comes back by itself, and knows within seconds when its line is dead.

import { backoffMs, promptMs } from "./backoff.js";
import { CLOSE } from "./messages.js";

const READY_WITHIN_MS = 8_000; // connected and signed in, or try again
const PING_EVERY_MS = 10_000;
const PONG_WITHIN_MS = 4_000;
const STEADY_AFTER_MS = 5_000; // a line that held this long starts its backoff afresh

/**
 * Events: "open" (ready for use), "lost" (was ready, is not), "message" (detail: the parsed frame),
 * "refused" (detail: the reason; no more attempts are made until `start`).
 * Nothing is ever queued: `send` while not ready returns false.
 */
export class Socket extends EventTarget {
  /** `authenticate` gives the token for the first frame, or null where a cookie speaks for us. */
  constructor({ url, authenticate }) {
    super();
    this.url = url;
    this.authenticate = authenticate;
    this.ready = false;
    this.running = false;
    this.account = undefined; // whose socket it is, once signed in
    this.attempt = 0;
    this.socket = null;
    this.timers = new Map();
    this.onWake = () => this.wake();
    this.onVisible = () => document.visibilityState === "visible" && this.wake();
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.attempt = 0;
    addEventListener("online", this.onWake);
    document.addEventListener("visibilitychange", this.onVisible);
    this.connect();
  }

  stop() {
    this.running = false;
    removeEventListener("online", this.onWake);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.drop();
  }

  /** Send an object now, or return false. */
  send(message) {
    if (!this.ready || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Bytes handed over but not yet on the wire. */
  get backlog() {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** The device or network woke up: do not sit out a backoff, and do not trust an old line. */
  wake() {
    if (!this.running) return;
    if (this.ready) this.ping();
    else if (!this.socket) this.connect();
  }

  connect() {
    this.clear("retry");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.after("ready", READY_WITHIN_MS, () => this.failed(0));
    socket.onopen = () => {
      const token = this.authenticate();
      if (token === null) this.becomeReady();
      else socket.send(JSON.stringify({ type: "auth", token }));
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.failed(event.code, event.reason);
  }

  receive(text) {
    this.clear("pong");
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      console.warn("A frame that is not JSON was ignored:", error.message);
      return;
    }
    if (message === null || typeof message !== "object") return;
    if (message.type === "auth_result" && !this.ready) {
      this.account = message.user_id;
      if (message.success) this.becomeReady();
      else this.failed(CLOSE.AUTH_FAILED, "The sign-in has expired.");
      return;
    }
    if (this.ready) this.emit("message", message);
  }

  becomeReady() {
    this.clear("ready");
    this.ready = true;
    this.after("steady", STEADY_AFTER_MS, () => {
      this.attempt = 0;
    });
    this.timers.set("ping", setInterval(() => this.ping(), PING_EVERY_MS));
    this.emit("open");
  }

  ping() {
    if (!this.send({ type: "ping" }) || this.timers.has("pong")) return;
    this.after("pong", PONG_WITHIN_MS, () => this.failed(0, "no answer to a ping"));
  }

  /** The line is gone (or was given up). A dead line's own close can take minutes, so it is not waited for. */
  failed(code, reason = "") {
    this.drop();
    if (!this.running) return;
    if (code === CLOSE.AUTH_FAILED) {
      this.stop();
      this.emit("refused", reason);
      return;
    }
    const delay = code === CLOSE.RESTARTING ? promptMs() : backoffMs(this.attempt++);
    this.after("retry", delay, () => this.connect());
  }

  drop() {
    for (const name of [...this.timers.keys()]) this.clear(name);
    const { socket, ready } = this;
    this.socket = null;
    this.ready = false;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (ready) this.emit("lost");
  }

  after(name, ms, action) {
    this.clear(name);
    const act = () => {
      this.timers.delete(name);
      action();
    };
    this.timers.set(name, setTimeout(act, ms));
  }

  clear(name) {
    clearTimeout(this.timers.get(name)); // clears intervals too
    this.timers.delete(name);
  }

  emit(type, detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Address of a socket on the server that gave us this page. */
export function socketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
