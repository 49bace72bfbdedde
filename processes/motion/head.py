"""How pan and tilt move: limits, a largest speed, no overshoot, no jump. Pure; `now` in seconds, angles in degrees."""

from __future__ import annotations

import math
from enum import Enum

CLOSE_DEG = 0.05
"""Nearer than this is there: a servo resolves about 0.2°."""

LONGEST_STEP_S = 0.1


class Release(Enum):
    """What `Axis.on_tick` says instead of an angle when the pulses are to end."""

    RELEASE = 0


class Axis:
    """One servo. A servo cannot be asked where it stands: without knowing, it would jump with its first pulse.

    Args:
        limit_deg: targets are held within ± this.
        speed_deg_per_s: never turned faster.
        ease_s: time constant of slowing down before the target; 0: none.
        release_after_s: end the pulses after this long at rest; None: never.
        start_deg: where it was left; a robot that never moved its head is taken to look straight ahead.
    """

    def __init__(
        self,
        limit_deg: float,
        speed_deg_per_s: float,
        ease_s: float,
        release_after_s: float | None = None,
        start_deg: float = 0.0,
    ) -> None:
        self.position_deg = self.target_deg = min(max(start_deg, -limit_deg), limit_deg)
        self._limit_deg = limit_deg
        self._speed_deg_per_s = speed_deg_per_s
        self._ease_s = ease_s
        self._release_after_s = release_after_s
        self._stepped_s = 0.0
        self._arrived_s: float | None = None
        self._powered = False

    @property
    def moving(self) -> bool:
        return self.position_deg != self.target_deg

    def on_target(self, deg: float, now: float) -> float:
        """Go there, and return where that is after the limits."""
        self.on_tick(now)
        self._powered = True
        self._arrived_s = None
        self.target_deg = min(max(deg, -self._limit_deg), self._limit_deg)
        return self.target_deg

    def on_hold(self) -> None:
        """Stay where it is."""
        self.target_deg = self.position_deg

    def on_tick(self, now: float) -> float | Release | None:
        """The angle to set now, `RELEASE` once when the pulses end, None while nothing is to be set."""
        elapsed_s = min(max(now - self._stepped_s, 0.0), LONGEST_STEP_S)
        self._stepped_s = now
        if not self._powered:
            return None
        if self._arrived_s is not None and not self.moving:
            return self._rest(now)
        self._approach(elapsed_s)
        self._arrived_s = None if self.moving else now
        return self.position_deg

    def _approach(self, elapsed_s: float) -> None:
        left_deg = self.target_deg - self.position_deg
        if abs(left_deg) <= CLOSE_DEG:
            self.position_deg = self.target_deg
            return
        if self._ease_s > 0:
            left_deg *= 1 - math.exp(-elapsed_s / self._ease_s)
        most_deg = self._speed_deg_per_s * elapsed_s
        self.position_deg += min(max(left_deg, -most_deg), most_deg)

    def _rest(self, now: float) -> Release | None:
        assert self._arrived_s is not None
        if self._release_after_s is None or now - self._arrived_s < self._release_after_s:
            return None
        self._powered = False
        return Release.RELEASE
