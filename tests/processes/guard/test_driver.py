"""What guard does to processes and to motion's place, on real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.zeromq import ZmqBus
from processes.guard.driver import MotionsPlace, victim

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def motion() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like motion on its command line."""
    child = subprocess.Popen([sys.executable, "-c", SLEEPER, "-m", "processes.motion"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()  # for a moment after it was started, a process has no command line
    yield child
    child.kill()
    child.communicate()


def test_motion_is_ended_and_known_to_have_ended(motion: subprocess.Popen[bytes]) -> None:
    held = victim(motion.pid, "processes.motion")
    assert held is not None
    assert not held.ended()
    held.kill()
    assert held.ended()
    assert motion.wait() == -9
    held.kill()  # the pid is free now, and whoever gets it is safe
    held.close()


def test_a_stopped_process_is_ended_too(motion: subprocess.Popen[bytes]) -> None:
    motion.send_signal(19)
    held = victim(motion.pid, "processes.motion")
    assert held is not None
    held.kill()
    assert held.ended()
    held.close()


def test_another_program_is_never_held(motion: subprocess.Popen[bytes]) -> None:
    assert victim(motion.pid, "processes.camera") is None
    assert motion.poll() is None


def test_a_pid_that_is_gone_is_not_held(motion: subprocess.Popen[bytes]) -> None:
    motion.kill()
    motion.wait()
    assert victim(motion.pid, "processes.motion") is None


def test_motions_place_is_free_only_without_motion(short_dir: Path) -> None:
    place = MotionsPlace(short_dir)
    with place.held() as free:
        assert free
    bus = ZmqBus("motion", short_dir)
    bus.start()
    with place.held() as free:
        assert not free
    bus.stop()
