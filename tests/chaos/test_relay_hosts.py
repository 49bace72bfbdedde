"""A relay on two hosts behind nginx: hosts cut off and killed, servers paused and restarted. The short form of
`make drill-relay`: fewer people, shorter pauses, and nothing asserted about how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEVER = ("lost", "doubled", "twice", "answered_twice")


def test_nothing_stored_is_lost_or_doubled_and_nothing_is_done_twice_whatever_goes_away() -> None:
    environment = {**os.environ, "PAIRS": "3", "PAUSE_S": "2", "JSON": "1"}
    command = [sys.executable, "-m", "bench.drill_relay"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["what"]: row["figures"] for row in json.loads(done.stdout)["rows"]}
    wrongs = rows["what must never be"]
    assert {name: wrongs[name] for name in NEVER} == dict.fromkeys(NEVER, 0)
    assert wrongs["events"] > 100
    assert wrongs["commands"] > 100
    assert len([what for what, figures in rows.items() if "back_s" in figures]) == 7, "everyone was back every time"
    assert set(rows["commands refused, with the reason"]) <= {"DEVICE_OFFLINE", "UNAVAILABLE", "STALE_COMMAND"}
