"""Real files, really decoded."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bus import settings
from processes.audio.errors import SoundError
from processes.audio.logic import is_sound_name
from processes.audio.sound import CHUNK_FRAMES, RATE_HZ, Sound
from tests.processes.audio.conftest import MakeSound


def samples_of(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    sound = Sound(path.open("rb"))
    try:
        return np.concatenate(list(sound.chunks()))
    finally:
        sound.close()


def loudest_hz(samples: np.ndarray[tuple[int, int], np.dtype[np.int16]]) -> float:
    spectrum = np.abs(np.fft.rfft(samples[:, 0]))
    return float(np.argmax(spectrum) * RATE_HZ / len(samples))


@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".flac"])
def test_every_format_gives_the_tone_that_is_in_it(make_sound: MakeSound, suffix: str, rate_hz: int) -> None:
    samples = samples_of(make_sound(f"tone{suffix}", seconds=1.5, hz=440.0, rate_hz=rate_hz))
    assert samples.dtype == np.int16
    assert samples.shape[1] == 2
    assert len(samples) / RATE_HZ == pytest.approx(1.5, abs=0.06)
    assert loudest_hz(samples) == pytest.approx(440.0, abs=2.0)
    assert 0.2 < np.abs(samples.astype(int)).max() / 32767 < 0.6


def test_a_file_with_the_wrong_suffix_is_read_for_what_it_is(make_sound: MakeSound) -> None:
    path = make_sound("tone.flac")
    assert loudest_hz(samples_of(path.rename(path.with_suffix(".mp3")))) == pytest.approx(440.0, abs=2.0)


def test_the_duration_is_told(make_sound: MakeSound) -> None:
    sound = Sound(make_sound("tone.wav", seconds=2.5).open("rb"))
    assert sound.duration_s == pytest.approx(2.5)
    sound.close()


def test_a_very_short_sound_is_one_whole_chunk(make_sound: MakeSound) -> None:
    samples = samples_of(make_sound("click.wav", seconds=0.01))
    assert len(samples) == CHUNK_FRAMES
    assert np.abs(samples[:480]).max() > 1000
    assert not samples[600:].any()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        bytes(100_000),
        bytes(range(256)) * 500,
        b"RIFF\xff\xff\xff\xffWAVE",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"OggS" + bytes(5000),
        b"fLaC" + bytes(5000),
    ],
    ids=lambda content: ascii(content[:8]),
)
def test_what_is_no_sound_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.mp3").write_bytes(content)
    with pytest.raises(SoundError, match=r"is not a sound|is damaged"):
        samples_of(tmp_path / "bad.mp3")


def test_a_playlist_makes_it_open_no_other_file(make_sound: MakeSound, tmp_path: Path) -> None:
    """FFmpeg would play what a playlist names, wherever that is."""
    make_sound("inner.wav")
    for name, text in {
        "list.wav": "ffconcat version 1.0\nfile inner.wav\n",
        "hls.mp3": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninner.wav\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(SoundError):
            samples_of(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".flac"])
def test_a_recording_with_a_hole_is_played_around_it(make_sound: MakeSound, suffix: str) -> None:
    path = make_sound(f"holed{suffix}", seconds=4.0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    assert len(samples_of(path)) > 1.5 * RATE_HZ


def test_a_long_recording_is_never_in_memory_as_a_whole(make_sound: MakeSound) -> None:
    path = make_sound("long.flac", seconds=600.0, rate_hz=8_000, level=0.01)
    sound = Sound(path.open("rb"))
    tracemalloc.start()
    try:
        frames = sum(len(chunk) for chunk in sound.chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        sound.close()
    assert frames == pytest.approx(600 * RATE_HZ, rel=0.001)  # 115 MB of samples
    assert peak < 5_000_000


def test_the_sounds_that_ship_can_be_played_and_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(settings.ROOT / "scripts" / "make_sounds.py"), str(tmp_path)], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert {Path(name).suffix for name in made} == {".wav", ".mp3", ".ogg", ".flac"}
    for name in made:
        assert is_sound_name(name)
        shipped = samples_of(settings.ROOT / "sounds" / name)
        assert shipped.any()
        assert len(shipped) == len(samples_of(tmp_path / name))
