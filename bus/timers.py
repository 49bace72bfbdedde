"""Calls that are due at some time. Pure: the clock is passed in."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Call = Callable[[], None]


class ScheduledCall:
    """A `bus.base.Timer`."""

    def __init__(self, call: Call, period_s: float | None) -> None:
        self.call: Call | None = call
        self.period_s = period_s

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Scheduled calls, earliest first; those due at the same time in the order they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledCall]] = []
        self._order = itertools.count()

    def push(self, at: float, scheduled: ScheduledCall) -> None:
        """Have it called at `at`, and again every `period_s` after that when it has one."""
        heapq.heappush(self._heap, (at, next(self._order), scheduled))

    def next_at(self) -> float | None:
        """When the next call is due; None when there is none."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> tuple[float, Call] | None:
        """The next call that is due by now, and when it was; None when nothing is.

        A periodic call that is late by more than its period is made once, not once for each it missed.
        """
        due = self.next_at()
        if due is None or due > now:
            return None
        _, _, scheduled = heapq.heappop(self._heap)
        assert scheduled.call is not None
        if scheduled.period_s is not None:
            following = due + scheduled.period_s
            self.push(following if following > now else now + scheduled.period_s, scheduled)
        return due, scheduled.call
