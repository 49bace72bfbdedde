"""The server's life: killed, told to stop, misconfigured."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bus import settings
from tests.processes.local_api.conftest import WAIT_S, Robot, eventually


def test_a_killed_worker_is_back(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    worker = robot.worker()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: robot.answers() and robot.worker() != worker, timeout_s=10.0)
    assert robot.post("/motor/stop").status == 200


def test_a_killed_master_takes_its_worker_along_and_its_port_is_free(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    worker = robot.worker()
    with connect(f"ws://localhost:{robot.port}/ws"):
        robot.process.kill()
        robot.process.wait(WAIT_S)
        robot.process = robot.start()
        eventually(robot.answers, timeout_s=10.0)
    assert robot.worker() != worker
    assert is_gone(worker)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has buried yet has."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_stops_soon_with_clients_connected_and_tells_them(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    with connect(f"ws://localhost:{robot.port}/ws") as client:
        client.recv(WAIT_S)
        robot.process.send_signal(signal.SIGTERM)
        try:
            while True:
                client.recv(WAIT_S)
        except ConnectionClosed as closed:
            code = closed.rcvd and closed.rcvd.code
    assert code == 1012
    began = time.monotonic()
    assert robot.process.wait(WAIT_S) == 0
    assert time.monotonic() - began < WAIT_S


def test_a_command_grows_old_from_when_the_kernel_got_it(own_robot: Callable[..., Robot]) -> None:
    """Not from when a thread has time for it: on a new connection as on one that is kept."""
    robot = own_robot()
    worker = robot.worker()
    connection = http.client.HTTPConnection("localhost", robot.port, timeout=WAIT_S)
    for _ in range(2):
        if connection.sock is None:
            connection.connect()
        time.sleep(0.05)  # accepted, and read from no more
        os.kill(worker, signal.SIGSTOP)
        sent_s = time.monotonic()
        connection.request("POST", "/motor/speed", '{"left": 0.5, "right": 0.5}', {"Content-Type": "application/json"})
        time.sleep(0.25)
        os.kill(worker, signal.SIGCONT)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert robot.motor_sent_s == pytest.approx(sent_s, abs=0.15)
    connection.close()


def test_a_command_over_ws_does_too(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot()
    worker = robot.worker()
    with connect(f"ws://localhost:{robot.port}/ws") as client:
        client.recv(WAIT_S)
        os.kill(worker, signal.SIGSTOP)
        sent_s = time.monotonic()
        client.send('{"command": "motor", "left": 0.5, "right": 0.5}')
        time.sleep(0.25)
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: robot.motor_sent_s > 0.0)
    assert robot.motor_sent_s == pytest.approx(sent_s, abs=0.15)


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    config = tmp_path / "robot_config.yaml"
    config.write_text("local_api: {prot: 8000}\n")
    environ = {**os.environ, "WIMZ_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "processes.local_api", "--config", str(config)]
    done = subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 2
    assert "prot" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_token_shows_in_the_log(tmp_path: Path) -> None:
    """Half a request, nonsense and wrong tokens: all of it is answered or dropped, none of it is logged."""
    directory = tmp_path / "robot"
    directory.mkdir()
    with (tmp_path / "log").open("wb") as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            robot = Robot(directory)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    secret = "wrong-token-wrong-token"
    robot.get("/telemetry", host="robot.local", Authorization=f"Bearer {secret}")
    robot.get("/telemetry", host="robot.local", Authorization=f"Bearer {robot.token}")
    with socket.create_connection(("127.0.0.1", robot.port)) as sock:
        sock.sendall(b"\x00\x01nonsense\r\n\r\n")
        sock.settimeout(WAIT_S)
        assert sock.recv(100).startswith(b"HTTP/1.1 400")
    token = robot.token
    robot.close()
    logged = (tmp_path / "log").read_text()
    assert "serving on" in logged
    assert secret not in logged
    assert token not in logged
