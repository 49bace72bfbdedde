"""The bell: whoever follows a ring is called for what is new, whoever comes first, on both buses."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bus import bell
from bus.base import Bus
from bus.bell import Bell, follow
from bus.errors import BusError
from bus.frames import SLOTS, Frame, FrameReader, FrameWriter, blank
from bus.memory import MemoryHub
from bus.zeromq import ZmqBus

WIDTH, HEIGHT = 64, 48
PATIENCE_S = 10.0


class Camera:
    """Writes frames and rings."""

    def __init__(self, run_dir: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        self.writer, self.bell = FrameWriter(run_dir, "main", *size), Bell(run_dir)
        self._picture = blank(*size)

    def shoot(self) -> int:
        number = self.writer.write(self._picture, time.monotonic_ns()).number
        self.bell.ring()
        return number


class Follower:
    """Keeps the numbers of the frames it was called with."""

    def __init__(self, bus: Bus, run_dir: Path) -> None:
        self.numbers: list[int] = []
        follow(bus, FrameReader(run_dir, "main"), self._on_frame)

    def _on_frame(self, frame: Frame) -> None:
        assert frame.still_valid()
        self.numbers.append(frame.number)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="wz-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def bus(run_dir: Path) -> Iterator[ZmqBus]:
    bus = ZmqBus("webrtc", run_dir)
    thread = bus.start()
    yield bus
    bus.stop()
    thread.join()


def heard_by_all(followers: list[Follower], number: int) -> bool:
    return all(follower.numbers[-1:] == [number] for follower in followers)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)


def test_each_frame_reaches_everyone_who_follows(run_dir: Path, bus: ZmqBus) -> None:
    camera = Camera(run_dir)
    followers = [Follower(bus, run_dir) for _ in range(3)]
    for _ in range(2 * SLOTS):
        number = camera.shoot()
        until(partial(heard_by_all, followers, number))
    assert [follower.numbers for follower in followers] == [list(range(1, 2 * SLOTS + 1))] * 3


def test_who_follows_before_the_camera_is_there_hears_its_first_frame(run_dir: Path, bus: ZmqBus) -> None:
    follower = Follower(bus, run_dir)
    number = Camera(run_dir).shoot()
    until(lambda: follower.numbers == [number])


def test_who_comes_later_gets_the_newest_frame_at_once(run_dir: Path, bus: ZmqBus) -> None:
    camera = Camera(run_dir)
    for _ in range(3):
        camera.shoot()
    follower = Follower(bus, run_dir)
    until(lambda: follower.numbers == [3])


def test_a_camera_that_comes_back_is_heard_also_in_another_size_and_with_a_new_bell(run_dir: Path, bus: ZmqBus) -> None:
    follower = Follower(bus, run_dir)
    Camera(run_dir).shoot()
    until(lambda: follower.numbers == [1])
    (run_dir / "frames.bell").unlink()
    assert Camera(run_dir, (WIDTH * 2, HEIGHT * 2)).shoot() == 2
    until(lambda: follower.numbers == [1, 2])


def test_bells_before_a_slow_follower_are_one(run_dir: Path, bus: ZmqBus) -> None:
    """However long it is busy: nothing piles up, and then it sees the newest frame alone."""
    camera, follower = Camera(run_dir), Follower(bus, run_dir)
    camera.shoot()
    until(lambda: follower.numbers == [1])
    busy, go_on = threading.Event(), threading.Event()

    def be_busy() -> None:
        busy.set()
        go_on.wait(PATIENCE_S)

    bus.call_soon(be_busy)
    assert busy.wait(PATIENCE_S)
    for _ in range(20_000):
        camera.bell.ring()
    last = [camera.shoot() for _ in range(SLOTS * 3)][-1]
    go_on.set()
    until(lambda: follower.numbers[-1] == last)
    assert follower.numbers == [1, last]


def test_frames_are_followed_in_memory_too_until_the_process_is_gone(run_dir: Path) -> None:
    hub = MemoryHub()
    follower, camera = Follower(hub.bus("webrtc"), run_dir), Camera(run_dir)
    camera.shoot()
    hub.run()
    assert follower.numbers == [1]
    hub.kill("webrtc")
    camera.shoot()
    hub.run()
    assert follower.numbers == [1]


def test_without_a_watch_the_reason_and_the_remedy_are_said(
    run_dir: Path, bus: ZmqBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(**_: bool) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(bell, "INotify", none_left)
    with pytest.raises(BusError, match=r"Too many open files.*max_user_instances"):
        Follower(bus, run_dir)
