"""The real process against a relay that the test plays, over the real bus."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from bus import settings
from bus.events import robot_event
from bus.messages import SessionEnd
from bus.topics import COMMAND_TOPICS, DRIVER_GONE, EVENTS
from bus.zeromq import ZmqBus
from contract.commands import Driven
from contract.models import TreatEvent
from processes.cloudlink.logic import signature

WAIT_S = 30.0
PROBE = 99
"""Treats left in events that only find out whether anybody listens yet."""
SECRET = "s" * 32


class FakeRelay:
    """Takes every robot in, keeps what it says, and acknowledges events when told to."""

    def __init__(self) -> None:
        self.frames: queue.Queue[dict[str, Any]] = queue.Queue()
        self.robots: queue.Queue[ServerConnection] = queue.Queue()
        self.robot: ServerConnection | None = None
        self.acknowledge = True
        self.server = serve(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}/ws/device"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _serve(self, connection: ServerConnection) -> None:
        self.robot = connection
        self.robots.put(connection)
        connection.send('{"type":"paired","paired":true}')
        try:
            for text in connection:
                frame = json.loads(text)
                if self.acknowledge and "id" in frame and "event" in frame:
                    connection.send(json.dumps({"type": "event_ack", "ids": [frame["id"]]}))
                self.frames.put(frame)
        except ConnectionClosed:
            return

    def wait(self, kind: str) -> dict[str, Any]:
        while True:
            frame = self.frames.get(timeout=WAIT_S)
            if kind in (frame.get("type"), frame.get("event")):
                return frame

    def treat(self) -> dict[str, Any]:
        """The next `treat` event that is no probe."""
        while (event := self.wait("treat"))["data"]["remaining"] == PROBE:
            pass
        return event

    def say(self, frame: dict[str, Any]) -> None:
        assert self.robot is not None
        self.robot.send(json.dumps(frame))


class Robot:
    """cloudlink as a process, and motion and the dispenser played by the test."""

    def __init__(self, directory: Path, relay: FakeRelay) -> None:
        self.config = directory / "robot_config.yaml"
        self.config.write_text("cloudlink: {outbox_events: 100}\n")
        self.data = directory / "data"
        self.environ = {
            **os.environ,
            "WIMZ_DATA": str(self.data),
            "RELAY_URL": relay.url,
            "DEVICE_ID": "wimz_1",
            "DEVICE_SECRET": SECRET,
        }
        self.data.mkdir()
        run_dir = settings.make_run_dir(self.data)
        self.run_dir = run_dir
        self.driven: queue.Queue[float] = queue.Queue()
        self.gone: queue.Queue[SessionEnd] = queue.Queue()
        self.motion = ZmqBus("motion", run_dir)
        self.motion.serve(COMMAND_TOPICS["motor"], self._motor)
        self.motion.serve(DRIVER_GONE, lambda request: self.gone.put(request.body))
        self.dispenser = ZmqBus("dispenser", run_dir)
        self.threads = [self.motion.start(), self.dispenser.start()]
        self.process = self.start()

    def _motor(self, request: Any) -> Driven:
        self.driven.put(request.body.left)
        return Driven(request.body.left, request.body.right)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "processes.cloudlink", "--config", str(self.config)]
        return subprocess.Popen(command, cwd=settings.ROOT, env=self.environ)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)

    def treat(self, remaining: int) -> None:
        event = robot_event("treat", TreatEvent(dispensed=True, remaining=remaining), datetime.now(UTC))
        self.dispenser.publish(EVENTS["dispenser"], event)

    def is_heard(self, relay: FakeRelay) -> None:
        """Return when cloudlink listens to the dispenser: what is published before is heard by nobody."""
        while True:
            self.treat(PROBE)
            try:
                while relay.frames.get(timeout=0.2).get("event") != "treat":
                    pass
            except queue.Empty:
                continue
            return

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)
        for bus, thread in zip((self.motion, self.dispenser), self.threads, strict=True):
            bus.stop()
            thread.join(WAIT_S)
        for path in self.run_dir.iterdir():
            path.unlink()
        self.run_dir.rmdir()


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    relay = FakeRelay()
    yield relay
    relay.server.shutdown()


@pytest.fixture
def robot(short_dir: Path, relay: FakeRelay) -> Iterator[Robot]:
    robot = Robot(short_dir, relay)
    yield robot
    robot.close()


def test_drive_through_the_relay_lose_it_and_come_back(relay: FakeRelay, robot: Robot) -> None:
    assert relay.wait("robot_connected")["device_id"] == "wimz_1"
    first = relay.robots.get(timeout=WAIT_S)
    assert first.request is not None
    headers = first.request.headers
    assert headers["X-Signature"] == signature(SECRET, "wimz_1", int(headers["X-Timestamp"]))

    relay.say({"command": "motor", "left": 0.5, "right": 0.5, "id": "a", "session": "s1", "user_id": "u1"})
    result = relay.wait("command_result")
    assert (result["id"], result["session"], result["success"]) == ("a", "s1", True)
    assert robot.driven.get(timeout=WAIT_S) == 0.5

    first.close(1012)
    assert robot.gone.get(timeout=WAIT_S).origin.session == "s1"
    assert relay.wait("robot_connected")
    second = relay.robots.get(timeout=WAIT_S)
    assert second.request is not None
    assert second.request.headers["X-Timestamp"] != headers["X-Timestamp"]


def test_events_outlive_a_kill_and_a_lost_link_and_none_is_lost(relay: FakeRelay, robot: Robot) -> None:
    robot.is_heard(relay)
    relay.acknowledge = False
    robot.treat(3)
    robot.treat(2)
    sent = [relay.treat(), relay.treat()]
    assert [frame["data"]["remaining"] for frame in sent] == [3, 2]
    robot.kill()

    relay.acknowledge = True
    robot.process = robot.start()
    again = [relay.treat(), relay.treat()]
    assert [frame["id"] for frame in again] == [frame["id"] for frame in sent]
    robot.is_heard(relay)
    robot.treat(1)
    assert relay.treat()["data"]["remaining"] == 1

    assert relay.robot is not None
    relay.robot.close(1012)
    robot.treat(0)
    relay.wait("robot_connected")
    while (treat := relay.treat())["data"]["remaining"] == 1:
        pass  # its acknowledgement may have been lost with the link
    assert treat["data"]["remaining"] == 0


def test_it_ends_with_a_goodbye_when_it_is_told_to(relay: FakeRelay, robot: Robot) -> None:
    relay.wait("robot_connected")
    robot.process.send_signal(signal.SIGTERM)
    assert relay.wait("robot_disconnecting")["reason"] == "shutdown"
    assert robot.process.wait(WAIT_S) == 0
