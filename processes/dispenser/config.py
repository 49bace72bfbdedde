"""Settings of the dispenser. The wiring is in the sections `carousel`, `beam` and `leds`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from contract.units import LedPattern

LONGEST_DEED_S = 13.0
"""A treat's result is due after 15 s (contract.commands)."""


class DispenserConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `dispenser`."""

    capacity: Annotated[int, Meta(ge=1, le=10_000)] = 60
    """Treats in a full carousel, as it is taken to be at the very first start; from then on they are counted."""
    low_at: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """From this many treats down, people are told to refill; 0: only when there are none; null: a sixth of capacity."""
    cooldown_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 1.0
    """From one treat to the next: a second tap gives no second treat."""
    daily_limit: Annotated[int, Meta(ge=1, le=1000)] | None = 60
    """Treats from midnight to midnight by the machine's time zone; null: any number."""
    slot_s: Annotated[float, Meta(ge=0.02, le=5.0)] = 0.28
    """How long the carousel takes from one slot to the next."""
    wait_s: Annotated[float, Meta(ge=0.1, le=10.0)] = 2.0
    """How long it is turned for one treat before that counts as a jam. Longer than a slot: some may be empty."""
    tries: Annotated[int, Meta(ge=1, le=10)] = 3
    """Turns before it is given up as jammed."""
    unjam_s: Annotated[float, Meta(ge=0.05, le=5.0)] = 0.4
    """How long it is turned backwards between two tries."""
    settle_s: Annotated[float, Meta(ge=0.05, le=2.0)] = 0.2
    """How long the beam is watched after the carousel was stopped: what is falling then is counted too."""
    same_treat_ms: Annotated[int, Meta(ge=0, le=1000)] = 60
    """The beam broken twice within this is one tumbling treat."""

    @property
    def low_from(self) -> int:
        """From this many treats down the stock is low."""
        return self.capacity // 6 if self.low_at is None else self.low_at

    def __post_init__(self) -> None:
        if self.low_at is not None and self.low_at >= self.capacity:
            raise ValueError(f"low_at is {self.low_at}: less than capacity, which is {self.capacity}, is accepted")
        longest_s = self.tries * (self.wait_s + self.unjam_s) + self.settle_s
        if longest_s > LONGEST_DEED_S:
            raise ValueError(
                f"tries × (wait_s + unjam_s) + settle_s is {longest_s:g} s: at most {LONGEST_DEED_S:g} s are accepted"
            )


class LedConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `led`."""

    start: LedPattern = "off"
    """What is shown at the start."""
    frame_hz: Annotated[int, Meta(ge=5, le=60)] = 30
