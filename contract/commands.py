"""THE registry of commands. Every path (REST, robot `/ws`, data channel, relay, bus) takes its commands from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from contract.errors import ContractError
from contract.models import AudioCurrent, AudioFiles, Mission, MissionList, ModeNow, Status
from contract.units import (
    AudioFile,
    ColorByte,
    Count,
    DeviceId,
    Identifier,
    LedPattern,
    ModeName,
    PanDeg,
    RequestId,
    Role,
    SessionTimeMs,
    Speed,
    TiltDeg,
    VolumePct,
)
from contract.validate import convert


class Nothing(Struct, frozen=True):
    """No fields."""


class Motor(Struct, frozen=True):
    """Set the speed of both tracks. Repeat at 20 Hz: after 400 ms without a fresh one the motors stop."""

    left: Speed
    right: Speed


class Servo(Struct, frozen=True):
    """Point the camera. At least one of the angles."""

    pan: PanDeg | None = None
    tilt: TiltDeg | None = None

    def __post_init__(self) -> None:
        if self.pan is None and self.tilt is None:
            raise ValueError("Give pan (degrees, -90 to 90), tilt (degrees, -45 to 45), or both.")


class Led(Struct, frozen=True):
    """Show a pattern, or one colour: either `pattern`, or all of `r`, `g`, `b`."""

    pattern: LedPattern | None = None
    r: ColorByte | None = None
    g: ColorByte | None = None
    b: ColorByte | None = None

    def __post_init__(self) -> None:
        colours = [self.r, self.g, self.b]
        has_colour = all(colour is not None for colour in colours)
        if not has_colour and (self.pattern is None or any(colour is not None for colour in colours)):
            raise ValueError("Give either a pattern, or all of r, g and b (0 to 255).")


class Audio(Struct, frozen=True):
    """Play a sound from the robot's audio folder."""

    file: AudioFile


class Volume(Struct, frozen=True):
    """How loud sounds are, as heard: half the level sounds half as loud. Kept over restarts."""

    level: VolumePct


class ModeChange(Struct, frozen=True):
    mode: ModeName


class MissionRef(Struct, frozen=True):
    mission_id: Identifier


class Driven(Struct, frozen=True):
    """The duty really applied after clamp and ramp, each -1 to 1."""

    left: Speed
    right: Speed


class Pointed(Struct, frozen=True):
    """The angles the camera is moving to, in degrees."""

    pan: PanDeg
    tilt: TiltDeg


class Dispensed(Struct, frozen=True):
    """A treat was given. `confirmed` is false where no beam is fitted to see it fall."""

    remaining: Count
    confirmed: bool


class Refill(Struct, frozen=True):
    """The carousel was refilled: `count` treats are in it now, all told. More than it holds is refused."""

    count: Count


class Refilled(Struct, frozen=True):
    """The treats that are in the carousel now."""

    remaining: Count


@dataclass(frozen=True)
class CommandSpec:
    """One command, for all paths.

    Attributes:
        name: the name on the wire.
        body: type of its fields.
        service: the robot process that carries it out.
        result: type of `data` in the result; None when success says it all.
        aliases: other names that mean the same.
        role: the least role that may send it.
        motion: True for what is sent at a rate and must never be carried out late (latest wins, stale dropped).
        urgent: True for what travels the STOP lane.
        timeout_s: by when the result is due.
        rate_hz: how often one sender may send it; more is refused with RATE_LIMITED (urgent ones never are).
    """

    name: str
    body: type[Struct]
    service: str
    result: type[Struct] | None = None
    aliases: tuple[str, ...] = ()
    role: Role = "driver"
    motion: bool = False
    urgent: bool = False
    timeout_s: float = 2.0
    rate_hz: float = 10.0


_REGISTRY = (
    CommandSpec("motor", Motor, "motion", Driven, motion=True, timeout_s=0.4, rate_hz=60.0),
    CommandSpec("servo", Servo, "motion", Pointed, motion=True, timeout_s=0.4, rate_hz=60.0),
    CommandSpec("servo_center", Nothing, "motion", Pointed, aliases=("center",)),
    CommandSpec("stop", Nothing, "motion", role="viewer", urgent=True, timeout_s=0.4),
    CommandSpec("emergency_stop", Nothing, "motion", aliases=("emergency",), role="viewer", urgent=True, timeout_s=0.4),
    CommandSpec("release", Nothing, "motion"),
    CommandSpec("treat", Nothing, "dispenser", Dispensed, aliases=("dispense_treat",), timeout_s=15.0),
    CommandSpec("carousel_rotate", Nothing, "dispenser", timeout_s=10.0),
    CommandSpec("treat_refill", Refill, "dispenser", Refilled),
    CommandSpec("led", Led, "dispenser"),
    CommandSpec("audio", Audio, "audio", aliases=("play_audio",), timeout_s=5.0),
    CommandSpec("audio_stop", Nothing, "audio"),
    CommandSpec("audio_toggle", Nothing, "audio", AudioCurrent, timeout_s=5.0),
    CommandSpec("audio_next", Nothing, "audio", AudioCurrent, timeout_s=5.0),
    CommandSpec("audio_previous", Nothing, "audio", AudioCurrent, timeout_s=5.0),
    CommandSpec("audio_volume", Volume, "audio"),
    CommandSpec("audio_files", Nothing, "audio", AudioFiles, role="viewer"),
    CommandSpec("audio_current", Nothing, "audio", AudioCurrent, role="viewer"),
    CommandSpec("mode", ModeChange, "missions", aliases=("set_mode",)),
    CommandSpec("mode_get", Nothing, "missions", ModeNow, aliases=("get_mode",), role="viewer"),
    CommandSpec("mission_list", Nothing, "missions", MissionList, role="viewer"),
    CommandSpec("mission_get", MissionRef, "missions", Mission, role="viewer"),
    CommandSpec("mission_start", MissionRef, "missions"),
    CommandSpec("mission_stop", MissionRef, "missions"),
    CommandSpec("get_status", Nothing, "monitor", Status, role="viewer"),
)

COMMANDS: Mapping[str, CommandSpec] = {spec.name: spec for spec in _REGISTRY}
_BY_ANY_NAME: dict[str, CommandSpec] = dict(COMMANDS) | {alias: spec for spec in _REGISTRY for alias in spec.aliases}


class CommandFrame(Struct, frozen=True):
    """A command as apps send it: flat, or wrapped with `type` and `data`."""

    command: str
    type: str | UnsetType = UNSET
    data: dict[str, Any] | None = None
    device_id: DeviceId | None = None
    id: RequestId | None = None
    t: SessionTimeMs | None = None


class Relayed(Struct, frozen=True):
    """What the relay adds to a command on its way to the robot: who sent it, and by which app session."""

    session: Identifier | None = None
    user_id: Identifier | None = None
    role: Role | None = None


class CommandResult(Struct, frozen=True, kw_only=True, tag="command_result", omit_defaults=True):
    """Sent once for a command with an `id`, after it was carried out or refused. A robot adds the relay's `session`."""

    id: str | int
    command: str
    success: bool
    data: Any = None
    error: Any = None
    session: str | None = None


@dataclass(frozen=True)
class Command:
    """A validated command.

    Attributes:
        spec: its row in the registry.
        body: its fields, of type `spec.body`.
        id: the sender's id; None when the sender wants no result.
        device_id: which of the sender's robots; None when the sender has one.
        t_ms: the sender's own monotonic clock in ms, for staleness; None when not given.
    """

    spec: CommandSpec
    body: Struct
    id: str | int | None = None
    device_id: str | None = None
    t_ms: float | None = None

    def result(self, outcome: Struct | ContractError | None) -> CommandResult | None:
        """The `command_result` for an outcome, or None when the sender asked for none."""
        if self.id is None:
            return None
        if isinstance(outcome, ContractError):
            return CommandResult(id=self.id, command=self.spec.name, success=False, error=outcome.body)
        return CommandResult(id=self.id, command=self.spec.name, success=True, data=outcome)


def find(name: str) -> CommandSpec:
    """The command of that name or alias.

    Raises:
        ContractError: UNKNOWN_COMMAND, listing the commands there are.
    """
    spec = _BY_ANY_NAME.get(name)
    if spec is None:
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise ContractError(
            "UNKNOWN_COMMAND", f"There is no command {shown!r}. Accepted: {', '.join(sorted(COMMANDS))}."
        )
    return spec


def is_command(message: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a command, flat or wrapped."""
    return "command" in message and message.get("type", "command") == "command"


def parse(message: Mapping[str, Any]) -> Command:
    """Validate a command as apps send it.

    Accepts `{"command": NAME, …fields}` and `{"type":"command","command":NAME,"data":{…}}`.

    Raises:
        ContractError: UNKNOWN_COMMAND or INVALID_PARAMETER.
    """
    frame = convert(CommandFrame, message)
    spec = find(frame.command)
    fields = frame.data if frame.data is not None else message
    return Command(spec, convert(spec.body, fields), frame.id, frame.device_id, frame.t)


def flat(command: Command) -> dict[str, Any]:
    """The command as a flat JSON object, the form every robot understands."""
    message: dict[str, Any] = {"command": command.spec.name}
    fields = msgspec.to_builtins(command.body)
    message.update({key: value for key, value in fields.items() if value is not None})
    if command.id is not None:
        message["id"] = command.id
    if command.t_ms is not None:
        message["t"] = command.t_ms
    return message
