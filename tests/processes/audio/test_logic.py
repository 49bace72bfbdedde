"""Names, order, loudness, and which sound is the one that plays."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.models import AudioFiles
from contract.validate import encode
from processes.audio.logic import MAX_FILES, Jukebox, gain_of, is_sound_name, listed, neighbour


@pytest.mark.parametrize(
    "name", ["a.wav", "Good Dog 2.MP3", "Österreich.ogg", "犬.flac", "سگ‌ها.mp3", "🐕.wav", "a..wav"]
)
def test_names_of_all_the_world_are_names(name: str) -> None:
    assert is_sound_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".wav",
        "..",
        "../a.wav",
        "/etc/a.wav",
        "a/b.wav",
        "a\\b.wav",
        "a\x00.wav",
        "a\n.wav",
        "a.wav\n",
        "\u202evaw.a.wav",
        "\ud800.wav",
        "a.txt",
        "wav",
        "a.wav.sh",
        "x" * 125 + ".wav",
    ],
    ids=ascii,
)
def test_hostile_and_hidden_names_are_none(name: str) -> None:
    assert not is_sound_name(name)


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=140).map(lambda name: name + ".wav")))
def test_every_listed_name_can_be_sent_and_asked_for(names: list[str]) -> None:
    files = AudioFiles(listed(names))
    assert msgspec.json.decode(encode(files), type=AudioFiles) == files


def test_the_longest_list_fits_into_a_frame_of_the_contract() -> None:
    names = [f"{n:03}" + "犬" * 83 + ".wav" for n in range(2 * MAX_FILES)]  # 255 bytes on disk, the most there can be
    files = listed(names)
    assert len(files) == MAX_FILES
    assert len(encode(AudioFiles(files))) < 60_000


@pytest.mark.parametrize(
    ("name", "following", "previous"),
    [("b", "d", "d"), ("c", "d", "b"), ("a", "b", "d"), ("z", "b", "d"), ("d", "b", "b"), (None, "b", "d")],
)
def test_next_and_previous_go_round_also_from_a_sound_that_is_gone(
    name: str | None, following: str, previous: str
) -> None:
    assert neighbour(["b", "d"], name, 1) == following
    assert neighbour(["b", "d"], name, -1) == previous


def test_without_sounds_there_is_no_next_one() -> None:
    assert neighbour([], "a.wav", 1) is None


@given(st.lists(st.text(max_size=3), min_size=1, unique=True).map(sorted), st.data())
def test_previous_undoes_next(files: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files))
    following = neighbour(files, name, 1)
    assert neighbour(files, following, -1) == name


def test_the_volume_is_heard_evenly() -> None:
    gains = [gain_of(volume) for volume in range(101)]
    assert gains[0] == 0.0
    assert gains[100] == 1.0
    assert gains == sorted(gains)
    assert gain_of(50) == pytest.approx(10 ** (-18 / 20), rel=0.01)


def playing() -> Jukebox:
    jukebox = Jukebox()
    assert jukebox.on_started(jukebox.on_play("a.wav"), 2.0)
    return jukebox


def test_a_sound_is_heard_when_it_has_started_and_not_before() -> None:
    jukebox = Jukebox()
    number = jukebox.on_play("a.wav")
    assert (jukebox.state, jukebox.idle) == ("stopped", False)
    assert jukebox.on_started(number, 2.0)
    assert (jukebox.state, jukebox.file, jukebox.duration_s) == ("playing", "a.wav", 2.0)


def test_news_of_an_earlier_sound_changes_nothing() -> None:
    jukebox = playing()
    old = jukebox.number
    new = jukebox.on_play("b.wav")
    assert not jukebox.on_started(old, 1.0)
    assert not jukebox.on_over(old)
    assert jukebox.on_started(new, 1.0)
    assert jukebox.state == "playing"


def test_a_sound_that_was_stopped_while_it_began_is_not_heard_later() -> None:
    jukebox = Jukebox()
    number = jukebox.on_play("a.wav")
    jukebox.on_stop()
    assert not jukebox.on_started(number, 1.0)
    assert not jukebox.on_over(number)
    assert jukebox.idle


def test_the_one_button_pauses_goes_on_and_begins_again() -> None:
    jukebox = playing()
    states = [jukebox.state]
    assert jukebox.on_toggle() == "pause"
    states.append(jukebox.state)
    assert jukebox.on_toggle() == "resume"
    states.append(jukebox.state)
    assert jukebox.on_started(jukebox.number, 2.0)
    states.append(jukebox.state)
    assert states == ["playing", "paused", "paused", "playing"]
    assert jukebox.on_over(jukebox.number)
    assert jukebox.on_toggle() == "play"
    assert jukebox.file == "a.wav"
