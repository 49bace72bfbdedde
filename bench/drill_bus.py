"""`make drill-bus`: the bus under fire, and its memory after a million messages.

ROUNDS (1): each peer is killed, stopped and restarted so often. MESSAGES (1 000 000): sent in the test of growth.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench import report
from bench.bus_fire import under_fire
from bench.bus_growth import growth


def main() -> None:
    rounds, messages = int(os.environ.get("ROUNDS", "1")), int(os.environ.get("MESSAGES", "1000000"))
    with tempfile.TemporaryDirectory(prefix="wz-", dir="/dev/shm") as fire:
        rows = under_fire(Path(fire), rounds)
    with tempfile.TemporaryDirectory(prefix="wz-", dir="/dev/shm") as calm:
        rows += growth(Path(calm), messages)
    report.finish(f"The bus under fire, {rounds} rounds; growth over {messages} messages", rows)


if __name__ == "__main__":
    main()
