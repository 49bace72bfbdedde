"""Contract events on their way out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from bus.messages import RobotEvent
from contract.models import EVENT_DATA


def utc_now() -> datetime:
    """The wall clock, for what people read."""
    return datetime.now(UTC)


def timestamp(at: datetime) -> str:
    """ISO-8601 UTC with milliseconds, as in `2026-01-31T12:00:00.250Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def robot_event(name: str, data: Struct, at: datetime) -> RobotEvent:
    """An event of the contract with a new unique id.

    Raises:
        TypeError: `data` is not of the type the contract gives for `name`.
    """
    if not isinstance(data, EVENT_DATA[name]):
        raise TypeError(f"the event {name} carries {EVENT_DATA[name].__name__}, not {type(data).__name__}")
    return RobotEvent(name, msgspec.to_builtins(data), uuid.uuid4().hex, timestamp(at))
