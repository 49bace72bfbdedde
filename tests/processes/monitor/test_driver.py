from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes.monitor.driver import LinuxMachine, Supervisord, SupervisorThread
from processes.monitor.logic import Program

CONFIG = """
[supervisord]
nodaemon=true
logfile={directory}/supervisord.log
pidfile={directory}/supervisord.pid
[unix_http_server]
file={directory}/supervisor.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:sleeper]
command={python} -c "import time; time.sleep(600)"
startsecs=0
autorestart=true
"""


def files(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_Z_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_pi_is_read(tmp_path: Path) -> None:
    files(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="gpu\n",
        sys__class__thermal__thermal_zone0__temp="90000\n",
        sys__class__thermal__thermal_zone1__type="cpu-thermal\n",
        sys__class__thermal__thermal_zone1__temp="48312\n",
        proc__uptime="12345.67 9999.0\n",
        proc__net__wireless="Inter-| sta-|   Quality\n face | tus | link level noise\n"
        " wlan0: 0000   58.  -52.  -256        0      0      0      0      0        0\n",
    )
    machine = LinuxMachine(tmp_path)
    assert machine.temperature_c() == pytest.approx(48.312)
    assert machine.wifi_dbm() == -52
    assert machine.uptime_s() == 12345


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    machine = LinuxMachine(tmp_path)
    assert machine.temperature_c() is None
    assert machine.wifi_dbm() is None


def test_what_makes_no_sense_is_unknown(tmp_path: Path) -> None:
    files(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="cpu-thermal",
        sys__class__thermal__thermal_zone0__temp="hot",
        proc__net__wireless="a\nb\n wlan0: 0000 58. 999. x\n broken\n",
    )
    machine = LinuxMachine(tmp_path)
    assert machine.temperature_c() is None
    assert machine.wifi_dbm() is None


def test_this_very_machine_can_be_read() -> None:
    assert LinuxMachine().uptime_s() > 0


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


@pytest.fixture
def supervisord(short_dir: Path) -> Iterator[Path]:
    """A real supervisord with one program; the path of its socket."""
    config = short_dir / "supervisord.conf"
    config.write_text(CONFIG.format(directory=short_dir, python=sys.executable))
    program = Path(sys.executable).with_name("supervisord")
    process = subprocess.Popen([program, "-n", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    socket = short_dir / "supervisor.sock"
    eventually(socket.exists)
    yield socket
    process.send_signal(signal.SIGTERM)
    process.wait(20)


def test_supervisord_restarts_what_is_killed(supervisord: Path) -> None:
    server = Supervisord(supervisord)
    eventually(lambda: server.programs()["sleeper"].running)
    before = server.programs()["sleeper"]
    server.kill("sleeper")
    eventually(lambda: server.programs()["sleeper"].pid not in (0, before.pid))
    with pytest.raises(ProcessLookupError):
        os.kill(before.pid, 0)


def test_an_unknown_program_and_a_missing_supervisord_are_errors(supervisord: Path, short_dir: Path) -> None:
    with pytest.raises(OSError, match="supervisord"):
        Supervisord(supervisord).kill("nobody")
    with pytest.raises(OSError, match="No such file"):
        Supervisord(short_dir / "other.sock").programs()


class FlakySupervisor:
    def __init__(self) -> None:
        self.polls = 0
        self.killed = threading.Event()

    def programs(self) -> dict[str, Program]:
        self.polls += 1
        if self.polls == 1:
            raise OSError("not there yet")
        return {"camera": Program(True, 4, 1.0)}

    def kill(self, name: str) -> None:
        self.killed.set()


def test_the_thread_survives_a_supervisord_that_is_away() -> None:
    supervisor = FlakySupervisor()
    thread = SupervisorThread(supervisor, list, period_s=0.01)
    thread.start()
    assert supervisor.killed.wait(10.0)
    thread.stop()
