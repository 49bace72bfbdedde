"""The folder of sounds: nothing outside of it is ever opened, and nothing in it but plain files."""

from __future__ import annotations

import errno
import os
import stat
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from contract.errors import ContractError
from processes.audio.logic import SUFFIXES, is_sound_name, listed

MAX_ENTRIES = 10_000
"""Entries of the folder that are looked at."""


class Folder:
    """Args:
    path: of the folder; it may be a link itself, and need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> list[str]:
        """The names of the sounds, sorted, at most `MAX_FILES`; none where there is no folder.

        Raises:
            ContractError: AUDIO_UNAVAILABLE: it cannot be read.
        """
        try:
            with os.scandir(self.path) as entries:
                return listed(entry.name for entry in islice(entries, MAX_ENTRIES) if _is_plain(entry))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error

    def open(self, name: str) -> BinaryIO:
        """Open a sound for reading.

        Raises:
            ContractError: INVALID_PARAMETER (no sound's name), NOT_FOUND, or AUDIO_UNAVAILABLE (it cannot be read).
        """
        if not is_sound_name(name):
            raise ContractError(
                "INVALID_PARAMETER",
                f"{name[:80]!r} is no sound. Accepted: the bare name of a {', '.join(SUFFIXES)} file; "
                "`GET /audio/files` (`audio_files`) lists them.",
            )
        try:
            descriptor = self._descriptor(name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG):
                raise self._missing(name) from error
            raise self._unreadable(error) from error
        if descriptor is None:
            raise self._missing(name)
        return os.fdopen(descriptor, "rb")

    def _descriptor(self, name: str) -> int | None:
        """Open a plain file of the folder, never through a link; None when it is something else.

        Looked at before, since to open a device may do something, and after, since it may be another by then.
        """
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return None
            # NONBLOCK: a pipe that took its place is not waited for.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def _missing(self, name: str) -> ContractError:
        return ContractError(
            "NOT_FOUND", f"There is no sound {name!r}; `GET /audio/files` (`audio_files`) lists those there are."
        )

    def _unreadable(self, error: OSError) -> ContractError:
        reason = error.strerror or type(error).__name__
        return ContractError("AUDIO_UNAVAILABLE", f"The sounds cannot be read: {reason}. See `audio.folder`.")


def _is_plain(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False  # gone meanwhile: then it is no file
