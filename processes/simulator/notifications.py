"""Who hears of which lines' changes, as pigpiod reports them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from processes.simulator.gpio import USER_PINS, GpioBank
from processes.simulator.logic import Edge

ClientT = TypeVar("ClientT")

REPORT = struct.Struct("<HHII")
"""Sequence number, flags, tick, levels of GPIO 0–31."""
SLOTS = 32
"""How many handles pigpiod has."""


def tick_us(now: float) -> int:
    """pigpio's clock: microseconds in 32 bits, which wrap every 71.6 minutes."""
    return round(now * 1e6) & 0xFFFFFFFF


class GlitchFilter:
    """The lines as they are reported: a change counts once it has lasted for the line's filter time."""

    def __init__(self, bank: GpioBank) -> None:
        self._pins = bank.pins
        self._due: dict[int, float] = {}
        self.levels = bank.levels

    def edge(self, edge: Edge) -> list[Edge]:
        """The reported changes up to and with this one."""
        reported = self.settle(edge.at_s)
        before = self.levels
        for gpio in range(USER_PINS):
            bit = 1 << gpio
            if not (edge.levels ^ self.levels) & bit:
                self._due.pop(gpio, None)
            elif steady_us := self._pins[gpio].glitch_us:
                self._due.setdefault(gpio, edge.at_s + steady_us / 1e6)
            else:
                self.levels ^= bit
        return reported if self.levels == before else [*reported, Edge(edge.at_s, self.levels)]

    def settle(self, now: float) -> list[Edge]:
        """The changes that have lasted long enough by now."""
        reported = []
        for gpio, due_s in sorted(self._due.items(), key=lambda item: item[1]):
            if due_s <= now:
                del self._due[gpio]
                self.levels ^= 1 << gpio
                reported.append(Edge(due_s, self.levels))
        return reported

    def next_event_s(self) -> float | None:
        return min(self._due.values(), default=None)


class _Handle(Generic[ClientT]):
    def __init__(self, client: ClientT) -> None:
        self.client = client
        self.bits = 0
        self.seq = 0

    def report(self, edge: Edge) -> tuple[ClientT, bytes]:
        report = REPORT.pack(self.seq, 0, tick_us(edge.at_s), edge.levels)
        self.seq = (self.seq + 1) & 0xFFFF
        return self.client, report


class Notifications(Generic[ClientT]):
    """The handles that clients opened, and the reports that are due to them."""

    def __init__(self, bank: GpioBank) -> None:
        self._filter = GlitchFilter(bank)
        self._handles: dict[int, _Handle[ClientT]] = {}
        self._reported = self._filter.levels

    def open(self, client: ClientT) -> int | None:
        """A handle that watches nothing yet; None when all are taken."""
        free = next((handle for handle in range(SLOTS) if handle not in self._handles), None)
        if free is not None:
            self._handles[free] = _Handle(client)
        return free

    def begin(self, handle: int, bits: int, now: float) -> list[tuple[ClientT, bytes]] | None:
        """Watch these lines; none is a pause. Returns the first report, or None for an unknown handle.

        The client compares every report with the levels it read when it connected: the first one tells it where the
        lines stand by now.
        """
        watcher = self._handles.get(handle)
        if watcher is None:
            return None
        watcher.bits = bits
        return [watcher.report(Edge(now, self._filter.levels))] if bits else []

    def close(self, handle: int) -> bool:
        """False for an unknown handle."""
        return self._handles.pop(handle, None) is not None

    def forget(self, client: ClientT) -> None:
        """The client is gone, and its handles with it."""
        self._handles = {handle: watcher for handle, watcher in self._handles.items() if watcher.client != client}

    def listeners(self) -> set[ClientT]:
        """The clients that have a handle."""
        return {watcher.client for watcher in self._handles.values()}

    def reports(self, edges: Sequence[Edge], now: float) -> Iterator[tuple[ClientT, bytes]]:
        """What to send to whom, for the edges up to now."""
        for edge in edges:
            yield from self._each(self._filter.edge(edge))
        yield from self._each(self._filter.settle(now))

    def _each(self, edges: list[Edge]) -> Iterator[tuple[ClientT, bytes]]:
        for edge in edges:
            changed = edge.levels ^ self._reported
            self._reported = edge.levels
            for watcher in self._handles.values():
                if changed & watcher.bits:
                    yield watcher.report(edge)

    def next_event_s(self) -> float | None:
        """When a change will have lasted long enough to be reported; None if none waits for that."""
        return self._filter.next_event_s()
