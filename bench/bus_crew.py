"""Starts the peers of a drill as real processes, hurts them and ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.bus_peers import Spec
from bench.demo_driver import until
from bus import settings

START_S = 60.0
"""A liveness limit for a machine that is busy with other things."""


class Crew:
    """Starts, hurts and ends peers; `close` leaves nothing behind."""

    def __init__(self, directory: Path, journal: bool = True) -> None:
        self.run_dir = directory / "run"
        self.journals = directory / "journals"
        self.run_dir.mkdir(mode=0o700)
        self.journals.mkdir()
        self._logs = directory / "logs"
        self._logs.mkdir()
        self._journal = str(self.journals) if journal else ""
        self._specs: dict[str, Spec] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, **options: Any) -> None:
        """Start a peer; again with the same options when none are given."""
        if options or name not in self._specs:
            self._specs[name] = Spec(name=name, run_dir=str(self.run_dir), journal=self._journal, **options)
        with self.log(name).open("ab") as log:
            command = [sys.executable, "-m", "bench.bus_peers", msgspec.json.encode(self._specs[name]).decode()]
            self.processes[name] = subprocess.Popen(command, cwd=settings.ROOT, stderr=log)

    def log(self, name: str) -> Path:
        """What the peer wrote to stderr, over all its lives."""
        return self._logs / name

    def wait_bound(self, *names: str) -> None:
        """Wait until they have their sockets. Raises TimeoutError."""
        for name in names:
            until(lambda name=name: self._is_bound(name), START_S, f"{name} is bound")  # type: ignore[misc]

    def _is_bound(self, name: str) -> bool:
        path = self.journals / f"{name}-{self.processes[name].pid}"
        if self._journal or name.startswith("control"):
            return path.exists() and path.stat().st_size > 0
        return (self.run_dir / f"{name}.req").exists()

    def stats(self, name: str) -> psutil.Process:
        return psutil.Process(self.processes[name].pid)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; its exit status."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(START_S)

    def ended(self) -> dict[str, int]:
        """Exit status of those that do not run any more."""
        return {name: code for name, p in self.processes.items() if (code := p.poll()) is not None}

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
