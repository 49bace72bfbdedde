// How far the history of each robot was shown on this device, so that the next visit begins there.

const KEY = "wimz.seen";
const MAX_ROBOTS = 64;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept : [];
  } catch {
    return []; // no storage, or not ours: as on a first visit
  }
}

const place = (account, deviceId) => `${account}/${deviceId}`;

export const seen = {
  /** The last `seq` that `account` was shown of this robot here, or null. */
  get: (account, deviceId) => {
    const [, seq] = read().find(([name]) => name === place(account, deviceId)) ?? [];
    return Number.isSafeInteger(seq) && seq >= 0 ? seq : null;
  },
  set: (account, deviceId, seq) => {
    const others = read().filter(([name]) => name !== place(account, deviceId));
    const kept = [...others, [place(account, deviceId), seq]].slice(-MAX_ROBOTS); // the robot opened longest ago goes
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
    } catch (error) {
      console.info("Not remembered how far the events were shown:", error.name);
    }
  },
};
