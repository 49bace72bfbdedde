"""What one monitor leaves to the next, in memory: it is void with the supervisord that it is about."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from processes.monitor.logic import Record

log = logging.getLogger(__name__)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    supervisord_pid: int
    records: dict[str, Record]


class Store:
    """A small JSON file, replaced as a whole.

    Args:
        path: in the run directory, which is gone with the machine's memory, as CLOCK_MONOTONIC is.
        supervisord_pid: whose programs the records are about.
    """

    def __init__(self, path: Path, supervisord_pid: int) -> None:
        self._path = path
        self._supervisord_pid = supervisord_pid
        self._saved: dict[str, Record] = {}

    def load(self) -> dict[str, Record]:
        """The records; none when there are none of this supervisord, which starts everything by itself."""
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read, so what the last monitor held stays stopped: %s", self._path, error)
            return {}
        if file.supervisord_pid == self._supervisord_pid:
            self._saved = file.records
        return dict(self._saved)

    def save(self, records: Mapping[str, Record]) -> None:
        """Keep them. Raises OSError."""
        if records == self._saved:
            return
        unfinished = self._path.with_name(f"{self._path.name}.new")
        unfinished.write_bytes(msgspec.json.encode(_File(self._supervisord_pid, dict(records))))
        os.replace(unfinished, self._path)
        self._saved = dict(records)
