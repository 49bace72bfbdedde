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

**Memory ordering.** x86 keeps loads and plain stores in order, ARM (the Pi) does not, and Python has no fences.
`_fence` therefore takes and releases a lock twice. What counts is the release in the middle and the taking after it:

- In CPython up to 3.13.0 a lock is a POSIX semaphore; glibc posts it with a compare-and-swap that is a release, and
  takes it with one that is an acquire. From 3.13.1 on it is a PyMutex: both are sequentially consistent, which is more.
- On ARMv8 that is STLXR (or CASL), then LDAXR (or CASA). Its memory model ("barrier-ordered-before") orders all that
  comes before a release with it, a release with every later acquire, and an acquire with all that comes after it: from
  end to end a full fence. One round would be none: what is before may sink into it, and what is behind may rise.
- On x86 each of them is a locked instruction, which also drains the streaming stores that memcpy may use.

So the odd sequence is seen before any pixel of the new picture, all pixels before the even one, and a reader's last
look comes after its last pixel. The words are aligned and 8 bytes long; `memoryview` stores and loads them in one piece
where registers have 64 bits. No language standard promises any of this: it leans on how CPython and glibc are built.
The common path does not depend on it: a reader that was woken by the bell reads what was written before a system call,
and only a reader that is nearly lapped needs the sequence to say so.

Made with mmap because `multiprocessing.shared_memory` lets the first reader that exits unlink a live segment (3.11,
3.12). The file is not unlinked: a writer that comes back takes it over with a new epoch, and frame numbers go on.
Another size is a new file, renamed over the old one, which is marked dead, so readers open the new one by themselves.
What a writer that was killed while it made one has left behind, the next one removes. One writer at a time is the
business of the bus's lock on the process name.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bus.errors import BusError

Picture = NDArray[np.uint8]
"""I420: shape (height * 3 / 2, width): the luma rows, then the two chroma planes, each a quarter of its size."""

SLOTS = 8
MAX_SIDE_PX = 8192
MAGIC = int.from_bytes(b"WIMZFRAM", "little")
VERSION = 2
STALE_S = 0.5
"""A reader that sees no new frame for so long looks whether the file was replaced."""

_PAGE = 4096
_LIVE, _DEAD = 1, 2
# Words of the header.
_MAGIC, _VERSION, _EPOCH, _WIDTH, _HEIGHT, _SLOTS, _LATEST, _STATE = range(8)
# Words of a slot, which has a cache line of its own. All but the first are the writer's while the first is odd.
_FIRST_SLOT, _SLOT_WORDS = 64, 8
_SEQ, _NUMBER, _CAPTURE_NS, _WRITTEN_IN_EPOCH = range(4)
_ATTEMPTS = 4
"""A reader of `latest()` has to be overtaken so often, by a whole round each time, to come back with nothing."""


class FrameError(BusError):
    """A ring that cannot be used: a wrong size, a file that is no ring, no room for one."""


def _fence() -> None:
    """What is before it happens before what is after it, for other cores too (see the module's text)."""
    lock = threading.Lock()  # a new one: a shared one would wait for itself when the garbage collector ends a `slot`
    with lock:
        pass
    with lock:
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
        header = os.pread(descriptor, _PAGE, 0)
        if len(header) < _PAGE:
            raise FrameError(f"A ring of frames has at least {_PAGE} bytes, this file has {len(header)}.")
        self.width, self.height = _size_of_ring(memoryview(header).cast("Q"), status.st_size)
        # MAP_POPULATE: the first time through the slots costs no page faults.
        mapped = mmap.mmap(
            descriptor,
            status.st_size,
            flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ,
        )
        self.words: memoryview[int] = memoryview(mapped)[:_PAGE].cast("Q")
        shape = (SLOTS, self.height * 3 // 2, self.width)
        self.pictures: list[Picture] = list(np.frombuffer(mapped, np.uint8, offset=_PAGE).reshape(shape))


def _size_of_ring(words: memoryview[int], size: int) -> tuple[int, int]:
    """Width and height that a header tells, if it is one of ours and the file has the size that goes with it."""
    if words[_MAGIC] != MAGIC or words[_VERSION] != VERSION:
        raise FrameError(f"This file is no ring of frames of version {VERSION}.")
    width, height = words[_WIDTH], words[_HEIGHT]
    if not _size_ok(width, height) or words[_SLOTS] != SLOTS:
        raise FrameError(f"A ring of {words[_SLOTS]} pictures of {width} x {height} is none of ours.")
    if size != ring_bytes(width, height):
        raise FrameError(f"A ring of {width} x {height} has another size than {size} bytes.")
    return width, height


def _slot(number: int) -> int:
    """Index of the first word of the slot that the frame `number` lies in."""
    return _FIRST_SLOT + number % SLOTS * _SLOT_WORDS


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
        _unfinished(path).unlink(missing_ok=True)
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
        return self._ring.words[_EPOCH]

    @property
    def next_number(self) -> int:
        """The number the next frame will have. Numbers only grow, over restarts too."""
        return self._ring.words[_LATEST] + 1

    def write(self, picture: Picture, capture_ns: int) -> Written:
        """Copy a picture into the ring. The one copy on a frame's way.

        Args:
            picture: I420 of the ring's size.
            capture_ns: CLOCK_MONOTONIC when it was taken.

        Raises:
            FrameError: it has another shape.
        """
        with self.slot(capture_ns) as place:
            if picture.shape != place.shape:
                raise FrameError(f"A picture of this ring has the shape {place.shape}, not {picture.shape}.")
            np.copyto(place, picture)
        return self._written

    @contextmanager
    def slot(self, capture_ns: int) -> Iterator[Picture]:
        """A place to draw the next frame in; it is published at the end of the block, unless the block raises."""
        words, number, epoch = self._ring.words, self.next_number, self.epoch
        at = _slot(number)
        sequence = words[at + _SEQ]
        words[at + _SEQ] = sequence + 1
        _fence()
        words[at + _NUMBER] = 0
        try:
            yield self._ring.pictures[number % SLOTS]
            words[at + _CAPTURE_NS] = capture_ns
            words[at + _WRITTEN_IN_EPOCH] = epoch
            words[at + _NUMBER] = number
        finally:
            _fence()
            words[at + _SEQ] = sequence + 2
        words[_LATEST] = number
        self._written = Written(number, number % SLOTS, epoch, capture_ns)

    def _take_over(self) -> None:
        """A new epoch. A slot that a predecessor was killed in holds half a picture: it is none. A picture that it had
        finished but not announced is announced, so that its number is not given twice."""
        words = self._ring.words
        for at in map(_slot, range(SLOTS)):
            if words[at + _SEQ] % 2:
                words[at + _NUMBER] = 0
                _fence()
                words[at + _SEQ] += 1
            words[_LATEST] = max(words[_LATEST], words[at + _NUMBER])
        words[_EPOCH] += 1


@dataclass(slots=True, eq=False)
class Frame:
    """A frame where it lies in the ring.

    Attributes:
        picture: read-only view; what was made of it counts only if `still_valid()` says so afterwards.
        number: grows by one with each frame, over restarts of the writer too.
        epoch: which writer of this ring it is from.
        capture_ns: CLOCK_MONOTONIC when it was taken.
    """

    picture: Picture
    number: int
    epoch: int
    capture_ns: int
    _words: memoryview[int]
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
        return self._words[_slot(self.number) + _SEQ] == self._sequence

    def copy(self) -> Picture | None:
        """The picture to keep; None when the writer came round meanwhile."""
        picture = self.picture.copy()
        return picture if self.still_valid() else None


class FrameReader:
    """A reader of a ring. The writer need not be there yet, and may come and go. For one thread."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.run_dir = run_dir
        self._path = run_dir / f"frames.{name}"
        self._ring: _Mapping | None = None
        self._seen: tuple[int, float] = (0, 0.0)

    def latest(self, newer_than: int = 0) -> Frame | None:
        """The newest frame, or None when there is none but `newer_than`.

        Args:
            newer_than: number of the last frame that was taken. A ring whose numbers are below it was lost and begun
                anew: its frames are newer.

        Raises:
            FrameError: the file is no ring of frames.
        """
        ring = self._current()
        if ring is None:
            return None
        words = ring.words
        for _ in range(_ATTEMPTS):
            number = words[_LATEST]
            if number in (0, newer_than):
                return None
            at = _slot(number)
            sequence = words[at + _SEQ]
            _fence()
            written, epoch, capture_ns = words[at + _NUMBER], words[at + _WRITTEN_IN_EPOCH], words[at + _CAPTURE_NS]
            frame = Frame(ring.pictures[number % SLOTS], number, epoch, capture_ns, words, sequence)
            if written == number and sequence % 2 == 0 and frame.still_valid():
                return frame
        return None

    def age_s(self, now_ns: int) -> float:
        """Seconds since the newest frame was taken; infinite when there is none. Tells a stale ring."""
        frame = self.latest()
        return float("inf") if frame is None else (now_ns - frame.capture_ns) / 1e9

    def _current(self) -> _Mapping | None:
        """The ring as it is now: opened when it appears, again when it was replaced."""
        ring, now = self._ring, time.monotonic()
        if ring is None or ring.words[_STATE] == _DEAD:
            self._ring = ring = _attach(self._path, writable=False)
            self._seen = (0, now)
            return ring
        number, since = self._seen
        if ring.words[_LATEST] != number:
            self._seen = (ring.words[_LATEST], now)
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


def _unfinished(path: Path) -> Path:
    """Where a ring is made before it takes its name."""
    return path.with_name(f".{path.name}.new")


def _create(path: Path, width: int, height: int, old: _Mapping | None) -> _Mapping:
    """A new ring under `path`, whole from the moment it can be seen there."""
    unfinished = _unfinished(path)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _reserve(descriptor, ring_bytes(width, height), path)
        words = np.zeros(_PAGE // 8, np.uint64)
        words[[_MAGIC, _VERSION, _STATE, _SLOTS]] = MAGIC, VERSION, _LIVE, SLOTS
        words[[_WIDTH, _HEIGHT]] = width, height
        words[[_EPOCH, _LATEST]] = (old.words[_EPOCH], old.words[_LATEST]) if old else (0, 0)
        os.pwrite(descriptor, words.tobytes(), 0)
        ring = _Mapping(descriptor, writable=True)
        os.rename(unfinished, path)
        return ring
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int, path: Path) -> None:
    """Take the memory now: where there is none later, writing a picture would be a SIGBUS, which no `except` sees."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise FrameError(
            f"{path} needs {size / 1e6:.1f} MB of shared memory: {error.strerror}. "
            f"Give {path.parent.parent} more room, or the camera a smaller picture."
        ) from error
