"""A sound file, decoded piece by piece (FFmpeg, through PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.container import InputContainer

from processes.audio.errors import SoundError

RATE_HZ = 48_000
CHANNELS = 2
CHUNK_FRAMES = 4_800
CHUNK_S = CHUNK_FRAMES / RATE_HZ
BYTES_PER_S = RATE_HZ * CHANNELS * 2

MAX_BAD_PACKETS = 100
"""In a row; a few in a recording are passed over."""

# FFmpeg looks at what a file holds, not at its name, and some formats (playlists) make it open other files.
FORMATS = "wav,mp3,ogg,flac"

Chunk = npt.NDArray[np.int16]
"""`(n, 2)` samples at 48 kHz, left and right; n is `CHUNK_FRAMES`, but for the last."""


class Readable(Protocol):
    """What FFmpeg needs of an open file."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


class Sound:
    """One file, from its beginning to its end, once. It is never in memory as a whole.

    Args:
        file: read from where it stands; closed by `close`.

    Raises:
        SoundError: it is not a sound of the accepted formats.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.bad_packets = 0
        try:
            self._container: InputContainer = av.open(file, "r", options={"format_whitelist": FORMATS})
        except (av.FFmpegError, OSError, ValueError) as error:
            file.close()
            raise SoundError("is not a sound that can be read") from error
        if not self._container.streams.audio:
            self.close()
            raise SoundError("holds no sound")

    @property
    def duration_s(self) -> float | None:
        """As the file says, which may be an estimate; None where it does not say."""
        duration = self._container.duration
        return None if duration is None or duration < 0 else duration / av.time_base

    def chunks(self) -> Iterator[Chunk]:
        """All of it. The first chunk is always a whole one: what is short is filled up with silence.

        Raises:
            SoundError: it turns out to be damaged.
        """
        first = True
        try:
            for frame in self._resampled():
                samples: Chunk = frame.to_ndarray().astype(np.int16, copy=False).reshape(-1, CHANNELS)
                if first and len(samples) < CHUNK_FRAMES:
                    samples = np.concatenate((samples, np.zeros((CHUNK_FRAMES - len(samples), CHANNELS), np.int16)))
                first = False
                yield samples
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SoundError("is damaged") from error
        if first:
            raise SoundError("is damaged or empty: there is no sound in it")

    def close(self) -> None:
        self._container.close()
        self._file.close()

    def _resampled(self) -> Iterator[AudioFrame]:
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE_HZ, frame_size=CHUNK_FRAMES)
        heard = False
        for frame in self._decoded():
            heard = True
            yield from resampler.resample(frame)
        if heard:
            yield from resampler.resample(None)

    def _decoded(self) -> Iterator[AudioFrame]:
        stream = self._container.streams.audio[0]
        bad_in_a_row = 0
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError as error:
                self.bad_packets += 1
                bad_in_a_row += 1
                if bad_in_a_row >= MAX_BAD_PACKETS:
                    raise SoundError("is damaged") from error
                continue
            bad_in_a_row = 0
            for frame in frames:
                if isinstance(frame, AudioFrame):
                    frame.pts = None  # gaps and jumps in the times of a damaged file are not played
                    yield frame
