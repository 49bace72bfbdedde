"""Our bus beside its peers: one way, there and back, messages per second, CPU per message.

`make bench-bus`; `COUNT=n` paced messages a round, `ROUNDS=n`, `AWAKE=0`, `JSON=1`, `CHECK=1`. One process sends,
another receives; 100 bytes, one message a millisecond for the latencies, as fast as it goes for the rates. The rounds
go through all transports in turn, so that a disturbance of the machine hits them alike, and the median of the rounds
counts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import statistics
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from bench.awake import kept_awake
from bench.bus_transports import TRANSPORTS, RawZeroMq, Redis, Transport, WimzBus
from bench.report import Row, finish

PERIOD_S = 0.001
WARM_UP = 100
FLOOD_S = 1.5
MAX_OF_RAW = 1.5
"""One way and there and back, ours may take this many times as long as raw pyzmq."""
MIN_FASTER_THAN_REDIS = 2.0

SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Figures:
    """What one round showed."""

    one_way_ns: list[int]
    round_trip_ns: list[int]
    per_second: float
    cpu_us: float
    lost_pct: float


def main() -> None:
    count, rounds = int(os.environ.get("COUNT", "2000")), int(os.environ.get("ROUNDS", "5"))
    seen: dict[type[Transport], list[Figures]] = {transport: [] for transport in TRANSPORTS}
    with tempfile.TemporaryDirectory(prefix="wz-bench-", dir="/dev/shm") as directory, kept_awake():
        for number in range(rounds):
            for kind in TRANSPORTS:
                place = Path(directory) / f"{kind.__name__}{number}"
                place.mkdir(mode=0o700)
                seen[kind].append(measure(kind(place), count))
    finish("The bus and its peers, 100 bytes from process to process", rows(seen))


def measure(transport: Transport, count: int) -> Figures:
    """One round of one transport."""
    transport.prepare()
    try:
        with child(transport, "paced") as heard:
            transport.send_paced(count + WARM_UP, PERIOD_S)
            one_way, _ = heard.result()
        with child(transport, "flood") as heard:
            before, begun = cpu_s(transport, heard), time.monotonic()
            sent = transport.send_flood(FLOOD_S)
            flood, ended_ns = heard.result()
            spent_s = cpu_s(transport, heard) - before
        with child(transport, "answer"):
            round_trip = transport.ask_paced(count + WARM_UP, PERIOD_S)
    finally:
        transport.close()
    received = len(flood)
    return Figures(
        one_way[WARM_UP:],
        round_trip[WARM_UP:],
        received / (ended_ns / 1e9 - begun),
        spent_s / received * 1e6,
        (1 - received / sent) * 100,
    )


def cpu_s(transport: Transport, heard: Child) -> float:
    """Processor time of everybody who takes part."""
    pids = [os.getpid(), heard.pid, transport.broker_pid()]
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids if pid is not None)


class Child:
    """The process on the other side."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def result(self) -> tuple[list[int], int]:
        """Each latency in ns, and when the last message came; asked for when all has been sent."""
        self._pipe.send("enough")
        latencies, ended_ns = self._pipe.recv()
        return array("q", latencies).tolist(), ended_ns


@contextlib.contextmanager
def child(transport: Transport, task: str) -> Iterator[Child]:
    """A process that receives or answers for as long as the block lasts."""
    transport.renew()
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(type(transport), state(transport), task, theirs), daemon=True)
    process.start()
    try:
        assert ours.recv() == "ready"
        yield Child(process, ours)
    finally:
        process.kill()
        process.join()


def state(transport: Transport) -> dict[str, Any]:
    """What the other side has to know of it; not the processes that were started."""
    return {key: value for key, value in vars(transport).items() if key not in ("_server", "_broker")}


def work(kind: type[Transport], known: dict[str, Any], task: str, pipe: Connection) -> None:
    """In the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    transport = object.__new__(kind)
    transport.__dict__.update(known)

    def ready() -> None:
        pipe.send("ready")

    if task == "answer":
        transport.answer(ready)
        return
    latencies = array("q")
    last_ns = 0

    def received(sent_ns: int) -> None:
        nonlocal last_ns
        last_ns = time.monotonic_ns()
        latencies.append(last_ns - sent_ns)

    def report() -> None:
        pipe.recv()
        before = -1
        while len(latencies) > before:  # until nothing more comes
            before = len(latencies)
            time.sleep(0.3)
        pipe.send((latencies.tobytes(), last_ns))

    threading.Thread(target=report, daemon=True).start()
    transport.receive(received, ready)


def rows(seen: dict[type[Transport], list[Figures]]) -> list[Row]:
    """The table, and below it what the aims compare."""
    table = [figures_row(kind.name, rounds) for kind, rounds in seen.items()]
    ours, raw, redis = seen[WimzBus], seen[RawZeroMq], seen[Redis]
    one_way, back = ratio(ours, raw, "one_way_ns"), ratio(ours, raw, "round_trip_ns")
    faster_one_way, faster_back = ratio(redis, ours, "one_way_ns"), ratio(redis, ours, "round_trip_ns")
    return [
        *table,
        Row("one way, ours / raw pyzmq", {"ratio": one_way}, MAX_OF_RAW, one_way <= MAX_OF_RAW),
        Row("there and back, ours / raw DEALER/ROUTER", {"ratio": back}, MAX_OF_RAW, back <= MAX_OF_RAW),
        Row(
            "one way, Redis / ours",
            {"ratio": faster_one_way},
            MIN_FASTER_THAN_REDIS,
            faster_one_way >= MIN_FASTER_THAN_REDIS,
        ),
        Row(
            "there and back, Redis / ours",
            {"ratio": faster_back},
            MIN_FASTER_THAN_REDIS,
            faster_back >= MIN_FASTER_THAN_REDIS,
        ),
    ]


def ratio(one: list[Figures], other: list[Figures], what: str) -> float:
    """How many times as long one takes: the median, over the rounds, of the ratio of their p50 in the same round."""
    medians = [[statistics.median(getattr(figures, what)) for figures in rounds] for rounds in (one, other)]
    return float(statistics.median(a / b for a, b in zip(*medians, strict=True)))


def figures_row(name: str, rounds: list[Figures]) -> Row:
    """One transport's line."""

    def over(pick: Any) -> float:
        return float(statistics.median(pick(figures) for figures in rounds))

    return Row(
        name,
        {
            "one_way_p50_us": over(lambda f: percentile(f.one_way_ns, 50)),
            "one_way_p99_us": over(lambda f: percentile(f.one_way_ns, 99)),
            "there_and_back_p50_us": over(lambda f: percentile(f.round_trip_ns, 50)),
            "there_and_back_p99_us": over(lambda f: percentile(f.round_trip_ns, 99)),
            "messages_per_s": over(lambda f: f.per_second),
            "cpu_us_per_message": over(lambda f: f.cpu_us),
            "lost_pct": over(lambda f: f.lost_pct),
        },
    )


def percentile(values_ns: list[int], percent: int) -> float:
    """In µs."""
    return statistics.quantiles(values_ns, n=100, method="inclusive")[percent - 1] / 1000


if __name__ == "__main__":
    main()
