"""The bus under fire: peers that talk, and one after the other is killed, stopped or restarted; then what the journals
say about all the others.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.bus_crew import Crew
from bench.bus_journal import DEEDS, Kind, Seen, read_all
from bench.bus_peers import NOTED_GAP_S, SERVER
from bench.report import Row
from bus.topics import PROCESSES

PUBLISHERS = (SERVER, "guard", "dispenser", "camera")
LISTENERS = ("monitor", "webrtc", "cloudlink")
PEERS = (*PUBLISHERS, *LISTENERS)
EVENTS_HZ = 2000.0
STOPPED_S = 1.0
AFTER_S = 0.5
"""What a fault does to the others may show a little later."""
SETTLE_S = 1.0
MAX_STALL_MS = 100.0
MAX_UNHEARD_MS = 100.0


@dataclass(frozen=True)
class Fault:
    """Something done to `victim`, and until when it could tell on the others. `restarted`: it has a new process."""

    victim: str
    what: str
    begun_ns: int
    over_ns: int
    pids: frozenset[int]


def start_crew(directory: Path, events_hz: float = EVENTS_HZ) -> Crew:
    """Four publishers, one of which serves, three listeners, two of which ask; and a control on each core."""
    crew = Crew(directory)
    try:
        for core in sorted(os.sched_getaffinity(0)):
            crew.start(f"control-{core}")
        for name in PUBLISHERS:
            crew.start(name, events_hz=events_hz / len(PUBLISHERS))
        for name in LISTENERS:
            asks = name != LISTENERS[0]
            crew.start(
                name, hears=PUBLISHERS, asks_hz=50.0 * asks, ids_hz=20.0 * asks, stops_hz=10.0 * asks, timeout_s=0.3
            )
        crew.wait_bound(*crew.processes)
    except BaseException:
        crew.close()
        raise
    time.sleep(SETTLE_S)  # connections are made within this; what happens before it is not judged
    return crew


def hurt(crew: Crew, victim: str, what: str) -> Fault:
    """Do `kill -9`, `SIGSTOP` or `restart` to a peer, and wait until it is over."""
    begun_ns, pids = time.monotonic_ns(), {crew.processes[victim].pid}
    if what == "SIGSTOP":
        crew.send_signal(victim, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        crew.send_signal(victim, signal.SIGCONT)
    else:
        crew.end(victim, signal.SIGKILL if what == "kill -9" else signal.SIGTERM)
        crew.start(victim)
        crew.wait_bound(victim)
        pids.add(crew.processes[victim].pid)
    time.sleep(AFTER_S)
    return Fault(victim, what, begun_ns, time.monotonic_ns(), frozenset(pids))


FAULTS = ("kill -9", "SIGSTOP", "restart")


@dataclass(frozen=True)
class Stall:
    """The longest time survivors did not do one thing. `own_ms` is what remains when the longest time in which the
    machine let a sleeping process wait, in the same moment, is taken away; `what` says whose that was.
    """

    what: str = "none"
    raw_ms: float = 0.0
    own_ms: float = 0.0


class Verdict:
    """What the journals say."""

    def __init__(self, journals: Path, faults: list[Fault]) -> None:
        everyone = read_all(journals)
        self._peers = [seen for seen in everyone if not seen.name.startswith("control")]
        controls = [seen for seen in everyone if seen.name.startswith("control")]
        self._held_up = [(r.at_ns - r.extra_ns, r.at_ns, r.extra_ns) for seen in controls for r in seen.of(Kind.GAP)]
        self._faults = faults

    # -- nobody else stalls ---------------------------------------------------------------------------

    def machine_ms(self) -> float:
        """The longest time in which a process that only sleeps was not woken, during the faults."""
        begun_ns, over_ns = self._faults[0].begun_ns, self._faults[-1].over_ns
        return max((gap for start, end, gap in self._held_up if start < over_ns and end > begun_ns), default=0) / 1e6

    def stopped_ms(self) -> float:
        """The shortest stall that was seen of the loop of a peer that had SIGSTOP: what shows that stalls are seen."""
        stalls = []
        for fault in self._faults:
            if fault.what == "SIGSTOP":
                victim = next(seen for seen in self._peers if seen.pid in fault.pids)
                gaps = [r.extra_ns for r in victim.of(Kind.GAP) if fault.begun_ns <= r.at_ns <= fault.over_ns]
                stalls.append(max(gaps, default=0) / 1e6)
        return min(stalls, default=0.0)

    def loop_stall(self) -> Stall:
        """Of every survivor's loop."""
        found = [Stall()]
        for fault in self._faults:
            for seen in self._survivors(fault):
                for gap in seen.of(Kind.GAP):
                    if fault.begun_ns <= gap.at_ns - gap.extra_ns and gap.at_ns <= fault.over_ns:
                        found.append(self._stall(f"{seen.name}'s loop, {_name(fault)}", gap.at_ns, gap.extra_ns))
        return _longest(found)

    def hearing_stall(self) -> Stall:
        """Of what a survivor hears from a survivor."""
        found = [Stall()]
        for fault in self._faults:
            for seen in self._survivors(fault):
                heard: dict[int, list[int]] = defaultdict(list)
                for record in seen.of(Kind.HEARD):
                    if record.pid not in fault.pids and fault.begun_ns <= record.at_ns <= fault.over_ns:
                        heard[record.source].append(record.at_ns)
                for source, times in heard.items():
                    what = f"{seen.name} hears {PROCESSES[source]}, {_name(fault)}"
                    found.extend(self._gaps(what, [fault.begun_ns, *times, fault.over_ns]))
        return _longest(found)

    def answer_stall(self) -> Stall:
        """Of the answers that a surviving client gets from a surviving server."""
        found = [Stall()]
        for fault in self._faults:
            if fault.victim == SERVER:
                continue
            for seen in self._survivors(fault):
                times = [
                    record.at_ns
                    for record in seen.of(Kind.ANSWERED, Kind.ANSWERED_WITH_ID)
                    if fault.begun_ns <= record.at_ns <= fault.over_ns
                ]
                if times:
                    found.extend(self._gaps(f"{seen.name}'s answers, {_name(fault)}", times))
        return _longest(found)

    def _survivors(self, fault: Fault) -> Iterable[Seen]:
        return (seen for seen in self._peers if seen.pid not in fault.pids and seen.records)

    def _gaps(self, what: str, times: list[int]) -> Iterable[Stall]:
        for before, after in itertools.pairwise(times):
            if after - before > NOTED_GAP_S * 1e9:
                yield self._stall(what, after, after - before)

    def _stall(self, what: str, at_ns: int, gap_ns: int) -> Stall:
        begun_ns = at_ns - gap_ns
        held_up_ns = max((gap for start, end, gap in self._held_up if start < at_ns and end > begun_ns), default=0)
        return Stall(what, gap_ns / 1e6, max(0.0, (gap_ns - held_up_ns) / 1e6))

    # -- a restarted publisher is heard ---------------------------------------------------------------

    def unheard_ms(self) -> list[float]:
        """For every restarted publisher and every listener that was there: from its bind to its first event heard."""
        waits = []
        for fault in self._faults:
            if fault.victim not in PUBLISHERS or fault.what == "SIGSTOP":
                continue
            reborn = next(
                seen
                for seen in self._peers
                if seen.pid in fault.pids and seen.name == fault.victim and seen.records[0].at_ns > fault.begun_ns
            )
            for seen in self._survivors(fault):
                if seen.name in LISTENERS and self._lives_through(seen, fault):
                    times = [record.at_ns for record in seen.of(Kind.HEARD) if record.pid == reborn.pid]
                    waits.append((times[0] - reborn.records[0].at_ns) / 1e6 if times else float("inf"))
        return waits

    def _lives_through(self, seen: Seen, fault: Fault) -> bool:
        return seen.records[0].at_ns < fault.begun_ns and seen.records[-1].at_ns > fault.over_ns - AFTER_S * 1e9

    # -- nothing late, nothing twice ------------------------------------------------------------------

    def late_deeds(self) -> int:
        """Requests carried out after their deadline; not counted is what was under way when its server was stopped."""
        late = 0
        for seen in self._peers:
            before = None
            for record in seen.records:
                under_way = before is Kind.AWOKE
                late += record.kind in DEEDS and record.at_ns > record.extra_ns and not under_way
                before = record.kind
        return late

    def deeds(self) -> int:
        return sum(1 for seen in self._peers for _ in seen.of(*DEEDS))

    def twice_carried_out(self) -> int:
        """By one server: requests with an id, each of which was sent twice. By all together: those without."""
        by_one = [Counter((r.pid, r.number) for r in seen.of(Kind.DEED_WITH_ID)) for seen in self._peers]
        by_all = Counter((r.pid, r.number) for seen in self._peers for r in seen.of(Kind.DEED, Kind.STOPPED))
        return sum(_repeats(counter) for counter in [*by_one, by_all])

    def resent_and_answered(self) -> int:
        """Requests with an id that were answered both times, so that the memory was really asked."""
        answers = [Counter(r.number for r in seen.of(Kind.ANSWERED_WITH_ID)) for seen in self._peers]
        return sum(1 for counter in answers for count in counter.values() if count == 2)

    def heard(self) -> int:
        return sum(1 for seen in self._peers for _ in seen.of(Kind.HEARD))

    def twice_heard(self) -> int:
        return sum(_repeats(Counter((r.pid, r.number) for r in seen.of(Kind.HEARD))) for seen in self._peers)

    def out_of_order(self) -> int:
        disordered = 0
        for seen in self._peers:
            last: dict[int, int] = {}
            for record in seen.of(Kind.HEARD):
                disordered += record.number < last.get(record.pid, 0)
                last[record.pid] = record.number
        return disordered

    def lost(self) -> int:
        """Events missing between the first and the last that a listener heard of one publisher."""
        lost = 0
        for seen in self._peers:
            numbers: dict[int, set[int]] = defaultdict(set)
            for record in seen.of(Kind.HEARD):
                numbers[record.pid].add(record.number)
            lost += sum(max(heard) - min(heard) + 1 - len(heard) for heard in numbers.values())
        return lost

    def events_hz(self, seconds: float) -> float:
        """Events published per second, as the listeners heard them."""
        published = {(record.pid, record.number) for seen in self._peers for record in seen.of(Kind.HEARD)}
        return len(published) / seconds

    def rows(self, seconds: float) -> list[Row]:
        """The report: what, figure, aim."""
        unheard = self.unheard_ms()
        rows = [
            Row("events published", {"per_s": self.events_hz(seconds)}),
            Row("faults", {"count": len(self._faults)}),
            Row("the machine itself (a process that only sleeps)", {"raw_ms": self.machine_ms()}),
            Row("a peer that was stopped (the measure sees it)", {"raw_ms": self.stopped_ms()}),
        ]
        for what, stall in (
            ("a survivor's loop", self.loop_stall()),
            ("a survivor hears a survivor", self.hearing_stall()),
            ("a survivor's answers", self.answer_stall()),
        ):
            met = stall.own_ms <= MAX_STALL_MS
            figures = {"raw_ms": stall.raw_ms, "own_ms": stall.own_ms}
            rows.append(Row(f"longest stall: {what} ({stall.what})", figures, MAX_STALL_MS, met))
        longest = max(unheard, default=float("inf"))
        rows.append(
            Row("restarted publisher, bind to heard", {"own_ms": longest}, MAX_UNHEARD_MS, longest <= MAX_UNHEARD_MS)
        )
        rows += [Row("requests carried out", {"count": self.deeds()}, met=self.deeds() > 0)]
        for what, count in (
            ("carried out after the deadline", self.late_deeds()),
            ("carried out twice", self.twice_carried_out()),
            ("events delivered twice", self.twice_heard()),
            ("events out of order", self.out_of_order()),
        ):
            rows.append(Row(what, {"count": count}, 0, count == 0))
        resent = self.resent_and_answered()
        rows.append(Row("resent ids answered both times", {"count": resent}, met=resent > 0))
        rows.append(Row("deliveries heard", {"count": self.heard()}, met=self.heard() > 0))
        rows.append(Row("events lost between two that were heard", {"count": self.lost()}))
        return rows


def _longest(stalls: list[Stall]) -> Stall:
    """The longest of both kinds, which need not be the same."""
    own = max(stalls, key=lambda stall: stall.own_ms)
    return Stall(own.what, max(stall.raw_ms for stall in stalls), own.own_ms)


def _name(fault: Fault) -> str:
    return f"{fault.what} of {fault.victim}"


def _repeats(counter: Counter[tuple[int, int]]) -> int:
    return sum(count - 1 for count in counter.values())


def under_fire(directory: Path, rounds: int, victims: tuple[str, ...] = PEERS) -> list[Row]:
    """Each fault to each victim, `rounds` times. Rows of the report."""
    crew = start_crew(directory)
    begun = time.monotonic()
    try:
        faults = [hurt(crew, victim, what) for _ in range(rounds) for victim in victims for what in FAULTS]
        ended = crew.ended()
        seconds = time.monotonic() - begun + SETTLE_S
    finally:
        crew.close()
    verdict = Verdict(crew.journals, faults)
    died = Row("peers that ended without being told to", {"count": len(ended)}, 0, not ended)
    return [*verdict.rows(seconds), died]
