"""The camera on the in-memory bus, with sources that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.frames import FrameReader, Picture, blank
from bus.memory import MemoryHub
from bus.messages import CameraState, Fault, FrameTick
from bus.topics import CAMERA_STATE, CAMERA_TICK, FAULTS
from hardware.drawn_dog import dog_at
from processes.camera import barcode
from processes.camera.config import CameraConfig
from processes.camera.driver import CameraError, Capture, FrameSource, SyntheticSource
from processes.camera.logic import SILENT_S
from processes.camera.scene import luma
from processes.camera.service import STUCK_S, CameraService

CONFIG = CameraConfig(width=640, height=360, small_width=160, small_height=90)
PATIENCE_S = 20.0


class Scripted:
    """A source that works until `broken` says why it does not."""

    def __init__(self, *, blocking: bool = False) -> None:
        self.blocking = blocking
        self.broken: str | None = None
        self.opened = self.closed = 0
        self.go_on = threading.Semaphore(0)
        self.picture: Picture = blank(640, 360)

    def open(self) -> None:
        self.opened += 1
        self._check()

    def read(self, number: int) -> Capture:
        if self.blocking:
            self.go_on.acquire()
        self._check()
        return Capture(self.picture, None, time.monotonic_ns())

    def close(self) -> None:
        self.closed += 1

    def _check(self) -> None:
        if self.broken:
            raise CameraError(self.broken)


class Room:
    def __init__(self, run_dir: Path, source: FrameSource) -> None:
        self.hub = MemoryHub()
        self.given_up = 0
        self.ticks: list[FrameTick] = []
        self.states: list[CameraState] = []
        self.faults: list[Fault] = []
        watcher = self.hub.bus("webrtc")
        watcher.subscribe(CAMERA_TICK, lambda message: self.ticks.append(message.value))
        watcher.subscribe(CAMERA_STATE, lambda message: self.states.append(message.value))
        watcher.subscribe(FAULTS["camera"], lambda message: self.faults.append(message.value))
        self.bus = self.hub.bus("camera")
        self.service = CameraService(self.bus, CONFIG, source, run_dir, self._give_up)
        self.main, self.small = FrameReader(run_dir, "main"), FrameReader(run_dir, "small")

    def _give_up(self) -> None:
        self.given_up += 1

    def run_until(self, condition: Callable[[], object]) -> None:
        """Let the bus deliver what threads hand over, without letting its time pass."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            self.hub.run()
            time.sleep(0.002)


def test_frames_reach_both_rings_at_the_rate_that_was_set(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    room = Room(tmp_path, SyntheticSource(640, 360, lambda: noon))
    room.hub.advance(4.0)
    assert 58 <= len(room.ticks) <= 61
    frame, small = room.main.latest(), room.small.latest()
    assert frame is not None
    assert small is not None
    tick = room.ticks[-1]
    assert (frame.number, frame.epoch, frame.capture_ns) == (tick.seq, tick.epoch, tick.capture_ns)
    assert (small.width, small.height, small.capture_ns) == (160, 90, tick.capture_ns)
    stamp = barcode.read(luma(frame.picture))
    assert stamp == barcode.Stamp(tick.seq, 1_769_860_800_000)
    assert dog_at(stamp.number).behavior == "moving"
    state = room.states[-1]
    assert (state.source, state.width, state.height, state.healthy) == ("synthetic", 640, 360, True)
    assert state.fps == pytest.approx(15, abs=0.5)


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    Room(tmp_path, Scripted()).hub.advance(1.0)
    again = Room(tmp_path, Scripted())
    again.hub.advance(1.0)
    assert again.ticks[0].seq > 10
    assert again.ticks[0].epoch == 2


def test_a_source_that_fails_is_opened_again_and_told_once_as_a_fault(tmp_path: Path) -> None:
    source = Scripted()
    room = Room(tmp_path, source)
    room.hub.advance(1.0)
    source.broken = "the cable is loose"
    room.hub.advance(SILENT_S + 3)
    assert source.opened > 2
    assert [(fault.code, fault.active) for fault in room.faults] == [("CAMERA_FAULT", True)]
    assert "the cable is loose" in room.faults[0].message
    assert room.states[-1].healthy is False
    assert room.states[-1].fps == 0.0
    source.broken = None
    room.hub.advance(10.0)
    assert [fault.active for fault in room.faults] == [True, False]
    assert room.states[-1].healthy is True


def test_a_short_hiccup_is_no_fault(tmp_path: Path) -> None:
    source = Scripted()
    room = Room(tmp_path, source)
    room.hub.advance(1.0)
    source.broken = "hiccup"
    room.hub.advance(0.3)
    source.broken = None
    room.hub.advance(3.0)
    assert room.faults == []
    assert room.bus.counters["camera.source_failures"] >= 1


def test_a_blocking_source_is_read_in_a_thread(tmp_path: Path) -> None:
    source = Scripted(blocking=True)
    room = Room(tmp_path, source)
    room.run_until(lambda: source.opened == 1)
    for _ in range(5):
        source.go_on.release()
    room.run_until(lambda: len(room.ticks) == 5)
    room.service.close()
    source.go_on.release()
    room.run_until(lambda: source.closed >= 1)


def test_a_blocking_source_that_falls_silent_is_started_again(tmp_path: Path) -> None:
    source = Scripted(blocking=True)
    room = Room(tmp_path, source)
    source.go_on.release()
    room.run_until(lambda: len(room.ticks) == 1)
    room.hub.advance(SILENT_S + 0.2)
    source.go_on.release()  # the driver returns after all; what it brings now is nobody's
    room.run_until(lambda: source.closed == 1)
    assert len(room.ticks) == 1
    room.hub.advance(1.0)
    for _ in range(3):
        source.go_on.release()
    room.run_until(lambda: len(room.ticks) == 4)
    assert (source.opened, room.given_up) == (2, 0)
    room.service.close()
    source.go_on.release()


def test_a_driver_that_hangs_for_good_ends_the_process(tmp_path: Path) -> None:
    source = Scripted(blocking=True)
    room = Room(tmp_path, source)
    source.go_on.release()
    room.run_until(lambda: len(room.ticks) == 1)
    room.hub.advance(SILENT_S + STUCK_S + 0.5)
    assert room.given_up >= 1
    assert source.opened == 1
    source.go_on.release()


def test_a_blocking_source_that_fails_in_its_thread_is_opened_again(tmp_path: Path) -> None:
    source = Scripted(blocking=True)
    source.broken = "no camera is connected"
    room = Room(tmp_path, source)
    room.run_until(lambda: room.bus.counters["camera.source_failures"] == 1)
    source.broken = None
    room.run_until(lambda: source.closed >= 1)
    room.hub.advance(1.0)
    source.go_on.release()
    room.run_until(lambda: len(room.ticks) == 1)
    room.service.close()
    source.go_on.release()
