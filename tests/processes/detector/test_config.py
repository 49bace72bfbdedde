from __future__ import annotations

import pytest

from bus import settings
from bus.errors import SettingsError
from processes.detector.config import DetectorConfig


def test_the_shipped_settings_are_the_defaults() -> None:
    config = settings.load(settings.ROOT / "robot_config.yaml")
    assert settings.section(config, "detector", DetectorConfig) == DetectorConfig()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rate_hz", 0.5),
        ("rate_hz", 11),
        ("cpu_limit_pct", 0),
        ("threshold", 1.5),
        ("model", "yolo"),
        ("model_file", " "),
    ],
)
def test_what_is_not_accepted_is_named_with_what_is(key: str, value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.section({"detector": {key: value}}, "detector", DetectorConfig)
    assert key in str(refused.value)
