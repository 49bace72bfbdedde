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

from processes.monitor.driver import Supervisord, SupervisorThread
from processes.monitor.logic import Action, Program

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


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def answers(server: Supervisord) -> bool:
    try:
        server.programs()
    except OSError:
        return False
    return True


@pytest.fixture
def supervisord(short_dir: Path) -> Iterator[Path]:
    """A real supervisord with one program; the path of its socket."""
    config = short_dir / "supervisord.conf"
    config.write_text(CONFIG.format(directory=short_dir, python=sys.executable))
    program = Path(sys.executable).with_name("supervisord")
    process = subprocess.Popen([program, "-n", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    socket = short_dir / "supervisor.sock"
    eventually(lambda: answers(Supervisord(socket)))
    yield socket
    process.send_signal(signal.SIGTERM)
    process.wait(20)


def test_what_is_killed_is_started_again_and_what_is_stopped_stays_so_until_it_is_started(supervisord: Path) -> None:
    server = Supervisord(supervisord)
    eventually(lambda: server.programs()["sleeper"].state == "RUNNING")
    before = server.programs()["sleeper"]
    server.carry_out(Action("kill", "sleeper"))
    eventually(lambda: server.programs()["sleeper"].pid not in (0, before.pid))
    with pytest.raises(ProcessLookupError):
        os.kill(before.pid, 0)
    server.carry_out(Action("stop", "sleeper"))
    eventually(lambda: server.programs()["sleeper"].state == "STOPPED")
    assert server.programs()["sleeper"].pid == 0
    server.carry_out(Action("start", "sleeper"))
    eventually(lambda: server.programs()["sleeper"].state == "RUNNING")


def test_an_unknown_program_and_a_missing_supervisord_are_errors(supervisord: Path, short_dir: Path) -> None:
    with pytest.raises(OSError, match="supervisord"):
        Supervisord(supervisord).carry_out(Action("kill", "nobody"))
    with pytest.raises(OSError, match="No such file"):
        Supervisord(short_dir / "other.sock").programs()


class FlakySupervisor:
    """Does not answer at first, and refuses the first action."""

    def __init__(self) -> None:
        self.polls = 0
        self.tried: list[Action] = []
        self.done = threading.Event()

    def programs(self) -> dict[str, Program]:
        self.polls += 1
        if self.polls == 1:
            raise OSError("not there yet")
        return {"camera": Program("RUNNING", 4, 1.0)}

    def carry_out(self, action: Action) -> None:
        self.tried.append(action)
        if len(self.tried) == 1:
            raise OSError("refused")
        self.done.set()


@pytest.fixture
def threads() -> Iterator[list[SupervisorThread]]:
    started: list[SupervisorThread] = []
    yield started
    for thread in started:
        thread.stop()


def test_the_thread_survives_a_supervisord_that_is_away_or_refuses(threads: list[SupervisorThread]) -> None:
    supervisor = FlakySupervisor()
    thread = SupervisorThread(supervisor, lambda programs: [Action("kill", name) for name in programs], period_s=0.01)
    threads.append(thread)
    assert not thread.works()
    thread.start()
    assert supervisor.done.wait(20.0)
    assert thread.works()
    assert supervisor.tried[:2] == [Action("kill", "camera")] * 2


def test_a_poke_does_not_wait_for_the_next_round(threads: list[SupervisorThread]) -> None:
    supervisor = FlakySupervisor()
    supervisor.polls = 1
    asked = threading.Event()

    def decide(programs: dict[str, Program]) -> list[Action]:
        asked.set()
        return []

    thread = SupervisorThread(supervisor, decide, period_s=3600.0)
    threads.append(thread)
    thread.start()
    thread.poke()
    assert asked.wait(20.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_failed_does_not_work(threads: list[SupervisorThread]) -> None:
    def decide(programs: dict[str, Program]) -> list[Action]:
        raise ZeroDivisionError

    supervisor = FlakySupervisor()
    supervisor.polls = 1
    thread = SupervisorThread(supervisor, decide, period_s=0.01)
    thread.start()
    eventually(lambda: not thread.works())
