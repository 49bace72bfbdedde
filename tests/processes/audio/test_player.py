"""The player with its thread, real files, and a speaker that notes what it hears."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processes.audio.driver import Wait
from processes.audio.errors import OutputError, SoundError
from processes.audio.player import ThreadPlayer, louder
from processes.audio.sound import BYTES_PER_S, CHUNK_FRAMES
from tests.processes.audio.conftest import MakeSound

PATIENCE_S = 30.0


class Tape:
    """A speaker with a buffer of 0.2 s, which plays as far as `play` lets it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.buffer = bytearray()
        self.is_open = False
        self.opens = 0
        self.trouble: str | None = None
        self._room = threading.Condition()
        self._may_play = 0

    def play(self, seconds: float) -> None:
        """Let that much more be heard."""
        with self._room:
            self._may_play += round(seconds * BYTES_PER_S)
            self._pull()

    def _pull(self) -> None:
        count = min(self._may_play, len(self.buffer))
        self.heard += self.buffer[:count]
        del self.buffer[:count]
        self._may_play -= count

    def open(self) -> None:
        assert not self.is_open
        if self.trouble:
            raise OutputError(self.trouble)
        self.is_open = True
        self.opens += 1

    def write(self, pcm: bytes, wait: Wait) -> None:
        assert self.is_open
        with self._room:
            self.buffer += pcm
            self._pull()
        self._wait_until(lambda: len(self.buffer) <= 0.2 * BYTES_PER_S, wait)

    def drain(self, wait: Wait) -> None:
        self._wait_until(lambda: not self.buffer, wait)

    def _wait_until(self, condition: Callable[[], bool], wait: Wait) -> None:
        while not condition():
            if wait(0.005):
                return

    def unheard_s(self) -> float:
        return len(self.buffer) / BYTES_PER_S

    def close(self) -> None:
        with self._room:
            self.buffer.clear()
            self.is_open = False

    @property
    def samples(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        return np.frombuffer(bytes(self.heard), np.int16).reshape(-1, 2)


class Stage:
    """A player, its speaker, and what it tells."""

    def __init__(self) -> None:
        self.tape = Tape()
        self.told: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.player = ThreadPlayer(self.tape, lambda call: call(), self)

    def on_started(self, number: int, duration_s: float | None) -> None:
        self.told.put(("started", number))

    def on_ended(self, number: int) -> None:
        self.told.put(("ended", number))

    def on_failed(self, number: int, error: SoundError | OutputError) -> None:
        self.told.put(("failed", number, error))

    def next(self) -> tuple[Any, ...]:
        return self.told.get(timeout=PATIENCE_S)

    def play(self, number: int, path: Path) -> None:
        self.player.play(number, path.open("rb"))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.player.close()
    assert not stage.tape.is_open


def steps(path: Path, seconds: float) -> Path:
    """A file in which every sample is another: what is lost or heard twice is seen."""
    frames = np.arange(round(seconds * 48_000), dtype=np.int64)
    pcm = np.stack([(frames % 30_000).astype("<i2"), (frames // 30_000).astype("<i2")], axis=1).tobytes()
    head = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += b"\x01\0\x02\0" + (48_000).to_bytes(4, "little") + (192_000).to_bytes(4, "little") + b"\x04\0\x10\0data"
    path.write_bytes(head + len(pcm).to_bytes(4, "little") + pcm)
    return path


def test_a_sound_is_heard_whole_and_then_ends(stage: Stage, tmp_path: Path) -> None:
    path = steps(tmp_path / "steps.wav", 1.23)
    stage.play(1, path)
    assert stage.next() == ("started", 1)
    stage.tape.play(10.0)
    assert stage.next() == ("ended", 1)
    assert bytes(stage.tape.heard) == path.read_bytes()[44:]


def test_a_pause_loses_nothing_and_little_is_heard_twice(stage: Stage, tmp_path: Path) -> None:
    path = steps(tmp_path / "steps.wav", 2.0)
    stage.play(1, path)
    assert stage.next() == ("started", 1)
    stage.tape.play(0.75)
    stage.player.pause().result(PATIENCE_S)
    before = bytes(stage.tape.heard)
    assert not stage.tape.is_open
    assert stage.player.position_s == pytest.approx(len(before) / BYTES_PER_S, abs=0.11)
    stage.player.resume()
    assert stage.next() == ("started", 1)
    stage.tape.play(10.0)
    assert stage.next() == ("ended", 1)
    pcm, after = path.read_bytes()[44:], bytes(stage.tape.heard[len(before) :])
    assert pcm.startswith(before)
    assert pcm.endswith(after)
    assert 0 <= len(before) + len(after) - len(pcm) <= 0.1 * BYTES_PER_S


def test_a_pause_and_its_end_at_once_are_answered(stage: Stage, tmp_path: Path) -> None:
    stage.play(1, steps(tmp_path / "steps.wav", 2.0))
    assert stage.next() == ("started", 1)
    for _ in range(50):
        stage.player.pause()
        stage.player.resume()
    assert stage.next() == ("started", 1)


def test_a_new_sound_ends_the_old_one(stage: Stage, make_sound: MakeSound) -> None:
    stage.play(1, make_sound("low.wav", seconds=100.0, hz=200.0))
    assert stage.next() == ("started", 1)
    stage.play(2, make_sound("high.wav", seconds=0.5, hz=2000.0))
    assert stage.next() == ("started", 2)
    stage.tape.heard.clear()
    stage.tape.play(10.0)
    assert stage.next() == ("ended", 2)
    crossings = np.count_nonzero(np.diff(np.signbit(stage.tape.samples[:, 0])))
    assert crossings == pytest.approx(2 * 2000.0 * 0.5, rel=0.02)


def test_of_many_sounds_at_once_the_last_is_heard_and_every_file_closed(stage: Stage, make_sound: MakeSound) -> None:
    path = make_sound("tone.wav", seconds=0.3)
    files = [path.open("rb") for _ in range(50)]
    for number, file in enumerate(files):
        stage.player.play(number, file)
    stage.tape.play(100.0)
    told = []
    while ("ended", 49) not in told:
        told.append(stage.next())
    assert [number for what, number in told if what == "ended"][-1] == 49
    assert all(file.closed for file in files)


def test_stopped_means_silent(stage: Stage, make_sound: MakeSound) -> None:
    stage.play(1, make_sound("tone.wav", seconds=100.0))
    assert stage.next() == ("started", 1)
    stage.player.stop().result(PATIENCE_S)
    assert not stage.tape.is_open
    assert stage.player.stop().done()


def test_a_paused_sound_can_be_stopped(stage: Stage, make_sound: MakeSound) -> None:
    stage.play(1, make_sound("tone.wav", seconds=100.0))
    assert stage.next() == ("started", 1)
    stage.player.pause().result(PATIENCE_S)
    stage.player.stop().result(PATIENCE_S)
    stage.play(2, make_sound("short.wav", seconds=0.2))
    assert stage.next() == ("started", 2)


def test_a_damaged_file_takes_no_sound_card_and_the_next_one_plays(
    stage: Stage, tmp_path: Path, make_sound: MakeSound
) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"nonsense" * 1000)
    stage.play(1, tmp_path / "bad.mp3")
    what, number, error = stage.next()
    assert (what, number) == ("failed", 1)
    assert isinstance(error, SoundError)
    assert stage.tape.opens == 0
    stage.play(2, make_sound("tone.wav"))
    assert stage.next() == ("started", 2)


def test_a_speaker_that_is_away_is_told_and_may_come_back(stage: Stage, make_sound: MakeSound) -> None:
    path = make_sound("tone.wav")
    stage.tape.trouble = "unplugged"
    stage.play(1, path)
    what, number, error = stage.next()
    assert (what, number, str(error)) == ("failed", 1, "unplugged")
    stage.tape.trouble = None
    stage.play(2, path)
    assert stage.next() == ("started", 2)


def test_a_file_that_breaks_the_decoder_in_an_unknown_way_ends_only_itself(
    stage: Stage, make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_sound("tone.wav")
    with monkeypatch.context() as patched:
        patched.setattr("processes.audio.player.Sound", lambda file: 1 / 0)
        stage.play(1, path)
        assert stage.next()[:2] == ("failed", 1)
    stage.play(2, path)
    assert stage.next() == ("started", 2)


def test_a_change_of_volume_is_a_ramp_and_no_click() -> None:
    loud = np.full((CHUNK_FRAMES, 2), 20_000, np.int16)
    ramp = louder(loud, 1.0, 0.5)
    assert ramp[0, 0] == 20_000
    assert ramp[-1, 0] == pytest.approx(10_000, abs=10)
    assert np.abs(np.diff(ramp[:, 0].astype(int))).max() <= 3
    assert (louder(loud, 0.5, 0.5) == 10_000).all()
    assert not louder(loud, 0.0, 0.0).any()


def test_full_volume_changes_no_sample() -> None:
    rng = np.random.default_rng(1)
    chunk = rng.integers(-32768, 32767, (CHUNK_FRAMES, 2), np.int16, endpoint=True)
    assert (louder(chunk, 1.0, 1.0) == chunk).all()
    assert np.abs(louder(chunk, 0.999, 1.0).astype(int) - chunk).max() <= 33


def test_the_gain_is_heard(stage: Stage, make_sound: MakeSound) -> None:
    stage.player.set_gain(0.1)
    stage.play(1, make_sound("tone.wav", seconds=0.5, level=0.5))
    stage.tape.play(10.0)
    assert stage.next() == ("started", 1)
    assert stage.next() == ("ended", 1)
    full = 0.5 * 32767 * 2**-0.5  # one channel spread over two
    assert np.abs(stage.tape.samples.astype(int)).max() == pytest.approx(0.1 * full, rel=0.05)
