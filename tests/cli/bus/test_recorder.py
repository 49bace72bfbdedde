"""`wimz bus record`: bounded, readable after any end."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest

from bus.messages import Beat
from bus.recording import Record, Recording
from bus.topics import GUARD_BEAT, MOTION_BEAT
from cli.main import main
from tests.cli.bus.conftest import PATIENCE_S, Robot, interrupt, until


def read(path: Path) -> list[Record]:
    with path.open("rb") as stream:
        return list(Recording(stream))


def publish_at_200_hz(robot: Robot) -> None:
    motion = robot.bus("motion")
    pids = iter(range(1, 10**9))
    motion.every(0.005, lambda: motion.publish(MOTION_BEAT, Beat(next(pids))))


def until_recorded(tool: subprocess.Popen[str], path: Path, count: int) -> None:
    """Wait until so many lines are in the file."""

    def there() -> bool:
        assert tool.poll() is None, tool.communicate()[1]
        return lines(path) > count

    until(there, f"{count} lines were recorded")


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_ctrl_c_ends_a_recording_and_tells_what_is_in_it(robot: Robot, short_dir: Path) -> None:
    publish_at_200_hz(robot)
    file = short_dir / "a.jsonl"
    tool = robot.tool("record", str(file), "-t", "*/beat", "--json")
    until_recorded(tool, file, 100)
    summary = json.loads(interrupt(tool)[0])
    records = read(file)
    assert summary["messages"] == {"motion/beat": len(records)}
    assert (summary["missed"], summary["full"], summary["bytes"]) == (0, False, file.stat().st_size)
    pids = [record.value.pid for record in records]
    assert pids == list(range(pids[0], pids[0] + len(pids)))
    assert {record.topic for record in records} == {MOTION_BEAT}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_recording_survives_kill_9_to_its_last_whole_line(robot: Robot, short_dir: Path) -> None:
    publish_at_200_hz(robot)
    file = short_dir / "a.jsonl"
    tool = robot.tool("record", str(file))
    until_recorded(tool, file, 100)
    tool.kill()
    tool.wait(PATIENCE_S)
    assert len(read(file)) == lines(file) - 1


def test_a_recording_ends_at_its_size(robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_at_200_hz(robot)
    file = short_dir / "a.jsonl"
    words = ["--topic", "motion/beat", "--data", str(robot.data), "--max-mb", "0.005"]
    assert main(["bus", "record", str(file), *words]) == 0
    assert "ended at --max-mb 0.005" in capsys.readouterr().out
    assert 4000 < file.stat().st_size <= 5000
    assert len(read(file)) == lines(file) - 1


def test_a_recording_ends_after_its_time_with_states_from_before(robot: Robot, short_dir: Path) -> None:
    robot.bus("guard").publish(GUARD_BEAT, Beat(7))
    file = short_dir / "a.jsonl"
    assert main(["bus", "record", str(file), "--data", str(robot.data), "--seconds", "1"]) == 0
    assert [(record.topic, record.value, record.at_s) for record in read(file)] == [(GUARD_BEAT, Beat(7), 0.0)]


def test_a_file_that_is_there_is_left_alone(robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = short_dir / "a.jsonl"
    file.write_text("mine")
    assert main(["bus", "record", str(file), "--data", str(robot.data)]) == 1
    assert "is there already: name another file" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert main(["bus", "record", str(short_dir / "no" / "a"), "--data", str(robot.data)]) == 1
    assert "cannot make" in capsys.readouterr().err


def test_a_disk_that_is_full_ends_the_recording_in_words(robot: Robot, short_dir: Path) -> None:
    publish_at_200_hz(robot)
    file = short_dir / "a.jsonl"
    tool = robot.tool("record", str(file), "-t", "motion/beat")
    until_recorded(tool, file, 1)
    resource.prlimit(tool.pid, resource.RLIMIT_FSIZE, (file.stat().st_size + 1000, resource.RLIM_INFINITY))
    _, err = tool.communicate(timeout=PATIENCE_S)
    assert tool.returncode == 1
    assert f"cannot write {file}: File too large. What it holds can be read." in err
    assert len(read(file)) == lines(file) - 1
