// How far the events of one robot are known without a gap, and asking for what is missing: when the socket is back, and
// when an event comes whose forerunner did not.

import { backoffMs } from "./backoff.js";

export class CatchUp {
  /**
   * `ask(after)` sends the request and returns whether it went out; `keep(seq)` remembers how far it is now.
   * `later` and `cancel` are setTimeout and clearTimeout.
   */
  constructor({ ask, keep = () => {}, later = (f, ms) => setTimeout(f, ms), cancel = (id) => clearTimeout(id) }) {
    Object.assign(this, { ask, keep, later, cancel });
    this.cursor = null; // the `seq` up to which all is here; null before anything is known
    this.asked = false; // pages are due
    this.attempt = 0;
    this.retry = null;
  }

  /** Ask for what came after the cursor, unless that is due already. */
  begin() {
    this.cancel(this.retry);
    if (!this.asked && this.cursor !== null) this.asked = this.ask(this.cursor);
  }

  /** The way is gone: what was asked for will not come. */
  lost() {
    this.asked = false;
    this.cancel(this.retry);
  }

  /** The server refused or gave up: ask again in a while. Returns false where nothing was asked for. */
  refused() {
    if (!this.asked) return false;
    this.lost();
    this.retry = this.later(() => this.begin(), backoffMs(this.attempt));
    this.attempt += 1;
    return true;
  }

  /** An event that came by itself. It moves the cursor only when nothing lies between. */
  live({ seq }) {
    if (typeof seq !== "number" || this.asked || (this.cursor !== null && seq <= this.cursor)) return;
    if (this.cursor === null || seq === this.cursor + 1) this.reached(seq); // without a cursor it is the first one seen
    else this.begin();
  }

  /**
   * A page. One that begins beyond the cursor is of an earlier request, whose first pages were not seen here.
   * Returns how many of its events are past what was known.
   */
  page({ events, after, next_after: nextAfter, more }) {
    const follows = this.cursor !== null && after <= this.cursor;
    const news = follows ? events.filter((event) => event.seq > this.cursor).length : 0;
    if (follows && nextAfter > this.cursor) this.reached(nextAfter);
    this.asked = more;
    this.attempt = 0;
    if (!follows && !more) this.begin();
    return news;
  }

  reached(seq) {
    this.cursor = seq;
    this.keep(seq);
  }
}
