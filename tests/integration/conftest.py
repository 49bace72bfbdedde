"""The robot's real processes on the real bus, with the simulated machine behind the pins."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bus import settings
from bus.messages import MachineState, Origin
from bus.promise import Promise
from bus.topics import COMMAND_TOPICS, SIMULATOR_READ
from bus.zeromq import ZmqBus
from contract.commands import Nothing
from contract.errors import ContractError

PATIENCE_S = 30.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""


class Machine:
    """A robot of some of its processes; this test speaks to them as `local_api`."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._config = data / "robot_config.yaml"
        self._config.write_text(f"pins: {{port: {port}}}\n")
        self._env = os.environ | {"WIMZ_DATA": str(data)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.run_dir = settings.make_run_dir(data)
        self.bus = ZmqBus("local_api", self.run_dir)
        self.bus.start()

    def start(self, *names: str) -> None:
        """Start those that do not run."""
        for name in names:
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", f"processes.{name}", "--config", str(self._config)],
                    cwd=settings.ROOT,
                    env=self._env,
                )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone, also from the process table."""
        self._processes[name].kill()
        self._processes[name].wait()

    def ended(self, name: str) -> int | None:
        """The exit status of a process that has ended."""
        return self._processes[name].poll()

    def wait(self, name: str) -> int:
        return self._processes[name].wait(PATIENCE_S)

    def begin(
        self, command: str, body: Struct | None = None, *, origin: Origin | None = None, id: str | None = None
    ) -> Promise:
        return self.bus.request(COMMAND_TOPICS[command], body or Nothing(), origin=origin, id=id)

    def ask(self, command: str, body: Struct | None = None, **more: Any) -> Any:
        """The result of a command, or the ContractError that came instead."""
        try:
            return self.begin(command, body, **more).result(PATIENCE_S)
        except ContractError as error:
            return error

    def read(self) -> MachineState:
        """The simulated machine at this instant."""
        state: MachineState = self.bus.request(SIMULATOR_READ, Nothing(), timeout_s=PATIENCE_S).result()
        return state

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for it; how long that took, in ms."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < PATIENCE_S, f"in {PATIENCE_S:g} s never: {what}"
            time.sleep(0.001)
        return (time.monotonic() - began) * 1000

    def close(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10.0)
            process.kill()
            process.wait()
        self.bus.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose processes the tests of one module start, stop and kill."""
    machine = Machine(tmp_path_factory.mktemp("robot"))
    yield machine
    machine.close()
