"""What goes out on one socket: a bounded queue, and one thread that alone writes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

MAX_QUEUED = 256
"""Frames a client may fall behind before it is too slow."""


class Wire(Protocol):
    """A WebSocket's sending side. Every method may block, and raises OSError when the peer is gone or reads nothing."""

    def send(self, text: str) -> None: ...

    def ping(self) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


Job = Callable[[Wire], None]


class Outgoing:
    """Frames on their way out. All methods but `run` return at once, and may be called from any thread."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._jobs: deque[Job] = deque()
        self.closing = threading.Event()
        self.ended = threading.Event()

    def send(self, text: str) -> bool:
        """Queue a frame; False when the client is too slow."""
        return self._put(lambda wire: wire.send(text))

    def ping(self) -> bool:
        return self._put(lambda wire: wire.ping())

    def close(self, code: int, reason: str, *, drop: bool = False) -> None:
        """Close after what is queued, or (`drop`) instead of it."""
        with self._ready:
            if self.closing.is_set():
                return
            self.closing.set()
            if drop:
                self._jobs.clear()
            self._jobs.append(lambda wire: wire.close(code, reason))
            self._ready.notify()

    def abandon(self) -> None:
        """The peer is gone: nothing more can be sent."""
        with self._ready:
            self.closing.set()
            self._jobs.clear()
            self._ready.notify()

    def run(self, wire: Wire) -> None:
        """Write until `close` or `abandon`."""
        try:
            while (job := self._next()) is not None:
                job(wire)
        except OSError as error:
            log.info("a client is cut off: %s", error)
        finally:
            self.abandon()
            self.ended.set()

    def _put(self, job: Job) -> bool:
        with self._ready:
            if self.closing.is_set():
                return True  # nobody will miss it
            if len(self._jobs) >= MAX_QUEUED:
                return False
            self._jobs.append(job)
            self._ready.notify()
            return True

    def _next(self) -> Job | None:
        with self._ready:
            self._ready.wait_for(lambda: self._jobs or self.closing.is_set())
            return self._jobs.popleft() if self._jobs else None
