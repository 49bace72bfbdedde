"""Drives the whole product from outside: the demo's processes, a real Chromium on it, and an eye on the machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import psutil
from playwright.sync_api import Browser, Page, sync_playwright
from supervisor.xmlrpc import SupervisorTransport

from bus import settings
from bus.messages import MachineState
from bus.topics import SIMULATOR_READ
from bus.zeromq import ZmqBus
from contract.commands import Nothing

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FRAME_NUMBER_DOC = settings.ROOT / "docs" / "frame-number.md"
START_S = 120.0
STOP_S = 30.0


def free_port() -> int:
    """A TCP port that is free on this machine now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], within_s: float, what: str, pause: Callable[[], None] | None = None) -> Any:
    """Wait for a condition and return its value. Raises TimeoutError naming `what`."""
    give_up = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        (pause or (lambda: time.sleep(0.01)))()
    return value


class Demo:
    """`wimz demo` on free ports, and the simulated machine of its robot."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.output = data.with_name(data.name + ".txt")
        command = [sys.executable, "-m", "cli.main", "demo", "--data", str(data)]
        command += ["--relay-port", str(free_port()), "--robot-port", str(free_port()), *arguments]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, cwd=settings.ROOT, stdout=output, stderr=output)
        self.info: dict[str, str] = {}
        self._bus: ZmqBus | None = None

    def wait_until_ready(self) -> None:
        """Return when `demo.json` is there. Raises RuntimeError with the demo's output when it ends instead."""
        info = self.data / "demo.json"

        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the demo ended:\n{self.output.read_text()}")
            return info.exists()

        until(ready, START_S, "the demo is ready")
        self.info = json.loads(info.read_text())
        self._bus = ZmqBus(f"watcher-{os.getpid()}", settings.run_dir(self.data))
        self._bus.start()

    def machine(self) -> MachineState:
        """The simulated machine at this instant."""
        assert self._bus is not None
        state: MachineState = self._bus.request(SIMULATOR_READ, Nothing()).result(timeout=10)
        return state

    def duty(self) -> float:
        """The larger of the two motors' duties, 0 to 1."""
        motors = self.machine().motors
        return max(abs(motors.left.duty), abs(motors.right.duty))

    @property
    def supervisor(self) -> Any:
        """supervisord's XML-RPC interface for the robot's processes."""
        path = settings.run_dir(self.data) / "supervisor.sock"
        transport = SupervisorTransport(None, None, f"unix://{path}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pid(self, process: str) -> int:
        """The pid of a robot process that is running, or 0."""
        info = self.supervisor.getProcessInfo(process)
        return int(info["pid"]) if info["statename"] == "RUNNING" else 0

    def relay_workers(self) -> list[int]:
        """The pids of the relay's workers: the children of the demo's gunicorn."""
        children = psutil.Process(self.process.pid).children()
        masters = [child for child in children if "relay.app:create_app()" in child.cmdline()]
        return [worker.pid for master in masters for worker in master.children()]

    def close(self) -> None:
        if self._bus is not None:
            self._bus.stop()
        self.process.terminate()
        self.process.wait(STOP_S)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A real headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Driver:
    """A person at the web client."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.video_sessions: list[str] = []
        page.on("websocket", lambda socket: socket.on("framereceived", self._on_frame))
        self._read_stamp = re.findall(r"```js\n(.*?)```", FRAME_NUMBER_DOC.read_text(), re.S)[0]

    def open_robot(self, demo: Demo) -> None:
        """Sign in at the relay and open the demo's robot."""
        self.page.goto(demo.info["relay_url"])
        self.page.fill("#email", demo.info["email"])
        self.page.fill("#password", demo.info["password"])
        self.page.click("#sign-in")
        self.page.click(f'#robots a[data-device="{demo.info["device_id"]}"]')
        self.page.wait_for_selector('#robot[data-online="yes"]')

    def watch(self) -> None:
        """Press Watch, unless it was pressed before."""
        if self.page.get_attribute("#robot", "data-video") == "off":
            self.page.click("#watch")

    def stamp(self) -> dict[str, int] | None:
        """Number and capture time in the picture that shows now; None when none can be read."""
        stamp: dict[str, int] | None = self.page.evaluate(
            f"""() => {{ {self._read_stamp}
            const video = document.getElementById("video");
            return video && video.videoWidth ? readStamp(video) : null; }}"""
        )
        return stamp

    def wait_for_video(self, within_s: float) -> dict[str, int]:
        """The first two different readable pictures have come; returns the later one's stamp."""
        first: dict[str, int] = until(self.stamp, within_s, "a picture", self.breathe)

        def moved() -> dict[str, int] | None:
            stamp = self.stamp()
            return stamp if stamp and stamp["number"] != first["number"] else None

        later: dict[str, int] = until(moved, within_s, "a second picture", self.breathe)
        return later

    def wait_for_control(self, within_s: float) -> None:
        """Commands go over the data channel."""
        until(
            lambda: self.page.get_attribute("#robot", "data-control") == "datachannel",
            within_s,
            "the control channel",
            self.breathe,
        )

    def push_joystick(self) -> None:
        """Push it fully forward, and hold."""
        box = self.page.locator("#joystick").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x, box["y"] + 2)

    def let_go(self) -> None:
        self.page.mouse.up()

    def treats_left(self) -> int:
        """What the button says; -1 while it says nothing."""
        number = re.search(r"\d+", self.page.inner_text("#treats-left"))
        return int(number[0]) if number else -1

    def _on_frame(self, text: str | bytes) -> None:
        frame = json.loads(text)
        if frame.get("type") == "webrtc_credentials":
            self.video_sessions.append(frame["session_id"])

    def breathe(self) -> None:
        self.page.wait_for_timeout(10)
