"""How regularly a topic is published. Pure: the times are passed in."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import pstdev

from msgspec import Struct


class Rates(Struct, frozen=True):
    """What `Meter` found over its window; None where fewer than two messages were heard.

    Attributes:
        messages: heard since the beginning, not only within the window.
        rate_hz, interval_…: by the sender's clock.
        jitter_ms: how much the way to us varies, RFC 3550 section 6.4.1: a running mean of the difference in transit
            time from one message to the next.
        bytes_per_s: on the bus, without ZeroMQ's framing.
    """

    messages: int
    rate_hz: float | None
    interval_min_ms: float | None
    interval_max_ms: float | None
    interval_std_ms: float | None
    jitter_ms: float | None
    bytes_per_s: float | None


class Meter:
    """Measures over the last `window` messages.

    Args:
        window: two or more.
    """

    def __init__(self, window: int) -> None:
        if window < 2:
            raise ValueError(f"an interval needs two messages, not {window}")
        self._sent_s: deque[float] = deque(maxlen=window)
        self._sizes: deque[int] = deque(maxlen=window)
        self._messages = 0
        self._transit_s: float | None = None
        self._jitter_s = 0.0

    def add(self, sent_s: float, heard_s: float, size: int) -> None:
        """A message of `size` bytes was heard."""
        transit_s = heard_s - sent_s
        if self._transit_s is not None:
            self._jitter_s += (abs(transit_s - self._transit_s) - self._jitter_s) / 16
        self._transit_s = transit_s
        self._sent_s.append(sent_s)
        self._sizes.append(size)
        self._messages += 1

    def rates(self) -> Rates:
        times = list(self._sent_s)
        intervals_ms = [(after - before) * 1000 for before, after in pairwise(times)]
        span_s = times[-1] - times[0] if intervals_ms else 0.0
        if span_s <= 0:
            return Rates(self._messages, None, None, None, None, None, None)
        return Rates(
            self._messages,
            len(intervals_ms) / span_s,
            min(intervals_ms),
            max(intervals_ms),
            pstdev(intervals_ms),
            self._jitter_s * 1000,
            sum(list(self._sizes)[1:]) / span_s,
        )
