from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import simplejpeg

from bus.frames import FrameReader, FrameWriter, blank
from processes.local_api.pictures import Pictures

WAIT_S = 10.0


class Camera:
    def __init__(self, run_dir: Path) -> None:
        self.writer = FrameWriter(run_dir, "main", 64, 48)
        self.reader = FrameReader(run_dir, "main")
        self.pictures = Pictures(FrameReader(run_dir, "main"), 80)

    def shoot(self) -> int:
        self.writer.write(blank(64, 48), time.monotonic_ns())
        frame = self.reader.latest()
        assert frame is not None
        self.pictures.on_frame(frame)
        return frame.number


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


def test_a_frame_is_encoded_once_for_all_who_ask(camera: Camera) -> None:
    camera.shoot()
    jpegs = [camera.pictures.next(0, WAIT_S) for _ in range(5)]
    assert camera.pictures.encoded == 1
    assert jpegs[0] is not None
    assert all(jpeg is jpegs[0] for jpeg in jpegs)
    assert simplejpeg.decode_jpeg(jpegs[0].data).shape == (48, 64, 3)


def test_nothing_is_encoded_when_nobody_looks(camera: Camera) -> None:
    for _ in range(5):
        camera.shoot()
    assert camera.pictures.encoded == 0


def test_viewers_wait_for_the_next_frame_together(camera: Camera) -> None:
    number = camera.shoot()
    seen: list[int] = []

    def watch() -> None:
        jpeg = camera.pictures.next(number, WAIT_S)
        assert jpeg is not None
        seen.append(jpeg.number)

    viewers = [threading.Thread(target=watch) for _ in range(4)]
    for viewer in viewers:
        viewer.start()
    following = camera.shoot()
    for viewer in viewers:
        viewer.join(WAIT_S)
    assert seen == [following] * 4
    assert camera.pictures.encoded == 1


def test_without_a_new_frame_there_is_no_picture(camera: Camera) -> None:
    assert camera.pictures.next(0, 0.01) is None
    number = camera.shoot()
    assert camera.pictures.next(number, 0.01) is None
