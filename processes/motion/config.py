"""Settings of motion. The wiring is in the sections `motors` and `servos`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

DegPerS = Annotated[float, Meta(ge=5.0, le=1000.0)]


class HeadConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How pan and tilt move; their limits and centres are in `servos`."""

    pan_deg_per_s: DegPerS = 180.0
    tilt_deg_per_s: DegPerS = 120.0
    ease_s: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.06
    """Time constant with which the head slows down before its target; 0: it stops there at full speed."""
    release_after_s: Annotated[float, Meta(ge=0.1, le=3600.0)] | None = None
    """End the pulses after this long at rest, for servos that hum; null: the head is held."""


class MotionConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `motion`."""

    deadman_ms: Annotated[int, Meta(ge=100, le=400)] = 400
    """Without a fresh command of whoever drives for this long, the motors stop."""
    guard_ms: Annotated[int, Meta(ge=100, le=300)] = 200
    """Drive only while guard's last beat is younger than this."""
    tick_hz: Annotated[int, Meta(ge=20, le=200)] = 50
    ramp_per_s: Annotated[float, Meta(ge=0.5, le=100.0)] = 4.0
    """How fast speed may grow, in full speeds per second. It may fall at once."""
    ramp_from: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.15
    """The speed at which growing begins: below it the tracks do not move anyway."""
    head: HeadConfig = HeadConfig()

    @property
    def deadman_s(self) -> float:
        return self.deadman_ms / 1000

    @property
    def guard_s(self) -> float:
        return self.guard_ms / 1000
