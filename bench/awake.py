"""Processors that do not sleep while something is measured.

A robot's processors are never all asleep: they encode video. On an idle virtual machine, waking one takes the
hypervisor 30 to 50 µs each time, which would hide what is measured. So each processor gets a process that spins at
SCHED_IDLE: whoever else has something to do takes its place at once (sched(7)).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator

from bus.runner import die_with_parent


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    """No processor sleeps as long as the block lasts. `AWAKE=0` leaves them be."""
    processors = os.sched_getaffinity(0) if os.environ.get("AWAKE", "1") == "1" else set()
    context = multiprocessing.get_context("spawn")
    spinners = [context.Process(target=_spin, args=(processor,), daemon=True) for processor in processors]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def _spin(processor: int) -> None:
    die_with_parent()
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass
