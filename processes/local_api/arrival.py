"""When a request came in, which is before a thread had time for it: what drives the robot grows old from then on."""

from __future__ import annotations

import threading
import time

_of_this_thread = threading.local()


def mark(at_s: float) -> None:
    """The request that this thread serves next was there at `at_s` (CLOCK_MONOTONIC in s)."""
    _of_this_thread.at_s = at_s


def arrived_s() -> float:
    """When the request came in that this thread serves; now where nobody has marked it."""
    at_s: float | None = getattr(_of_this_thread, "at_s", None)
    return time.monotonic() if at_s is None else at_s
