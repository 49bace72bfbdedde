"""`wimz sim` on a simulated machine that runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import settings
from cli.main import main
from cli.sim import readable


def test_what_is_printed_is_json_and_can_be_read() -> None:
    machine = {
        "pins": {"17": {"mode": "output"}, "18": {"mode": "input"}},
        "leds": {"pixels": [[0, 0, 0]] * 160},
        "clients": 2,
    }
    text = readable(machine)
    assert json.loads(text) == machine
    assert len(text.splitlines()) < 12


def test_without_a_robot_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--data", str(tmp_path)]) == 1
    assert "wimz demo" in capsys.readouterr().err


@pytest.fixture
def data(short_dir: Path) -> Iterator[Path]:
    """The data directory of a simulator that runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (short_dir / "robot_config.yaml").write_text(json.dumps({"pins": {"port": port}, "simulator": {"treats": 5}}))
    data = short_dir / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "processes.simulator", "--config", str(short_dir / "robot_config.yaml")],
        env=os.environ | {"WIMZ_DATA": str(data)},
        cwd=settings.ROOT,
    )
    while not settings.run_dir(data).is_dir():
        assert process.poll() is None
        time.sleep(0.02)
    yield data
    process.terminate()
    process.wait(20)


def test_it_prints_the_machine_and_puts_faults_into_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--data", str(data)]) == 0
    machine = json.loads(capsys.readouterr().out)
    assert machine["carousel"]["treats_left"] == 5
    assert machine["motors"]["left"]["duty"] == 0
    assert machine["pins"]["17"]["duty"] == 0
    assert len(machine["leds"]["pixels"]) == 160
    assert {"pan_deg", "tilt_deg"} <= set(machine["servos"])
    assert main(["sim", "--data", str(data), "--jam", "on", "--refill", "9"]) == 0
    carousel = json.loads(capsys.readouterr().out)["carousel"]
    assert (carousel["jammed"], carousel["treats_left"]) == (True, 9)
    assert main(["sim", "--data", str(data), "--refill", "-1"]) == 1
    capsys.readouterr()
    assert main(["sim", "--data", str(data), "--battery", "7", "--charging", "on"]) == 0
    battery = json.loads(capsys.readouterr().out)["battery"]
    assert (round(battery["charge_pct"]), battery["charging"]) == (7, True)
    assert main(["sim", "--data", str(data), "--battery", "101"]) == 1
    assert "0 to 100 %" in capsys.readouterr().err
