"""Settings that are wrong are told by key, value and what is accepted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from bus import settings
from bus.errors import SettingsError


class Wheel(Struct, frozen=True, forbid_unknown_fields=True):
    trim: Annotated[float, Meta(ge=0.5, le=1.5, description="factor")] = 1.0


class Motors(Struct, frozen=True, forbid_unknown_fields=True):
    clamp: Annotated[float, Meta(ge=0, le=1)] = 0.7
    left: Wheel = Wheel()


def test_a_missing_section_has_its_defaults() -> None:
    assert settings.section({}, "motors", Motors) == Motors()
    assert settings.section({"motors": None}, "motors", Motors) == Motors()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"clamp": 1.5}, ["motors.clamp", "1.5", "from 0 to 1"]),
        ({"left": {"trim": 9}}, ["motors.left.trim", "9", "0.5 to 1.5", "factor"]),
        ({"clampp": 0.5}, ["motors", "clampp"]),
        ({"clamp": "fast"}, ["motors.clamp", "fast"]),
        ({"clamp": float("nan")}, ["motors", "NaN"]),
        ([1], ["motors", "[1]"]),
    ],
)
def test_a_wrong_setting_is_named(value: object, words: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        settings.section({"motors": value}, "motors", Motors)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "1: 2\n", "text"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "robot_config.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="robot_config"):
        settings.load(path)
    with pytest.raises(SettingsError, match="Cannot read"):
        settings.load(tmp_path / "absent.yaml")


def test_the_shipped_configuration_is_a_mapping_of_sections() -> None:
    assert settings.load(settings.ROOT / "robot_config.yaml")


def test_two_robots_have_two_run_directories_short_enough_for_sockets(tmp_path: Path) -> None:
    one, two = settings.run_dir(tmp_path / "a"), settings.run_dir(tmp_path / "b")
    assert one != two
    assert len(str(one / "longest_process_name.stop")) < 107


def test_a_run_directory_that_others_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RUN_ROOT", tmp_path)
    made = settings.make_run_dir(tmp_path / "data")
    assert os.stat(made).st_mode & 0o777 == 0o700
    assert settings.make_run_dir(tmp_path / "data") == made
    made.chmod(0o755)
    with pytest.raises(SettingsError, match="0700"):
        settings.make_run_dir(tmp_path / "data")


def test_the_environment_chooses_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WIMZ_DATA", raising=False)
    assert settings.data_dir({"robot": {"data_dir": "elsewhere"}}) == settings.ROOT / "elsewhere"
    monkeypatch.setenv("WIMZ_DATA", str(tmp_path))
    assert settings.data_dir({}) == tmp_path
