"""JPEG pictures from the camera's ring: each frame is encoded once, and only if somebody asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import simplejpeg

from bus.frames import Frame, planes

ATTEMPTS = 3
"""How often a frame that was overwritten while it was encoded is tried again."""


@dataclass(frozen=True)
class Jpeg:
    """An encoded frame. `number` is the frame's, `capture_ns` CLOCK_MONOTONIC when it was taken."""

    data: bytes
    number: int
    capture_ns: int


class Frames(Protocol):
    """Where frames come from: `bus.frames.FrameReader`."""

    def latest(self) -> Frame | None: ...


class Pictures:
    """The latest picture, for any number of threads."""

    def __init__(self, frames: Frames, quality: int) -> None:
        self._frames = frames
        self._quality = quality
        self._arrived = threading.Condition()
        self._encoding = threading.Lock()
        self._number = self._captured_ns = 0
        self._jpeg: Jpeg | None = None
        self.encoded = 0

    def on_frame(self, frame: Frame) -> None:
        """A new frame is in the ring."""
        with self._arrived:
            self._number, self._captured_ns = frame.number, frame.capture_ns
            self._arrived.notify_all()

    @property
    def captured_ns(self) -> int:
        """When the newest frame was taken; 0: there was none."""
        return self._captured_ns

    @property
    def number(self) -> int:
        """The newest frame's number; 0: there was none."""
        return self._number

    def next(self, other_than: int, timeout_s: float) -> Jpeg | None:
        """The newest picture once its number is another than `other_than`; None when none comes in time.

        Raises:
            bus.frames.FrameError: the ring is none.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._number not in (0, other_than), timeout_s):
                return None
        with self._encoding:
            if self._jpeg is None or self._jpeg.number != self._number:
                self._jpeg = self._encode()
            return self._jpeg

    def _encode(self) -> Jpeg | None:
        for _ in range(ATTEMPTS):
            frame = self._frames.latest()
            if frame is None:
                return None
            if self._jpeg is not None and self._jpeg.number == frame.number:
                return self._jpeg
            y, u, v = planes(frame.picture)
            data = simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality=self._quality)
            self.encoded += 1
            if frame.still_valid():
                return Jpeg(data, frame.number, frame.capture_ns)
        return None
