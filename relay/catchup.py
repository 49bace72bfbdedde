"""Catching up over the socket: an app gets what it has missed, each event once and in order."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import TYPE_CHECKING

import gevent

from contract import frames
from contract.errors import ContractError
from contract.frames import StoredEvent
from contract.validate import encode
from relay.history import EventRow

if TYPE_CHECKING:
    from relay.apps import AppSession
    from relay.node import Node

PAGE_EVENTS = 100
PAGE_BYTES = 32_768
"""A page holds no more than that, except that it holds one event at least."""
MAX_WAITING_BYTES = 131_072
"""With more than this on its way to the app, the next page waits."""
PACE_S = 0.02
PATIENCE_S = 30.0
MAX_AT_ONCE = 4
"""Catch-ups of one app at a time: its robots one after the other, and a few at once."""


class CatchUps:
    """Those of one app session.

    While one runs, events of its robot that are told are not sent: they are in the database already, so a later page
    brings them. After it, those up to its end are known to be sent. No greenlet switch lies between looking for such
    events and ending, so none falls between.
    """

    def __init__(self, node: Node, session: AppSession) -> None:
        self._node = node
        self._session = session
        self._told: dict[str, int] = {}  # robots being caught up -> the newest event that was told meanwhile
        self._sent: dict[str, int] = {}  # robots -> the last event that a catch-up has sent

    def ask(self, device_id: str, after: int) -> None:
        """Begin; refused where one of that robot runs, or too many do."""
        if device_id in self._told or len(self._told) >= MAX_AT_ONCE:
            message = f"Catching up runs already. One at a time for a robot, {MAX_AT_ONCE} at a time in all."
            self._session.refuse(ContractError("BUSY", message), device_id=device_id)
            return
        self._told[device_id] = 0
        self._sent.pop(device_id, None)
        self._node.spawn(self._run, device_id, after)

    def covers(self, device_id: str, seq: int) -> bool:
        """Whether a page has brought this event, or will."""
        if device_id in self._told:
            self._told[device_id] = max(self._told[device_id], seq)
            return True
        return seq <= self._sent.get(device_id, 0)

    def keep_only(self, roles: Container[str]) -> None:
        """Forget robots that are not the account's any more."""
        for device_id in [device for device in self._sent if device not in roles]:
            del self._sent[device_id]

    def _run(self, device_id: str, after: int) -> None:
        sent = after
        try:
            while self._wanted(device_id):
                known, before = self._told[device_id], sent  # all that was told before the database is asked, it has
                with self._node.reading:
                    rows = self._node.store.events([device_id], after=sent, limit=PAGE_EVENTS)
                page = _fitting(rows)
                sent = page[-1].seq if page else sent
                more = len(page) < len(rows) or len(rows) == PAGE_EVENTS or self._told[device_id] > max(sent, known)
                if not self._wanted(device_id):
                    return
                events = [StoredEvent(row.seq, row.id, device_id, row.event, row.data, row.happened) for row in page]
                answer = frames.CaughtUp(device_id=device_id, after=before, events=events, next_after=sent, more=more)
                if not more:
                    self._sent[device_id] = sent
                    del self._told[device_id]
                self._session.tell(encode(answer))
                if not more:
                    return
                self._wait_for_reader()
        except ContractError as error:
            self._session.refuse(error, device_id=device_id)
        finally:
            self._told.pop(device_id, None)

    def _wanted(self, device_id: str) -> bool:
        return self._session.connection.open and device_id in self._session.sender.roles

    def _wait_for_reader(self) -> None:
        """Until the app has taken most of what was sent. Raises ContractError when it does not."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._session.connection.open and self._session.connection.queued_bytes > MAX_WAITING_BYTES:
            if time.monotonic() > deadline_s:
                raise ContractError("BUSY", "Catching up has ended: the pages were not read. Ask again.")
            gevent.sleep(PACE_S)


def _fitting(rows: list[EventRow]) -> list[EventRow]:
    """As many of the rows as a page holds."""
    total = 0
    for index, row in enumerate(rows):
        total += len(encode(row.data)) + 200
        if total > PAGE_BYTES and index:
            return rows[:index]
    return rows
