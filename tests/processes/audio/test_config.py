"""The section `audio`."""

from __future__ import annotations

from typing import Any

import pytest

from bus import settings
from bus.errors import SettingsError
from processes.audio.config import AudioConfig
from processes.audio.service import open_output


def test_the_shipped_settings_are_accepted() -> None:
    config = settings.section(settings.load(settings.ROOT / "robot_config.yaml"), "audio", AudioConfig)
    assert config == AudioConfig()


@pytest.mark.parametrize(
    ("key", "value"),
    [("output", "pulse"), ("device", ""), ("device", "-x"), ("device", "a\nb"), ("start_volume", 101), ("loud", True)],
)
def test_a_wrong_setting_is_named(key: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=key):
        settings.section({"audio": {key: value}}, "audio", AudioConfig)


@pytest.mark.parametrize(
    ("configured", "simulated", "expected"),
    [
        ("auto", True, "simulated"),
        ("auto", False, "alsa"),
        ("alsa", True, "alsa"),
        ("simulated", False, "simulated"),
    ],
)
def test_auto_simulates_the_speaker_only_where_the_machine_is_simulated(
    configured: Any, simulated: bool, expected: str
) -> None:
    assert open_output(AudioConfig(output=configured), machine_is_simulated=simulated).name == expected
