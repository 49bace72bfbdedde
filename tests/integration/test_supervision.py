"""supervisord, monitor and the processes they look after, all real."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import settings
from bus.base import Latest
from bus.messages import ProcessHealth, RobotEvent
from bus.topics import EVENTS, HEALTH, HEARTBEATS
from bus.zeromq import ZmqBus
from cli.robot import SUPERVISORD_CONF, Robot
from processes.monitor.driver import Supervisord
from processes.monitor.logic import Action

PATIENCE_S = 90.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""
PROGRAMS = ("camera", "cloudlink", "monitor")
GOOD: dict[str, Any] = {"camera": {"width": 320, "height": 240, "fps": 5}}
BROKEN = GOOD | {"cloudlink": {"relay_url": 5}}
"""A setting that cloudlink refuses at start, and nobody else reads."""


class Supervised:
    """Some of the robot's programs under its own supervisord.conf."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "robot_config.yaml"
        self.configure(GOOD)
        robot = Robot(self.config, directory / "data")
        robot.prepare()
        self.run_dir = settings.run_dir(robot.data_dir)
        conf = directory / "supervisord.conf"
        conf.write_text(some_programs(SUPERVISORD_CONF.read_text()))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(conf)],
            env=robot.environment(os.environ),
            stdout=subprocess.DEVNULL,
        )
        self.supervisord = Supervisord(robot.supervisor_socket)
        self.events: list[RobotEvent] = []
        self.bus = ZmqBus("test", self.run_dir)
        self.beats = {name: Latest(self.bus, HEARTBEATS[name]) for name in PROGRAMS}
        self._health = Latest(self.bus, HEALTH)
        self.bus.subscribe(EVENTS["monitor"], lambda message: self.events.append(message.value))
        self.bus.start()
        self.until(self.answers, "supervisord answers")

    def answers(self) -> bool:
        try:
            self.supervisord.programs()
        except OSError:
            return False
        return True

    def configure(self, config: dict[str, Any]) -> None:
        self.config.write_text(json.dumps(config))

    def pid(self, name: str) -> int:
        """The process whose heartbeats are fresh; 0 when there is none."""
        beat = self.beats[name].fresh(time.monotonic())
        return beat.pid if beat else 0

    def beats_anew(self, name: str, pid: int) -> Callable[[], bool]:
        return lambda: self.pid(name) not in (0, pid)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send it to the process that beats; its pid."""
        self.until(lambda: self.pid(name) != 0, f"{name} beats")
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def health(self, name: str) -> ProcessHealth | None:
        message = self._health.message
        return next((process for process in message.value.processes if process.name == name), None) if message else None

    def state(self, name: str) -> str:
        health = self.health(name)
        return health.state if health else "unknown"

    def told(self, code: str) -> list[str]:
        return [event.data["message"] for event in self.events if event.data["code"] == code]

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"in {PATIENCE_S:g} s never: {what}"
            time.sleep(0.02)

    def close(self) -> None:
        self.bus.stop()
        self._process.terminate()
        try:
            self._process.wait(30.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            shutil.rmtree(self.run_dir, ignore_errors=True)


def some_programs(conf: str) -> str:
    """supervisord.conf with PROGRAMS only."""
    sections = re.split(r"^(?=\[)", conf, flags=re.MULTILINE)
    wanted = tuple(f"[program:{name}]" for name in PROGRAMS)
    kept = [part for part in sections if not part.startswith("[program:") or part.startswith(wanted)]
    return "".join(kept).replace("%(here)s", str(settings.ROOT))


@pytest.fixture(scope="module")
def robot() -> Iterator[Supervised]:
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    robot = Supervised(directory)
    yield robot
    robot.close()
    shutil.rmtree(directory)


def test_a_process_that_hangs_is_replaced_and_people_are_told(robot: Supervised) -> None:
    hung = robot.signal("camera", signal.SIGSTOP)
    robot.until(robot.beats_anew("camera", hung), "another camera beats")
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)
    robot.until(lambda: any("camera hung" in message for message in robot.told("PROCESS_HUNG")), "it is told")


def test_monitor_itself_is_replaced_when_it_hangs(robot: Supervised) -> None:
    robot.until(lambda: robot.supervisord.programs()["monitor"].state == "RUNNING", "monitor has settled")
    hung = robot.signal("monitor", signal.SIGSTOP)
    robot.until(robot.beats_anew("monitor", hung), "another monitor beats")
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


def test_a_crash_loop_is_held_and_ended_by_the_next_monitor_too(robot: Supervised) -> None:
    robot.until(lambda: robot.supervisord.programs()["monitor"].state == "RUNNING", "monitor has settled")
    robot.configure(BROKEN)
    robot.signal("cloudlink", signal.SIGKILL)
    robot.until(lambda: robot.supervisord.programs()["cloudlink"].state == "STOPPED", "cloudlink is held")
    robot.until(lambda: robot.state("cloudlink") == "held", "monitor says so")
    robot.until(lambda: robot.told("CRASH_LOOP"), "it is told")
    (message,) = robot.told("CRASH_LOOP")
    assert "cloudlink crashed 5 times within 60 s" in message
    assert "log/cloudlink.log" in message
    robot.configure(GOOD)
    last = robot.signal("monitor", signal.SIGKILL)
    robot.until(robot.beats_anew("monitor", last), "another monitor beats")
    robot.until(lambda: robot.pid("cloudlink"), "cloudlink is started again")
    robot.until(lambda: robot.state("cloudlink") == "running", "monitor says so")
    health = robot.health("cloudlink")
    assert health is not None
    assert health.restarts >= 5


def test_what_a_person_has_stopped_stays_stopped(robot: Supervised) -> None:
    robot.until(lambda: robot.pid("camera"), "camera beats")
    robot.supervisord.carry_out(Action("stop", "camera"))
    robot.until(lambda: robot.supervisord.programs()["camera"].state == "STOPPED", "camera is stopped")
    robot.until(lambda: robot.supervisord.programs()["monitor"].state == "RUNNING", "monitor has settled")
    last = robot.signal("monitor", signal.SIGKILL)
    robot.until(robot.beats_anew("monitor", last), "another monitor beats")
    robot.until(lambda: robot.state("camera") == "stopped", "the new monitor has seen it")
    rounds: list[None] = []
    robot.bus.subscribe(HEALTH, lambda message: rounds.append(None), every_value=True)
    robot.until(lambda: len(rounds) >= 5, "it has had time to do something about it")
    assert robot.supervisord.programs()["camera"].state == "STOPPED"
    robot.supervisord.carry_out(Action("start", "camera"))
    robot.until(lambda: robot.pid("camera"), "camera beats")
