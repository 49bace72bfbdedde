"""The ring of frames beside its peers: from taking a picture to another process holding it, and what both spend on it.

`make bench-frames`; `COUNT=n` paced pictures a round, `ROUNDS=n`, `FPS=n`, `AWAKE=0`, `JSON=1`, `CHECK=1`. 1280 x 720
in I420 (1.4 MB), one writer and one reader: at FPS pictures a second for latency and processor time, then as fast as it
goes. A reader holds a picture when it has an array of it and has looked at both its ends. The rounds go through all
ways in turn, so that a disturbance of the machine hits them alike; the aims compare within a round, and the median of
the rounds counts.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bench.awake import kept_awake
from bench.frames_ways import SHAPE, WAYS, Camera, Ring, Way, ZmqBytes, ZmqNoCopy, number_of
from bench.report import Row, finish
from bus.frames import Picture

FPS = float(os.environ.get("FPS", "30"))
WARM_UP = 15
FLOOD_S = 1.0
PATIENCE_S = 60.0
MAX_P50_OF_ZMQ_PCT = 50
MAX_CPU_OF_ZMQ_PCT = 60
"""What the ring may take of what bytes over zmq do. `copy=False` makes the camera wait until ZeroMQ has let go of its
picture, and is compared without an aim."""

SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Figures:
    """What one round showed of one way. A figure that it does not have is missing."""

    p50_us: float
    p99_us: float
    cpu_us: float
    held_per_s: float
    torn: int


@dataclass
class Seen:
    """What a reader has seen, from the picture on with which the measurement began."""

    latencies_ns: list[int]
    cpu_ns: int
    seconds: float
    torn: int


def main() -> None:
    count, rounds = int(os.environ.get("COUNT", "120")), int(os.environ.get("ROUNDS", "7"))
    seen: dict[type[Way], list[Figures]] = {way: [] for way in WAYS}
    floor: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="wz-bench-", dir="/dev/shm") as directory, kept_awake():
        for _ in range(rounds):
            floor.append(memcpy(count))
            for kind in WAYS:
                seen[kind].append(measure(kind, Path(directory), count))
    finish(f"Pictures from process to process, 1280 x 720 I420, at {FPS:g} a second", rows(seen, floor))


def measure(kind: type[Way], directory: Path, count: int) -> Figures:
    """One round of one way."""
    paced, writer_cpu_ns = transfer(kind, directory, 1 / FPS, count)
    flood, _ = transfer(kind, directory, 0.0, 0)
    held = len(paced.latencies_ns)
    return Figures(
        percentile(paced.latencies_ns, 50),
        percentile(paced.latencies_ns, 99),
        (paced.cpu_ns + writer_cpu_ns) / held / 1000,
        len(flood.latencies_ns) / flood.seconds,
        paced.torn + flood.torn,
    )


def transfer(kind: type[Way], directory: Path, period_s: float, count: int) -> tuple[Seen, int]:
    """Let a writer write `count` pictures (or for FLOOD_S seconds) after the warm-up, and a reader read them.

    Returns what the reader has seen, and the writer's processor time in ns.
    """
    way = kind(Path(tempfile.mkdtemp(dir=directory)))  # a new one each time: who is killed may hold a lock of a queue
    try:
        with child(read, way) as reader:
            assert answer(reader) == "ready"
            with child(write, way, period_s, count) as writer:
                last, cpu_ns = answer(writer)
                reader.send(last)
                seen: Seen = answer(reader)
    finally:
        way.close()
    assert seen.latencies_ns, f"{way.name}: nothing arrived"
    return seen, cpu_ns


def answer(pipe: Connection) -> Any:
    if not pipe.poll(PATIENCE_S):
        raise TimeoutError(f"no answer within {PATIENCE_S:g} s")
    return pipe.recv()


@contextlib.contextmanager
def child(work: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """A process that works for as long as the block lasts, at the other end of a pipe."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def write(pipe: Connection, way: Way, period_s: float, count: int) -> None:
    """In the child that writes: pass on pictures, tell the last one's number and the processor time they took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    camera, begun_ns = Camera(), 0
    ends = float("inf")

    def more() -> bool:
        nonlocal begun_ns, ends
        if camera.number == WARM_UP:
            begun_ns, ends = time.process_time_ns() - camera.cpu_ns, time.monotonic() + FLOOD_S
        if camera.number < WARM_UP + count or (not count and time.monotonic() < ends):
            return True
        pipe.send((camera.number, time.process_time_ns() - camera.cpu_ns - begun_ns))
        return False

    way.write(camera, period_s, more)
    pipe.poll(None)  # what is still on its way would be lost with this process


def read(pipe: Connection, way: Way) -> None:
    """In the child that reads: receive, and report when the last picture has come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen, newest = Seen([], 0, 0.0, 0), 0
    begun_ns, begun_cpu_ns = 0, 0

    def got(picture: Picture, capture_ns: int) -> Callable[[bool], None]:
        number = number_of(picture)
        now_ns = time.monotonic_ns()

        def check(whole: bool) -> None:
            nonlocal newest, begun_ns, begun_cpu_ns
            if not whole:
                seen.torn += 1
                return
            assert number > newest, f"the two ends of a picture that should be whole differ, or {newest} came later"
            newest = number
            if number <= WARM_UP or not begun_ns:
                begun_ns, begun_cpu_ns = now_ns, time.process_time_ns()
                return
            seen.latencies_ns.append(now_ns - capture_ns)
            seen.seconds = (now_ns - begun_ns) / 1e9
            seen.cpu_ns = time.process_time_ns() - begun_cpu_ns

        return check

    def report() -> None:
        last = pipe.recv()
        while newest < last:
            time.sleep(0.01)
        pipe.send(seen)

    threading.Thread(target=report, daemon=True).start()
    way.read(got, lambda: pipe.send("ready"))


def memcpy(count: int) -> tuple[float, float]:
    """p50 and p99 in µs of copying one picture within one process, at the same pace: what every copy costs."""
    camera, place, took = Camera(), np.empty(SHAPE, np.uint8), []
    for _ in range(count):
        picture, begun_ns = camera.take()
        np.copyto(place, picture)
        took.append(time.monotonic_ns() - begun_ns)
        time.sleep(1 / FPS)
    return percentile(took, 50), percentile(took, 99)


def rows(seen: dict[type[Way], list[Figures]], floor: list[tuple[float, float]]) -> list[Row]:
    """The table, and below it what the aims compare."""
    p50_pct, cpu_pct = share_pct(seen[Ring], seen[ZmqBytes], "p50_us"), share_pct(seen[Ring], seen[ZmqBytes], "cpu_us")
    harder = seen[ZmqNoCopy]
    return [
        *(figures_row(way.name, rounds) for way, rounds in seen.items()),
        Row(
            "memcpy, no second process",
            {
                "p50_us": statistics.median(p50 for p50, _ in floor),
                "p99_us": statistics.median(p99 for _, p99 in floor),
            },
        ),
        Row(
            "write to reader p50, ring / bytes over zmq",
            {"share_pct": p50_pct},
            MAX_P50_OF_ZMQ_PCT,
            p50_pct <= MAX_P50_OF_ZMQ_PCT,
        ),
        Row(
            "processor time, ring / bytes over zmq",
            {"share_pct": cpu_pct},
            MAX_CPU_OF_ZMQ_PCT,
            cpu_pct <= MAX_CPU_OF_ZMQ_PCT,
        ),
        Row("write to reader p50, ring / copy=False", {"share_pct": share_pct(seen[Ring], harder, "p50_us")}),
        Row("processor time, ring / copy=False", {"share_pct": share_pct(seen[Ring], harder, "cpu_us")}),
    ]


def share_pct(ours: list[Figures], others: list[Figures], what: str) -> float:
    """How much of another's figure ours is: the median over the rounds."""
    pairs = zip(ours, others, strict=True)
    return float(statistics.median(100 * getattr(one, what) / getattr(other, what) for one, other in pairs))


def figures_row(name: str, rounds: list[Figures]) -> Row:
    """One way's line: the median of its rounds; torn pictures are added up."""
    figures = {
        what: float(statistics.median(getattr(figures, what) for figures in rounds))
        for what in ("p50_us", "p99_us", "cpu_us", "held_per_s")
    }
    return Row(name, {**figures, "torn": float(sum(figures.torn for figures in rounds))})


def percentile(values_ns: list[int], percent: int) -> float:
    """In µs."""
    return statistics.quantiles(values_ns, n=100, method="inclusive")[percent - 1] / 1000


if __name__ == "__main__":
    main()
