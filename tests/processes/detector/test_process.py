"""The detector as a real process, beside a real camera process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import settings
from bus.messages import Fault, Heartbeat, Sighting
from bus.topics import FAULTS, HEARTBEATS, SIGHTING
from bus.zeromq import ZmqBus
from processes.detector.driver import MobilenetDetector
from tests.processes.detector.conftest import MODEL

PATIENCE_S = 60.0


class Robot:
    def __init__(self, directory: Path, **detector: Any) -> None:
        self.config = directory / "robot_config.yaml"
        self.config.write_text(json.dumps({"detector": detector}))
        self.data = directory / "data"
        self.data.mkdir()
        self.bus = ZmqBus("missions", settings.make_run_dir(self.data))
        self.changed = threading.Condition()
        self.sighting: Sighting | None = None
        self.beats = 0
        self.faults: list[Fault] = []
        self.bus.subscribe(SIGHTING, lambda message: self._note(sighting=message.value))
        self.bus.subscribe(HEARTBEATS["detector"], self._on_beat)
        self.bus.subscribe(FAULTS["detector"], lambda message: self._note(faults=[*self.faults, message.value]))
        self.thread = self.bus.start()
        self.processes = [self._start("camera"), self._start("detector")]

    def _on_beat(self, message: Any) -> None:
        assert isinstance(message.value, Heartbeat)
        self._note(beats=self.beats + 1)

    def _note(self, **values: Any) -> None:
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"processes.{name}", "--config", str(self.config)],
            env=os.environ | {"WIMZ_DATA": str(self.data)},
            cwd=settings.ROOT,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), (self.sighting, self.faults)

    def sees(self, model: str | None) -> bool:
        return self.sighting is not None and self.sighting.model == model

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(PATIENCE_S)
        self.bus.stop()
        self.thread.join()


@pytest.fixture
def robots(short_dir: Path) -> Iterator[Callable[..., Robot]]:
    made: list[Robot] = []

    def make(**detector: Any) -> Robot:
        made.append(Robot(short_dir, **detector))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


def test_it_sees_the_drawn_dog_and_ends_when_told(robots: Callable[..., Robot]) -> None:
    robot = robots()
    robot.until(lambda: robot.sees("scene") and robot.sighting is not None and len(robot.sighting.dogs) == 1)
    detector = robot.processes[1]
    detector.send_signal(signal.SIGTERM)
    assert detector.wait(PATIENCE_S) == 0
    assert robot.faults == []


def test_a_robot_without_the_model_is_well_and_sees_when_it_comes(
    robots: Callable[..., Robot], short_dir: Path, network: MobilenetDetector
) -> None:
    robot = robots(model="mobilenet", model_file=str(short_dir / "dogs.tflite"))
    robot.until(lambda: robot.sees(None) and len(robot.faults) == 1)
    assert (robot.faults[0].code, robot.faults[0].active) == ("MODEL_MISSING", True)
    beats = robot.beats
    robot.until(lambda: robot.beats > beats + 1)
    shutil.copy(MODEL, short_dir / "coming.tflite")
    (short_dir / "coming.tflite").rename(short_dir / "dogs.tflite")
    robot.until(lambda: robot.sees("mobilenet"))
    assert robot.faults[-1].active is False
