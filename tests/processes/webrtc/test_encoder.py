"""One encoder for several viewers: the thread, the ring, the rate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.frames import SLOTS, FrameWriter
from processes.camera.scene import Scene
from processes.webrtc import codec, encoder
from processes.webrtc.config import VideoConfig
from processes.webrtc.encoder import VideoEncoder

CONFIG = VideoConfig(width=320, height=180, fps=15, bitrate_kbps=400)
PATIENCE_S = 20.0


class FakeTrack:
    """A viewer that keeps what it gets."""

    dropped = 0

    def __init__(self, *, behind: bool = False) -> None:
        self.packets: list[Any] = []
        self.behind = behind

    def push(self, packet: Any) -> bool:
        self.packets.append(packet)
        behind, self.behind = self.behind, False
        return not behind


class Studio:
    """A camera, an encoder, and a loop that is this test's own thread."""

    def __init__(self, run_dir: Path, name: str = "H264") -> None:
        self.run_dir = run_dir
        self.counters: Counter[str] = Counter()
        self.encoder = VideoEncoder(name, CONFIG, run_dir, self._post, self.counters)
        self.viewers: list[Any] = []
        self.scene = Scene(320, 180)
        self.capture_ns = 10**9
        self.start_camera()
        self._posted: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def start_camera(self) -> None:
        self.writer = FrameWriter(self.run_dir, "main", 320, 180)

    def _post(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._posted.append(call)

    def add(self, *, behind: bool = False) -> Any:
        viewer: Any = FakeTrack(behind=behind)
        self.viewers.append(viewer)
        self.encoder.add(viewer)
        return viewer

    def film(self) -> None:
        """One frame, all the way to the viewers."""
        before = sum(self.counters.values())
        self.capture_ns += 10**9 // 15
        self.writer.write(self.scene.draw(self.writer.next_number, 0), self.capture_ns)
        self.encoder.tick()
        self.wait(lambda: sum(self.counters.values()) > before)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            with self._lock:
                posted, self._posted = self._posted, []
            for call in posted:
                call()
            time.sleep(0.001)

    def close(self) -> None:
        for viewer in self.viewers:
            self.encoder.remove(viewer)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path)
    yield studio
    studio.close()


def test_all_viewers_get_the_very_same_packets(studio: Studio) -> None:
    first, second = studio.add(), studio.add()
    for _ in range(5):
        studio.film()
    assert len(first.packets) == 5
    assert all(one is other for one, other in zip(first.packets, second.packets, strict=True))
    assert studio.counters["webrtc.H264_frames"] == 5


def test_times_are_those_of_the_camera_in_90_khz(studio: Studio) -> None:
    viewer = studio.add()
    studio.film()
    assert viewer.packets[0].pts == studio.capture_ns * 9 // 100_000
    assert viewer.packets[0].time_base == codec.TIME_BASE


def test_it_runs_only_while_somebody_watches(studio: Studio) -> None:
    assert not studio.encoder.running
    viewer = studio.add()
    studio.film()
    assert studio.encoder.running
    studio.encoder.remove(viewer)
    studio.encoder.remove(viewer)
    assert not studio.encoder.running
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name == "encode-H264" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    again = studio.add()
    studio.film()
    assert again.packets[0].is_keyframe


def test_a_new_viewer_makes_the_next_picture_a_key_frame(studio: Studio) -> None:
    studio.add()
    studio.film()
    studio.film()
    late = studio.add()
    studio.film()
    assert [packet.is_keyframe for packet in late.packets] == [True]


def test_who_fell_behind_and_who_lost_something_get_a_key_frame(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processes.webrtc.logic.PLI_INTERVAL_S", 0.0)
    viewer = studio.add(behind=True)
    for _ in range(3):
        studio.film()
    assert [packet.is_keyframe for packet in viewer.packets] == [True, True, False]
    studio.encoder.ask_key_frame()
    studio.film()
    assert viewer.packets[-1].is_keyframe


def test_the_camera_may_come_and_go(studio: Studio) -> None:
    viewer = studio.add()
    studio.film()
    studio.start_camera()
    studio.film()
    assert len(viewer.packets) == 2
    assert viewer.packets[1].pts > viewer.packets[0].pts


def test_a_picture_that_changed_while_it_was_read_is_not_sent(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """An encoder so slow that the camera comes round."""

        name = "H264"

        def __init__(self) -> None:
            self.real = codec.open_codec("H264", CONFIG)
            self.slow = True

        def set_bitrate(self, bps: int) -> None: ...

        def encode(self, picture: Any, pts: int, *, key_frame: bool) -> list[Any]:
            packets = self.real.encode(picture, pts, key_frame=key_frame)
            if self.slow:
                self.slow = False
                for _ in range(SLOTS):
                    studio.writer.write(picture, 1)
            return packets

    monkeypatch.setattr(encoder, "open_codec", lambda name, config: Slow())
    viewer = studio.add()
    studio.film()
    assert studio.counters["webrtc.torn_frames"] == 1
    assert viewer.packets == []
    studio.film()
    assert [packet.is_keyframe for packet in viewer.packets] == [True]


def test_a_ring_that_cannot_be_read_is_counted_and_read_when_it_can(studio: Studio) -> None:
    ring = studio.run_dir / "frames.main"
    ring.unlink()
    ring.write_bytes(b"no ring")
    viewer = studio.add()
    studio.encoder.tick()
    studio.wait(lambda: studio.counters["webrtc.encode_errors"] > 0)
    studio.start_camera()
    studio.film()
    studio.wait(lambda: len(viewer.packets) > 0)


def test_the_thinnest_line_sets_the_rate(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[int] = []
    real = codec.H264.set_bitrate

    def note(self: codec.H264, bps: int) -> None:
        rates.append(bps)
        real(self, bps)

    monkeypatch.setattr(codec.H264, "set_bitrate", note)
    monkeypatch.setattr("processes.webrtc.logic.RATE_INTERVAL_S", 0.0)
    wide, thin = studio.add(), studio.add()
    studio.encoder.on_estimate(wide, 5_000_000)
    studio.encoder.on_estimate(thin, 200_000)
    studio.film()
    assert rates == [200_000]
    studio.encoder.remove(thin)
    studio.encoder.on_estimate(thin, 1)
    studio.film()
    assert rates == [200_000, 400_000]
