"""When a request came in, as the thread knows it that serves it."""

from __future__ import annotations

import threading
import time

from processes.local_api import arrival


def test_it_is_what_was_marked_in_the_same_thread() -> None:
    heard: list[float] = []

    def serve(at_s: float) -> None:
        arrival.mark(at_s)
        heard.append(arrival.arrived_s())

    for at_s in (1.0, 2.0):
        thread = threading.Thread(target=serve, args=(at_s,))
        thread.start()
        thread.join()
    assert heard == [1.0, 2.0]


def test_unmarked_it_is_now() -> None:
    before = time.monotonic()
    heard: list[float] = []
    thread = threading.Thread(target=lambda: heard.append(arrival.arrived_s()))
    thread.start()
    thread.join()
    assert before <= heard[0] <= time.monotonic()
