"""Sounds made for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

CODECS = {".wav": "pcm_s16le", ".mp3": "libmp3lame", ".ogg": "libopus", ".flac": "flac"}
MakeSound = Callable[..., Path]


def write_sound(path: Path, seconds: float = 1.0, hz: float = 440.0, rate_hz: int = 48_000, level: float = 0.5) -> Path:
    """A pure tone, in the format of the path's suffix."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pcm = np.rint(np.sin(2 * np.pi * hz * t) * level * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


@pytest.fixture
def make_sound(tmp_path: Path) -> MakeSound:
    """Makes a tone in the test's own folder: `make_sound("a.wav", seconds=2.0)`."""
    return lambda name, **how: write_sound(tmp_path / name, **how)
