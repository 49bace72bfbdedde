"""A real demo: its own process, as a person starts it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1


class Demo:
    """One demo, with what a test asks about it."""

    def __init__(self, data: Path, relay_port: int | None = None, robot_port: int | None = None) -> None:
        self.data = data
        self.relay_port = relay_port or free_port()
        self.robot_port = robot_port or free_port()
        self.marker = secrets.token_hex(8)
        self._output = Path(tempfile.mkstemp(prefix="wz-demo-")[1])
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli.main", "demo", "--data", str(data)),
                    *("--relay-port", str(self.relay_port), "--robot-port", str(self.robot_port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "WIMZ_DEMO_ID": self.marker},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def info(self) -> dict[str, str]:
        """`demo.json`, when it is there."""
        deadline = time.monotonic() + START_TIMEOUT_S
        path = self.data / "demo.json"
        while not path.exists():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(POLL_S)
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def processes(self) -> list[str]:
        """The command lines of everything that this demo has running."""
        return [command for pid in map(str, pids()) if (command := self._command_if_ours(pid)) is not None]

    def wait_until_gone(self) -> list[str]:
        """What is still running after a while; empty when all is well."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return left

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_TIMEOUT_S)
        self._output.unlink(missing_ok=True)

    def _command_if_ours(self, pid: str) -> str | None:
        """PostgreSQL writes over its environment, and is known by its working directory."""
        process = Path("/proc") / pid
        try:
            marked = f"WIMZ_DEMO_ID={self.marker}".encode() in (process / "environ").read_bytes()
            if marked or (process / "cwd").readlink() == (self.data / "postgres").resolve():
                return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode() or None
        except OSError:
            return None  # it has ended meanwhile, or is somebody else's
        return None


StartDemo = Callable[..., Demo]


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def start_demo() -> Iterator[StartDemo]:
    """Starts demos on free ports and stops them; `data` may be given to start again on the same directory."""
    base = Path(tempfile.mkdtemp(prefix="wz-"))
    base.chmod(0o711)
    started: list[Demo] = []

    def start(data: Path | None = None, **ports: int) -> Demo:
        demo = Demo(data or base / f"data{len(started)}", **ports)
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.stop()
    shutil.rmtree(base)
