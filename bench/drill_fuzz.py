"""`make drill-fuzz`: spoilt frames at every socket of the bus, and at the codec alone.

FRAMES (100 000): to the codec, to the peers that listen and ask, and to all sockets of one server; a robot's own
processes get as many together. SEED (time): what to repeat a finding with.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import report
from bench.bus_fuzz import ROBOT, fuzz_client, fuzz_codec, fuzz_robot, fuzz_server
from bench.report import Row

SOCKETS = 3
Drill = Callable[[Path, int, int], list[Row]]


def main() -> None:
    frames, seed = int(os.environ.get("FRAMES", "100000")), int(os.environ.get("SEED", str(int(time.time()))))
    logging.disable()  # the drill listens too, and is told the same
    rows = fuzz_codec(frames, seed)
    drills: dict[Drill, int] = {
        fuzz_server: frames // SOCKETS,
        fuzz_client: frames,
        fuzz_robot: frames // SOCKETS // len(ROBOT),
    }
    for drill, count in drills.items():
        with tempfile.TemporaryDirectory(prefix="wz-", dir="/dev/shm") as directory:
            rows += drill(Path(directory), count, seed)
    report.finish(f"{frames} spoilt frames, SEED={seed}", rows)


if __name__ == "__main__":
    main()
