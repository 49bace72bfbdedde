"""The missions there are: the folder, read again when a file changes, and what is wrong with it told once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from processes.missions.definition import Definition, Library, load_folder

log = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int], ...]


class Shelf:
    """Args:
    on_errors: told of what is wrong with the files, whenever that changes.
    """

    def __init__(self, folder: Path, on_errors: Callable[[list[str]], None]) -> None:
        self._folder = folder
        self._on_errors = on_errors
        self._signature: Signature | None = None
        self._library = Library()

    @property
    def missions(self) -> dict[str, Definition]:
        """By id, sorted."""
        return self._library.missions

    def look(self) -> bool:
        """Read the folder where it has changed. Returns whether it had."""
        signature = self._sign()
        if signature == self._signature:
            return False
        before = self._library.errors
        self._signature, self._library = signature, load_folder(self._folder)
        if self._library.errors != before:
            for error in self._library.errors:
                log.error("%s", error)
            self._on_errors(self._library.errors)
        return True

    def _sign(self) -> Signature:
        """What changes when a file does."""
        try:
            files = [(path.name, path.stat()) for path in self._folder.glob("*.y*ml")]
        except OSError as error:
            log.debug("the folder changes under our eyes, and is looked at again: %s", error)
            return (("", 0, 0),)
        return tuple(sorted((name, status.st_mtime_ns, status.st_size) for name, status in files))
