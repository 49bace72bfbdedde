"""Stores events in batches, off the hub, and tells when they are in the database."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import gevent
from gevent.event import Event

from contract.errors import ContractError
from relay.metrics import Metrics
from relay.store import EventRow, NewEvent

log = logging.getLogger(__name__)

S = TypeVar("S")

BATCH = 500
MAX_QUEUED = 10_000
BACKOFF_S = (0.1, 1.0)


class EventStore(Protocol):
    """The part of the store that is used."""

    def add_events(self, events: list[NewEvent]) -> list[tuple[int, EventRow | None]]: ...


class EventLog(Generic[S]):
    """Between the robots' sockets and the store.

    While the database is away the batch is tried again, and what comes meanwhile waits, up to `MAX_QUEUED`; beyond
    that events are dropped, counted and not acknowledged, so the robot sends them again.

    Args:
        store: where they go; blocks.
        on_stored: called with the sender's own mark, the event, and its row (None when it had been stored before).
        metrics: counts.
    """

    def __init__(
        self, store: EventStore, on_stored: Callable[[S, NewEvent, EventRow | None], None], metrics: Metrics
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._metrics = metrics
        self._queue: deque[tuple[S, NewEvent]] = deque(maxlen=MAX_QUEUED)
        self._wake = Event()
        self._greenlet: gevent.Greenlet | None = None
        metrics.gauge("wimz_relay_events_queued", lambda: len(self._queue))

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def add(self, mark: S, event: NewEvent) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self._metrics.count("wimz_relay_dropped_total", 'reason="events_full"')
            return
        self._queue.append((mark, event))
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                self._write(batch)

    def _write(self, batch: list[tuple[S, NewEvent]]) -> None:
        delay_s = BACKOFF_S[0]
        began_s = time.monotonic()
        while True:
            try:
                stored = self._store.add_events([event for _, event in batch])
                break
            except ContractError as error:
                if error.code != "UNAVAILABLE":
                    self._refused(batch, error)
                    return
                gevent.sleep(delay_s)
                delay_s = min(2 * delay_s, BACKOFF_S[1])
        self._metrics.histogram("wimz_relay_store_seconds").observe(time.monotonic() - began_s)
        for index, row in stored:
            mark, event = batch[index]
            if row is not None:
                self._metrics.count("wimz_relay_events_stored_total")
            self._on_stored(mark, event, row)

    def _refused(self, batch: list[tuple[S, NewEvent]], error: ContractError) -> None:
        """The database does not take something in the batch: find out what, and store the others."""
        if len(batch) == 1:
            log.warning("an event of %s cannot be stored: %s", batch[0][1].device_id, error.message)
            self._metrics.count("wimz_relay_dropped_total", 'reason="event_refused"')
            return
        middle = len(batch) // 2
        self._write(batch[:middle])
        self._write(batch[middle:])
