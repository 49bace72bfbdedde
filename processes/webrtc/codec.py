"""Video codecs behind one narrow interface: pictures in, `av.Packet`s out that any number of viewers can be sent."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import av
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from bus.frames import Picture
from processes.webrtc.config import VideoConfig

TIME_BASE = Fraction(1, 90_000)
"""RTP's clock for video (RFC 6184, RFC 7741)."""
KEY_FRAME_S = 10
"""A key frame comes at least so often; usually it is asked for earlier."""
MIN_BITRATE_BPS = 150_000
VBV_S = 0.5
"""How much of its rate the encoder may send in one go."""
REOPEN_CHANGE = 0.15
"""libvpx cannot change its rate while it runs: it is opened anew, with a key frame, for a change larger than this."""


class CodecError(Exception):
    """The codec does not start or does not take a picture; the message says why."""


class VideoCodec(Protocol):
    """One encoder. Not for several threads."""

    name: str

    def encode(self, picture: Picture, pts: int, *, key_frame: bool) -> list[Any]:
        """Encode an I420 picture of any size at `pts` (units of TIME_BASE, growing); the packets, at once.

        Raises:
            CodecError
        """

    def set_bitrate(self, bps: int) -> None:
        """From the next picture on."""


def open_codec(name: str, config: VideoConfig) -> VideoCodec:
    """The codec of that name, "H264" or "VP8"."""
    return H264(config) if name == "H264" else Vp8(config)


class _Codec:
    """What both have in common: the context, the picture type, scaling where the camera has another size."""

    name: str

    def __init__(self, config: VideoConfig) -> None:
        self._config = config
        self._bitrate_bps = config.bitrate_kbps * 1000
        self._context: Any = None
        self._reformatter = VideoReformatter()

    def encode(self, picture: Picture, pts: int, *, key_frame: bool) -> list[Any]:
        try:
            if self._context is None:
                self._context = self._open()
            frame = self._frame(picture)
            frame.pts, frame.time_base = pts, TIME_BASE
            frame.pict_type = PictureType.I if key_frame else PictureType.NONE
            return list(self._context.encode(frame))
        except (FFmpegError, ValueError, OSError) as error:
            self._context = None
            raise CodecError(f"{self.name} does not encode: {error}") from error

    def _frame(self, picture: Picture) -> Any:
        """The picture where it lies; scaled (and then a copy) only when the video has another size."""
        frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
        if (frame.width, frame.height) == (self._config.width, self._config.height):
            return frame
        return self._reformatter.reformat(frame, self._config.width, self._config.height, "yuv420p")

    def _open(self) -> Any:
        raise NotImplementedError

    def _new_context(self, encoder: str) -> Any:
        context: Any = av.CodecContext.create(encoder, "w")
        context.width, context.height = self._config.width, self._config.height
        context.pix_fmt = "yuv420p"
        context.time_base = TIME_BASE
        context.framerate = Fraction(self._config.fps).limit_denominator(1000)
        context.bit_rate = self._bitrate_bps
        context.gop_size = round(KEY_FRAME_S * self._config.fps)
        context.thread_count = 1
        return context


class H264(_Codec):
    """x264, constrained baseline as `profile-level-id=42e01f` promises; every key frame carries SPS and PPS.

    aiortc's own encoder counts on 30 frames a second, so its rate is wrong at any other.
    """

    name = "H264"

    def set_bitrate(self, bps: int) -> None:
        self._bitrate_bps = bps
        if self._context is not None:
            self._context.bit_rate = bps  # x264 takes it while it runs

    def _open(self) -> Any:
        context = self._new_context("libx264")
        context.profile = "Baseline"
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "level": "31",
            "forced-idr": "1",
            "sc_threshold": "0",
            # Without a VBV, x264 ignores a new rate while it runs, and a key frame may be of any size.
            "maxrate": str(self._config.bitrate_kbps * 1000),
            "bufsize": str(round(self._config.bitrate_kbps * 1000 * VBV_S)),
            # x264 writes SPS and PPS before every key frame unless FFmpeg asks for a global header.
        }
        return context


class Vp8(_Codec):
    """libvpx in real time. Options as aiortc has them, but for the rate, which is ours."""

    name = "VP8"

    def set_bitrate(self, bps: int) -> None:
        if self._context is None or abs(bps - self._context.bit_rate) > REOPEN_CHANGE * self._context.bit_rate:
            self._context = None
            self._bitrate_bps = bps

    def _open(self) -> Any:
        context = self._new_context("libvpx")
        context.qmin, context.qmax = 2, 56
        rate = str(self._bitrate_bps)
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-6",
            "lag-in-frames": "0",
            "minrate": rate,
            "maxrate": rate,
            "bufsize": rate,
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "noise-sensitivity": "0",
            "static-thresh": "1",
            "partitions": "0",
        }
        return context
