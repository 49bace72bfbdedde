"""Guardian's pictures: JPEG files in a folder of a limited size."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import simplejpeg

from bus import snapshots
from bus.frames import Frame, FrameError, planes

ATTEMPTS = 3
MAX_AGE_S = 2.0


class Frames(Protocol):
    """Where frames come from: `bus.frames.FrameReader`."""

    def latest(self) -> Frame | None: ...


class SnapshotError(Exception):
    """No picture could be taken or kept; the message says why."""


class Snapshots:
    """Takes and keeps pictures. For one thread.

    Args:
        folder: made when it is not there.
        most, most_bytes: what is kept; the oldest go.
    """

    def __init__(self, folder: Path, frames: Frames, *, quality: int, most: int, most_bytes: int) -> None:
        self._folder = folder
        self._frames = frames
        self._quality = quality
        self._most = most
        self._most_bytes = most_bytes

    def take(self, kind: str, at: datetime, now_ns: int) -> str:
        """Keep a picture of now.

        Returns:
            Its name: `bus.snapshots.read` finds it.

        Raises:
            SnapshotError: there is no fresh picture, or the disk does not take it.
        """
        data = self._encode(now_ns)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = snapshots.names(self._folder)
            number = int(names[-1].partition("-")[0]) + 1 if names else 1
            name = f"{number:08d}-{kind}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.jpg"
            self._write(name, data)
            self._tidy()
        except OSError as error:
            raise SnapshotError(f"the picture cannot be kept: {error.strerror}") from error
        return name

    def _encode(self, now_ns: int) -> bytes:
        try:
            for _ in range(ATTEMPTS):
                frame = self._frames.latest()
                if frame is None or now_ns - frame.capture_ns > MAX_AGE_S * 1e9:
                    raise SnapshotError("the camera gives no pictures")
                data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes(frame.picture), quality=self._quality)
                if frame.still_valid():
                    return data
        except FrameError as error:
            raise SnapshotError(str(error)) from error
        raise SnapshotError("the camera is faster than this machine can take a picture")

    def _write(self, name: str, data: bytes) -> None:
        """On the disk when this returns, and never half."""
        unfinished = self._folder / snapshots.UNFINISHED
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._folder / name)

    def _tidy(self) -> None:
        """Remove the oldest beyond what is kept; the newest one stays."""
        kept_bytes = 0
        for kept, name in enumerate(reversed(snapshots.names(self._folder)), 1):
            path = self._folder / name
            kept_bytes += path.stat().st_size
            if kept > 1 and (kept > self._most or kept_bytes > self._most_bytes):
                path.unlink()
