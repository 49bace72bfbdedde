"""The data models of the contract: what REST rows and events carry."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from contract.units import (
    AlertKind,
    AudioFile,
    Count,
    DeviceId,
    Fraction,
    Identifier,
    Mode,
    Name,
    Percent,
    PlayState,
    Role,
    Seconds,
    Severity,
    SnapshotName,
    Text,
    Timestamp,
    UptimeS,
    VolumePct,
)

BoundingBox = tuple[Fraction, Fraction, Fraction, Fraction]
"""`[x, y, width, height]`, normalised to the picture, origin top left."""

TemperatureC = Annotated[float, Meta(ge=-60.0, le=200.0, description="°C")]
Volts = Annotated[float, Meta(ge=0.0, le=100.0, description="V")]
Mebibytes = Annotated[int, Meta(ge=0, le=2**40, description="MiB")]
HistoryMinutes = Annotated[int, Meta(ge=1, le=1440, description="how many of the latest minutes")]
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
    battery_voltage: Volts | None = None
    undervoltage: bool | None = None
    throttled: bool | None = None
    disk_free_mib: Mebibytes | None = None
    memory_free: Percent | None = None
    emergency_stop: bool | None = None


class HistoryQuery(Struct, frozen=True):
    """How much of the history of the telemetry."""

    minutes: HistoryMinutes = 1440


class TelemetryHistory(Struct, frozen=True, kw_only=True):
    """Readings of the latest day, a minute apart while the robot runs, oldest first, as columns of one length.

    What was not known is null. Times may jump where the robot was off, or its clock was set.
    """

    step_s: Count
    timestamp: list[Timestamp]
    battery: list[Percent | None]
    battery_voltage: list[Volts | None]
    is_charging: list[bool | None]
    temperature: list[TemperatureC | None]
    wifi_strength: list[SignalDbm | None]
    disk_free_mib: list[Mebibytes | None]
    memory_free: list[Percent | None]
    treats_remaining: list[Count | None]


class Status(Struct, frozen=True, kw_only=True):
    """Data of the `status` event and of the `get_status` command."""

    battery: Percent | None = None
    temperature: TemperatureC | None = None
    mode: Mode | None = None
    is_charging: bool | None = None
    treats_remaining: Count | None = None
    emergency_stop: bool | None = None


def status_of(telemetry: Telemetry) -> Status:
    """The part of the telemetry that the `status` event carries."""
    return Status(
        battery=telemetry.battery,
        temperature=telemetry.temperature,
        mode=telemetry.mode,
        is_charging=telemetry.is_charging,
        treats_remaining=telemetry.treats_remaining,
        emergency_stop=telemetry.emergency_stop,
    )


class ModeNow(Struct, frozen=True, kw_only=True):
    """The mode, and why it is that.

    Attributes:
        reason: in words, for people.
        source: who changed it: `console`, `lan`, `datachannel`, `cloud`, `mission`, `safety`, or `start`.
        since: when.
    """

    mode: Mode
    reason: Text
    source: Name
    since: Timestamp


class Mission(Struct, frozen=True, kw_only=True):
    """A training mission and how it stands. Rewards, successes and fails are those of the robot's local day.

    `progress` is that of the run under way: the share of its treats, or of its time; 0 while there is none.
    """

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


class MissionList(Struct, frozen=True):
    """The missions, sorted by id. At most one is active."""

    missions: list[Mission]


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
    """Data of the `mission` event.

    `status`: `started`; `success`, `rewarded`, `unrewarded` (the dispenser refused the treat) and `fail` of one try;
    `completed`, `stopped` and `interrupted` (by a restart) at the end; `skipped`: a planned start that could not be.
    `reason` says more, where there is more to say.
    """

    id: Identifier
    status: str
    reason: Text | UnsetType = UNSET
    progress: Fraction
    rewards_given: Count
    success_count: Count
    fail_count: Count


class ModeEvent(Struct, frozen=True, kw_only=True):
    """Data of the `mode` event: the mode has changed. `reason` and `source` as in `ModeNow`."""

    mode: Mode
    previous: Mode
    reason: Text
    source: Name


class AlertEvent(Struct, frozen=True, kw_only=True):
    """Data of the `alert` event, in the mode `guardian`. `snapshot` names the picture, where one could be taken:
    GET `/snapshots/{name}`."""

    kind: AlertKind
    message: Text
    snapshot: SnapshotName | None


class SnapshotList(Struct, frozen=True):
    """Pictures that guardian kept, the oldest first."""

    snapshots: list[SnapshotName]


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
    """The sounds that can be played, sorted by name; at most 200."""

    files: list[AudioFile]


class AudioCurrent(Struct, frozen=True, kw_only=True):
    """What the robot plays. `file` is null while it is stopped, `duration_s` where the file does not tell."""

    state: PlayState
    file: AudioFile | None
    position_s: Seconds
    duration_s: Seconds | None
    volume: VolumePct


EVENT_DATA: dict[str, type[Struct]] = {
    "detection": Detection,
    "status": Status,
    "treat": TreatEvent,
    "mission": MissionEvent,
    "mode": ModeEvent,
    "alert": AlertEvent,
    "error": ErrorEvent,
    "device_status": DeviceStatus,
}
"""Type of `data` of every event the contract names."""
