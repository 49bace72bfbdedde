"""A whole robot under supervisord for drills and benchmarks of motion, and the simulated pins as an oscilloscope sees
them: every change with the simulator's own CLOCK_MONOTONIC."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple
from xmlrpc.client import ServerProxy

import pigpio
from supervisor.xmlrpc import SupervisorTransport

from bench.demo_driver import free_port, until
from bus import settings
from bus.base import Latest
from bus.topics import HEARTBEATS
from bus.zeromq import ZmqBus
from hardware.config import MotorsConfig
from hardware.priority import go_first

PATIENCE_S = 90.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""
PHYSICS_NICE = -15
"""What stands for motors and wires is ahead of all that the robot does: those take no processor's time."""
FULL_SPEED = 0.69
"""The default clamp is 0.7."""
ENABLE_PINS: tuple[int, int] = (MotorsConfig().left.enable or 0, MotorsConfig().right.enable or 0)


class Change(NamedTuple):
    """The motors began to move, or came to zero."""

    at_s: float
    moving: bool


class Pins:
    """The H-bridge's enable pins, watched through pigpio's own notifications.

    Args:
        port: the simulator's.
    """

    def __init__(self, port: int) -> None:
        self._pi = pigpio.pi("127.0.0.1", port, show_errors=False)
        if not self._pi.connected:
            raise ConnectionError(f"no simulator at port {port}")
        self._levels = {gpio: self._pi.read(gpio) for gpio in ENABLE_PINS}
        self._changed = threading.Condition()
        self._changes: deque[Change] = deque([Change(time.monotonic(), any(self._levels.values()))], maxlen=10_000)
        self._callbacks = [self._pi.callback(gpio, pigpio.EITHER_EDGE, self._on_edge) for gpio in ENABLE_PINS]

    def _on_edge(self, gpio: int, level: int, tick: int) -> None:
        with self._changed:
            self._levels[gpio] = level
            moving = any(self._levels.values())
            if moving != self._changes[-1].moving:
                self._changes.append(Change(monotonic_of(tick), moving))
            self._changed.notify_all()

    @property
    def moving(self) -> bool:
        with self._changed:
            return self._changes[-1].moving

    def full_speed(self) -> bool:
        """Whether both motors turn as fast as the clamp lets them."""
        return all(self._duty(gpio) >= FULL_SPEED for gpio in ENABLE_PINS)

    def _duty(self, gpio: int) -> float:
        try:
            return float(self._pi.get_PWM_dutycycle(gpio)) / float(self._pi.get_PWM_range(gpio))
        except pigpio.error:  # no PWM on it: it was just opened or given back
            return 0.0

    def wait_change(self, moving: bool, after_s: float, timeout_s: float) -> float | None:
        """When they first began to move, or came to zero, after that instant; None: not in time."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for change in self._changes:
                    if change.moving == moving and change.at_s >= after_s:
                        return change.at_s
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def zero_from(self, since_s: float, timeout_s: float) -> float | None:
        """When they were first at zero at or after that instant (that instant, if they were already)."""
        with self._changed:
            before = [change for change in self._changes if change.at_s <= since_s]
            if before and not before[-1].moving:
                return since_s
        return self.wait_change(False, since_s, timeout_s)

    def rest_from(self, since_s: float, timeout_s: float, quiet_s: float) -> float | None:
        """From when on, at or after that instant, they were at zero for good: for `quiet_s`, and in the end."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._changed:
                last = self._changes[-1]
            now = time.monotonic()
            if not last.moving and now - max(last.at_s, since_s) >= quiet_s:
                return max(last.at_s, since_s)
            if now > deadline_s:
                return None
            time.sleep(0.005)

    def close(self) -> None:
        for callback in self._callbacks:
            callback.cancel()
        self._pi.stop()


def monotonic_of(tick: int) -> float:
    """CLOCK_MONOTONIC in seconds of one of the simulator's ticks, which are its lowest 32 bits in µs."""
    now_us = time.monotonic_ns() // 1000
    back_us = (now_us - tick) & 0xFFFFFFFF
    if back_us > 0x7FFFFFFF:  # rounded up, just before now
        back_us -= 1 << 32
    return (now_us - back_us) / 1e6


class Simulator:
    """The simulated machine, alone: what the robot's processes reach by the way that the drill gives them."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        directory.mkdir()
        config = directory / "robot_config.yaml"
        config.write_text(json.dumps({"pins": {"port": self.port}, "simulator": {"max_connections": 200}}))
        self._data = directory / "data"
        self._log = (directory / "simulator.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "processes.simulator", "--config", str(config)],
            cwd=settings.ROOT,
            env=os.environ | {"WIMZ_DATA": str(self._data)},
            stderr=self._log,
        )
        self.pins = until(self._try_pins, PATIENCE_S, "the simulator answers")
        go_first(PHYSICS_NICE, self._process.pid)

    def _try_pins(self) -> Pins | None:
        try:
            return Pins(self.port)
        except ConnectionError:
            return None

    def close(self) -> None:
        self.pins.close()
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()
        shutil.rmtree(settings.run_dir(self._data), ignore_errors=True)


class Robot:
    """`wimz robot` on ports of its own; its pins are somebody else's.

    Args:
        pins_port: where its processes look for the pins.
        environment: added to its own.
        sections: added to its configuration.
    """

    def __init__(
        self,
        directory: Path,
        pins_port: int,
        environment: dict[str, str] | None = None,
        sections: dict[str, Any] | None = None,
    ) -> None:
        self.port = free_port()
        directory.mkdir()
        config = directory / "robot_config.yaml"
        defaults = {
            "pins": {"port": pins_port},
            "simulator": {"enabled": False},
            "local_api": {"host": "127.0.0.1", "port": self.port},
            "camera": {"width": 320, "height": 240, "fps": 5},
        }
        config.write_text(json.dumps(defaults | (sections or {})))
        self.data = directory / "data"
        self._output = (directory / "supervisord.out").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "robot", "--config", str(config), "--data", str(self.data)],
            cwd=settings.ROOT,
            env=os.environ | (environment or {}),
            stdout=self._output,
            stderr=self._output,
        )
        self.run_dir = settings.run_dir(self.data)
        until(self.run_dir.is_dir, PATIENCE_S, "the robot starts")
        self.bus = ZmqBus(f"drill-{os.getpid()}", self.run_dir)
        self._beats = {name: Latest(self.bus, HEARTBEATS[name]) for name in ("motion", "guard", "local_api", "webrtc")}
        self.bus.start()

    def wait_until_up(self) -> None:
        """All that is driven through beats."""
        until(lambda: all(self.pid(name) for name in self._beats), PATIENCE_S, "the robot's processes beat")

    def pid(self, name: str) -> int:
        """Who beats; 0 when nobody does. local_api's is gunicorn's worker."""
        beat = self._beats[name].fresh(time.monotonic())
        return beat.pid if beat else 0

    def uptime_s(self, name: str) -> float:
        beat = self._beats[name].fresh(time.monotonic())
        return beat.uptime_s if beat else 0.0

    @property
    def supervisor(self) -> Any:
        """supervisord's XML-RPC interface."""
        path = self.run_dir / "supervisor.sock"
        return ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{path}")).supervisor

    def stop_program(self, name: str) -> None:
        self.supervisor.stopProcess(name)

    def log(self, name: str) -> str:
        """The end of a process's log, for a failure that has to be understood."""
        path = self.data / "log" / f"{name}.log"
        return path.read_text()[-3000:] if path.exists() else ""

    def close(self) -> None:
        self.bus.stop()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._output.close()
            shutil.rmtree(self.run_dir, ignore_errors=True)
