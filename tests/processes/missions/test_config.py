"""The section `missions`."""

from __future__ import annotations

import pytest

from bus import settings
from bus.errors import SettingsError
from processes.missions.config import MissionsConfig


def test_the_configuration_that_ships_is_the_default() -> None:
    shipped = settings.section(settings.load(settings.ROOT / "robot_config.yaml"), "missions", MissionsConfig)
    assert shipped == MissionsConfig()


@pytest.mark.parametrize(
    "value",
    [{"late_s": 0}, {"time_zone": "../etc"}, {"guardian": {"snapshots": 0}}, {"guardian": {"activity_s": 60}}],
)
def test_what_is_wrong_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="missions"):
        settings.section({"missions": value}, "missions", MissionsConfig)
