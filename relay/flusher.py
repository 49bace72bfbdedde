"""Writing at the end of a turn of the loop: what is sent in one turn leaves in one write per connection."""

from __future__ import annotations

import time
from math import inf
from typing import Protocol

import gevent

from relay.metrics import Histogram


class Flushable(Protocol):
    """A connection that has something to send."""

    def flush(self) -> None: ...


class Flusher:
    """A worker's.

    Args:
        turn_s: is told how long each turn took, from its first message to its last write.
        ping_every_s: how often a connection is pinged in any case, so that a proxy knows a dead host by its silence.
    """

    def __init__(self, turn_s: Histogram | None = None, ping_every_s: float = inf) -> None:
        self.ping_every_s = ping_every_s
        self.loop = gevent.get_hub().loop
        self._turn_s = turn_s or Histogram()
        self._marked: list[Flushable] = []
        self._since_s = 0.0

    def mark(self, connection: Flushable) -> None:
        if not self._marked:
            self._since_s = time.monotonic()
            self.loop.run_callback(self._run)
        self._marked.append(connection)

    def _run(self) -> None:
        marked, self._marked = self._marked, []
        for connection in marked:
            connection.flush()
        self._turn_s.observe(time.monotonic() - self._since_s)
