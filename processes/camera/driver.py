"""Where pictures come from: a drawn room, a video file, or the Pi's camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from bus.frames import Picture, blank, planes
from bus.settings import ROOT
from processes.camera.config import CameraConfig
from processes.camera.scene import Scene


class CameraError(Exception):
    """The source cannot give a picture; the message says why."""


@dataclass(frozen=True)
class Capture:
    """One frame as a source gives it. Its arrays are valid until the next `read`.

    Attributes:
        main: I420 of the configured size.
        small: I420 of the small size, where the source has it anyway; None: it is to be scaled from `main`.
        capture_ns: CLOCK_MONOTONIC when it was taken.
    """

    main: Picture
    small: Picture | None
    capture_ns: int


class FrameSource(Protocol):
    """A camera, or what stands for one. Errors are CameraError.

    Attributes:
        blocking: True where `read` waits for the sensor, so that it needs a thread; False where it gives a picture at
            once, and its caller keeps the time.
    """

    blocking: bool

    def open(self) -> None: ...

    def read(self, number: int) -> Capture:
        """The next picture, which will have `number`."""

    def close(self) -> None:
        """Give everything back; idempotent, and allowed after a failed `open`."""


def open_source(config: CameraConfig, wall_clock: Callable[[], datetime]) -> FrameSource:
    """The source the settings ask for; not opened yet."""
    if config.source == "file":
        assert config.path is not None  # CameraConfig refuses that
        return FileSource(ROOT / config.path, config.width, config.height, config.fps)
    if config.source == "picamera2":
        return Picamera2Source(config)
    return SyntheticSource(config.width, config.height, wall_clock)


class SyntheticSource:
    """The drawn room of `scene.py`."""

    blocking = False

    def __init__(self, width: int, height: int, wall_clock: Callable[[], datetime]) -> None:
        self._wall_clock = wall_clock
        self._scene = Scene(width, height)

    def open(self) -> None: ...

    def read(self, number: int) -> Capture:
        capture_ns = time.monotonic_ns()
        unix_ms = int(self._wall_clock().timestamp() * 1000)
        return Capture(self._scene.draw(number, unix_ms), None, capture_ns)

    def close(self) -> None: ...


class FileSource:
    """Any video that FFmpeg reads, looped, fitted into the wanted size with black bars where its shape is another.

    Each `read` advances the video by 1 / `fps` and gives the picture that its own time stamps put there: a video with
    more frames loses some, one with fewer repeats some. It never hurries to catch up.
    """

    blocking = False

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._path, self._width, self._height = path, width, height
        self._step_s = 1 / fps
        self._reformatter = VideoReformatter()
        self._container: Any = None
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._next: tuple[float, Any] | None = None
        self._at_s = 0.0
        self._picture: Picture | None = None

    def open(self) -> None:
        self.close()
        self._rewind()

    def read(self, number: int) -> Capture:
        if self._container is None:
            raise CameraError(f"the video {self._path} is not open")
        capture_ns = time.monotonic_ns()
        try:
            frame = self._advance()
            if frame is not None:
                self._picture = self._scaled(frame)
        except (FFmpegError, OSError, ValueError) as error:
            raise CameraError(f"cannot read the video {self._path}: {error}") from error
        assert self._picture is not None  # `_rewind` has seen to it that there is a first frame
        return Capture(self._picture, None, capture_ns)

    def close(self) -> None:
        self._close_container()
        self._picture = None

    def _advance(self) -> Any:
        """The last frame that is due at the video's own time; None when the shown one still is."""
        due = None
        # Time stamps are rounded: look a little ahead, but not by a half, a third or a quarter, where those of a video
        # with two, three or four times the frames lie.
        until_s = self._at_s + self._step_s * 0.4
        while self._next is not None and self._next[0] <= until_s:
            due = self._next[1]
            self._next = next(self._frames, None)
        if self._next is None:
            self._rewind()
        else:
            self._at_s += self._step_s
        return due

    def _rewind(self) -> None:
        """To the first frame. Opens the file anew, since not every format can seek."""
        self._close_container()
        try:
            self._container = av.open(str(self._path))
            if not self._container.streams.video:
                raise CameraError(f"{self._path} has no video in it")
            self._container.streams.video[0].thread_type = "AUTO"
            self._frames = _timed(self._container)
            self._next = next(self._frames, None)
        except (FFmpegError, OSError, ValueError) as error:
            raise CameraError(f"cannot open the video {self._path}: {error}") from error
        if self._next is None:
            raise CameraError(f"{self._path} has no picture that can be decoded")
        self._at_s = 0.0

    def _close_container(self) -> None:
        self._frames, self._next = iter(()), None
        if self._container is not None:
            self._container.close()
        self._container = None

    def _scaled(self, frame: Any) -> Picture:
        width, height = fitted(frame.width, frame.height, self._width, self._height)
        shaped = self._reformatter.reformat(frame, width, height, "yuv420p", interpolation="BILINEAR")
        picture = cast(Picture, shaped.to_ndarray())
        if (width, height) == (self._width, self._height):
            return picture
        framed = blank(self._width, self._height)
        left, top = (self._width - width) // 4 * 2, (self._height - height) // 4 * 2
        for into, plane, share in zip(planes(framed), planes(picture), (1, 2, 2), strict=True):
            y, x = top // share, left // share
            into[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        return framed


def fitted(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """The largest size of the shape width : height that fits, in even numbers of pixels, as I420 wants them."""
    scale = min(into_width / width, into_height / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _timed(container: Any) -> Iterator[tuple[float, Any]]:
    """The frames of a video with their time in seconds from its first one; where it has no times, by its rate."""
    stream = container.streams.video[0]
    rate = float(stream.average_rate or 25)
    first: float | None = None
    for index, frame in enumerate(container.decode(stream)):
        at = index / rate if frame.time is None else float(frame.time)
        first = at if first is None else first
        yield at - first, frame


class Picamera2Source:
    """The Pi's camera through libcamera: the main picture, and a second one scaled by the camera's own hardware."""

    blocking = True

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._camera: Any = None

    def open(self) -> None:
        self.close()
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise CameraError(
                "the module picamera2 is missing; it comes with Raspberry Pi OS (apt install python3-picamera2), "
                "and off the Pi `camera: {source: synthetic}` or `file` work"
            ) from error
        config = self._config
        try:
            self._camera = Picamera2()
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": (config.width, config.height), "format": "YUV420"},
                    lores={"size": (config.small_width, config.small_height), "format": "YUV420"},
                    controls={"FrameRate": config.fps},
                )
            )
            self._camera.start()
        except (RuntimeError, OSError, IndexError, ValueError) as error:  # IndexError: no camera is connected
            self.close()
            raise CameraError(f"the Pi's camera does not start: {error or type(error).__name__}") from error

    def read(self, number: int) -> Capture:
        config = self._config
        try:
            request = self._camera.capture_request()
            try:
                main = unpadded(request.make_array("main"), config.width, config.height)
                small = unpadded(request.make_array("lores"), config.small_width, config.small_height)
                sensor_ns = request.get_metadata().get("SensorTimestamp")
            finally:
                request.release()
        except (RuntimeError, OSError, ValueError, AttributeError) as error:
            raise CameraError(f"the Pi's camera gives no picture: {error}") from error
        return Capture(main, small, _monotonic_ns(sensor_ns))

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is None:
            return
        try:
            camera.stop()
            camera.close()
        except (RuntimeError, OSError) as error:
            raise CameraError(f"the Pi's camera does not close: {error}") from error


def unpadded(array: Picture, width: int, height: int) -> Picture:
    """A picture of its own, from libcamera's YUV420 array: shape (height * 3 / 2, stride), where rows are padded to
    `stride`, and chroma rows to half of it.

    Raises:
        ValueError: it is smaller than the picture.
    """
    stride = array.shape[1]
    if array.shape[0] != height * 3 // 2 or stride < width:
        raise ValueError(f"the camera gave {array.shape}, not ({height * 3 // 2}, {width}) or wider")
    picture = np.empty((height * 3 // 2, width), np.uint8)
    y, u, v = planes(picture)
    chroma = array[height:].reshape(height, stride // 2)[:, : width // 2]
    y[:], u[:], v[:] = array[:height, :width], chroma[: height // 2], chroma[height // 2 :]
    return picture


def _monotonic_ns(sensor_ns: int | None) -> int:
    """libcamera stamps with CLOCK_BOOTTIME, which also runs while the machine sleeps."""
    now_ns = time.monotonic_ns()
    if sensor_ns is None:
        return now_ns
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns
    return min(now_ns, max(0, sensor_ns - asleep_ns))


class Scaler:
    """Scales I420 pictures to one size."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._reformatter = VideoReformatter()

    def __call__(self, picture: Picture) -> Picture:
        frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
        scaled = self._reformatter.reformat(frame, self._width, self._height, "yuv420p", interpolation="AREA")
        return cast(Picture, scaled.to_ndarray())
