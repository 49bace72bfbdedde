"""The volume, kept as a file: a restart is no change of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 16


class VolumeStore:
    """Args:
    path: of the file.
    start_pct: what counts while there is none.
    """

    def __init__(self, path: Path, start_pct: int) -> None:
        self._path = path
        self._start_pct = start_pct

    def read(self) -> int:
        """The volume, 0–100; the first one where the file is not there or not understood."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_BYTES).strip()
        except FileNotFoundError:
            return self._start_pct
        except OSError as error:
            log.warning("the volume cannot be read: %s", error)
            return self._start_pct
        if text.isdigit() and int(text) <= 100:
            return int(text)
        log.warning("%s holds %r and no volume; it begins at %d", self._path, text, self._start_pct)
        return self._start_pct

    def write(self, volume_pct: int) -> None:
        """On the disk when this returns, and never half.

        Raises:
            OSError: the disk does not take it.
        """
        unfinished = self._path.with_suffix(".new")
        with unfinished.open("wb") as file:
            file.write(b"%d\n" % volume_pct)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
