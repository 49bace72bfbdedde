"""How a process starts, beats and stops, seen from outside on a real one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import settings
from bus.messages import Heartbeat
from bus.runner import Context
from bus.topics import HEARTBEATS
from bus.zeromq import ZmqBus

PATIENCE_S = 20.0

PROGRAM = """
import sys
from pathlib import Path
from bus.runner import Context, run
from bus.settings import RobotSettings

def build(context: Context) -> None:
    context.section("robot", RobotSettings)
    context.on_stop(lambda: (context.data_dir / "closed").write_text("yes"))
    (context.data_dir / "built").write_text("yes")

run("monitor", build)
"""

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "--config", sys.argv[2]])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A robot's data directory, with its configuration in it."""
    (tmp_path / "robot_config.yaml").write_text("")
    yield tmp_path
    shutil.rmtree(settings.run_dir(tmp_path), ignore_errors=True)


def start(data: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(command or ("-c", PROGRAM, "--config", str(data / "robot_config.yaml")))],
        env=os.environ | {"WIMZ_DATA": str(data)},
        cwd=settings.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Listener:
    """Hears the heartbeats of the process under test."""

    def __init__(self, data: Path) -> None:
        self.beats: list[Heartbeat] = []
        self._enough = threading.Condition()
        self._bus = ZmqBus("guard", settings.make_run_dir(data))
        self._bus.subscribe(HEARTBEATS["monitor"], lambda message: self._hear(message.value))
        self._thread = self._bus.start()

    def _hear(self, beat: Heartbeat) -> None:
        with self._enough:
            self.beats.append(beat)
            self._enough.notify_all()

    def wait_for(self, count: int) -> None:
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.beats) >= count, PATIENCE_S)

    def close(self) -> None:
        self._bus.stop()
        self._thread.join()


@pytest.fixture
def listener(data: Path) -> Iterator[Listener]:
    made = Listener(data)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_beats_until_it_is_told_to_stop_and_then_closes(data: Path, listener: Listener, number: int) -> None:
    process = start(data)
    listener.wait_for(3)
    assert {beat.pid for beat in listener.beats} == {process.pid}
    process.send_signal(number)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert (data / "closed").exists()
    assert " monitor: stopped" in log


def test_a_wrong_setting_ends_it_with_a_readable_message(data: Path) -> None:
    (data / "robot_config.yaml").write_text("robot: {data_dri: x}\n")
    process = start(data)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "data_dri" in log
    assert "Traceback" not in log


def test_it_ends_when_its_parent_is_killed(data: Path, listener: Listener) -> None:
    parent = start(data, "-c", PARENT, PROGRAM, str(data / "robot_config.yaml"))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    listener.wait_for(1)
    parent.kill()
    parent.wait(PATIENCE_S)
    handle = os.pidfd_open(child) if Path(f"/proc/{child}").exists() else None
    if handle is not None:
        import select

        assert select.select([handle], [], [], PATIENCE_S)[0], "the child lives on"
        os.close(handle)
    assert (data / "closed").exists()


def test_closing_goes_on_when_one_part_fails(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    context = Context(None, {}, Path(), Path())  # type: ignore[arg-type]
    context.on_stop(lambda: closed.append("motors"))
    context.on_stop(lambda: closed.append(str(1 / 0)))
    context.close()
    assert closed == ["motors"]
    assert "ZeroDivisionError" in caplog.text
