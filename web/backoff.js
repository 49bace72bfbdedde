// How long to wait before trying again.

/** Delay in ms before attempt `attempt` (from 0): doubles from `base` up to `cap`, the later half of it random. */
export function backoffMs(attempt, { base = 500, cap = 10_000, random = Math.random } = {}) {
  const full = Math.min(cap, base * 2 ** Math.min(attempt, 20));
  return full / 2 + (random() * full) / 2;
}

/** Delay in ms where the server asks everybody to come back at once: short, and spread out. */
export function promptMs(random = Math.random) {
  return 50 + random() * 450;
}
