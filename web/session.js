// Watching: asks for video, and asks again by itself for as long as the user wants to watch.

import { backoffMs } from "./backoff.js";
import { liveLine, sentence, short } from "./format.js";
import { Peer } from "./peer.js";

const FIRST_FRAME_WITHIN_MS = 8_000;
const STALLED_AFTER_MS = 8_000;
const CAP_MS = 4_000;
const CLOSED = { "your role has changed": "What you may do here has changed." };
const FINAL = new Set(["NOT_AUTHORIZED", "NOT_PAIRED", "NO_DEVICE"]);

/** How long an offer may take, from how long the last good one took. Without one: as long as a first picture. */
export function offerPatienceMs(lastOfferMs) {
  return lastOfferMs === null ? FIRST_FRAME_WITHIN_MS : Math.min(FIRST_FRAME_WITHIN_MS, 2_000 + 2 * lastOfferMs);
}

/**
 * Events: "state" (state and detail have changed), "control" (detail: data channel or null), "event" (detail: message).
 * `state` is "off", "connecting", "live" or "retrying"; `detail` says it for people.
 */
export class VideoSession extends EventTarget {
  /** `send(frame)` returns false while there is no way to the server. `online()` tells whether the robot is there. */
  constructor({ video, send, deviceId, online }) {
    super();
    Object.assign(this, { video, send, deviceId, online });
    this.state = "off";
    this.detail = "";
    this.peer = null;
    this.asking = false; // asked, and not yet told the session
    this.severed = false; // the session was made over a socket that is gone: the server no longer knows it as ours
    this.attempt = 0;
    this.lastOfferMs = null;
    this.timers = new Map();
  }

  get wanted() {
    return this.state !== "off";
  }

  start() {
    if (this.wanted) return;
    this.attempt = 0;
    this.lastOfferMs = null;
    this.become("connecting", "Connecting…");
    this.ask();
  }

  stop(detail = "") {
    this.end();
    this.video.srcObject = null;
    this.become("off", detail);
  }

  /** The page goes away, perhaps for a while. */
  pause() {
    if (!this.wanted) return;
    this.end();
    this.become("retrying", "Reconnecting…");
  }

  /** The socket is ready, or the robot came online. */
  wayBack() {
    if (this.wanted && this.peer === null && !this.asking) this.retryIn(0);
  }

  /** The socket is gone. Running video does not need it; a session still being made does. */
  wayLost() {
    this.severed = true;
    if (this.wanted && this.state !== "live") this.failed("Waiting for the server…");
  }

  ask() {
    this.clear("retry");
    if (!this.online()) {
      this.become(this.state === "connecting" ? "connecting" : "retrying", "The robot is offline. Waiting for it…");
      return;
    }
    const frame = { type: "webrtc_request", ...(this.deviceId === null ? {} : { device_id: this.deviceId }) };
    if (!this.send(frame)) {
      this.become(this.state, "Waiting for the server…");
      return;
    }
    this.asking = true;
    this.severed = false;
    this.askedAt = performance.now();
    this.after("offer", offerPatienceMs(this.lastOfferMs), () => this.failed("The robot did not answer."));
    this.after("frame", FIRST_FRAME_WITHIN_MS, () => this.failed("No picture came."));
  }

  /** Take a signalling frame or error. Returns whether it was for us. */
  handle(message) {
    const ours = this.peer !== null && message.session_id === this.peer.sessionId;
    switch (message.type) {
      case "webrtc_credentials":
        this.credentials(message);
        return true;
      case "webrtc_offer":
        if (ours) this.offer(message.sdp);
        return true;
      case "webrtc_ice":
        if (ours) this.peer.candidate(message.candidate);
        return true;
      case "webrtc_close":
        if (ours) this.failed(CLOSED[message.reason] ?? (short(message.reason) || "The robot ended the video."));
        return true;
      case "webrtc_error":
        if (ours) this.failed(sentence({ code: message.code, message: message.error }));
        return true;
      case "error":
        return this.error(message, ours);
      default:
        return false;
    }
  }

  error(message, ours) {
    if (message.session_id !== undefined) {
      if (ours) this.failed(sentence(message));
      return true; // else about a session that is over
    }
    const about = this.asking && message.command === undefined;
    if (about) this.refused(message);
    return about;
  }

  refused(error) {
    if (FINAL.has(error.code)) this.stop(sentence(error));
    else this.failed(sentence(error));
  }

  credentials({ session_id: sessionId, ice_servers: servers }) {
    if (!this.asking) {
      this.send({ type: "webrtc_close", session_id: sessionId }); // asked for by an attempt that was given up
      return;
    }
    this.asking = false;
    const iceServers = Array.isArray(servers) ? servers : (servers?.iceServers ?? []);
    const peer = new Peer({ sessionId, iceServers, send: (frame) => this.severed || this.send(frame) });
    this.peer = peer;
    peer.addEventListener("track", ({ detail }) => this.show(peer, detail));
    peer.addEventListener("stats", ({ detail }) => this.measure(detail));
    peer.addEventListener("over", ({ detail }) => this.failed(detail));
    for (const type of ["control", "event"]) {
      peer.addEventListener(type, ({ detail }) => this.emit(type, detail));
    }
  }

  offer(description) {
    this.clear("offer");
    this.lastOfferMs = performance.now() - this.askedAt;
    this.peer.answer(description);
  }

  show(peer, stream) {
    this.video.srcObject = stream;
    this.video.play().catch((error) => console.warn("The browser holds the video back:", error.message));
    const shown = () => {
      if (this.peer !== peer) return;
      this.clear("frame");
      this.clear("offer");
      this.after("steady", 5_000, () => {
        this.attempt = 0;
      });
      this.movedAt = performance.now();
      this.frames = 0;
      this.become("live", "Live");
    };
    if ("requestVideoFrameCallback" in this.video) this.video.requestVideoFrameCallback(shown);
    else this.video.addEventListener("timeupdate", shown, { once: true });
  }

  measure(stats) {
    if (this.state !== "live") return;
    const now = performance.now();
    if (stats.frames !== this.frames || document.visibilityState === "hidden") this.movedAt = now;
    this.frames = stats.frames;
    if (now - this.movedAt > STALLED_AFTER_MS) this.failed("The picture stood still.");
    else this.become("live", liveLine(stats));
  }

  /** This attempt is over; make another. */
  failed(reason) {
    if (!this.wanted) return;
    this.end();
    this.become("retrying", `Reconnecting… ${reason}`);
    this.retryIn(this.attempt === 0 ? 100 : backoffMs(this.attempt - 1, { cap: CAP_MS }));
    this.attempt += 1;
  }

  retryIn(ms) {
    this.after("retry", ms, () => this.ask());
  }

  /** End the running attempt, and tell the robot, so that it can give the place to somebody else. */
  end() {
    for (const name of [...this.timers.keys()]) this.clear(name);
    this.asking = false;
    const { peer } = this;
    this.peer = null;
    if (!peer) return;
    peer.close();
    if (!this.severed) this.send({ type: "webrtc_close", session_id: peer.sessionId });
  }

  become(state, detail) {
    if (state === this.state && detail === this.detail) return;
    this.state = state;
    this.detail = detail;
    this.emit("state");
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
    clearTimeout(this.timers.get(name));
    this.timers.delete(name);
  }

  emit(type, detail = undefined) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
