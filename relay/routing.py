"""What a message means: given who sent it, the list of things to do. Pure: no socket, no clock, no database.

The envelope is decoded partly and the payload goes on as it came, except that commands are rebuilt from their
validated fields, so that nobody can put a role or a user of their own choice into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from contract import commands, frames, validate
from contract.commands import CommandResult, CommandSpec
from contract.errors import STATUS_OF_CODE, ContractError
from contract.units import Role
from relay.store import NewEvent

ROLE_RANK: Mapping[str, int] = {"viewer": 0, "driver": 1, "owner": 2}
MAX_EVENT_NAME = 64
MAX_BRACKETS = 64
"""A message with fewer brackets cannot be nested too deeply; others are checked in full."""
F = TypeVar("F", bound=frames.Frame)


class Envelope(Struct, frozen=True, gc=False):
    """The part of a message that routing needs."""

    type: str | UnsetType = UNSET
    command: str | UnsetType = UNSET
    event: str | UnsetType = UNSET
    device_id: str | UnsetType | None = UNSET
    id: str | int | UnsetType | None = UNSET
    session_id: str | UnsetType = UNSET
    session: str | UnsetType = UNSET
    t: float | UnsetType | None = UNSET
    data: Raw | UnsetType = UNSET


_envelope = msgspec.json.Decoder(Envelope)
_motor = msgspec.json.Decoder(commands.Motor)
_encode = msgspec.json.Encoder().encode


# -- what to do -----------------------------------------------------------------------------------


class Reply(NamedTuple):
    """Send this back to the sender."""

    payload: bytes


class ToRobot(NamedTuple):
    """Send a command to a robot.

    Attributes:
        device_id: which.
        payload: the command in its wrapped form.
        key: motion without an id: replaces an unsent one with the same key.
        urgent: goes before everything else.
        command: its name as the sender wrote it.
        id: the sender's; None when no result is wanted.
    """

    device_id: str
    payload: bytes
    key: str | None
    urgent: bool
    command: str
    id: str | int | None


class Watch(NamedTuple):
    """Open a video session with this robot."""

    device_id: str


class Signal(NamedTuple):
    """Hand a signalling frame to the other end of the session; `ends` the session."""

    session_id: str
    payload: bytes
    ends: bool


class Status(NamedTuple):
    """Answer whether the robots are there; None: any of them."""

    device_id: str | None


class History(NamedTuple):
    """Send the robot's events after this one."""

    device_id: str
    after: int


class ToAudience(NamedTuple):
    """Send to every app session of those who may see the robot."""

    payload: bytes


class Store(NamedTuple):
    """Put into the history, acknowledge, then send `payload` to the audience with its `seq`."""

    event: NewEvent
    payload: bytes


class Result(NamedTuple):
    """Hand the result of a command to the session that asked; `session` when the robot says which."""

    id: str | int
    session: str | None
    payload: bytes


class Seen(NamedTuple):
    """The robot tells about itself."""

    version: str | None
    local_ip: str | None


class ShowCode(NamedTuple):
    """The robot wants a pairing code to show."""


class Unknown(NamedTuple):
    """A frame that means nothing here (robots in the field send some); counted."""


AppAction = Reply | ToRobot | Watch | Signal | Status | History
RobotAction = Reply | ToAudience | Store | Signal | Result | Seen | ShowCode | Unknown


@dataclass
class AppSender:
    """An app session, as far as routing goes.

    Attributes:
        session_id: the relay's name for it.
        user_id: whose it is.
        roles: the robots it may use, and as what.
        webrtc: its video sessions, and with which robot each is.
        ended: its last sessions that are over; late frames of theirs are dropped without a complaint.
    """

    session_id: str
    user_id: str
    roles: dict[str, Role]
    webrtc: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    _tails: dict[str, bytes] = field(default_factory=dict)

    def set_roles(self, roles: dict[str, Role]) -> None:
        self.roles = roles
        self._tails.clear()

    def tail(self, device_id: str) -> bytes:
        """The fields that the relay adds to a command for this robot."""
        tail = self._tails.get(device_id)
        if tail is None:
            added = {
                "device_id": device_id,
                "user_id": self.user_id,
                "role": self.roles[device_id],
                "session": self.session_id,
            }
            tail = self._tails[device_id] = b"," + _encode(added)[1:-1]
        return tail


# -- from an app ----------------------------------------------------------------------------------


def route_app(sender: AppSender, data: bytes, wall_ms: int) -> AppAction | None:
    """What an app's message asks for; None: nothing.

    Args:
        sender: who.
        data: the message.
        wall_ms: wall-clock, milliseconds, that goes with a command (field robots expect it).
    """
    try:
        envelope = _open(data)
        if envelope.command is not UNSET and envelope.type in (UNSET, "command"):
            return _app_command(sender, envelope, data, wall_ms)
        return _app_frame(sender, envelope, data)
    except ContractError as error:
        return Reply(error_frame(error))


def _open(data: bytes) -> Envelope:
    try:
        envelope = _envelope.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        validate.decode_json(data)
        return validate.decode(Envelope, data)
    if data.count(b"{") + data.count(b"[") > MAX_BRACKETS:
        validate.convert(dict[str, Any], validate.decode_json(data))
    return envelope


def _app_command(sender: AppSender, envelope: Envelope, data: bytes, wall_ms: int) -> AppAction:
    name = envelope.command
    assert name is not UNSET
    wanted_id = None if envelope.id is UNSET else envelope.id
    try:
        spec, body, t_ms = _command(envelope, name, data)
        device_id = choose_device(sender.roles, envelope.device_id or None)
        role = sender.roles[device_id]
        if not may(role, spec):
            raise not_in_this_role(role, spec)
    except ContractError as error:
        return Reply(refusal(error, name, wanted_id, envelope.device_id or None))
    parts = [b'{"type":"command","command":"', name.encode(), b'","data":', body, sender.tail(device_id)]
    parts.append(b',"timestamp":%d' % wall_ms)
    if wanted_id is not None:
        parts += (b',"id":', _encode(wanted_id))
    if t_ms is not None:
        parts += (b',"t":', _encode(t_ms))
    parts.append(b"}")
    key = f"{spec.name}:{sender.session_id}" if spec.motion and wanted_id is None else None
    return ToRobot(device_id, b"".join(parts), key, spec.urgent, name, wanted_id)


def _command(envelope: Envelope, name: str, data: bytes) -> tuple[CommandSpec, bytes, float | None]:
    """The command's row, its validated fields as JSON, and the sender's clock."""
    spec = commands.find(name)
    if spec.name == "motor" and not isinstance(envelope.id, str | int):
        fields = data if envelope.data is UNSET else envelope.data
        try:
            return spec, _encode(_motor.decode(fields)), envelope.t or None
        except (msgspec.MsgspecError, RecursionError):
            pass  # the full check below finds the words for what is wrong
    command = commands.parse(validate.convert(dict[str, Any], validate.decode_json(data)))
    body = {key: value for key, value in msgspec.to_builtins(command.body).items() if value is not None}
    return command.spec, _encode(body), command.t_ms


def may(role: Role, spec: CommandSpec) -> bool:
    """Whether the table lets that role send the command."""
    return ROLE_RANK[role] >= ROLE_RANK[spec.role]


def not_in_this_role(role: Role, spec: CommandSpec) -> ContractError:
    return ContractError("NOT_AUTHORIZED", f"As {role} you may not send {spec.name}: it takes at least a {spec.role}.")


def choose_device(roles: Mapping[str, Role], device_id: str | None) -> str:
    """The robot that is meant: the one named, or the only one there is.

    Raises:
        ContractError: NOT_AUTHORIZED, NOT_PAIRED or NO_DEVICE.
    """
    if device_id is not None:
        if device_id not in roles:
            raise ContractError("NOT_AUTHORIZED", "This robot is not one of yours.")
        return device_id
    if not roles:
        raise ContractError("NOT_PAIRED", "You have no robot yet. Pair one with the code that it shows.")
    if len(roles) > 1:
        raise ContractError("NO_DEVICE", f"You have {len(roles)} robots. Say which by device_id.")
    return next(iter(roles))


def _app_frame(sender: AppSender, envelope: Envelope, data: bytes) -> AppAction | None:
    kind = envelope.type
    if kind == "ping":
        return Reply(pong(validate.decode(frames.Ping, data)))
    if kind == "get_status":
        asked = validate.decode(frames.GetStatus, data).device_id
        return Status(choose_device(sender.roles, asked) if asked is not None else None)
    if kind == "catch_up":
        wanted = validate.decode(frames.CatchUp, data)
        return History(choose_device(sender.roles, wanted.device_id), wanted.after)
    if kind == "session_hello":
        hello = validate.decode(frames.SessionHello, data)
        return Reply(_encode(frames.SessionAck(session_id=hello.session_id)))
    if kind == "webrtc_request":
        return Watch(choose_device(sender.roles, validate.decode(frames.WebrtcWatch, data).device_id))
    if kind in ("webrtc_answer", "webrtc_ice", "webrtc_close"):
        return _app_signal(sender, str(kind), data)
    if kind in ("auth", "pong"):
        return None  # it is signed in; a pong is life enough
    accepted = ", ".join(str(type_.__struct_config__.tag) for type_ in frames.APP_TO_RELAY)
    raise ContractError("INVALID_PARAMETER", f"The message is neither a command nor one of the types {accepted}.")


_APP_SIGNALS: Mapping[str, type[frames.WebrtcAnswer | frames.WebrtcIce | frames.WebrtcClose]] = {
    "webrtc_answer": frames.WebrtcAnswer,
    "webrtc_ice": frames.WebrtcIce,
    "webrtc_close": frames.WebrtcClose,
}


def _app_signal(sender: AppSender, kind: str, data: bytes) -> AppAction | None:
    frame = validate.decode(_APP_SIGNALS[kind], data)
    if frame.session_id in sender.webrtc:
        return Signal(frame.session_id, data, ends=kind == "webrtc_close")
    if frame.session_id in sender.ended:
        return None
    error = ContractError("NOT_AUTHORIZED", "This video session is not yours. Ask for one with webrtc_request.")
    return Reply(error_frame(error, session_id=frame.session_id))


# -- from a robot ---------------------------------------------------------------------------------


def route_robot(device_id: str, data: bytes, now: datetime) -> RobotAction:
    """What a robot's message asks for.

    Args:
        device_id: who.
        data: the message.
        now: wall-clock, for events that carry no time.
    """
    try:
        envelope = _open(data)
        if envelope.device_id not in (UNSET, None, device_id):
            raise ContractError("NOT_AUTHORIZED", f"This connection is that of {device_id}; speak for no other robot.")
        if envelope.event is not UNSET:
            return _robot_event(device_id, envelope, data, now)
        if envelope.type is UNSET:
            raise ContractError("INVALID_PARAMETER", "The message has neither `type` nor `event`.")
        return _robot_frame(device_id, envelope, data)
    except ContractError as error:
        return Reply(error_frame(error))


def _robot_event(device_id: str, envelope: Envelope, data: bytes, now: datetime) -> RobotAction:
    assert envelope.event is not UNSET
    if not 1 <= len(envelope.event) <= MAX_EVENT_NAME:
        raise ContractError("INVALID_PARAMETER", f"`event` has to be 1 to {MAX_EVENT_NAME} characters.")
    payload = _with_device(envelope, data, device_id)
    if envelope.id is UNSET or envelope.id is None:
        return ToAudience(payload)
    message = validate.convert(dict[str, Any], validate.decode_json(data))
    event = validate.convert(frames.Event, message)
    assert isinstance(event.id, str)
    if b"\\u0000" in data:
        raise ContractError("INVALID_PARAMETER", "Text with U+0000 cannot be stored.")
    fields = event.data if "data" in message else {k: v for k, v in message.items() if k not in _EVENT_FIELDS}
    return Store(NewEvent(device_id, event.id, event.event, fields, _happened(event.timestamp, now)), payload)


_EVENT_FIELDS = frozenset({"event", "type", "device_id", "id", "timestamp", "seq"})


def _happened(timestamp: str | float | None, now: datetime) -> str:
    if isinstance(timestamp, str) and timestamp:
        return timestamp
    if isinstance(timestamp, int | float):
        seconds = timestamp / 1000 if timestamp > 1e11 else timestamp
        try:
            return iso(datetime.fromtimestamp(seconds, UTC))
        except (ValueError, OverflowError, OSError):
            return iso(now)  # no calendar holds it
    return iso(now)


def _robot_frame(device_id: str, envelope: Envelope, data: bytes) -> RobotAction:
    kind = envelope.type
    if kind == "ping":
        return Reply(pong(validate.decode(frames.Ping, data)))
    if kind in ("webrtc_offer", "webrtc_ice"):
        signal: type[frames.WebrtcOffer | frames.WebrtcIce]
        signal = frames.WebrtcOffer if kind == "webrtc_offer" else frames.WebrtcIce
        return Signal(validate.decode(signal, data).session_id, data, ends=False)
    if kind == "webrtc_close":
        return Signal(validate.decode(frames.WebrtcClose, data).session_id, data, ends=True)
    if kind == "webrtc_error":
        failure = validate.decode(frames.WebrtcError, data)
        code = failure.code if failure.code in STATUS_OF_CODE else "UNAVAILABLE"
        error = ContractError(code, failure.error)
        told = error_frame(error, session_id=failure.session_id, device_id=device_id)
        return Signal(failure.session_id, told, ends=True)
    if kind == "command_result":
        result = validate.decode(CommandResult, data)
        return Result(result.id, envelope.session if envelope.session is not UNSET else None, data)
    if kind in ("mode_changed", "battery"):
        return ToAudience(_with_device(envelope, data, device_id))
    if kind == "robot_connected":
        hello = validate.decode(frames.RobotConnected, data)
        return Seen(hello.version, hello.local_ip)
    if kind == "get_profiles":
        return Reply(_encode(PROFILES))
    if kind == "get_pairing_code":
        return ShowCode()
    return Unknown()


PROFILES = {"type": "profiles", "profiles": list[Any]()}
"""Dog profiles are not kept by the relay; field robots ask for them and wait for a list."""


# -- making messages ------------------------------------------------------------------------------


def _with_device(envelope: Envelope, data: bytes, device_id: str) -> bytes:
    if envelope.device_id == device_id:
        return data
    return added(data, b'"device_id":' + _encode(device_id))


def added(data: bytes, member: bytes) -> bytes:
    """The JSON object (which is not empty) with one more member; it wins over one of the same name before it."""
    return data.rstrip()[:-1] + b"," + member + b"}"


def flattened(payload: bytes) -> bytes:
    """A wrapped command in the flat form of contract v1.0, under its contract name."""
    message = msgspec.json.decode(payload)
    flat = {"command": commands.find(message["command"]).name, **message["data"]}
    return _encode(flat)


def pong(ping: frames.Ping) -> bytes:
    return _encode(frames.Pong(t=ping.t))


def error_frame(
    error: ContractError,
    *,
    id: str | int | None = None,
    command: str | None = None,
    device_id: str | None = None,
    session_id: str | None = None,
) -> bytes:
    """The error as a frame."""
    return _encode(
        frames.Error(
            code=error.code,
            message=error.message,
            id=id,
            command=command,
            device_id=device_id,
            session_id=session_id,
            server_time=error.server_time,
            retry_after_s=error.retry_after_s,
        )
    )


def refusal(error: ContractError, command: str, id: str | int | None, device_id: str | None = None) -> bytes:
    """What the sender of a refused command gets: its one result, or an error frame when it asked for no result."""
    if id is None:
        return error_frame(error, command=command[:64], device_id=device_id)
    return _encode(CommandResult(id=id, command=command[:64], success=False, error=error.body))


def device_status(device_id: str, online: bool, now: datetime, role: Role) -> bytes:
    """Whether a robot is there, with the members that apps in the field look for, and what the account is to it."""
    return _encode(
        {
            "event": "device_status",
            "type": "device_status",
            "device_id": device_id,
            "status": "online" if online else "offline",
            "online": online,
            "role": role,
            "data": {"device_id": device_id, "is_online": online},
            "timestamp": iso(now),
        }
    )


def iso(moment: datetime) -> str:
    """ISO-8601 UTC, as the contract writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
