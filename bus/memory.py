"""The bus in memory: same interface, same bytes, a fake clock, and nothing happens until it is told to.

hub = MemoryHub()
motion, lan = hub.bus("motion"), hub.bus("local_api")
…
hub.advance(0.4)
"""

from __future__ import annotations

import itertools
import select
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from bus import codec
from bus.base import Server, Source, Timer
from bus.codec import Message
from bus.endpoint import Asker, Complaints, Desk, Reader, promise
from bus.messages import Origin
from bus.promise import Promise
from bus.timers import Call, ScheduledCall, Timers
from bus.topics import Kind, Topic

T = TypeVar("T", bound=Struct)


class MemoryHub:
    """Joins the in-memory buses of one test. `now` is the fake clock, in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.buses: dict[str, MemoryBus] = {}
        self._instances = itertools.count(1)
        self.timers = Timers()
        self._queue: deque[Call] = deque()
        self._stop_queue: deque[Call] = deque()

    def bus(self, name: str) -> MemoryBus:
        """A new bus for the process `name`; a second one of that name takes the place of the first (a restart)."""
        bus = MemoryBus(self, name, next(self._instances))
        self.buses[name] = bus
        return bus

    def kill(self, name: str) -> None:
        """The process is gone, as after kill -9: its timers and handlers are never called again."""
        killed = self.buses.pop(name)
        killed.alive = False
        for source, _ in killed.watched:
            source.close()
        for bus in self.buses.values():
            for lane in ("req", "stop"):
                bus.lost(f"{name}.{lane}")

    def run(self) -> None:
        """Deliver everything that is on its way, stops first."""
        while self._stop_queue or self._queue or self._heard():
            (self._stop_queue or self._queue).popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, calling timers and deadlines at their moment, in order."""
        end = self.now + seconds
        self.run()
        while True:
            deadlines = [bus.next_deadline() for bus in self.buses.values()]
            due = min([deadline for deadline in deadlines if deadline is not None], default=end)
            timer = self.timers.next_at()
            if timer is not None:
                due = min(due, timer)
            if due > end:
                break
            self.now = max(self.now, due)
            for bus in list(self.buses.values()):
                bus.expire()
            self._run_timers()
            self.run()
            if due == end:
                break
        self.now = end

    def post(self, call: Call, *, urgent: bool = False) -> None:
        (self._stop_queue if urgent else self._queue).append(call)

    def _heard(self) -> bool:
        """Whether a source has something to read; its calls are on their way then."""
        calls = {source: call for bus in self.buses.values() for source, call in bus.watched}
        readable = select.select(calls, (), (), 0)[0] if calls else []
        self._queue.extend(calls[source] for source in readable)
        return bool(readable)

    def _run_timers(self) -> None:
        while (scheduled := self.timers.pop_due(self.now)) is not None:
            scheduled[1]()


class MemoryBus:
    """`bus.base.Bus` in memory. Made by `MemoryHub.bus`."""

    def __init__(self, hub: MemoryHub, name: str, instance: int) -> None:
        self.name = name
        self.alive = True
        self.counters: Counter[str] = Counter()
        self.loop_lag_s = 0.0
        self._hub = hub
        self._sender = f"{name}#{instance}"
        complaints = Complaints(self.counters)
        self._complaints = complaints
        self._desk = Desk(name, self.counters, complaints)
        self._asker = Asker(self._sender, self.counters, complaints)
        self._seqs: Counter[str] = Counter()
        self._last: dict[str, bytes] = {}
        self._readers: list[Reader] = []
        self.watched: list[tuple[Source, Call]] = []

    def now(self) -> float:
        return self._hub.now

    def publish(self, topic: Topic[T], value: T) -> None:
        if topic.owner != self.name:
            raise ValueError(f"{self.name} cannot publish {topic.name}: it belongs to {topic.owner}")
        self._seqs[topic.name] += 1
        raw = codec.encode_publication(topic, value, self._sender, self._seqs[topic.name], self._now_ns())
        if topic.kind is Kind.STATE:
            self._last[topic.name] = raw
        for bus in self._hub.buses.values():
            for reader in bus._readers:
                if reader.topic is topic:
                    bus._post(lambda reader=reader, bus=bus: reader.take(raw, bus._now_ns()))  # type: ignore[misc]

    def subscribe(self, topic: Topic[T], handler: Callable[[Message[T]], None], *, every_value: bool = False) -> None:
        reader = Reader(topic, handler, self.counters, self._complaints)
        self._readers.append(reader)
        owner = self._hub.buses.get(topic.owner)
        if owner is not None and (last := owner._last.get(topic.name)) is not None:
            self._post(lambda: reader.take(last, self._now_ns()))

    def serve(self, topic: Topic[T], handler: Server) -> None:
        self._desk.serve(topic, handler)

    def request(
        self,
        topic: Topic[Any],
        body: Struct,
        *,
        origin: Origin | None = None,
        id: str | None = None,
        timeout_s: float | None = None,
        sent_s: float | None = None,
    ) -> Promise:
        asked = promise(topic)
        request = self._asker.begin(topic, body, self._now_ns(), origin, id, timeout_s, asked, sent_s)
        if request is not None:
            raw = codec.encode_request(request)
            self._hub.post(lambda: self._deliver(topic, raw), urgent=topic.kind is Kind.STOP)
        return asked

    def every(self, period_s: float, call: Call) -> Timer:
        return self._schedule(period_s, call, period_s)

    def call_later(self, delay_s: float, call: Call) -> Timer:
        return self._schedule(delay_s, call, None)

    def watch(self, source: Source, call: Call) -> None:
        self.watched.append((source, self._guarded(call)))

    def call_soon(self, call: Call) -> None:
        self._post(call)

    def next_deadline(self) -> float | None:
        deadline_ns = self._asker.next_deadline_ns()
        return None if deadline_ns is None else deadline_ns / 1e9

    def expire(self) -> None:
        self._asker.expire(self._now_ns())

    def lost(self, lane: str) -> None:
        """The process behind a lane is gone."""
        self._post(lambda: self._asker.lost(lane, ()))

    def _deliver(self, topic: Topic[Any], raw: bytes) -> None:
        owner = self._hub.buses.get(topic.owner)
        if owner is None:
            return  # nobody hears it; the deadline will tell
        answer = self._answer_from(owner)
        owner._desk.handle(raw, owner._now_ns(), answer, owner.call_soon)

    def _answer_from(self, owner: MemoryBus) -> Callable[[bytes], None]:
        def answer(raw: bytes) -> None:
            if owner.alive:
                self._post(lambda: self._asker.answered(raw, self._now_ns()))

        return answer

    def _schedule(self, delay_s: float, call: Call, period_s: float | None) -> Timer:
        scheduled = ScheduledCall(self._guarded(call), period_s)
        self._hub.timers.push(self._hub.now + delay_s, scheduled)
        return scheduled

    def _post(self, call: Call) -> None:
        self._hub.post(self._guarded(call))

    def _guarded(self, call: Call) -> Call:
        return lambda: call() if self.alive else None

    def _now_ns(self) -> int:
        return round(self._hub.now * 1e9)
