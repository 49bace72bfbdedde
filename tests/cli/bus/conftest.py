"""Robots for the tools: one real process, and the buses of others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import settings
from bus.injection import serve_injections
from bus.zeromq import ZmqBus

PATIENCE_S = 60.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""


class Robot:
    """A data directory with its run directory, and what is started in it.

    Attributes:
        data: what `--data` takes.
    """

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.run_dir = settings.make_run_dir(self.data)
        self._directory = directory
        self._processes: list[subprocess.Popen[Any]] = []
        self._buses: dict[str, tuple[ZmqBus, threading.Thread]] = {}

    def bus(self, name: str, wire: Callable[[ZmqBus], None] = lambda _: None) -> ZmqBus:
        """A process's bus within this test, which lets tools publish as every process does."""
        bus = ZmqBus(name, self.run_dir)
        serve_injections(bus)
        wire(bus)
        self._buses[name] = bus, bus.start()
        return bus

    def end(self, name: str) -> None:
        bus, loop = self._buses.pop(name)
        bus.stop()
        loop.join(PATIENCE_S)

    def start_simulator(self) -> None:
        """The real process, which has topics of every kind that a tool can use."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = self._directory / "robot_config.yaml"
        config.write_text(json.dumps({"pins": {"port": port}, "simulator": {"treats": 5}}))
        self._start([sys.executable, "-m", "processes.simulator", "--config", str(config)])
        until((self.run_dir / "simulator.req").exists, "the simulator is on the bus")

    def tool(self, *words: str) -> subprocess.Popen[str]:
        """`wimz bus …`, as a program of its own."""
        name, *rest = words
        return self._start([sys.executable, "-m", "cli.main", "bus", name, "--data", str(self.data), *rest])

    def close(self) -> None:
        for name in list(self._buses):
            self.end(name)
        for process in self._processes:
            process.kill()
            process.communicate()

    def _start(self, words: list[str]) -> subprocess.Popen[str]:
        environment = os.environ | {"WIMZ_DATA": str(self.data)}
        process = subprocess.Popen(
            words, env=environment, cwd=settings.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        return process


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"in {PATIENCE_S:g} s never: {what}"
        time.sleep(0.005)


def interrupt(tool: subprocess.Popen[str]) -> tuple[str, str]:
    """Ctrl-C, and what the tool printed; it must end well."""
    tool.send_signal(signal.SIGINT)
    out, err = tool.communicate(timeout=PATIENCE_S)
    assert tool.returncode == 0, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture
def robot(short_dir: Path) -> Iterator[Robot]:
    """A robot without processes."""
    robot = Robot(short_dir)
    yield robot
    robot.close()
