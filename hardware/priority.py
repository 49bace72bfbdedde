"""A process that must not be late asks the kernel to be served first."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

NICE = -10
"""Ahead of video and detection (0), behind the kernel's own work."""


def go_first(nice: int = NICE) -> bool:
    """Ask for it. False where this user may not have it (it takes CAP_SYS_NICE), which is said once and is no error."""
    try:
        for thread in os.listdir("/proc/self/task"):  # Linux keeps it by thread; those started later inherit it
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)
    except PermissionError:
        log.info("no priority over other processes: this user may not have it")
        return False
    return True
