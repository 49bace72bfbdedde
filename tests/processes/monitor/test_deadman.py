from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

PROGRAM = """
import sys, time
from processes.monitor.deadman import Deadman

deadman = Deadman(float(sys.argv[1]))
deadman.wind()
print("wound", flush=True)
for line in sys.stdin:
    match line.strip():
        case "wind": deadman.wind()
        case "disarm": deadman.disarm()
        case "hang": time.sleep(600)
    print("done", flush=True)
"""


class Wound:
    """A program with a deadman, which does what it is told."""

    def __init__(self, limit_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(limit_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.read() == "wound"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()


@pytest.fixture
def programs() -> Iterator[list[Wound]]:
    started: list[Wound] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.communicate()


def test_a_process_that_hangs_is_killed(programs: list[Wound]) -> None:
    program = Wound(0.5)
    programs.append(program)
    program.tell("hang")
    assert program.process.wait(60.0) == -signal.SIGKILL


def test_a_process_that_is_stopped_is_killed(programs: list[Wound]) -> None:
    program = Wound(2.0)
    programs.append(program)
    program.process.send_signal(signal.SIGSTOP)
    assert program.process.wait(60.0) == -signal.SIGKILL


def test_a_process_that_winds_it_up_or_disarms_it_lives(programs: list[Wound]) -> None:
    program = Wound(5.0)
    programs.append(program)
    began = time.monotonic()
    while time.monotonic() - began < 6.0:
        program.tell("wind")
        assert program.read() == "done"
        time.sleep(0.1)
    program.tell("disarm")
    assert program.read() == "done"
    with pytest.raises(subprocess.TimeoutExpired):
        program.process.wait(6.0)
