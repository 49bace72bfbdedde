"""Makes the sounds that ship in sounds/, from sines and noise: `python scripts/make_sounds.py [FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

RATE_HZ = 24_000
FADE_S = 0.01

Samples = npt.NDArray[np.float64]


def tone(from_hz: float, to_hz: float, seconds: float, overtones: Iterable[float] = (1.0,)) -> Samples:
    """A tone that glides from one pitch to another; `overtones` are the loudness of its harmonics."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (from_hz * t + (to_hz - from_hz) * t**2 / (2 * seconds))
    sound: Samples = np.sum([level * np.sin(n * phase) for n, level in enumerate(overtones, 1)], axis=0)
    edge = np.clip(np.minimum(t, seconds - t) / FADE_S, 0.0, 1.0)
    return sound * edge


def struck(pitch_hz: float, seconds: float) -> Samples:
    """A bell: its overtones die away faster than its tone."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    partials = [(1.0, 1.0, 4.0), (2.76, 0.4, 7.0), (5.4, 0.2, 12.0)]
    sound: Samples = np.sum([a * np.sin(2 * np.pi * pitch_hz * r * t) * np.exp(-d * t) for r, a, d in partials], axis=0)
    return sound * np.clip(t / 0.002, 0.0, 1.0) * np.clip((seconds - t) / FADE_S, 0.0, 1.0)


def rest(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ))


def bark() -> Samples:
    """A growling tone that falls, with breath in it."""
    breath = np.random.default_rng(1).standard_normal(round(0.16 * RATE_HZ))
    voice = tone(520, 240, 0.16, (1.0, 0.8, 0.6, 0.5, 0.3, 0.2))
    return voice * (1 + 0.4 * breath) * np.linspace(1, 0.1, len(voice))


SOUNDS: dict[str, tuple[str, list[Samples]]] = {
    "attention.wav": ("pcm_s16le", [tone(880, 880, 0.12), rest(0.06), tone(1320, 1320, 0.16)]),
    "bark.ogg": ("libopus", [bark(), rest(0.18), bark()]),
    "good_dog.mp3": ("libmp3lame", [struck(hz, 0.28) for hz in (523.25, 659.25, 783.99)] + [struck(1046.5, 0.9)]),
    "whistle.flac": ("flac", [tone(1500, 2600, 0.25), rest(0.08), tone(1500, 3000, 0.45)]),
}


def write(path: Path, codec: str, parts: list[Samples]) -> None:
    """Encode `parts`, one after the other, with nothing in the file that changes from one run to the next."""
    sound = np.concatenate(parts)
    pcm = np.rint(sound / np.abs(sound).max() * 0.8 * 32767).astype(np.int16)
    options = {"fflags": "+bitexact"}
    with av.open(str(path), "w", options=options, container_options=options) as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.options = {"flags": "+bitexact"}
        if codec in ("libmp3lame", "libopus"):
            stream.bit_rate = 48_000
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.rate = RATE_HZ
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "sounds"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (codec, parts) in SOUNDS.items():
        write(folder / name, codec, parts)
        print(f"{name}: {(folder / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
