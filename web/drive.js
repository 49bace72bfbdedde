// From a stick to two tracks, and out at 20 Hz for as long as somebody holds it.

export const SEND_EVERY_MS = 50; // 20 Hz; the robot stops by itself after 400 ms of silence
const DEAD_ZONE = 0.08;
const WATCH_EVERY = 20; // every so many, ask for an answer, to learn of a refusal

const clamp = (value) => Math.max(-1, Math.min(1, value));
const round = (value) => Math.round(value * 1000) / 1000 + 0; // + 0 turns -0 into 0

/** Stick position with the dead zone taken out of its middle, at most at the rim. x right, y forward, each −1 to 1. */
export function shape(x, y, deadZone = DEAD_ZONE) {
  if (!Number.isFinite(x) || !Number.isFinite(y)) return { x: 0, y: 0 };
  const length = Math.hypot(x, y);
  if (length <= deadZone) return { x: 0, y: 0 };
  const scale = Math.min(1, (length - deadZone) / (1 - deadZone)) / length;
  return { x: x * scale, y: y * scale };
}

/** Arcade to tank: forward and turn become left and right, scaled down together when one would pass `top` speed. */
export function mix(x, y, { deadZone = DEAD_ZONE, top = 1 } = {}) {
  const stick = shape(x, y, deadZone);
  const left = stick.y + stick.x;
  const right = stick.y - stick.x;
  const most = Math.max(1, Math.abs(left), Math.abs(right));
  return { left: round(clamp((left / most) * top)), right: round(clamp((right / most) * top)) };
}

/** Sends while held; one zero at once when let go. */
export class Driver {
  /**
   * `send(speeds, watched)` sends one motor command, `zero()` lets go on every path, `blocked()` says why not to drive.
   * `every` and `cancel` are setInterval and clearInterval.
   */
  constructor({ send, zero, blocked, every = (f, ms) => setInterval(f, ms), cancel = (id) => clearInterval(id) }) {
    Object.assign(this, { send, zero, blocked, every, cancel });
    this.timer = null;
    this.speeds = { left: 0, right: 0 };
    this.sent = 0;
    this.scale = 1; // top speed, 0 to 1
  }

  get held() {
    return this.timer !== null;
  }

  /** The stick is held at (x, y). */
  hold(x, y) {
    if (this.blocked()) {
      this.release();
      return;
    }
    const stood = this.speeds.left === 0 && this.speeds.right === 0;
    this.speeds = mix(x, y, { top: this.scale });
    const setsOff = stood && (this.speeds.left !== 0 || this.speeds.right !== 0);
    if (this.held && !setsOff) return;
    if (!this.held) this.sent = 0;
    this.cancel(this.timer);
    this.timer = this.every(() => this.tick(), SEND_EVERY_MS);
    this.tick(); // setting off does not wait for the next beat
  }

  tick() {
    this.send(this.speeds, this.sent % WATCH_EVERY === 0);
    this.sent += 1;
  }

  /** Let go. Safe to call at any time; sends only when something was held. */
  release() {
    if (!this.held) return;
    this.cancel(this.timer);
    this.timer = null;
    this.speeds = { left: 0, right: 0 };
    this.zero();
  }
}

/** Latest wins, at most one per `ms`; the last value always goes out. */
export class RateLimit {
  constructor(ms, send, { now = () => performance.now(), later = (f, t) => setTimeout(f, t) } = {}) {
    Object.assign(this, { ms, send, now, later });
    this.last = -Infinity;
    this.waiting = null;
  }

  push(value) {
    const scheduled = this.waiting !== null;
    this.waiting = { value };
    if (scheduled) return;
    const wait = this.last + this.ms - this.now();
    if (wait <= 0) this.flush();
    else this.later(() => this.flush(), wait);
  }

  flush() {
    if (this.waiting === null) return;
    const { value } = this.waiting;
    this.waiting = null;
    this.last = this.now();
    this.send(value);
  }
}
