"""Missions' files: what is wrong is told with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bus.settings import ROOT
from processes.missions.definition import MAX_FILES, DefinitionError, load_file, load_folder, parse
from tests.processes.missions.traces import SIT

TEXT = SIT.strip()  # `name` is line 1


def complaint(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse(text, "missions/sit.yaml")
    return str(caught.value)


def test_the_missions_that_ship_can_be_read_and_use_sounds_that_ship() -> None:
    library = load_folder(ROOT / "missions")
    assert library.errors == []
    assert set(library.missions) == {"sit", "stay", "come"}
    sounds = {path.name for path in (ROOT / "sounds").iterdir()}
    for definition in library.missions.values():
        cues = definition.cues
        assert {cue.sound for cue in (cues.start, cues.success, cues.fail) if cue.sound} <= sounds


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("required_duration: 3", "required_duration: x", r":3: required_duration: .*a number from 0.2 to 3600"),
        ("required_duration: 3", "required_duration: 0", r":3: required_duration: .*from 0.2"),
        ("required_duration: 3", "required_duration: .nan", r":3: required_duration: .*from 0.2"),
        ("required_duration: 3", "required_duration: 11", r":4: attempt_seconds: 10 is too short"),
        ("required_duration: 3\n", "", r":1: required_duration: it is missing; accepted: a number"),
        ("daily_limit: 10", "dayly_limit: 10", r":6: dayly_limit: unknown; accepted: name, "),
        ("led: attention", "led: blue", r":8: cues.start.led: .*accepted: one of .*attention"),
        ("target_behavior: sitting", "target_behavior: absent", r":2: target_behavior: .*accepted: any but absent"),
        ("cooldown_seconds: 5", "cooldown_seconds: 5\nreward_ratio: 3/2", r":6: reward_ratio: 3/2 is more than"),
        ("cooldown_seconds: 5", "schedule:\n  - {at: 09:00}\n  - {at: 24:00}", r":7: schedule\[1\].at: .*HH:MM"),
        ("name: Sit", "name: Sit\nname: Sat", r":2: name: it stands twice"),
        ("name: Sit", "name: [Sit", r":2: expected"),
        ("name: Sit", "name: &a Sit\ndescription: *a", r":2: aliases .* are not accepted"),
        (TEXT, "", r":1: a mission is `key: value`"),
        (TEXT, "- sit", r":1: a mission is `key: value`"),
        (TEXT, "a: \x00", r":1: not YAML"),
        ("name: Sit", f"name: {'[' * 20}{']' * 20}", r":1: nested deeper than"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    message = complaint(TEXT.replace(old, new))
    assert message.startswith("missions/sit.yaml:")
    assert re.search(expected, message), message


def test_words_and_times_are_what_they_look_like() -> None:
    """`off` is false and 18:30 is 1110 in YAML 1.1."""
    definition = parse(TEXT.replace("led: attention", "led: off") + "\nschedule: [{at: 18:30}]", "missions/sit.yaml")
    assert definition.cues.start.led == "off"
    assert definition.schedule[0].at == "18:30"


def test_a_broken_file_does_not_hurt_the_others(tmp_path: Path) -> None:
    (tmp_path / "sit.yaml").write_text(TEXT)
    (tmp_path / "bad.yaml").write_text("name: [")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    (tmp_path / "huge.yaml").write_text("#" * 70_000)
    (tmp_path / "active.yaml").write_text(TEXT)
    (tmp_path / "Sit down.yaml").write_text(TEXT)
    (tmp_path / "notes.txt").write_text("no mission")
    library = load_folder(tmp_path)
    assert set(library.missions) == {"sit"}
    assert len(library.errors) == 5
    assert all(f"{tmp_path.name}/" in error for error in library.errors)


def test_there_are_only_so_many_missions(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 2):
        (tmp_path / f"m{number:03d}.yaml").write_text(TEXT)
    library = load_folder(tmp_path)
    assert (len(library.missions), len(library.errors)) == (MAX_FILES, 2)


def test_without_a_folder_there_are_no_missions_and_a_reason(tmp_path: Path) -> None:
    library = load_folder(tmp_path / "gone")
    assert library.missions == {}
    assert "cannot be read" in library.errors[0]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "sit.yaml").mkdir()
    with pytest.raises(DefinitionError, match="cannot be read"):
        load_file(tmp_path / "sit.yaml")
