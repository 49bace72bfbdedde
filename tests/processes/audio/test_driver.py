"""Where sound goes: a speaker on a fake clock, and ALSA's own player with a card that is a file."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.audio.driver import BUFFER_S, AlsaOutput, AplaySink, SimulatedOutput, SimulatedSink, reason
from processes.audio.errors import OutputError
from processes.audio.sound import BYTES_PER_S, CHUNK_FRAMES

PATIENCE_S = 30.0
CHUNK = np.arange(2 * CHUNK_FRAMES, dtype=np.int16).tobytes()


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.interrupted = False

    def wait(self, seconds: float) -> bool:
        assert seconds > 0
        if not self.interrupted:
            self.now += seconds
        return self.interrupted


def opened(clock: Clock) -> SimulatedSink:
    sink = SimulatedSink(lambda: clock.now)
    sink.open()
    return sink


@given(st.lists(st.integers(1, BYTES_PER_S), min_size=1, max_size=20))
def test_the_simulated_speaker_takes_as_long_as_the_sound(sizes: list[int]) -> None:
    clock = Clock()
    sink = opened(clock)
    for size in sizes:
        sink.write(bytes(size), clock.wait)
        assert sink.unheard_s() <= BUFFER_S + 1e-6
    sink.drain(clock.wait)
    assert clock.now - 1000.0 == pytest.approx(sum(sizes) / BYTES_PER_S)
    assert sink.unheard_s() == 0.0


def test_the_first_piece_is_taken_at_once() -> None:
    clock = Clock()
    opened(clock).write(CHUNK, clock.wait)
    assert clock.now == 1000.0


def test_a_pause_of_the_writer_is_silence_and_not_made_up_for() -> None:
    clock = Clock()
    sink = opened(clock)
    sink.write(CHUNK, clock.wait)
    clock.now += 10.0
    sink.write(CHUNK, clock.wait)
    assert sink.unheard_s() == pytest.approx(0.1)


def test_the_simulated_speaker_is_silent_at_once_when_something_else_is_wanted() -> None:
    clock = Clock()
    sink = opened(clock)
    clock.interrupted = True
    sink.write(bytes(10 * BYTES_PER_S), clock.wait)
    sink.drain(clock.wait)
    assert clock.now == 1000.0
    sink.close()
    assert sink.unheard_s() == 0.0


def test_the_simulated_speaker_has_one_user() -> None:
    sink = opened(Clock())
    with pytest.raises(OutputError, match="in use"):
        sink.open()
    sink.close()
    sink.open()


def test_a_closed_speaker_takes_nothing() -> None:
    clock = Clock()
    sink = SimulatedSink(lambda: clock.now)
    with pytest.raises(OutputError, match="not open"):
        sink.write(CHUNK, clock.wait)


def test_the_simulated_speaker_is_always_there() -> None:
    output = SimulatedOutput(time.monotonic)
    output.probe()
    assert not output.changed()


# -- ALSA -----------------------------------------------------------------------------------------


@pytest.fixture
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound card whose sound ends in a file: ALSA's own `file` device, called "tape"; and no other card."""
    path = tmp_path / "heard.raw"
    (tmp_path / "asound.conf").write_text(
        f'pcm.tape {{ type file file "{path}" format raw slave.pcm {{ type null }} }}\npcm.hole {{ type null }}\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    return path


def never(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def test_the_sound_card_hears_every_sample(tape: Path) -> None:
    sink = AplaySink("tape")
    sink.open()
    rng = np.random.default_rng(1)
    pcm = rng.integers(-30000, 30000, 2 * CHUNK_FRAMES * 7, np.int16).tobytes()
    for start in range(0, len(pcm), len(CHUNK)):
        sink.write(pcm[start : start + len(CHUNK)], never)
    sink.drain(never)
    sink.close()
    assert tape.read_bytes()[: len(pcm)] == pcm


def test_a_card_that_is_not_there_is_told_in_one_line(tape: Path) -> None:
    with pytest.raises(OutputError, match=r"^audio open error: No such file or directory$"):
        AlsaOutput("default").probe()
    AlsaOutput("hole").probe()
    assert not tape.exists()


def test_playing_to_a_card_that_is_not_there_fails_with_its_reason(tape: Path) -> None:
    sink = AplaySink("default")
    sink.open()
    with pytest.raises(OutputError, match="audio open error"):
        sink.write(bytes(100 * BYTES_PER_S), never)
    sink.close()


def stand_in(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another aplay, for what a real card does too rarely."""
    (directory / "aplay").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "aplay").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_without_aplay_it_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutputError, match="apt-get install alsa-utils"):
        AplaySink("default").open()


def test_a_card_that_takes_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exec sleep 1000")
    monkeypatch.setattr("processes.audio.driver.STUCK_S", 0.3)
    sink = AplaySink("default")
    sink.open()
    with pytest.raises(OutputError, match="taken nothing"):
        sink.write(CHUNK, never)
    sink.close()


def test_a_card_that_takes_nothing_holds_up_nobody_who_wants_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "exec sleep 1000")
    sink = AplaySink("default")
    sink.open()
    wanted = threading.Event()
    threading.Timer(0.1, wanted.set).start()
    sink.write(CHUNK, wanted.wait)
    assert wanted.is_set()
    assert sink.unheard_s() > 0
    sink.close()
    assert sink.unheard_s() == 0.0


def test_a_talkative_aplay_is_not_held_up_by_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of every underrun, and would stand still when nobody listens."""
    noise = "i=0; while [ $i -lt 3000 ]; do echo 'underrun!!! (at least 1.0 ms long)' >&2; i=$((i+1)); done"
    stand_in(tmp_path, monkeypatch, f"{noise}\ncat >/dev/null")
    sink = AplaySink("default")
    sink.open()
    for _ in range(20):
        sink.write(CHUNK, never)
    sink.drain(never)
    sink.close()


def test_a_card_that_fails_at_the_end_has_not_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        tmp_path, monkeypatch, "cat >/dev/null; echo 'aplay: pcm_write:2127: write error: No such device' >&2; exit 1"
    )
    sink = AplaySink("default")
    sink.open()
    sink.write(CHUNK, never)
    with pytest.raises(OutputError, match=r"^write error: No such device$"):
        sink.drain(never)
    sink.close()


def test_cards_that_come_and_go_are_noticed_once(tmp_path: Path) -> None:
    output = AlsaOutput("default", tmp_path / "pcm")
    assert not output.changed()
    (tmp_path / "pcm").write_text("00-00: USB Audio : playback 1\n")
    assert output.changed()
    assert not output.changed()
    (tmp_path / "pcm").unlink()
    assert output.changed()


def test_a_silent_end_has_a_reason_too() -> None:
    assert reason(b"", -9) == "aplay ended with -9"
    assert reason(b"noise\naplay: main:831: audio open error: Device or resource busy\n", 1) == (
        "audio open error: Device or resource busy"
    )
