"""The ring of frames: pictures in shared memory, one writer, any number of readers, no copy on the way out.

A ring is a plain file in the run directory (tmpfs), mapped by everyone: `frames.main`, `frames.small`. It holds a page
of numbers and `SLOTS` pictures in I420 (YUV 4:2:0 planar), each an array of shape (height * 3 / 2, width), uint8.

    writer = FrameWriter(run_dir, "main", 1280, 720)
    writer.write(picture, capture_ns)

    frame = FrameReader(run_dir, "main").latest()
    jpeg = encode(frame.picture)          # straight out of the ring
    if not frame.still_valid(): …         # the writer came round while we were reading: throw it away

Each slot has a sequence lock: its sequence is odd while the writer is in it, and even and larger afterwards. A reader
uses the picture where it lies and looks at the sequence again when it is done; with 8 slots at 15 fps it has 460 ms.

**Memory ordering.** x86 keeps stores in order, ARM (the Pi) does not, and Python has no fences. `_fence` therefore
takes and releases a lock twice. CPython's lock releases with a store-release and takes with a load-acquire; a release
followed by an acquire is ordered on ARMv8 (RCsc, "barrier-ordered-before" in its memory model), and everything before
the first release and after the second acquire is ordered with them. So the odd sequence is seen before any pixel of
the new picture, all pixels before the even one, and a reader's last look comes after its last pixel. This leans on how
CPython and glibc build locks, which no language standard promises. The numbers are 8-byte aligned words, stored and
loaded in one piece. The common path does not depend on any of it: a reader that was woken by the tick reads what was
written before a system call, and only a reader that is nearly lapped needs the sequence to say so.

Made with mmap because `multiprocessing.shared_memory` lets the first reader that exits unlink a live segment (3.11,
3.12). The file is never unlinked: a writer that comes back takes it over with a new epoch, and frame numbers go on.
Another size is a new file, renamed over the old one, which is marked dead, so readers open the new one by themselves.
One writer at a time is the business of the bus's lock on the process name.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bus.errors import BusError

Picture = NDArray[np.uint8]
"""I420: shape (height * 3 / 2, width): the luma rows, then the two chroma planes, each a quarter of its size."""
Words = NDArray[np.uint64]

SLOTS = 8
MAX_SIDE_PX = 8192
MAGIC = int.from_bytes(b"WIMZFRAM", "little")
VERSION = 1
STALE_S = 0.5
"""A reader that sees no new frame for so long looks whether the file was replaced."""

_PAGE = 4096
_LIVE, _DEAD = 1, 2
# Words of the header.
_MAGIC, _VERSION, _EPOCH, _WIDTH, _HEIGHT, _SLOTS, _PID, _STARTED_NS, _LATEST, _STATE = range(10)
# Words of a slot, which has a cache line of its own.
_FIRST_SLOT, _SLOT_WORDS = 64, 8
_SEQ, _NUMBER, _CAPTURE_NS = range(3)

_fence_lock = threading.Lock()


class FrameError(BusError):
    """A ring that cannot be used: a wrong size, or a file that is no ring."""


def _fence() -> None:
    """What is before it happens before what is after it, for other cores too (see the module's text)."""
    with _fence_lock:
        pass
    with _fence_lock:
        pass


def planes(picture: Picture) -> tuple[Picture, Picture, Picture]:
    """The Y, U and V planes of an I420 picture, as views: (h, w), (h / 2, w / 2), (h / 2, w / 2)."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    flat, luma = picture.reshape(-1), width * height
    chroma = (height // 2, width // 2)
    y = flat[:luma].reshape(height, width)
    u, v = flat[luma : luma + luma // 4].reshape(chroma), flat[luma + luma // 4 :].reshape(chroma)
    return y, u, v


def blank(width: int, height: int) -> Picture:
    """A black picture."""
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[:height] = 16
    picture[height:] = 128
    return picture


@dataclass(frozen=True)
class Written:
    """Where a frame went: what a tick tells."""

    number: int
    slot: int
    epoch: int
    capture_ns: int


class _Mapping:
    """One mapped ring file. It is unmapped when the last view of it is gone."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        status = os.fstat(descriptor)
        self.file_id = (status.st_dev, status.st_ino)
        size = status.st_size
        if size < _PAGE:
            raise FrameError(f"A ring of frames has at least {_PAGE} bytes, this file has {size}.")
        self._mmap = mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        self.words: Words = np.frombuffer(self._mmap, np.uint64, _PAGE // 8)
        self.width, self.height = int(self.words[_WIDTH]), int(self.words[_HEIGHT])
        self._check(size)
        shape = (SLOTS, self.height * 3 // 2, self.width)
        self.pictures: Picture = np.frombuffer(self._mmap, np.uint8, int(np.prod(shape)), _PAGE).reshape(shape)

    def _check(self, size: int) -> None:
        words = self.words
        if int(words[_MAGIC]) != MAGIC or int(words[_VERSION]) != VERSION:
            raise FrameError(f"This file is no ring of frames of version {VERSION}.")
        if not _size_ok(self.width, self.height) or int(words[_SLOTS]) != SLOTS:
            raise FrameError(
                f"A ring of {int(words[_SLOTS])} pictures of {self.width} x {self.height} is none of ours."
            )
        if size != ring_bytes(self.width, self.height):
            raise FrameError(f"A ring of {self.width} x {self.height} has another size than {size} bytes.")

    def slot(self, index: int) -> Words:
        start = _FIRST_SLOT + index * _SLOT_WORDS
        return self.words[start : start + _SLOT_WORDS]


def ring_bytes(width: int, height: int) -> int:
    """Size of a ring's file."""
    return _PAGE + SLOTS * width * height * 3 // 2


def _size_ok(width: int, height: int) -> bool:
    return all(2 <= side <= MAX_SIDE_PX and side % 2 == 0 for side in (width, height))


class FrameWriter:
    """The one writer of a ring.

    Args:
        width, height: in pixels, even, at most MAX_SIDE_PX.

    Raises:
        FrameError: the size is not accepted.
    """

    def __init__(self, run_dir: Path, name: str, width: int, height: int) -> None:
        if not _size_ok(width, height):
            raise FrameError(f"A picture's sides are even and 2 to {MAX_SIDE_PX} pixels, not {width} x {height}.")
        path = run_dir / f"frames.{name}"
        old = _attach(path, writable=True)
        if old is not None and (old.width, old.height) == (width, height):
            self._ring = old
        else:
            self._ring = _create(path, width, height, old)
            if old is not None:
                old.words[_STATE] = _DEAD
        self._take_over()

    @property
    def epoch(self) -> int:
        """Counts the writers of this ring."""
        return int(self._ring.words[_EPOCH])

    @property
    def next_number(self) -> int:
        """The number the next frame will have. Numbers only grow, over restarts too."""
        return int(self._ring.words[_LATEST]) + 1

    def write(self, picture: Picture, capture_ns: int) -> Written:
        """Copy a picture into the ring. The one copy on a frame's way.

        Args:
            picture: I420 of the ring's size.
            capture_ns: CLOCK_MONOTONIC when it was taken.
        """
        with self.slot(capture_ns) as place:
            np.copyto(place, picture)
        return self._written

    @contextmanager
    def slot(self, capture_ns: int) -> Iterator[Picture]:
        """A place to draw the next frame in; it is published at the end of the block, unless the block raises."""
        number = self.next_number
        index = number % SLOTS
        slot = self._ring.slot(index)
        sequence = int(slot[_SEQ])
        slot[_SEQ] = sequence + 1
        _fence()
        slot[_NUMBER] = 0
        try:
            yield self._ring.pictures[index]
            slot[_CAPTURE_NS] = capture_ns
            slot[_NUMBER] = number
        finally:
            _fence()
            slot[_SEQ] = sequence + 2
        self._ring.words[_LATEST] = number
        self._written = Written(number, index, self.epoch, capture_ns)

    def _take_over(self) -> None:
        """A new epoch. A slot that a predecessor was killed in holds half a picture: it is none."""
        words = self._ring.words
        for index in range(SLOTS):
            slot = self._ring.slot(index)
            if int(slot[_SEQ]) % 2:
                slot[_NUMBER] = 0
                _fence()
                slot[_SEQ] = int(slot[_SEQ]) + 1
        words[_PID] = os.getpid()
        words[_STARTED_NS] = time.monotonic_ns()
        words[_EPOCH] = int(words[_EPOCH]) + 1


@dataclass(frozen=True)
class Frame:
    """A frame where it lies in the ring.

    Attributes:
        picture: read-only view; what was made of it counts only if `still_valid()` says so afterwards.
        number: grows by one with each frame, over restarts of the writer too.
        capture_ns: CLOCK_MONOTONIC when it was taken.
    """

    picture: Picture
    number: int
    epoch: int
    capture_ns: int
    _slot: Words
    _sequence: int

    @property
    def width(self) -> int:
        return int(self.picture.shape[1])

    @property
    def height(self) -> int:
        return int(self.picture.shape[0]) * 2 // 3

    def still_valid(self) -> bool:
        """Whether the picture was the same from `latest()` until now."""
        _fence()
        return int(self._slot[_SEQ]) == self._sequence

    def copy(self) -> Picture | None:
        """The picture to keep; None when the writer came round meanwhile."""
        picture = self.picture.copy()
        return picture if self.still_valid() else None


class FrameReader:
    """A reader of a ring. The writer need not be there yet, and may come and go. For one thread."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self._path = run_dir / f"frames.{name}"
        self._ring: _Mapping | None = None
        self._seen: tuple[int, float] = (0, 0.0)

    def latest(self, newer_than: int = 0) -> Frame | None:
        """The newest frame, or None when there is none with a number above `newer_than`.

        Raises:
            FrameError: the file is no ring of frames.
        """
        ring = self._current()
        if ring is None:
            return None
        number = int(ring.words[_LATEST])
        if number == 0 or number <= newer_than:
            return None
        slot = ring.slot(number % SLOTS)
        sequence = int(slot[_SEQ])
        _fence()
        frame = Frame(
            ring.pictures[number % SLOTS],
            int(slot[_NUMBER]),
            int(ring.words[_EPOCH]),
            int(slot[_CAPTURE_NS]),
            slot,
            sequence,
        )
        return frame if sequence % 2 == 0 and frame.number >= number and frame.still_valid() else None

    def age_s(self, now_ns: int) -> float:
        """Seconds since the newest frame was taken; infinite when there is none. Tells a stale ring."""
        frame = self.latest()
        return float("inf") if frame is None else (now_ns - frame.capture_ns) / 1e9

    def _current(self) -> _Mapping | None:
        """The ring as it is now: opened when it appears, again when it was replaced."""
        ring, now = self._ring, time.monotonic()
        if ring is None or int(ring.words[_STATE]) == _DEAD:
            self._ring = ring = _attach(self._path, writable=False)
            self._seen = (0, now)
            return ring
        number, since = self._seen
        if int(ring.words[_LATEST]) != number:
            self._seen = (int(ring.words[_LATEST]), now)
        elif now - since > STALE_S:
            self._seen = (number, now)
            if _file_id(self._path) != ring.file_id:
                self._ring = ring = _attach(self._path, writable=False)
        return ring


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _attach(path: Path, *, writable: bool) -> _Mapping | None:
    """Map a ring's file; None when there is none. A writer may replace what is no ring, a reader may not use it."""
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return _Mapping(descriptor, writable=writable)
    except FrameError as error:
        if writable:
            return None
        raise FrameError(f"{path}: {error}") from error
    finally:
        os.close(descriptor)


def _create(path: Path, width: int, height: int, old: _Mapping | None) -> _Mapping:
    """A new ring under `path`, whole from the moment it can be seen there."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.ftruncate(descriptor, ring_bytes(width, height))
        header: dict[int, Any] = {
            _MAGIC: MAGIC,
            _VERSION: VERSION,
            _WIDTH: width,
            _HEIGHT: height,
            _SLOTS: SLOTS,
            _STATE: _LIVE,
            _EPOCH: old.words[_EPOCH] if old else 0,
            _LATEST: old.words[_LATEST] if old else 0,
        }
        words = np.zeros(_PAGE // 8, np.uint64)
        for index, value in header.items():
            words[index] = value
        os.pwrite(descriptor, words.tobytes(), 0)
        os.rename(temporary, path)
        return _Mapping(descriptor, writable=True)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
