"""A process that must not be late asks the kernel to be served first."""

from __future__ import annotations

import logging
import os
import sys

log = logging.getLogger(__name__)

NICE = -10
"""Ahead of video and detection (0), behind the kernel's own work."""
DOOR_NICE = -5
"""Commands come in by it: behind those who carry them out, ahead of all others."""
PROMPT_S = 0.0005
"""How long a thread of such a process may keep the others waiting. Python's 5 ms, ten times over, make a stop late."""


def go_first(nice: int = NICE, pid: int | None = None) -> bool:
    """Ask for it, for this process or another; in this one its threads give way to each other sooner, too.

    Returns:
        False where this user may not have it (it takes CAP_SYS_NICE), which is said once and is no error.
    """
    if pid is None:
        sys.setswitchinterval(PROMPT_S)
    try:
        # Linux keeps it by thread; those started later inherit it.
        for thread in os.listdir(f"/proc/{pid or 'self'}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)
    except PermissionError:
        log.info("no priority over other processes: this user may not have it")
        return False
    return True
