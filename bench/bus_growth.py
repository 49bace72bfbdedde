"""What a publisher, a subscriber, a server and a client weigh after very many messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.bus_crew import Crew
from bench.report import Row
from bus.messages import Heartbeat
from bus.topics import HEARTBEATS
from bus.zeromq import ZmqBus

PUBLISHER, SUBSCRIBER, SERVER, CLIENT = "guard", "monitor", "motion", "webrtc"
WARM_UP_SHARE = 0.1
MAX_GROWTH_PCT = 5.0
STALLED_S = 60.0
EVENTS_HZ, ASKS_HZ = 10_000.0, 4_000.0
"""More than two slow cores can do: each peer works without pause, and sends what it can."""


@dataclass(frozen=True)
class Weight:
    """Of one process."""

    rss_mib: float
    descriptors: int


def weigh(crew: Crew, name: str) -> Weight:
    process: psutil.Process = crew.stats(name)
    return Weight(process.memory_info().rss / 2**20, process.num_fds())


class Tally:
    """Counts what the peers say in their heartbeats they have done."""

    def __init__(self, bus: ZmqBus) -> None:
        self.counters: dict[str, dict[str, int]] = {}
        for name in (SUBSCRIBER, CLIENT):
            bus.subscribe(HEARTBEATS[name], lambda message, name=name: self._note(name, message.value))  # type: ignore[misc]

    def _note(self, name: str, beat: Heartbeat) -> None:
        self.counters[name] = beat.counters

    def messages(self) -> int:
        """Publications heard and requests answered."""
        heard = self.counters.get(SUBSCRIBER, {}).get("peer.heard", 0)
        return heard + self.counters.get(CLIENT, {}).get("peer.answered", 0)


def growth(directory: Path, messages: int) -> list[Row]:
    """Rows of the report: each process's growth between a tenth of the messages and all of them.

    Raises:
        TimeoutError: the messages do not flow.
    """
    crew = Crew(directory, journal=False)
    watch = ZmqBus("drill", crew.run_dir)
    try:
        tally = Tally(watch)
        watch.start()
        crew.start(SERVER)
        crew.start(PUBLISHER, events_hz=EVENTS_HZ)
        crew.start(SUBSCRIBER, hears=(PUBLISHER,))
        crew.start(CLIENT, asks_hz=ASKS_HZ, waiting=50, timeout_s=10.0)
        _flow(tally, int(messages * WARM_UP_SHARE))
        before = {name: weigh(crew, name) for name in crew.processes}
        _flow(tally, messages)
        after = {name: weigh(crew, name) for name in crew.processes}
        counted = {name: tally.counters[name] for name in (SUBSCRIBER, CLIENT)}
    finally:
        watch.stop()
        crew.close()
    rows = [
        Row("publications heard", {"count": counted[SUBSCRIBER]["peer.heard"]}),
        Row("requests answered", {"count": counted[CLIENT]["peer.answered"]}),
    ]
    for what, name in (("publisher", PUBLISHER), ("subscriber", SUBSCRIBER), ("server", SERVER), ("client", CLIENT)):
        pct = (after[name].rss_mib / before[name].rss_mib - 1) * 100
        figures = {"rss_mib": after[name].rss_mib, "growth_pct": pct}
        rows.append(Row(f"resident memory of the {what}", figures, MAX_GROWTH_PCT, pct <= MAX_GROWTH_PCT))
        more = after[name].descriptors - before[name].descriptors
        rows.append(Row(f"descriptors of the {what}", {"count": after[name].descriptors, "growth": more}, 0, more <= 0))
    return rows


def _flow(tally: Tally, messages: int) -> None:
    """Wait until so many messages have arrived."""
    seen, since = -1, time.monotonic()
    while (now_seen := tally.messages()) < messages:
        if now_seen > seen:
            seen, since = now_seen, time.monotonic()
        if time.monotonic() - since > STALLED_S:
            raise TimeoutError(f"{seen} of {messages} messages arrived, and then none for {STALLED_S:g} s")
        time.sleep(0.05)
