"""The demo itself, with all of its processes."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from bus.topics import PROCESSES

POLL_S = 0.1


@pytest.fixture(scope="module")
def demo(start_demo: Callable[..., Any]) -> Any:
    running = start_demo()
    running.info()
    return running


def get(url: str, token: str | None = None, body: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_it_tells_how_to_reach_everything_and_everything_answers(demo: Any) -> None:
    info = demo.info()
    account = {"email": info["email"], "password": info["password"]}
    token = get(f"{info['relay_url']}/api/auth/login", body=account)["token"]
    device = get(f"{info['relay_url']}/api/device/{info['device_id']}", token)
    assert device["is_online"] is True
    assert get(f"{info['robot_url']}/telemetry", info["robot_token"])["treats_remaining"] > 0
    for value in (info["relay_url"], info["email"], info["password"], info["robot_url"]):
        assert value in demo.output
    assert (demo.data / "demo.json").stat().st_mode & 0o777 == 0o600


def test_every_process_of_the_table_runs(demo: Any) -> None:
    running = "\n".join(demo.processes())
    assert [name for name in PROCESSES if f"processes.{name}" not in running] == []


def test_a_second_demo_on_the_same_data_is_refused_and_the_first_goes_on(
    demo: Any, start_demo: Callable[..., Any]
) -> None:
    second = start_demo(demo.data)
    assert second.process.wait(60) == 1
    assert f"runs already (process {demo.process.pid}): stop it, or choose another directory" in second.output
    assert get(f"{demo.info()['robot_url']}/health") == {"status": "ok"}


@pytest.mark.parametrize("which", ["relay", "robot"])
def test_a_second_demo_on_the_same_port_is_refused_and_the_first_goes_on(
    demo: Any, start_demo: Callable[..., Any], which: str
) -> None:
    port = getattr(demo, f"{which}_port")
    second = start_demo(**{f"{which}_port": port})
    assert second.process.wait(60) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.output
    assert f"choose another port with --{which}-port" in second.output
    assert second.processes() == []
    assert not (second.data / "demo.json").exists()
    assert get(f"{demo.info()['robot_url']}/health") == {"status": "ok"}


def test_it_leaves_no_process_behind_and_comes_back_the_same(start_demo: Callable[..., Any]) -> None:
    killed = start_demo()
    before = killed.info()
    assert len(killed.processes()) > len(PROCESSES)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()

    # Started while the servers of the killed one are still stopping.
    again = start_demo(killed.data, relay_port=killed.relay_port, robot_port=killed.robot_port)
    deadline = time.monotonic() + 60
    while (killed.data / "demo.json").exists():  # that of the killed one
        assert again.process.poll() is None, again.output
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    assert again.info() == before
    assert [command for command in killed.processes() if "postgres" not in command] == []

    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(60) == 0
    assert again.wait_until_gone() == []
    assert not (killed.data / "demo.json").exists()
    assert "Stopping." in again.output


def test_a_part_that_cannot_start_is_reported_with_its_log(
    start_demo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://wimz@/wimz?host=/nowhere")
    demo = start_demo()
    assert demo.process.wait(60) == 1
    assert "wimz demo: the database refused: " in demo.output
    assert demo.wait_until_gone() == []
    assert os.listdir(demo.data / "log")
