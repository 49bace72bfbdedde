"""The simulator as the process that it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.settings import ROOT, run_dir
from bus.topics import SIMULATOR_READ
from bus.zeromq import ZmqBus
from contract.commands import Nothing
from hardware.config import MotorsConfig, PinsConfig
from hardware.motors import HBridgeMotors
from hardware.pins import close_factory, pin_factory

PATIENCE_S = 20.0


def start(config: dict[str, object], directory: Path) -> subprocess.Popen[str]:
    path = directory / "robot_config.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return subprocess.Popen(
        [sys.executable, "-m", "processes.simulator", "--config", str(path)],
        cwd=ROOT,
        env={**os.environ, "WIMZ_DATA": str(directory / "data")},
        stderr=subprocess.PIPE,
        text=True,
    )


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return int(reserved.getsockname()[1])


@pytest.fixture
def process(short_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    process = start({"pins": {"port": port}}, short_dir)
    yield process
    process.kill()
    process.communicate(timeout=PATIENCE_S)


def test_what_is_driven_over_the_socket_is_read_over_the_bus(
    process: subprocess.Popen[str], short_dir: Path, port: int
) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not listens(port):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    factory = pin_factory(PinsConfig(port=port))
    motors = HBridgeMotors(MotorsConfig(), factory)
    motors.set(0.5, -0.25)
    bus = ZmqBus("monitor", run_dir(short_dir / "data"))
    thread = bus.start()

    state = bus.request(SIMULATOR_READ, Nothing(), timeout_s=PATIENCE_S).result(PATIENCE_S)

    assert (state.motors.left.duty, state.motors.right.duty) == (0.5, -0.25)
    bus.stop()
    thread.join(PATIENCE_S)
    motors.close()
    close_factory(factory)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_where_there_is_nothing_to_simulate_it_ends_well_and_says_so(short_dir: Path, port: int) -> None:
    process = start({"pins": {"port": port}, "simulator": {"enabled": False}}, short_dir)

    _, log = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0
    assert "simulator.enabled is false: nothing to simulate" in log
    assert not listens(port)


def test_a_port_that_is_taken_ends_it_with_a_readable_message(short_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start({"pins": {"port": taken.getsockname()[1]}}, short_dir)
        _, log = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert "the simulator cannot listen on 127.0.0.1" in log
    assert "Traceback" not in log
