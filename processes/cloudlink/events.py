"""Events on their way to the relay: into the store first, then out in order, until the relay has them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import msgspec

from bus.base import Bus
from bus.messages import RobotEvent
from contract.frames import Event
from processes.cloudlink.logic import OutboxWindow, StoredEvent
from processes.cloudlink.store import Outbox

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Jobs that may wait for the disk."""


class EventSender:
    """Durable delivery, at least once, in order.

    Args:
        executor: runs one job after the other beside the bus's loop, since a disk may take its time.
        send: hands a frame to the link; False when the link takes no more.
    """

    def __init__(
        self, bus: Bus, outbox: Outbox, executor: Executor, device_id: str, send: Callable[[str], bool]
    ) -> None:
        self._bus = bus
        self._outbox = outbox
        self._executor = executor
        self._device_id = device_id
        self._send = send
        self._window = OutboxWindow()
        self._waiting = 0
        self._closed = False

    def close(self) -> None:
        """What is stored is stored; nothing more is done with it here."""
        self._closed = True

    def on_event(self, event: RobotEvent) -> None:
        def stored(dropped: int) -> None:
            self._bus.counters["cloudlink.events_dropped"] += dropped
            self._bus.counters["cloudlink.events_waiting"] = len(self._outbox)
            self._window.on_stored()
            self._pump()

        self._run(lambda: self._outbox.add(event), stored)

    def on_ack(self, ids: list[str]) -> None:
        """The relay has stored these."""

        def removed(_: None) -> None:
            self._bus.counters["cloudlink.events_waiting"] = len(self._outbox)
            self._window.on_ack(ids)
            self._pump()

        self._run(lambda: self._outbox.remove(ids), removed)

    def on_connected(self) -> None:
        self._window.on_connected()
        self._pump()

    def on_disconnected(self) -> None:
        self._window.on_disconnected()

    def on_tick(self, now: float) -> None:
        self._window.on_tick(now)
        self._pump()

    def _pump(self) -> None:
        load = self._window.next_load()
        if load is None:
            return
        round_, after, wanted = load

        def loaded(events: list[StoredEvent]) -> None:
            for event in self._window.on_loaded(round_, wanted, events, self._bus.now()):
                self._send(self._frame(event))
            self._pump()

        self._run(lambda: self._outbox.after(after, wanted), loaded, self._window.on_load_failed)

    def _frame(self, stored: StoredEvent) -> str:
        event = msgspec.json.decode(stored.body, type=RobotEvent)
        frame = Event(
            event=event.event, data=event.data, timestamp=event.timestamp, device_id=self._device_id, id=event.id
        )
        return msgspec.json.encode(frame).decode()

    def _run(
        self, job: Callable[[], Any], then: Callable[[Any], None], failed: Callable[[], None] = lambda: None
    ) -> None:
        """Run `job` beside the loop, and `then` with its outcome back on it."""
        if self._waiting >= MAX_WAITING:
            self._bus.counters["cloudlink.events_dropped"] += 1
            failed()
            return
        self._waiting += 1

        def finish(future: Future[Any]) -> None:
            self._waiting -= 1
            error = future.exception()
            if error is None:
                then(future.result())
                return
            self._bus.counters["cloudlink.store_errors"] += 1
            failed()
            if not isinstance(error, sqlite3.Error):
                raise error
            log.error("the outbox failed: %s", error)

        def done(future: Future[Any]) -> None:
            if not self._closed:
                self._bus.call_soon(lambda: finish(future))

        self._executor.submit(job).add_done_callback(done)
