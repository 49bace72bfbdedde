"""The place of a process: only one of each name may run with a run directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from bus.errors import BusError

PATIENCE_S = 5.0
"""How long to wait for a predecessor of the same name to let go of its place."""
POLL_S = 0.02


def lock_path(run_dir: Path, name: str) -> Path:
    """Whoever holds a lock on this file is the process `name`."""
    return run_dir / f"{name}.lock"


def hold(run_dir: Path, name: str) -> int:
    """Take the place of `name` for as long as the descriptor that is returned stays open.

    Without it, a second bind on one ipc path would silently succeed.

    Raises:
        BusError: another process has it.
    """
    descriptor = os.open(lock_path(run_dir, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + PATIENCE_S
    while not try_lock(descriptor):
        if time.monotonic() >= give_up:
            os.close(descriptor)
            raise BusError(
                f"{name} already runs with {run_dir}. Stop the other one, or give this robot another data directory."
            )
        time.sleep(POLL_S)
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Lock an open file; False when somebody else has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
