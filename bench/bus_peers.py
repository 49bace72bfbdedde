"""Processes on the bus that talk as much as they are told to, and keep a journal; `bench/bus_crew.py` starts them.

    python -m bench.bus_peers '{"name": "monitor", "run_dir": …}'

They are no robots: they have the names of the robot's processes because a topic belongs to one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.bus_journal import Journal, Kind
from bus import runner
from bus.codec import Message, Request
from bus.messages import Heartbeat, Origin, RobotEvent
from bus.promise import Promise
from bus.topics import COMMAND_TOPICS, EVENTS, HEARTBEATS, PROCESSES
from bus.zeromq import ZmqBus
from contract.commands import Driven, Motor, Nothing

SERVER = "motion"
"""The peer that answers."""
MOTOR, STOP = COMMAND_TOPICS["motor"], COMMAND_TOPICS["stop"]
TICK_S = 0.005
NOTED_GAP_S = 0.01
"""Shorter gaps than this are no stall, and are not written down."""
CONTROL_TICK_S = 0.002
MAX_BEHIND = 100
"""What a peer that was held up makes up for at most, in one turn."""


class Spec(Struct, frozen=True, kw_only=True):
    """What one peer does.

    Attributes:
        name: one of `PROCESSES`; or `control-N`: no bus at all, only a process that sleeps, on core N.
        journal: directory of journals; empty: none is kept.
        events_hz: events published.
        hears: whose events it subscribes to.
        asks_hz: requests without id, one after the other.
        ids_hz: requests with id, each sent twice.
        stops_hz: stops.
        timeout_s: the deadline of its requests.
        waiting: how many requests it has under way at most.
    """

    name: str
    run_dir: str
    journal: str = ""
    events_hz: float = 0.0
    hears: tuple[str, ...] = ()
    asks_hz: float = 0.0
    ids_hz: float = 0.0
    stops_hz: float = 0.0
    timeout_s: float = 0.3
    waiting: int = 500


class Pace:
    """How many of something are due, at a rate; what was missed for long is let go."""

    def __init__(self, rate_hz: float, now_ns: int) -> None:
        self._rate_hz = rate_hz
        self._since_ns = now_ns

    def due(self, now_ns: int) -> int:
        count = int((now_ns - self._since_ns) * self._rate_hz / 1e9)
        if count == 0:
            return 0
        if count > MAX_BEHIND:
            self._since_ns = now_ns
            return MAX_BEHIND
        self._since_ns += int(count * 1e9 / self._rate_hz)
        return count


class Peer:
    """One process on the bus."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.bus = bus = ZmqBus(spec.name, Path(spec.run_dir))
        now_ns = time.monotonic_ns()
        self._journal = Journal(Path(spec.journal), spec.name) if spec.journal else None
        self._note(Kind.BOUND, now_ns)
        self._numbers = 0
        self._asked = 0
        self._waiting = 0
        self._paces = {
            self._publish: Pace(spec.events_hz, now_ns),
            self._ask: Pace(spec.asks_hz, now_ns),
            self._ask_twice: Pace(spec.ids_hz, now_ns),
            self._stop: Pace(spec.stops_hz, now_ns),
        }
        self._ticked_ns = now_ns
        for owner in spec.hears:
            bus.subscribe(EVENTS[owner], self._hear)
            bus.subscribe(HEARTBEATS[owner], self._beat)
        if spec.name == SERVER:
            bus.serve(MOTOR, self._drive)
            bus.serve(STOP, self._stopped)
        bus.every(TICK_S, self._tick)
        runner.beat(bus)
        signal.signal(signal.SIGCONT, lambda *_: self._note(Kind.AWOKE, time.monotonic_ns()))

    def _note(self, kind: Kind, at_ns: int, **more: int) -> None:
        if self._journal is not None:
            self._journal.note(kind, at_ns, **more)

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        gap_ns = now_ns - self._ticked_ns
        if gap_ns > NOTED_GAP_S * 1e9:
            self._note(Kind.GAP, now_ns, extra_ns=gap_ns)
        self._ticked_ns = now_ns
        for act, pace in self._paces.items():
            for _ in range(pace.due(now_ns)):
                act()

    # -- as a publisher and a subscriber ------------------------------------------------------------

    def _publish(self) -> None:
        self._numbers += 1
        data = {"n": self._numbers, "pid": os.getpid()}
        self.bus.publish(EVENTS[self.spec.name], RobotEvent("treat", data, str(self._numbers), ""))

    def _hear(self, message: Message[RobotEvent]) -> None:
        name = message.sender.partition("#")[0]
        number, pid = message.value.data.get("n"), message.value.data.get("pid")
        self.bus.counters["peer.heard"] += 1
        if name in PROCESSES and isinstance(number, int) and isinstance(pid, int):  # and not what a hostile one made up
            at_ns, owner = time.monotonic_ns(), PROCESSES.index(name)
            self._note(Kind.HEARD, at_ns, source=owner, pid=pid, number=number, extra_ns=message.sent_ns)

    def _beat(self, _: Message[Heartbeat]) -> None:
        self.bus.counters["peer.beats"] += 1

    # -- as a client ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._request(MOTOR, Motor(0.5, 0.5), Kind.ANSWERED)

    def _ask_twice(self) -> None:
        id_ = f"{os.getpid()}:{self._asked + 1}"
        self._request(MOTOR, Motor(0.5, 0.5), Kind.ANSWERED_WITH_ID, id_)
        self._request(MOTOR, Motor(0.5, 0.5), Kind.ANSWERED_WITH_ID, id_)

    def _stop(self) -> None:
        self._request(STOP, Nothing(), Kind.ANSWERED)

    def _request(self, topic: Any, body: Struct, kind: Kind, id_: str | None = None) -> None:
        if self._waiting >= self.spec.waiting:
            return
        if id_ is None or not id_.endswith(f":{self._asked}"):
            self._asked += 1
        self._waiting += 1
        number, asked_ns = self._asked, time.monotonic_ns()
        origin = Origin("console", f"{os.getpid()}:{number}")
        future = self.bus.request(topic, body, origin=origin, id=id_, timeout_s=self.spec.timeout_s)
        future.add_done_callback(lambda done: self._answered(done, kind, number, asked_ns))

    def _answered(self, done: Promise, kind: Kind, number: int, asked_ns: int) -> None:
        self._waiting -= 1
        answered = done.exception() is None
        self.bus.counters["peer.answered"] += answered
        ended = kind if answered else Kind.REFUSED
        self._note(ended, time.monotonic_ns(), number=number, extra_ns=asked_ns)

    # -- as a server ----------------------------------------------------------------------------------

    def _drive(self, request: Request[Any]) -> Driven:
        self._carried_out(request, Kind.DEED if request.id is None else Kind.DEED_WITH_ID)
        return Driven(request.body.left, request.body.right)

    def _stopped(self, request: Request[Any]) -> None:
        self._carried_out(request, Kind.STOPPED)

    def _carried_out(self, request: Request[Any], kind: Kind) -> None:
        at_ns = time.monotonic_ns()
        if request.origin is None or not request.origin.session[:1].isdigit():
            return  # a stranger's, who keeps no journal
        pid, _, number = request.origin.session.partition(":")
        self._note(kind, at_ns, pid=int(pid), number=int(number), extra_ns=request.deadline_ns)


def control(spec: Spec) -> None:
    """Sleep on one core and note when that took longer than it should: then it was the machine that stood."""
    os.sched_setaffinity(0, {int(spec.name.partition("-")[2])})
    journal = Journal(Path(spec.journal), spec.name)
    journal.note(Kind.BOUND, time.monotonic_ns())
    before_ns = time.monotonic_ns()
    while True:
        time.sleep(CONTROL_TICK_S)
        now_ns = time.monotonic_ns()
        if now_ns - before_ns > 5 * CONTROL_TICK_S * 1e9:
            journal.note(Kind.GAP, now_ns, extra_ns=now_ns - before_ns)
        before_ns = now_ns


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    runner.log_to_stderr(spec.name)
    runner.die_with_parent(signal.SIGKILL)
    if spec.name.startswith("control-"):
        control(spec)
        return
    peer = Peer(spec)
    signal.signal(signal.SIGTERM, lambda *_: peer.bus.stop())
    peer.bus.run()


if __name__ == "__main__":
    main()
