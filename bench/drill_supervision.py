"""Every process hung, monitor among them, and one that crashes in a loop: how soon supervision deals with it.

`make drill-supervision`; `TRIES=n`, `PROCESSES="camera motion"`, `JSON=1`, `CHECK=1`. SIGSTOP is a hang that nothing in
the process can notice. The aim: within 3 s of it supervisord has started another process, and within 3 s of the fifth
death in a minute the program is stopped. The drill asks supervisord nothing meanwhile, since a question wakes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.demo_driver import free_port, until
from bench.report import Row, finish
from bus import settings
from bus.base import Latest
from bus.topics import HEARTBEATS, PROCESSES
from bus.zeromq import ZmqBus
from processes.monitor.driver import Supervisord
from processes.monitor.logic import FIRST_HOLD_S, LOOP_DEATHS

AIM_S = 3.0
PATIENCE_S = 90.0
SETTLED_S = 6.0
"""A program that has lived for so long counts as started (monitor's startsecs is the longest)."""
LOOPS = "camera"


class Robot:
    """`wimz robot` with the simulated machine, on ports of its own."""

    def __init__(self, directory: Path) -> None:
        config = directory / "robot_config.yaml"
        sections = {"pins": {"port": free_port()}, "local_api": {"host": "127.0.0.1", "port": free_port()}}
        config.write_text(json.dumps(sections))
        data = directory / "data"
        self._log = data / "log" / "supervisord.log"
        self._monitor_log = data / "log" / "monitor.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "robot", "--config", str(config), "--data", str(data)],
            cwd=settings.ROOT,
            stdout=subprocess.DEVNULL,
        )
        self.run_dir = settings.run_dir(data)
        self._supervisord = Supervisord(self.run_dir / "supervisor.sock")
        until(self.run_dir.is_dir, PATIENCE_S, "the robot starts")
        self._bus = ZmqBus(f"drill-{os.getpid()}", self.run_dir)
        self._beats = {name: Latest(self._bus, HEARTBEATS[name]) for name in PROCESSES}
        self._bus.start()

    def pid(self, name: str) -> int:
        """Who beats; 0 when nobody does. local_api's is gunicorn's worker."""
        beat = self._beats[name].fresh(time.monotonic())
        return beat.pid if beat else 0

    def settled(self) -> bool:
        """Whether everybody beats, and has for some time."""
        beats = [latest.fresh(time.monotonic()) for latest in self._beats.values()]
        return all(beat is not None and beat.uptime_s > SETTLED_S for beat in beats)

    def starts(self, name: str) -> int:
        """How often supervisord has started it."""
        return len(re.findall(f"spawned: '{name}'", self._log.read_text()))

    def started_since(self, name: str, starts: int) -> Callable[[], bool]:
        return lambda: self.starts(name) > starts

    def beats_instead_of(self, name: str, pid: int) -> Callable[[], bool]:
        return lambda: self.pid(name) not in (0, pid)

    def held(self, name: str) -> bool:
        """Whether monitor has asked for it to be stopped, and it is. supervisord is asked only after monitor has."""
        asked = f"supervisord is asked to stop {name}" in self._monitor_log.read_text()
        return asked and self._supervisord.programs()[name].state == "STOPPED"

    def close(self) -> None:
        self._bus.stop()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            shutil.rmtree(self.run_dir, ignore_errors=True)


def main() -> None:
    tries = int(os.environ.get("TRIES", "3"))
    with tempfile.TemporaryDirectory(prefix="wimz-drill-") as directory:
        robot = Robot(Path(directory))
        try:
            rows = [hang(robot, name, tries) for name in os.environ.get("PROCESSES", " ".join(PROCESSES)).split()]
            rows += crash_loop(robot)
        finally:
            robot.close()
    finish("Supervision", rows)


def hang(robot: Robot, name: str, tries: int) -> Row:
    """SIGSTOP, again and again, to the next start and to its first heartbeat."""
    restarts, beats = [], []
    for _ in range(tries):
        until(robot.settled, PATIENCE_S, f"everybody beats before {name} hangs")
        hung, starts = robot.pid(name), robot.starts(name)
        begun = time.monotonic()
        os.kill(hung, signal.SIGSTOP)
        restarts.append(since(begun, robot.started_since(name, starts), f"{name} is started"))
        beats.append(since(begun, robot.beats_instead_of(name, hung), f"{name} beats"))
    worst = max(restarts)
    figures = {
        "beat_worst_ms": max(beats) * 1000,
        "restart_p50_ms": statistics.median(restarts) * 1000,
        "restart_worst_ms": worst * 1000,
    }
    return Row(f"{name} hangs, to its restart", figures, AIM_S * 1000, worst <= AIM_S)


def crash_loop(robot: Robot) -> list[Row]:
    """kill -9 as soon as it beats, until it is held; then to its next start."""
    until(robot.settled, PATIENCE_S, f"everybody beats before {LOOPS} crashes")
    for death in range(LOOP_DEATHS):
        victim = until(lambda: robot.pid(LOOPS), PATIENCE_S, f"{LOOPS} beats")
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        if death < LOOP_DEATHS - 1:
            until(robot.beats_instead_of(LOOPS, victim), PATIENCE_S, f"{LOOPS} beats")
    held = since(begun, lambda: robot.held(LOOPS), f"{LOOPS} is held")
    starts = robot.starts(LOOPS)
    begun = time.monotonic()
    again = since(begun, robot.started_since(LOOPS, starts), f"{LOOPS} is started again")
    return [
        Row(f"{LOOP_DEATHS}th crash of {LOOPS} to being held", {"held_ms": held * 1000}, AIM_S * 1000, held <= AIM_S),
        Row(
            f"{LOOPS} held until it is started again",
            {"held_ms": again * 1000},
            (FIRST_HOLD_S + 2.0) * 1000,
            FIRST_HOLD_S - 1.0 <= again <= FIRST_HOLD_S + 2.0,
        ),
    ]


def since(begun: float, condition: Callable[[], object], what: str) -> float:
    """Seconds from `begun` until the condition holds."""
    until(condition, PATIENCE_S, what)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
