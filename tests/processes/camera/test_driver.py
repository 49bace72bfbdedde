from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec

import av
import numpy as np
import pytest

from bus.frames import blank, planes
from processes.camera import barcode
from processes.camera.config import CameraConfig
from processes.camera.driver import (
    CameraError,
    FileSource,
    Picamera2Source,
    Scaler,
    SyntheticSource,
    open_source,
    unpadded,
)
from processes.camera.scene import Scene, luma


def film(path: Path, frames: int, fps: int, codec: str = "libx264", width: int = 640, height: int = 360) -> Path:
    """A video of the drawn room; every frame carries its number."""
    scene = Scene(640, 360)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(scene.draw(number, 0), format="yuv420p")
            scaled = frame.reformat(width, height)
            scaled.pts, scaled.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(scaled))
        container.mux(stream.encode(None))
    return path


def numbers(source: FileSource, count: int) -> list[int | None]:
    stamps = [barcode.read(luma(source.read(0).main)) for _ in range(count)]
    return [stamp.number if stamp else None for stamp in stamps]


# -- the drawn room ---------------------------------------------------------------------------------------------------


def test_the_drawn_room_carries_the_number_it_was_asked_for() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    source = SyntheticSource(640, 360, lambda: noon)
    source.open()
    before = time.monotonic_ns()
    capture = source.read(77)
    assert barcode.read(luma(capture.main)) == barcode.Stamp(77, 1_769_860_800_000)
    assert before <= capture.capture_ns <= time.monotonic_ns()


# -- video files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_video_is_played_frame_by_frame_and_looped(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    source = FileSource(film(tmp_path / name, 12, 15, codec), 640, 360, 15)
    source.open()
    assert numbers(source, 30) == [*range(12), *range(12), *range(6)]
    source.close()


def test_a_faster_video_loses_frames_and_keeps_its_speed(tmp_path: Path) -> None:
    source = FileSource(film(tmp_path / "a.mp4", 20, 30), 640, 360, 15)
    source.open()
    found = numbers(source, 9)
    assert np.allclose(np.diff(np.array(found, float)), 2)
    source.close()


def test_a_slower_video_repeats_frames(tmp_path: Path) -> None:
    source = FileSource(film(tmp_path / "a.mp4", 10, 5), 640, 360, 15)
    source.open()
    found = np.array(numbers(source, 24), float)
    assert set(np.diff(found)) == {0.0, 1.0}
    assert found[-1] in (7, 8)
    source.close()


def test_any_size_becomes_the_wanted_one(tmp_path: Path) -> None:
    source = FileSource(film(tmp_path / "a.mp4", 3, 15, width=854, height=480), 640, 360, 15)
    source.open()
    capture = source.read(0)
    assert capture.main.shape == (540, 640)
    assert capture.main.flags.c_contiguous
    assert barcode.read(luma(capture.main)) == barcode.Stamp(0, 0)
    source.close()


@pytest.mark.parametrize(("width", "height", "bars"), [(480, 360, (0, 80)), (640, 240, (60, 0)), (90, 360, (0, 274))])
def test_a_video_of_another_shape_keeps_it_between_black_bars(
    tmp_path: Path, width: int, height: int, bars: tuple[int, int]
) -> None:
    source = FileSource(film(tmp_path / "a.mp4", 1, 15, width=width, height=height), 640, 360, 15)
    source.open()
    y, u, v = planes(source.read(0).main)
    top, left = bars
    for plane, share, black in ((y, 1, 16), (u, 2, 128), (v, 2, 128)):
        inner = plane[top // share : 360 // share - top // share, left // share : 640 // share - left // share]
        assert np.count_nonzero(plane != black) == np.count_nonzero(inner != black)
    inside = y[top : 360 - top, left : 640 - left]
    assert inside.shape[0] * inside.shape[1] > 0
    assert np.mean(inside != 16) > 0.5
    source.close()


def test_a_file_that_is_no_video_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video at all")
    for path, says in ((tmp_path / "text.mp4", "cannot open"), (tmp_path / "missing.mp4", "missing")):
        source = FileSource(path, 640, 360, 15)
        with pytest.raises(CameraError, match=says):
            source.open()
        source.close()


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(CameraError, match="no video"):
        FileSource(tmp_path / "a.wav", 640, 360, 15).open()


def test_a_video_that_is_cut_off_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    path = film(tmp_path / "a.ts", 40, 15)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = FileSource(path, 640, 360, 15)
    source.open()
    found = numbers(source, 60)
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found.count(0) >= 2
    source.close()


def test_reading_a_closed_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="not open"):
        FileSource(tmp_path / "a.mp4", 640, 360, 15).read(0)


def test_the_settings_choose_the_source(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 2, 15)
    source = open_source(CameraConfig(source="file", path=str(path)), lambda: datetime.now(UTC))
    source.open()
    assert source.read(0).main.shape == (1080, 1280)
    source.close()


# -- the Pi's camera --------------------------------------------------------------------------------------------------


class Picamera2:
    """The calls of picamera2 0.3 that the adapter makes, with their own signatures."""

    def create_video_configuration(
        self,
        main: Any = {},  # noqa: B006 - the signature of the original
        lores: Any = None,
        raw: Any = None,
        transform: Any = None,
        colour_space: Any = None,
        buffer_count: int = 6,
        controls: Any = {},  # noqa: B006
        sensor: Any = {},  # noqa: B006
        display: str = "main",
        encode: str = "main",
        queue: bool = True,
        use_case: str = "video",
    ) -> dict[str, Any]:
        raise NotImplementedError

    def configure(self, camera_config: Any = "preview") -> None: ...

    def start(self, config: Any = None, show_preview: Any = False) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def capture_request(self, wait: Any = None, signal_function: Any = None, flush: Any = None) -> Any: ...


class CompletedRequest:
    def make_array(self, name: str) -> Any: ...

    def get_metadata(self) -> dict[str, Any]:
        raise NotImplementedError

    def release(self) -> None: ...


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the adapter gets when it makes its camera; libcamera itself exists only on the Pi."""
    module = ModuleType("picamera2")
    camera = create_autospec(Picamera2, instance=True)
    module.Picamera2 = lambda: camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return camera


def padded(width: int, height: int, stride: int) -> Any:
    """An array as libcamera gives it, with planes of 10, 20 and 30 and the padding 99."""
    array = np.full((height * 3 // 2, stride), 99, np.uint8)
    chroma = array[height:].reshape(height, stride // 2)
    array[:height, :width] = 10
    chroma[: height // 2, : width // 2], chroma[height // 2 :, : width // 2] = 20, 30
    return array


def test_the_pis_camera_gives_both_streams_without_padding(picamera2: Any) -> None:
    request = create_autospec(CompletedRequest, instance=True)
    request.make_array.side_effect = {"main": padded(1280, 720, 1344), "lores": padded(320, 180, 384)}.__getitem__
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    request.get_metadata.return_value = {"SensorTimestamp": boot_ns - 20_000_000}
    picamera2.capture_request.return_value = request
    source = Picamera2Source(CameraConfig(source="picamera2"))
    source.open()
    asked = picamera2.create_video_configuration.call_args.kwargs
    assert asked["main"] == {"size": (1280, 720), "format": "YUV420"}
    assert asked["lores"] == {"size": (320, 180), "format": "YUV420"}
    assert asked["controls"] == {"FrameRate": 15.0}
    picamera2.configure.assert_called_once_with(picamera2.create_video_configuration.return_value)
    capture = source.read(1)
    assert capture.small is not None
    for picture, height in ((capture.main, 720), (capture.small, 180)):
        y, u, v = planes(picture)
        assert y.shape[0] == height
        assert np.all(y == 10)
        assert np.all(u == 20)
        assert np.all(v == 30)
    age_ns = time.monotonic_ns() - capture.capture_ns
    assert 15_000_000 < age_ns < 30_000_000_000
    request.release.assert_called_once_with()
    source.close()
    picamera2.stop.assert_called_once_with()
    picamera2.close.assert_called_once_with()
    source.close()
    picamera2.close.assert_called_once_with()


def test_a_request_is_given_back_when_its_picture_is_wrong(picamera2: Any) -> None:
    request = create_autospec(CompletedRequest, instance=True)
    request.make_array.return_value = np.zeros((100, 100), np.uint8)
    picamera2.capture_request.return_value = request
    source = Picamera2Source(CameraConfig(source="picamera2"))
    source.open()
    with pytest.raises(CameraError, match="100"):
        source.read(1)
    request.release.assert_called_once_with()


def test_a_camera_that_does_not_start_is_closed_again(picamera2: Any) -> None:
    picamera2.start.side_effect = RuntimeError("Failed to start camera")
    with pytest.raises(CameraError, match="Failed to start camera"):
        Picamera2Source(CameraConfig(source="picamera2")).open()
    picamera2.close.assert_called_once_with()


def test_without_picamera2_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="python3-picamera2"):
        Picamera2Source(CameraConfig(source="picamera2")).open()


def test_an_array_smaller_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="60"):
        unpadded(np.zeros((72, 60), np.uint8), 64, 48)


# -- scaling ----------------------------------------------------------------------------------------------------------


def test_the_small_picture_is_the_large_one_scaled() -> None:
    large = blank(640, 360)
    luma(large)[:, 320:] = 200
    small = Scaler(320, 180)(large)
    assert small.shape == (270, 320)
    assert (int(luma(small)[90, 10]), int(luma(small)[90, 310])) == (16, 200)
