"""Settings of guard."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class GuardConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `guard`."""

    motion_ms: Annotated[int, Meta(ge=100, le=250)] = 200
    """Motion is put down when its last beat is older than this."""
    check_ms: Annotated[int, Meta(ge=5, le=50)] = 10
    """How often that is looked at."""

    @property
    def motion_s(self) -> float:
        return self.motion_ms / 1000

    @property
    def check_s(self) -> float:
        return self.check_ms / 1000
