"""Guardian's pictures on disk, which missions writes and local_api hands out.

A name is its number, what it was taken for, and the time, as in `00000012-presence-20260301T120000Z.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"[0-9]{8}-(presence|activity)-[0-9]{8}T[0-9]{6}Z\.jpg")
UNFINISHED = ".unfinished"
MAX_BYTES = 16_000_000


def folder(data_dir: Path) -> Path:
    """Where they are."""
    return data_dir / "snapshots"


def names(directory: Path) -> list[str]:
    """The pictures there are, the oldest first; none where there is no folder.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return sorted(path.name for path in directory.iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def read(directory: Path, name: str) -> bytes | None:
    """A picture's bytes; None when there is none of that name, which may be anything.

    Raises:
        OSError: it cannot be read.
    """
    if not NAME.fullmatch(name):
        return None
    try:
        with (directory / name).open("rb") as file:
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
