"""Ctrl-C as the regular end of what would otherwise go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

POLL_S = 0.1
"""How soon it is noticed."""
IMPATIENT_S = 1.0


@contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set. Should it not be noticed, another one a second later interrupts."""
    asked = threading.Event()
    impatient_s = float("inf")

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal impatient_s
        if time.monotonic() >= impatient_s:  # sooner it may be the same one twice: to us, and to our process group
            raise KeyboardInterrupt
        if not asked.is_set():
            impatient_s = time.monotonic() + IMPATIENT_S
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
