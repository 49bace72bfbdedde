from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.children import Child, ChildError

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);print('up', flush=True); time.sleep(600)",
]


def printed(child: Child, text: str) -> str | None:
    return None if text in child.log_tail() else f"{text!r} not printed yet"


def start(child: Child) -> None:
    child.start()
    child.wait_ready(lambda: printed(child, "up"), 20)


def test_a_child_runs_until_it_is_stopped(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, log=tmp_path / "log")
    start(child)
    assert child.running
    child.stop(10)
    assert child.returncode == -signal.SIGTERM
    child.stop(10)  # once more does no harm


def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    child = Child("stubborn", STUBBORN, log=tmp_path / "log")
    start(child)
    child.stop(0.05)
    assert child.returncode == -signal.SIGKILL


def test_the_error_of_a_child_that_ends_at_start_carries_its_log(tmp_path: Path) -> None:
    child = Child("liar", [sys.executable, "-c", "print('no such wheel'); exit(3)"], log=tmp_path / "log")
    child.start()
    with pytest.raises(ChildError, match=r"(?s)liar ended at start with code 3.*no such wheel"):
        child.wait_ready(lambda: "never ready", 20)


def test_a_child_that_does_not_get_ready_is_reported_with_what_is_missing(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, log=tmp_path / "log")
    start(child)
    with pytest.raises(ChildError, match=r"not ready within 0\.05 s: no answer at the socket"):
        child.wait_ready(lambda: "no answer at the socket", 0.05)
    child.stop(10)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    child = Child("ghost", ["/nowhere/ghost"], log=tmp_path / "log")
    with pytest.raises(ChildError, match=r"ghost could not be started: /nowhere/ghost: No such file"):
        child.start()


def test_only_the_main_thread_may_spawn(tmp_path: Path) -> None:
    """The kernel signals a child when the thread that spawned it ends, not when the process does."""
    child = Child("sleeper", SLEEPER, log=tmp_path / "log")
    refusals: list[ChildError] = []

    def spawn() -> None:
        try:
            child.start()
        except ChildError as error:
            refusals.append(error)

    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join()
    assert "main thread" in str(refusals[0])
    assert not child.running


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from cli.children import Child;"
        f"child = Child('sleeper', {SLEEPER!r}, log=Path({str(tmp_path / 'log')!r}));"
        "child.start(); print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    assert select.select([child], [], [], 20)[0]
    os.close(child)


def test_a_log_is_cut_to_its_end_while_it_is_written_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child("writer", SLEEPER, log=log)
    with log.open("ab") as writer:
        writer.write(b"old\n" * 1000)
        writer.flush()
        assert child.trim_log(cap_bytes=2000, keep_bytes=40)
        writer.write(b"new\n")
    assert log.read_text() == "old\n" * 10 + "new\n"
    assert not child.trim_log(cap_bytes=2000, keep_bytes=40)
