"""Our ring and its peers, each a way for pictures from one process to another, for `bench/frames.py`.

Each peer is used as its own documentation has it, in the leanest loop that it allows; whatever makes ours safe (epochs,
many readers, a picture that is known to be whole) is not asked of the peers.
"""

from __future__ import annotations

import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from bus.bell import Bell, follow
from bus.frames import Frame, FrameReader, FrameWriter, Picture
from bus.messages import FrameTick
from bus.topics import CAMERA_TICK
from bus.zeromq import ZmqBus

WIDTH, HEIGHT = 1280, 720
SHAPE = (HEIGHT * 3 // 2, WIDTH)
BYTES = SHAPE[0] * SHAPE[1]
AHEAD = 4
"""Pictures that a queue between the two may hold."""

Got = Callable[[Picture, int], Callable[[bool], None]]
"""Called with a picture as soon as the reader holds it, and when it was taken; what comes back is called with whether
the picture has stayed whole."""


class Camera:
    """Pictures of noise with their number in the first and the last eight bytes, each drawn just before it is taken, as
    every source does.

    Attributes:
        number: of the last picture.
        cpu_ns: processor time of the drawing, which is nobody's way from process to process.
    """

    def __init__(self) -> None:
        self._scene = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
        self._pictures = [self._scene.copy() for _ in range(2)]
        self.number = 0
        self.cpu_ns = 0

    def take(self) -> tuple[Picture, int]:
        """The next picture, and CLOCK_MONOTONIC when it was there."""
        begun_ns = time.thread_time_ns()
        self.number += 1
        picture = self._pictures[self.number % 2]
        np.copyto(picture, self._scene)
        words = picture.reshape(-1).view(np.uint64)
        words[0] = words[-1] = self.number
        self.cpu_ns += time.thread_time_ns() - begun_ns
        return picture, time.monotonic_ns()


def number_of(picture: Picture) -> int:
    """The number in a picture; 0 when its two ends are of different ones."""
    words = picture.reshape(-1).view(np.uint64)
    return int(words[0]) if words[0] == words[-1] else 0


class Way(ABC):
    """One way from process to process. It is pickled into both."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def close(self) -> None:  # noqa: B027
        """After both have ended, where the way was made."""

    @abstractmethod
    def write(self, camera: Camera, period_s: float, more: Callable[[], bool]) -> None:
        """Take and pass on a picture each period (0: as fast as it goes) while `more()`."""

    @abstractmethod
    def read(self, got: Got, ready: Callable[[], None]) -> None:
        """Receive until killed."""


class Ring(Way):
    """Ours, as the camera and its readers do it: into the ring, the bell, used where it lies. And a tick on the bus for
    who looks on, which nobody does."""

    name = "WIM-Z ring + bell"

    def write(self, camera: Camera, period_s: float, more: Callable[[], bool]) -> None:
        bus, ring = ZmqBus("camera", self.directory), FrameWriter(self.directory, "main", WIDTH, HEIGHT)
        bell = Bell(self.directory)

        def take() -> None:
            written = ring.write(*camera.take())
            bell.ring()
            bus.publish(CAMERA_TICK, FrameTick(written.number, written.slot, written.epoch, written.capture_ns))
            if not more():
                bus.call_later(0.2, bus.stop)  # the last tick is on its way
                timer.cancel()
            elif not period_s:
                bus.call_soon(take)

        timer = bus.every(period_s, take) if period_s else bus.call_later(0, take)
        bus.run()

    def read(self, got: Got, ready: Callable[[], None]) -> None:
        bus = ZmqBus("webrtc", self.directory)

        def on_frame(frame: Frame) -> None:
            got(frame.picture, frame.capture_ns)(frame.still_valid())

        follow(bus, FrameReader(self.directory, "main"), on_frame)
        bus.call_soon(ready)
        bus.run()


class Blocking(Way):
    """What is passed on by plain blocking calls."""

    def write(self, camera: Camera, period_s: float, more: Callable[[], bool]) -> None:
        put, due = self.writer(), time.monotonic()
        while True:
            put(*camera.take())
            if not more():
                return
            due += period_s
            time.sleep(max(0.0, due - time.monotonic()) if period_s else 0)

    def read(self, got: Got, ready: Callable[[], None]) -> None:
        get = self.reader()
        ready()
        while True:
            got(*get())(True)

    @abstractmethod
    def writer(self) -> Callable[[Picture, int], Any]: ...

    @abstractmethod
    def reader(self) -> Callable[[], tuple[Picture, int]]: ...


class ZmqBytes(Blocking):
    """pyzmq PUSH/PULL on ipc: when it was taken and the picture, in two parts; copied in, copied out."""

    name = "bytes over zmq"
    copy = True

    def writer(self) -> Callable[[Picture, int], Any]:
        socket = self._socket(zmq.PUSH)
        socket.connect(self._address)

        def put(picture: Picture, capture_ns: int) -> None:
            socket.send(capture_ns.to_bytes(8, "little"), zmq.SNDMORE)
            self._send(socket, picture)

        return put

    def _send(self, socket: zmq.Socket[bytes], picture: Picture) -> None:
        socket.send(picture.data)

    def reader(self) -> Callable[[], tuple[Picture, int]]:
        socket = self._socket(zmq.PULL)
        socket.bind(self._address)

        def get() -> tuple[Picture, int]:
            capture_ns = int.from_bytes(socket.recv(), "little")
            data: Any = socket.recv() if self.copy else socket.recv(copy=False).buffer
            return np.frombuffer(data, np.uint8).reshape(SHAPE), capture_ns

        return get

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        socket.setsockopt(zmq.SNDHWM, AHEAD)
        socket.setsockopt(zmq.RCVHWM, AHEAD)
        return socket

    @property
    def _address(self) -> str:
        return f"ipc://{self.directory / 'pictures'}"


class ZmqNoCopy(ZmqBytes):
    """The same with `copy=False` on both sides: the picture may not be drawn over until ZeroMQ has let go of it."""

    name = "bytes over zmq, copy=False"
    copy = False

    def _send(self, socket: zmq.Socket[bytes], picture: Picture) -> None:
        tracker = socket.send(picture.data, copy=False, track=True)
        assert tracker is not None
        tracker.wait()


class SegmentPerFrame(Blocking):
    """Segments of shared memory in turn, opened by name for each picture on both sides, copied in and copied out; their
    names in a multiprocessing.Queue. Frigate does it so."""

    name = "a segment reopened per frame"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._names: Any = multiprocessing.get_context("spawn").Queue(AHEAD)
        self._segments = [SharedMemory(create=True, size=BYTES) for _ in range(AHEAD * 2)]
        self._in_turn = [segment.name for segment in self._segments]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_segments"}

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
            segment.unlink()

    def writer(self) -> Callable[[Picture, int], Any]:
        _leave_segments_alone()
        count = 0

        def put(picture: Picture, capture_ns: int) -> None:
            nonlocal count
            name = self._in_turn[count % len(self._in_turn)]
            count += 1
            segment = SharedMemory(name)
            place: Picture = np.ndarray(SHAPE, np.uint8, segment.buf)
            place[:] = picture
            del place  # a segment with views does not close
            segment.close()
            self._names.put((name, capture_ns))

        return put

    def reader(self) -> Callable[[], tuple[Picture, int]]:
        _leave_segments_alone()

        def get() -> tuple[Picture, int]:
            name, capture_ns = self._names.get()
            segment = SharedMemory(name)
            picture: Picture = np.ndarray(SHAPE, np.uint8, segment.buf).copy()
            segment.close()
            return picture, capture_ns

        return get


def _leave_segments_alone() -> None:
    """Python 3.11 and 3.12 would unlink at exit what was only opened; those who use it this way switch that off."""
    resource_tracker.register = lambda *_: None


class Queue(Blocking):
    """multiprocessing.Queue of arrays."""

    name = "multiprocessing.Queue"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._queue: Any = multiprocessing.get_context("spawn").Queue(AHEAD)

    def writer(self) -> Callable[[Picture, int], Any]:
        # It pickles in a thread of its own, later: a picture that is drawn over must be copied first.
        return lambda picture, capture_ns: self._queue.put((picture.copy(), capture_ns))

    def reader(self) -> Callable[[], tuple[Picture, int]]:
        return self._queue.get  # type: ignore[no-any-return]


WAYS: tuple[type[Way], ...] = (Ring, ZmqBytes, ZmqNoCopy, SegmentPerFrame, Queue)
