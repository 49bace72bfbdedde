"""Where a robot's bus is, and who is on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bus import settings
from bus.topics import PROCESSES
from bus.zeromq import ZmqBus
from cli.errors import CommandError

BUS_STOP_S = 2.0


def run_dir(data: Path) -> Path:
    """The run directory of the robot with this data directory.

    Raises:
        CommandError: there is none.
    """
    path = settings.run_dir((settings.ROOT / data).resolve())
    if not path.is_dir():
        raise CommandError(f"no robot runs with {data}. Start one with `wimz demo`, or name its --data directory.")
    return path


def lives(run: Path, process: str) -> bool:
    """Whether somebody listens at the process's socket for requests.

    Its lock file would tell too, but must not be tried: guard, taking motion's place to stop the motors, would believe
    for that moment that a motion is there to do so.
    """
    with socket.socket(socket.AF_UNIX) as knock:
        knock.setblocking(False)  # a full backlog is somebody's
        try:
            knock.connect(str(run / f"{process}.req"))
        except BlockingIOError:
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def who_lives(run: Path) -> set[str]:
    """The processes that run."""
    return {process for process in PROCESSES if lives(run, process)}


def tool_name() -> str:
    """What this program is called on the bus: none of the processes."""
    return f"bus-{os.getpid()}"


@contextmanager
def joined(run: Path) -> Iterator[ZmqBus]:
    """A bus that asks, with its loop in a thread."""
    bus = ZmqBus(tool_name(), run)
    loop = bus.start()
    try:
        yield bus
    finally:
        bus.stop()
        loop.join(BUS_STOP_S)
