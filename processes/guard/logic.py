"""When motion has to be put down. Pure: `now` and `sent_s` are CLOCK_MONOTONIC in seconds."""

from __future__ import annotations

from processes.guard.config import GuardConfig

STALLED_CHECKS = 10
"""Checks that did not happen in time mean that guard itself stood still."""
CATCH_UP_S = 0.05
"""What guard then gives motion's beats to come through, before it believes that there are none."""


class Watch:
    """Follows motion's beats.

    `pid` is the process whose beats are followed, None while there is none. Once a process was given up its late
    beats mean nothing.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.pid: int | None = None
        self._config = config
        self._beat_s = 0.0
        self._given_up: int | None = None
        self._checked_s: float | None = None

    def on_beat(self, pid: int, sent_s: float, now: float) -> bool:
        """A beat. True when it is the first one of a process: that one is followed from now on."""
        if pid == self.pid:
            self._beat_s = max(self._beat_s, sent_s)
            return False
        if pid == self._given_up or now - sent_s >= self._config.motion_s:
            return False  # the last words of a dead one
        self.pid, self._beat_s, self._given_up = pid, sent_s, None
        return True

    def on_check(self, now: float, *, ended: bool) -> int | None:
        """The pid to put down now, once; None when all is well.

        Args:
            ended: the process that is followed is known to have ended.
        """
        stalled = self._checked_s is not None and now - self._checked_s > STALLED_CHECKS * self._config.check_s
        self._checked_s = now
        if self.pid is None:
            return None
        if stalled:
            self._beat_s = max(self._beat_s, now - self._config.motion_s + CATCH_UP_S)
        if not ended and now - self._beat_s <= self._config.motion_s:
            return None
        self._given_up, self.pid = self.pid, None
        return self._given_up
