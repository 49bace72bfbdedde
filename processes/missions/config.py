"""Settings of missions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

ZoneName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$(?!\n)")]
SomeSeconds = Annotated[float, Meta(ge=0.2, le=3600.0, description="seconds")]


class GuardianConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What the mode `guardian` tells."""

    presence_s: SomeSeconds = 2.0
    """A dog in view for so long is present."""
    absence_s: SomeSeconds = 20.0
    """And away again when it was out of view for so long."""
    activity_s: SomeSeconds = 20.0
    """More than this much moving within `activity_window_s` is unusual."""
    activity_window_s: SomeSeconds = 60.0
    quiet_s: SomeSeconds = 60.0
    """From one alert of a kind to the next of that kind at least."""
    snapshots: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """How many pictures are kept; the oldest go."""
    snapshots_mb: Annotated[float, Meta(ge=1.0, le=10_000.0)] = 50.0
    """And how much room they may take."""
    jpeg_quality: Annotated[int, Meta(ge=30, le=95)] = 80

    def __post_init__(self) -> None:
        if self.activity_s >= self.activity_window_s:
            raise ValueError(
                f"activity_s is {self.activity_s:g}: less than activity_window_s, which is "
                f"{self.activity_window_s:g}, is accepted"
            )


class MissionsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `missions`."""

    folder: str = "missions"
    """Where the missions' files are: absolute, or from the checkout."""
    time_zone: ZoneName | None = None
    """Whose clock schedules and days go by, as in `Europe/Berlin`; null: the machine's own."""
    late_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 300.0
    """A scheduled mission that could not begin on time (the robot was off) begins this much later at most, or not at
    all."""
    guardian: GuardianConfig = GuardianConfig()
