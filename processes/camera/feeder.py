"""How pictures get from a source to the bus's loop: by a timer there, or from a thread where the source blocks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from bus.base import Bus, Timer
from processes.camera.driver import CameraError, Capture, FrameSource

log = logging.getLogger(__name__)

AHEAD = 2
"""Pictures a thread may have handed over that the loop has not taken yet."""


class Sink(Protocol):
    """Who takes what a feeder brings; called on the bus's loop."""

    def next_number(self) -> int: ...

    def on_opened(self) -> None: ...

    def on_capture(self, capture: Capture) -> None: ...

    def on_failed(self, reason: str) -> None: ...


class Feeder(Protocol):
    """`start` opens the source and brings its pictures until `stop`, or until it fails."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def stuck(self) -> bool:
        """Whether a stopped source has still not returned: it must not be opened again."""


def feeder_for(bus: Bus, source: FrameSource, fps: float, sink: Sink) -> Feeder:
    return ThreadFeeder(bus, source, sink) if source.blocking else TimerFeeder(bus, source, fps, sink)


def _close(source: FrameSource) -> None:
    try:
        source.close()
    except CameraError as error:
        log.warning("%s", error)


class TimerFeeder:
    """Reads a source that does not block, on the loop itself, `fps` times a second."""

    def __init__(self, bus: Bus, source: FrameSource, fps: float, sink: Sink) -> None:
        self._bus, self._source, self._sink = bus, source, sink
        self._period_s = 1 / fps
        self._timer: Timer | None = None

    def start(self) -> None:
        try:
            self._source.open()
        except CameraError as error:
            self._fail(error)
            return
        self._sink.on_opened()
        self._timer = self._bus.every(self._period_s, self._take)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _close(self._source)

    def stuck(self) -> bool:
        return False

    def _take(self) -> None:
        try:
            capture = self._source.read(self._sink.next_number())
        except CameraError as error:
            self._fail(error)
            return
        self._sink.on_capture(capture)

    def _fail(self, error: CameraError) -> None:
        self.stop()
        self._sink.on_failed(str(error))


class ThreadFeeder:
    """Opens, reads and closes a source in a thread of its own, and hands pictures over to the loop."""

    def __init__(self, bus: Bus, source: FrameSource, sink: Sink) -> None:
        self._bus, self._source, self._sink = bus, source, sink
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._room = threading.Semaphore(AHEAD)

    def start(self) -> None:
        self._stopping, self._room = threading.Event(), threading.Semaphore(AHEAD)
        arguments = (self._stopping, self._room)
        self._thread = threading.Thread(target=self._run, args=arguments, name="capture", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._room.release()

    def stuck(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self, stopping: threading.Event, room: threading.Semaphore) -> None:
        try:
            self._source.open()
            self._tell(stopping, self._sink.on_opened)
            while True:
                room.acquire()
                if stopping.is_set():
                    return
                capture = self._source.read(0)
                self._tell(stopping, self._hand_over(capture, room))
        except CameraError as error:
            reason = str(error)
            self._tell(stopping, lambda: self._sink.on_failed(reason))
        finally:
            _close(self._source)

    def _hand_over(self, capture: Capture, room: threading.Semaphore) -> Callable[[], None]:
        def take() -> None:
            room.release()
            self._sink.on_capture(capture)

        return take

    def _tell(self, stopping: threading.Event, call: Callable[[], None]) -> None:
        """Call on the loop, unless this run was stopped meanwhile."""
        self._bus.call_soon(lambda: None if stopping.is_set() else call())
