"""`wimz ps` beside processes that run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import settings
from bus.messages import Heartbeat, ProcessHealth
from bus.topics import PROCESSES
from cli.main import main
from cli.ps import Report, as_json, table, uptime, without_monitor
from processes.monitor.logic import Program, Usage

PATIENCE_S = 60.0


def health(name: str, **known: Any) -> ProcessHealth:
    return ProcessHealth(name, **({"alive": True, "pid": 7, "uptime_s": 12.0, "loop_lag_ms": 0.25} | known))


def test_the_table_is_aligned_and_shows_what_catches_the_eye() -> None:
    camera = health("camera", state="running", cpu_pct=12.34, rss_kib=81_000, own_kib=9_800, restarts=3)
    motion = health(
        "motion", alive=False, pid=None, uptime_s=None, loop_lag_ms=None, state="held", held_for_s=7.6, last_error="Oh."
    )
    head, first, second, note = table(Report([camera, motion], ["A note."])).splitlines()
    assert first.split() == ["camera", "running", "7", "12", "s", "3", "12.3", "83", "10", "0.2"]
    assert second.split() == ["motion", "HELD", "8", "s", "-", "-", "0", "-", "-", "-", "-", "Oh."]
    assert note == "A note."
    for heading in ("PID", "UPTIME", "CPU %", "LAG ms"):
        end = head.index(heading) + len(heading)
        assert {first[end : end + 1], second[end : end + 1]} <= {"", " "}
    assert head.index("LAST ERROR") == second.index("Oh.")


def test_a_narrow_terminal_cuts_lines_and_a_file_gets_them_whole() -> None:
    report = Report([health("camera", last_error="x" * 300)], [])
    assert {len(line) <= 80 for line in table(report, 80).splitlines()} == {True}
    assert table(report, 80).endswith("…")
    assert "x" * 300 in table(report)


def test_json_has_every_field() -> None:
    (process,) = json.loads(as_json(Report([health("camera", state="running")], [])))["processes"]
    assert set(process) == set(ProcessHealth.__struct_fields__)


def test_an_uptime_is_read_at_a_glance() -> None:
    seconds = (None, 0.4, 59.9, 200, 7500, 374_400)
    assert [uptime(each) for each in seconds] == ["-", "0 s", "59 s", "3 min 20 s", "2 h 05 min", "4 d 08 h"]


def test_without_monitor_supervisords_word_and_the_heartbeats_are_joined() -> None:
    programs = {
        "motion": Program("RUNNING", 5, 1.0),
        "guard": Program("RUNNING", 6, 1.0),
        "camera": Program("FATAL", 0, 1.0),
    }
    rows = without_monitor(programs, {"motion": Heartbeat(5, 3.0, 0.5)}, {"motion": Usage(None, 30_000, 9_000)})
    by_name = {row.name: row for row in rows}
    assert list(by_name) == list(PROCESSES)
    motion, guard, camera = by_name["motion"], by_name["guard"], by_name["camera"]
    assert (motion.state, motion.pid, motion.uptime_s, motion.rss_kib) == ("running", 5, 3.0, 30_000)
    assert (guard.state, guard.alive, guard.pid) == ("silent", False, 6)
    assert (camera.state, camera.pid) == ("fatal", None)


def test_without_supervisord_too_the_heartbeats_are_left() -> None:
    rows = {row.name: row for row in without_monitor(None, {"motion": Heartbeat(5, 3.0, 0.5)}, {})}
    assert (rows["motion"].state, rows["motion"].pid) == ("running", 5)
    assert (rows["camera"].state, rows["camera"].pid) == ("unknown", None)


def test_without_a_robot_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--data", str(tmp_path)]) == 1
    assert "wimz robot" in capsys.readouterr().err


def test_a_robot_that_has_stopped_is_none(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.make_run_dir(short_dir / "data")
    assert main(["ps", "--data", str(short_dir / "data")]) == 1
    assert "no robot runs" in capsys.readouterr().err


class Bench:
    """Processes without supervisord."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self._config = directory / "robot_config.yaml"
        self._config.write_text(json.dumps({"pins": {"port": port}}))
        self.data = directory / "data"
        settings.make_run_dir(self.data)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", f"processes.{name}", "--config", str(self._config)],
            env=os.environ | {"WIMZ_DATA": str(self.data)},
            cwd=settings.ROOT,
        )
        self._processes.append(process)
        return process.pid

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(PATIENCE_S)


@pytest.fixture
def bench(short_dir: Path) -> Iterator[Bench]:
    bench = Bench(short_dir)
    yield bench
    bench.close()


def listed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], list[str]]:
    if main(["ps", "--json", "--data", str(bench.data)]) != 0:
        return {}, []
    report = json.loads(capsys.readouterr().out)
    return {process["name"]: process for process in report["processes"]}, report["notes"]


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


def test_it_lists_what_beats_and_says_who_is_missing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    pid = bench.start("cloudlink")
    eventually(lambda: "cloudlink" in listed(bench, capsys)[0])
    processes, notes = listed(bench, capsys)
    assert (processes["cloudlink"]["state"], processes["cloudlink"]["pid"]) == ("running", pid)
    assert processes["camera"]["state"] == "unknown"
    assert [note.split()[0] for note in notes] == ["monitor", "supervisord"]


def test_monitors_word_is_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    pid = bench.start("monitor")
    eventually(lambda: [note.split()[0] for note in listed(bench, capsys)[1]] == ["supervisord"])
    eventually(lambda: listed(bench, capsys)[0]["monitor"]["pid"] == pid)
    processes, _ = listed(bench, capsys)
    assert processes["monitor"]["state"] == "running"
    assert processes["monitor"]["loop_lag_ms"] is not None


def test_watching_goes_on_until_it_is_interrupted(bench: Bench) -> None:
    bench.start("monitor")
    eventually(lambda: main(["ps", "--data", str(bench.data)]) == 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, so would the child do
    watching = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "ps", "--watch", "--json", "--data", str(bench.data)],
        cwd=settings.ROOT,
        stdout=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, before)
    assert watching.stdout is not None
    with watching:
        for _ in range(3):
            assert json.loads(watching.stdout.readline())["processes"]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 130
