"""The camera as a real process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import settings
from bus.frames import Frame, FrameReader
from bus.messages import FrameTick
from bus.topics import CAMERA_TICK
from bus.zeromq import ZmqBus
from processes.camera import barcode
from processes.camera.scene import luma

PATIENCE_S = 30.0
CONFIG = "camera: {width: 320, height: 180, small_width: 160, small_height: 90, fps: 30}\n"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "robot_config.yaml").write_text(CONFIG)
    settings.make_run_dir(tmp_path)
    yield tmp_path
    shutil.rmtree(settings.run_dir(tmp_path), ignore_errors=True)


def start(data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "processes.camera", "--config", str(data / "robot_config.yaml")],
        env=os.environ | {"WIMZ_DATA": str(data)},
        cwd=settings.ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_frame(reader: FrameReader, newer_than: int = 0) -> Frame:
    deadline = time.monotonic() + PATIENCE_S
    while (frame := reader.latest(newer_than)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return frame


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    return said


def test_it_films_says_so_and_stops_when_told(data: Path) -> None:
    process = start(data)
    bus = ZmqBus("webrtc", settings.run_dir(data))
    ticks: list[FrameTick] = []
    enough = threading.Event()

    def on_tick(tick: FrameTick) -> None:
        ticks.append(tick)
        if len(ticks) >= 5:
            enough.set()

    bus.subscribe(CAMERA_TICK, lambda message: on_tick(message.value))
    thread = bus.start()
    try:
        assert enough.wait(PATIENCE_S)
        frame = wait_for_frame(FrameReader(settings.run_dir(data), "main"))
        stamp = barcode.read(luma(frame.picture))
        assert stamp is not None
        assert frame.number >= ticks[0].seq
    finally:
        said = end(process)
        bus.stop()
        thread.join()
    assert process.returncode == 0, said


def test_kill_9_and_a_restart_lose_no_reader_and_numbers_only_grow(data: Path) -> None:
    reader = FrameReader(settings.run_dir(data), "main")
    first = start(data)
    try:
        before = wait_for_frame(reader)
    finally:
        end(first, signal.SIGKILL)
    second = start(data)
    try:
        last = reader.latest()
        assert last is not None
        after = wait_for_frame(reader, last.number)
        assert after.number > before.number
        assert after.epoch == before.epoch + 1
        assert barcode.read(luma(after.picture)) is not None
    finally:
        end(second)


def test_a_wrong_setting_is_named_and_ends_it(data: Path) -> None:
    (data / "robot_config.yaml").write_text("camera: {source: v4l2}\n")
    process = start(data)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "picamera2" in said
