"""The bell of the rings of frames: wakes whoever waits for a picture, at a third of a message's price.

A tick on the bus is encoded, sent by another thread, received and decoded, all by code that the picture has just driven
out of the caches: as dear as the copy itself. The camera therefore writes one byte into a file after each frame, and
the kernel tells those who watch its directory (inotify(7)). Nothing is said but "look": what is there, the ring knows.

    bell = Bell(run_dir)
    follow(bus, FrameReader(run_dir, "main"), on_frame)
    …
    bell.ring()

The directory is watched, not the file: the bell may come after its listeners, and may be put up anew. A ring that
nobody has heard yet takes the next one in (inotify merges equal events), so nothing piles up before a slow reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from inotify_simple import INotify, flags

from bus.base import Bus
from bus.errors import BusError
from bus.frames import Frame, FrameReader

_FILE = "frames.bell"
_MANY_EVENTS = 4096
"""Bytes read at once, about a hundred events: more than the files of a run directory change between two looks."""


class Bell:
    """The writer's end. Rung once all rings hold the frame."""

    def __init__(self, run_dir: Path) -> None:
        self._file = open(  # noqa: SIM115 - for as long as it lives
            run_dir / _FILE, "wb", buffering=0, opener=lambda path, mode: os.open(path, mode | os.O_NOFOLLOW, 0o600)
        )

    def ring(self) -> None:
        """Wake everyone who follows. Never blocks."""
        os.pwrite(self._file.fileno(), b"\0", 0)


def follow(bus: Bus, reader: FrameReader, call: Callable[[Frame], None]) -> None:
    """Call with the newest frame of a ring, at once if there is one, then after each bell; who is slow misses some.

    Args:
        call: on the bus's loop. The frame is the reader's: `still_valid()` tells whether what was made of it counts.

    Raises:
        BusError: the kernel has no more watches to give.
    """
    try:
        heard = INotify(nonblocking=True)
        heard.add_watch(reader.run_dir, flags.MODIFY)
    except OSError as error:
        raise BusError(
            f"Frames in {reader.run_dir} cannot be followed: {error.strerror}. "
            "Raise fs.inotify.max_user_instances (sysctl) if it is used up."
        ) from error
    newest = 0

    def look() -> None:
        nonlocal newest
        frame = reader.latest(newer_than=newest)
        if frame is not None:
            newest = frame.number
            call(frame)

    def on_heard() -> None:
        os.read(heard.fileno(), _MANY_EVENTS)
        look()

    bus.watch(heard, on_heard)
    bus.call_soon(look)
