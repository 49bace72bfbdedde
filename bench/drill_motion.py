"""Motors at full speed, and then something breaks: how soon the motor pins are at zero.

`make drill`; `TRIES=n` (100), `LANES="links processes"`, `JSON=1`, `CHECK=1`. A real robot under supervisord, a real
relay, real WebRTC peers, and the simulated machine, whose pins are watched through its own time stamps. A figure is the
time to zero on both enable pins from the last command that the robot's socket got (or, a little longer, from when it
was sent), or from the kill. `back_worst_ms` is how long it took before a try until the robot drove at full speed: it
has to come back from each.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.motion_lanes import Try, run_lane
from bench.report import Row, finish


def main() -> None:
    tries = int(os.environ.get("TRIES", "100"))
    lanes = os.environ.get("LANES", "links processes").split()
    with tempfile.TemporaryDirectory(prefix="wz-") as directory:
        Path(directory).chmod(0o711)
        places = [Path(directory) / lane for lane in lanes]
        for place in places:
            place.mkdir()
        with ProcessPoolExecutor(len(lanes), get_context("spawn")) as pool:
            done = [one for part in pool.map(run_lane, lanes, places, [tries] * len(lanes)) for one in part]
    finish(f"Motion safety: time to zero, {tries} tries each", rows(done))


def rows(done: list[Try]) -> list[Row]:
    """A row for each kind of try."""
    kinds = dict.fromkeys(one.figure.what for one in done)
    return [row(what, [one for one in done if one.figure.what == what]) for what in kinds]


def row(what: str, done: list[Try]) -> Row:
    """A zero that never came counts as a failure, and is in no other figure."""
    limit_ms = done[0].figure.limit_ms
    times = [one.figure.zero_ms for one in done if one.figure.zero_ms is not None]
    failures = sum(one.figure.failed for one in done)
    figures = {
        "tries": float(len(done)),
        "back_worst_ms": max(one.back_ms for one in done),
        "p50_ms": statistics.median(times) if times else float("nan"),
        "worst_ms": max(times, default=float("nan")),
        "failures": float(failures),
    }
    return Row(f"{what} (≤ {limit_ms:g} ms)", figures, 0, failures == 0)


if __name__ == "__main__":
    main()
