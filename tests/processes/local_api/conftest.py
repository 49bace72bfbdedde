"""The real process under gunicorn, over the real bus, with the other processes played by the test."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bus import settings
from bus.bell import Bell
from bus.frames import FrameWriter
from bus.messages import CameraState, Origin, SessionEnd, Signal
from bus.topics import CAMERA_STATE, COMMAND_TOPICS, DRIVER_GONE, SIGNAL, TELEMETRY, TELEMETRY_HISTORY
from bus.zeromq import ZmqBus
from contract.commands import Dispensed, Driven
from contract.errors import ContractError
from contract.models import Status, Telemetry, TelemetryHistory

WAIT_S = 30.0
WIDTH, HEIGHT = 64, 48


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The code, once the body is seen to have the one error shape."""
        assert self.json["success"] is False
        assert set(self.json) == {"success", "error"}
        assert self.json["error"]["message"]
        return str(self.json["error"]["code"])


class Robot:
    """local_api as a process, and everybody else."""

    def __init__(self, directory: Path, **local_api: Any) -> None:
        self.port = free_port()
        self.config = directory / "robot_config.yaml"
        section = {"host": "127.0.0.1", "port": self.port, **local_api}
        self.config.write_text(json.dumps({"local_api": section, "cloudlink": {"device_id": "wimz_1"}}))
        self.data = directory / "data"
        self.data.mkdir()
        self.run_dir = settings.make_run_dir(self.data)
        self.buses: list[ZmqBus] = []
        self.motor_sent_s = 0.0
        self.motor: queue.Queue[tuple[float, float, Origin]] = queue.Queue()
        self.stops: queue.Queue[str] = queue.Queue()
        self.gone: queue.Queue[SessionEnd] = queue.Queue()
        self.signals: queue.Queue[Signal] = queue.Queue()
        self.signal_error: ContractError | None = None
        self.treat_error: ContractError | None = None
        motion, dispenser = self.bus("motion"), self.bus("dispenser")
        self.webrtc, self.monitor, self.camera = self.bus("webrtc"), self.bus("monitor"), self.bus("camera")
        self.dispenser = dispenser
        motion.serve(COMMAND_TOPICS["motor"], self._motor)
        motion.serve(COMMAND_TOPICS["stop"], lambda request: self.stops.put("stop"))
        motion.serve(DRIVER_GONE, lambda request: self.gone.put(request.body))
        dispenser.serve(COMMAND_TOPICS["treat"], self._treat)
        self.webrtc.serve(SIGNAL, self._signal)
        self.monitor.serve(COMMAND_TOPICS["get_status"], lambda request: Status(treats_remaining=5))
        self.monitor.serve(TELEMETRY_HISTORY, self._history)
        self.monitor.every(0.3, self.publish_telemetry)
        self.frames: FrameWriter | None = None
        self.bell = Bell(self.run_dir)
        self.threads = [bus.start() for bus in self.buses]
        self.process = self.start()
        eventually(self.answers)

    def bus(self, name: str) -> ZmqBus:
        bus = ZmqBus(name, self.run_dir)
        self.buses.append(bus)
        return bus

    def start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if name not in ("DEVICE_ID", "RELAY_URL")}
        environ["WIMZ_DATA"] = str(self.data)
        command = [sys.executable, "-m", "processes.local_api", "--config", str(self.config)]
        return subprocess.Popen(command, cwd=settings.ROOT, env=environ)

    def answers(self) -> bool:
        try:
            return self.get("/health").status == 200 and self.get("/telemetry").status == 200
        except OSError:
            return False

    def worker(self) -> int:
        """The worker's pid."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    def publish_telemetry(self) -> None:
        self.monitor.publish(TELEMETRY, Telemetry(treats_remaining=5, temperature=40.0, uptime_seconds=9))

    @property
    def token(self) -> str:
        return (self.data / "robot_token").read_text().strip()

    # -- asking

    def ask(self, method: str, path: str, body: Any = None, *, host: str = "localhost", **headers: str) -> Reply:
        """One request from this machine. `host` is the name in the Host header: any but localhost needs the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, raw, {"Host": f"{host}:{self.port}", **named})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    # -- the other processes

    def _motor(self, request: Any) -> Driven:
        self.motor_sent_s = request.sent_ns / 1e9
        self.motor.put((request.body.left, request.body.right, request.origin))
        return Driven(request.body.left, request.body.right)

    def _treat(self, request: Any) -> Dispensed:
        if self.treat_error is not None:
            raise self.treat_error
        return Dispensed(remaining=4, confirmed=True)

    def _history(self, request: Any) -> TelemetryHistory:
        """As many minutes as were asked for, of a battery at 50 %."""
        count = request.body.minutes
        unknown: list[Any] = [None] * count
        return TelemetryHistory(
            step_s=60,
            timestamp=["2026-01-31T12:00:00Z"] * count,
            battery=[50.0] * count,
            battery_voltage=unknown,
            is_charging=unknown,
            temperature=unknown,
            wifi_strength=unknown,
            disk_free_mib=unknown,
            memory_free=unknown,
            treats_remaining=unknown,
        )

    def _signal(self, request: Any) -> None:
        self.signals.put(request.body)
        if self.signal_error is not None:
            raise self.signal_error

    def take_picture(self, *, noise: bool = False) -> None:
        """A frame in the ring, and the bell. Noise makes a large JPEG."""
        width, height = (1280, 720) if noise else (WIDTH, HEIGHT)
        if self.frames is None:
            self.frames = FrameWriter(self.run_dir, "main", width, height)
        random = np.random.default_rng(1)
        size = (height * 3 // 2, width)
        picture = random.integers(0, 256, size, np.uint8) if noise else np.full(size, 128, np.uint8)
        self.frames.write(picture, time.monotonic_ns())
        self.bell.ring()
        self.camera.publish(CAMERA_STATE, CameraState("synthetic", width, height, 15.0, healthy=True))

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)
        for bus, thread in zip(self.buses, self.threads, strict=True):
            bus.stop()
            thread.join(WAIT_S)
        for path in self.run_dir.iterdir():
            path.unlink()
        self.run_dir.rmdir()


class Camera:
    """Takes pictures all the time, in a thread."""

    def __init__(self, robot: Robot, *, noise: bool = False) -> None:
        self._robot = robot
        self._noise = noise
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            self._robot.take_picture(noise=self._noise)


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    robot = Robot(tmp_path_factory.mktemp("robot"))
    yield robot
    robot.close()


@pytest.fixture
def own_robot(tmp_path: Path) -> Iterator[Callable[..., Robot]]:
    """Makes robots with settings of their own."""
    robots: list[Robot] = []

    def make(**local_api: Any) -> Robot:
        directory = tmp_path / str(len(robots))
        directory.mkdir()
        robots.append(Robot(directory, **local_api))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()
