"""The data models of the contract: what REST rows and events carry."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from contract.units import (
    AudioFile,
    Count,
    DeviceId,
    Fraction,
    Identifier,
    Mode,
    Name,
    Percent,
    Role,
    Seconds,
    Severity,
    Text,
    Timestamp,
    UptimeS,
)

BoundingBox = tuple[Fraction, Fraction, Fraction, Fraction]
"""`[x, y, width, height]`, normalised to the picture, origin top left."""

TemperatureC = Annotated[float, Meta(ge=-60.0, le=200.0, description="°C")]
SignalDbm = Annotated[int, Meta(ge=-150, le=0, description="dBm")]


class Telemetry(Struct, frozen=True, kw_only=True):
    """The whole state of the robot. A reading that is not known is null, never a made-up number."""

    battery: Percent | None = None
    temperature: TemperatureC | None = None
    mode: Mode | None = None
    dog_detected: bool | None = None
    current_behavior: str | None = None
    confidence: Fraction | None = None
    is_charging: bool | None = None
    treats_remaining: Count | None = None
    last_treat_time: Timestamp | None = None
    active_mission_id: str | None = None
    wifi_strength: SignalDbm | None = None
    uptime_seconds: UptimeS


class Status(Struct, frozen=True, kw_only=True):
    """Data of the `status` event and of the `get_status` command."""

    battery: Percent | None = None
    temperature: TemperatureC | None = None
    mode: Mode | None = None
    is_charging: bool | None = None
    treats_remaining: Count | None = None


def status_of(telemetry: Telemetry) -> Status:
    """The part of the telemetry that the `status` event carries."""
    return Status(
        battery=telemetry.battery,
        temperature=telemetry.temperature,
        mode=telemetry.mode,
        is_charging=telemetry.is_charging,
        treats_remaining=telemetry.treats_remaining,
    )


class Mission(Struct, frozen=True, kw_only=True):
    """A training mission and how it stands."""

    id: Identifier
    name: Name
    description: Text
    target_behavior: str
    required_duration: Seconds
    cooldown_seconds: Seconds
    daily_limit: Count
    is_active: bool
    rewards_given: Count
    progress: Fraction
    success_count: Count
    fail_count: Count
    created_at: Timestamp
    last_run: Timestamp | None = None


class Detection(Struct, frozen=True, kw_only=True):
    """What the detector sees. Data of the `detection` event."""

    detected: bool
    behavior: str | None = None
    confidence: Fraction | None = None
    bbox: BoundingBox | None = None
    timestamp: Timestamp


class TreatEvent(Struct, frozen=True, kw_only=True):
    """Data of the `treat` event. `confirmed` tells whether the beam saw the treat fall."""

    dispensed: bool
    remaining: Count
    confirmed: bool | UnsetType = UNSET


class MissionEvent(Struct, frozen=True, kw_only=True):
    """Data of the `mission` event."""

    id: Identifier
    status: str
    progress: Fraction
    rewards_given: Count
    success_count: Count
    fail_count: Count


class ErrorEvent(Struct, frozen=True, kw_only=True):
    """Data of the `error` event: LOW_BATTERY, OVERHEAT, MOTOR_FAULT, CAMERA_FAULT, NETWORK_ERROR, TREAT_JAM …"""

    code: str
    message: str
    severity: Severity


class DeviceStatus(Struct, frozen=True, kw_only=True):
    """Data of the relay's `device_status` event."""

    device_id: DeviceId
    is_online: bool


class Device(Struct, frozen=True, kw_only=True):
    """A robot as the relay knows it."""

    device_id: DeviceId
    name: Name
    owner_id: str | None
    is_online: bool
    last_seen: Timestamp | None
    firmware_version: str | None
    local_ip: str | None
    role: Role | UnsetType = UNSET


class User(Struct, frozen=True, kw_only=True):
    """An account of the relay."""

    user_id: str
    email: str
    devices: list[Device]
    created_at: Timestamp


class AudioFiles(Struct, frozen=True):
    files: list[AudioFile]


EVENT_DATA: dict[str, type[Struct]] = {
    "detection": Detection,
    "status": Status,
    "treat": TreatEvent,
    "mission": MissionEvent,
    "error": ErrorEvent,
    "device_status": DeviceStatus,
}
"""Type of `data` of every event the contract names."""
