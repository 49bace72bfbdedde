"""Decisions about viewers and what they are sent. No IO, no clock."""

from __future__ import annotations

CONNECT_S = 20.0
"""A session that has no connection so long after its request is over."""
SILENT_S = 3.0
"""A viewer that has pinged and is silent for so long has closed its tab (contract)."""
PLI_INTERVAL_S = 0.5
"""Key frames that viewers ask for come at most this often: each costs as much as a second of ordinary pictures."""
RATE_INTERVAL_S = 1.0
"""The bit rate is changed at most this often."""


class Liveness:
    """Whether a session still has somebody at its other end."""

    def __init__(self, now: float) -> None:
        self._connect_by: float | None = now + CONNECT_S
        self._heard: float | None = None

    def on_connected(self) -> None:
        self._connect_by = None

    def on_ping(self, now: float) -> None:
        """From the first ping on, silence means something."""
        self._heard = now

    def on_message(self, now: float) -> None:
        if self._heard is not None:
            self._heard = now

    def over(self, now: float) -> str | None:
        """Why the session is over, or None."""
        if self._connect_by is not None and now >= self._connect_by:
            return f"no connection within {CONNECT_S:.0f} s"
        if self._heard is not None and now - self._heard >= SILENT_S:
            return f"silent for {SILENT_S:.0f} s"
        return None


class KeyFrames:
    """When the next picture has to be a key frame. A request is never lost, at most delayed."""

    def __init__(self) -> None:
        self._wanted = False
        self._at_once = False
        self._last: float | None = None

    def ask(self, *, at_once: bool = False) -> None:
        """`at_once` for a new viewer, who has nothing to look at; else for a lost picture (PLI, FIR)."""
        self._wanted = True
        self._at_once = self._at_once or at_once

    def take(self, now: float) -> bool:
        """Whether this picture is to be one."""
        if not self._wanted or not (self._at_once or self._last is None or now - self._last >= PLI_INTERVAL_S):
            return False
        self._wanted = self._at_once = False
        self._last = now
        return True


class Pacer:
    """Leaves out frames of a camera that is faster than the video; evenly, by capture time."""

    def __init__(self, fps: float) -> None:
        self._period_ns = 1e9 / fps
        self._due_ns = 0.0

    def take(self, capture_ns: int) -> bool:
        """Whether this frame is sent. A quarter of a period early still is: cameras jitter."""
        if capture_ns < self._due_ns - self._period_ns / 4:
            return False
        # From when it was due, not from when it came, or else 30 fps out of 29.9 would become 15.
        late = capture_ns - self._due_ns > self._period_ns
        self._due_ns = (capture_ns if late else self._due_ns) + self._period_ns
        return True


class Rate:
    """The bit rate all viewers of one encoder can take: that of the thinnest line, within bounds."""

    def __init__(self, min_bps: int, max_bps: int) -> None:
        self._min_bps, self._max_bps = min_bps, max_bps
        self._estimates: dict[object, int] = {}
        self._current = max_bps
        self._changed_at: float | None = None

    def on_estimate(self, viewer: object, bps: int) -> None:
        """A viewer's own estimate of its line (REMB)."""
        self._estimates[viewer] = bps

    def on_gone(self, viewer: object) -> None:
        self._estimates.pop(viewer, None)

    def change(self, now: float) -> int | None:
        """The new rate in bits per second when it has to change now, else None."""
        wanted = max(self._min_bps, min([self._max_bps, *self._estimates.values()]))
        if wanted == self._current or (self._changed_at is not None and now - self._changed_at < RATE_INTERVAL_S):
            return None
        self._current, self._changed_at = wanted, now
        return wanted
