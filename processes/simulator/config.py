"""Settings of the simulated machine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

PositiveS = Annotated[float, Meta(gt=0.0, le=10.0)]
Amps = Annotated[float, Meta(gt=0.0, le=100.0)]
DegPerS = Annotated[float, Meta(gt=0.0, le=3600.0)]


class SimulatorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `simulator`. The wiring itself is the robot's own, from the hardware sections."""

    enabled: bool = True
    """False: the process ends at once, and the pins are somebody else's. On a Raspberry Pi it always does."""
    max_connections: Annotated[int, Meta(ge=2, le=1000)] = 64
    """Every pigpio client opens two."""
    treats: Annotated[int, Meta(ge=0, le=10_000)] = 60
    """Treats in the carousel at the start, spread over its slots."""
    wheel_lag_s: PositiveS = 0.12
    """Time constant of a wheel's speed."""
    servo_slew_deg_per_s: DegPerS = 300.0
    """How fast a hobby servo turns under load (0.2 s for 60°)."""
    carousel_deg_per_s_per_us: Annotated[float, Meta(gt=0.0, le=10.0)] = 0.72
    """Speed of the continuous servo per µs away from standing still: a turn a second at ±500 µs."""
    carousel_deadband_us: Annotated[float, Meta(ge=0.0, le=100.0)] = 8.0
    """A continuous servo stands still this close to its middle."""
    fall_s: PositiveS = 0.03
    """From the chute to the beam."""
    beam_s: PositiveS = 0.04
    """How long a falling treat breaks the beam."""
    battery_pct: Annotated[float, Meta(ge=0.0, le=100.0)] = 80.0
    """Charge of the battery at the start."""
    battery_ah: Annotated[float, Meta(ge=0.1, le=100.0)] = 5.0
    """How much it holds when it is full."""
    computer_w: Annotated[float, Meta(ge=0.0, le=100.0)] = 6.0
    """What the computer and the camera take, all the time."""
    motor_amps: Amps = 1.2
    """A motor at full duty, driving along."""
    stall_amps: Amps = 5.0
    """A motor at full duty that stands still."""
    charger_amps: Amps = 2.0
    unjam_s: PositiveS = 0.15
    """How long a jammed carousel must be turned backwards to come free."""
