"""Everything that is said on some topics, for a tool to take at its own speed."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bus.codec import Message
from bus.topics import Topic
from bus.zeromq import ZmqBus
from cli.bus.place import BUS_STOP_S, tool_name

MAX_WAITING = 10_000
"""Messages that a slow terminal or disk may be behind by; what is more is dropped, and counted."""


@dataclass(frozen=True)
class Heard:
    """A message, and when it came: CLOCK_MONOTONIC in seconds."""

    topic: Topic[Any]
    message: Message[Any]
    at_s: float


class Gaps:
    """Counts from the numbers of one topic's messages what was missed; a restarted sender counts anew."""

    def __init__(self) -> None:
        self._sender: str | None = None
        self._seq = 0

    def missed_before(self, sender: str, seq: int) -> int:
        """Messages between the last one and this one."""
        missed = max(0, seq - self._seq - 1) if sender == self._sender else 0
        self._sender, self._seq = sender, seq
        return missed


class Tap:
    """Listens from its making until `close`.

    Attributes:
        missed: messages that never came, by the name of their topic: lost on the way, or dropped for want of room.
    """

    def __init__(self, run: Path, topics: Sequence[Topic[Any]]) -> None:
        self.missed: Counter[str] = Counter()
        self._waiting: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._bus = ZmqBus(tool_name(), run)
        for topic in topics:
            self._bus.subscribe(topic, partial(self._hear, topic, Gaps()), every_value=True)
        self._loop = self._bus.start()

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.stop()
        self._loop.join(BUS_STOP_S)

    @property
    def repeated(self) -> int:
        """Messages that came once more, as a STATE may for the sake of another listener."""
        return self._bus.counters["bus.repeated"]

    @property
    def unreadable(self) -> int:
        """Messages of another version of the program, or broken ones."""
        return self._bus.counters["bus.malformed"]

    def take(self, timeout_s: float) -> Heard | None:
        """The next message, or None when none came in time."""
        try:
            return self._waiting.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def take_all(self, timeout_s: float) -> list[Heard]:
        """All that have come; waits for the first."""
        heard: list[Heard] = []
        first = self.take(timeout_s)
        while first is not None and len(heard) < MAX_WAITING:
            heard.append(first)
            first = self.take(0)
        return heard if first is None else [*heard, first]

    def _hear(self, topic: Topic[Any], gaps: Gaps, message: Message[Any]) -> None:
        self.missed[topic.name] += gaps.missed_before(message.sender, message.seq)
        if self._waiting.qsize() >= MAX_WAITING:
            self.missed[topic.name] += 1
            return
        self._waiting.put(Heard(topic, message, time.monotonic()))
