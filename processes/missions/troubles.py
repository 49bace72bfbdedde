"""What is wrong with the missions' files and with the disk: told when it begins and when it ends."""

from __future__ import annotations

import logging
import sqlite3

from bus.base import Bus
from bus.messages import Fault
from bus.topics import FAULTS
from contract.errors import ContractError

log = logging.getLogger(__name__)

REPEAT_FAULT_S = 10.0
"""Monitor may have started after us. It tells people once, however often it hears it."""
MAX_TEXT = 1000


class Troubles:
    """Faults of the process on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._files: list[str] = []
        self._disk: str | None = None
        bus.every(REPEAT_FAULT_S, self._repeat)

    def files(self, errors: list[str]) -> None:
        """These are wrong; none: all can be read."""
        self._files = errors
        if errors:
            self._repeat()
        else:
            self._tell("MISSION_FILE", "All missions can be read.", active=False)

    def disk_failed(self, error: sqlite3.Error) -> ContractError:
        """Count, log and tell it, and return what to answer."""
        self._bus.counters["missions.disk_errors"] += 1
        message = f"Mode and missions cannot be kept: {error}. Make room on the disk, or make it writable."
        if self._disk is None:
            log.error("%s", message)
            self._tell("MISSION_STORE", message, active=True)
        self._disk = message
        return ContractError("INTERNAL_ERROR", message)

    def disk_works(self) -> None:
        if self._disk is not None:
            self._disk = None
            self._tell("MISSION_STORE", "Mode and missions are kept again.", active=False)

    def _repeat(self) -> None:
        if self._files:
            more = f" And {len(self._files) - 1} more." if len(self._files) > 1 else ""
            self._tell("MISSION_FILE", self._files[0][:MAX_TEXT] + more, active=True)
        if self._disk is not None:
            self._tell("MISSION_STORE", self._disk, active=True)

    def _tell(self, code: str, message: str, *, active: bool) -> None:
        self._bus.publish(FAULTS["missions"], Fault(code, message, "warning" if active else "info", active))
