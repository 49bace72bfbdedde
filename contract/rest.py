"""THE tables of REST rows, robot and relay: bodies, replies and errors. Documents and tests are derived from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from contract import commands
from contract.commands import COMMANDS, CommandSpec
from contract.frames import IceServers, StoredEvent
from contract.models import (
    AudioCurrent,
    AudioFiles,
    Device,
    HistoryQuery,
    Mission,
    ModeNow,
    SnapshotList,
    Telemetry,
    TelemetryHistory,
    User,
)
from contract.units import (
    AudioFile,
    ColorByte,
    Count,
    DeviceId,
    Email,
    LedPattern,
    Name,
    NewPassword,
    PageLimit,
    PairingCode,
    PanDeg,
    Password,
    PlayState,
    Role,
    Sequence,
    ShareCode,
    SharedRole,
    TiltDeg,
    Timestamp,
    Token,
    TtlS,
)


class Health(Struct, frozen=True):
    status: str = "ok"


class Success(Struct, frozen=True):
    success: bool = True


class PanAngle(Struct, frozen=True):
    angle: PanDeg


class TiltAngle(Struct, frozen=True):
    angle: TiltDeg


class LedPatternBody(Struct, frozen=True):
    pattern: LedPattern


class LedColorBody(Struct, frozen=True):
    r: ColorByte
    g: ColorByte
    b: ColorByte


class TreatReply(Struct, frozen=True, kw_only=True):
    success: bool = True
    remaining: Count
    confirmed: bool


class AudioReply(Struct, frozen=True, kw_only=True):
    success: bool = True
    state: PlayState
    file: AudioFile | None


class RefillReply(Struct, frozen=True, kw_only=True):
    success: bool = True
    remaining: Count


class PairingState(Struct, frozen=True):
    """Whether the robot has an owner, and the code to type where it has none."""

    paired: bool | None
    code: str | None
    expires_in_s: Count | None
    relay: str
    """How the link to the relay stands: "connected", "connecting", "off", or why it was refused."""


class TokenBody(Struct, frozen=True):
    token: Token


@dataclass(frozen=True)
class Row:
    """One REST row.

    Attributes:
        method: HTTP method.
        path: path with `{name}` parameters.
        summary: one line for people.
        body: type of the JSON body; None when there is none.
        query: type of the query parameters; None when there are none.
        reply: type of the JSON reply; None for pictures and streams (see `media`).
        media: content type of the reply.
        command: the command that the row carries out, if it is one.
        make: builds the command's fields from the body and the path parameters.
        auth: whether a token is needed.
        codes: the error codes it may answer with, beside those every row may.
        pick: what of the command's result the row replies; None: all of it.
    """

    method: str
    path: str
    summary: str
    body: type[Struct] | None = None
    reply: Any = Success
    media: str = "application/json"
    command: CommandSpec | None = None
    make: Callable[[Any, dict[str, str]], Struct] | None = None
    auth: bool = True
    codes: tuple[str, ...] = ()
    query: type[Struct] | None = None
    pick: Callable[[Any], Any] | None = None


def _same(body: Any, params: dict[str, str]) -> Struct:
    return body  # type: ignore[no-any-return]


def _command(
    method_path: str,
    name: str,
    summary: str,
    make: Callable[[Any, dict[str, str]], Struct] | None = None,
    body: type[Struct] | None = None,
    reply: Any = Success,
    codes: tuple[str, ...] = (),
    pick: Callable[[Any], Any] | None = None,
) -> Row:
    """A row that carries out the command `name`; without `make`, its body is the command's own."""
    method, path = method_path.split(" ")
    spec = COMMANDS[name]
    if make is None and spec.body is not commands.Nothing:
        body = spec.body
    return Row(
        method=method,
        path=path,
        summary=summary,
        body=body,
        reply=reply,
        command=spec,
        make=make or (_same if body else lambda body, params: commands.Nothing()),
        codes=("UNAVAILABLE", "RATE_LIMITED", *codes),
        pick=pick,
    )


MOVING = ("EMERGENCY_STOPPED", "BUSY", "MOTOR_FAULT")
"""What may come of asking motors or head to move."""
PLAYING = ("NOT_FOUND", "SUPERSEDED", "AUDIO_UNAVAILABLE")
"""What may come of asking for a sound."""

ROBOT_ROWS: tuple[Row, ...] = (
    Row("GET", "/health", "Is the robot's server alive", reply=Health, auth=False),
    Row("GET", "/telemetry", "Full state of the robot", reply=Telemetry, codes=("UNAVAILABLE",)),
    Row("GET", "/telemetry/history", "Readings of the latest day, a minute apart", reply=TelemetryHistory, codes=("UNAVAILABLE",), query=HistoryQuery),
    _command("POST /motor/speed", "motor", "Set the speed of both tracks", codes=("EMERGENCY_STOPPED", "LOW_BATTERY", "BUSY", "MOTOR_FAULT")),
    _command("POST /motor/stop", "stop", "Stop both motors"),
    _command("POST /motor/emergency", "emergency_stop", "Emergency stop; latches until released"),
    _command("POST /motor/release", "release", "Release the emergency stop", codes=("EMERGENCY_STOPPED",)),
    Row("GET", "/camera/stream", "MJPEG video", reply=None, media="multipart/x-mixed-replace; boundary=frame", codes=("UNAVAILABLE", "CAMERA_FAULT")),
    Row("GET", "/camera/snapshot", "One JPEG picture", reply=None, media="image/jpeg", codes=("UNAVAILABLE", "CAMERA_FAULT")),
    _command("POST /servo/pan", "servo", "Set the pan angle", lambda body, params: commands.Servo(pan=body.angle), PanAngle, codes=MOVING),
    _command("POST /servo/tilt", "servo", "Set the tilt angle", lambda body, params: commands.Servo(tilt=body.angle), TiltAngle, codes=MOVING),
    _command("POST /servo/center", "servo_center", "Centre the camera", codes=MOVING),
    _command("POST /treat/dispense", "treat", "Dispense one treat", reply=TreatReply, codes=("EMPTY", "BUSY", "CONFLICT", "COOLDOWN", "DAILY_LIMIT", "TREAT_JAM")),
    _command("POST /treat/refill", "treat_refill", "Tell how many treats are in the carousel now", reply=RefillReply, codes=("BUSY",)),
    _command("POST /treat/carousel/rotate", "carousel_rotate", "Rotate the carousel by one slot", codes=("BUSY", "TREAT_JAM")),
    _command("POST /led/pattern", "led", "Show an LED pattern", lambda body, params: commands.Led(pattern=body.pattern), LedPatternBody),
    _command("POST /led/color", "led", "Show one colour", lambda body, params: commands.Led(r=body.r, g=body.g, b=body.b), LedColorBody),
    _command("POST /led/off", "led", "Turn the LEDs off", lambda body, params: commands.Led(pattern="off")),
    _command("POST /audio/play", "audio", "Play an audio file; another one ends", codes=PLAYING),
    _command("POST /audio/stop", "audio_stop", "Stop playback"),
    _command("POST /audio/toggle", "audio_toggle", "Pause, go on, or play the last file again", reply=AudioReply, codes=PLAYING),
    _command("POST /audio/next", "audio_next", "Play the next file", reply=AudioReply, codes=PLAYING),
    _command("POST /audio/previous", "audio_previous", "Play the previous file", reply=AudioReply, codes=PLAYING),
    _command("POST /audio/volume", "audio_volume", "Set the volume"),
    _command("GET /audio/files", "audio_files", "List the audio files", reply=AudioFiles, codes=("AUDIO_UNAVAILABLE",)),
    _command("GET /audio/current", "audio_current", "What is played", reply=AudioCurrent),
    _command("GET /mode/get", "mode_get", "Get the mode, and why it is that", reply=ModeNow),
    _command("POST /mode/set", "mode", "Set the mode; `manual` also releases the emergency stop", codes=("NOT_FITTED", "EMERGENCY_STOPPED")),
    _command("GET /missions", "mission_list", "List all missions", reply=list[Mission], pick=lambda result: result.missions),
    _command("GET /missions/active", "mission_list", "The active mission, or null", reply=Mission | None, pick=lambda result: next((mission for mission in result.missions if mission.is_active), None)),
    _command("GET /missions/{id}", "mission_get", "One mission", lambda body, params: commands.MissionRef(params["id"]), reply=Mission, codes=("NOT_FOUND",)),
    _command("POST /missions/{id}/start", "mission_start", "Start a mission", lambda body, params: commands.MissionRef(params["id"]), codes=("NOT_FOUND", "CONFLICT", "EMERGENCY_STOPPED", "DAILY_LIMIT")),
    _command("POST /missions/{id}/stop", "mission_stop", "Stop a mission", lambda body, params: commands.MissionRef(params["id"]), codes=("NOT_FOUND",)),
    Row("GET", "/snapshots", "The pictures that guardian kept", reply=SnapshotList, codes=("UNAVAILABLE",)),
    Row("GET", "/snapshots/{name}", "One of them", reply=None, media="image/jpeg", codes=("NOT_FOUND", "UNAVAILABLE")),
    Row("GET", "/pairing", "The pairing code to type into the app", reply=PairingState, codes=("UNAVAILABLE",)),
    Row("POST", "/session", "Exchange the robot's token for a cookie", body=TokenBody, auth=False),
    Row("DELETE", "/session", "Forget the cookie", auth=False),
)  # fmt: skip
"""The robot's REST API, in the order of the contract; then what this robot adds."""


class Register(Struct, frozen=True):
    email: Email
    password: NewPassword


class Login(Struct, frozen=True):
    email: Email
    password: Password


class LoginReply(Struct, frozen=True):
    token: str
    expires_in: Count
    user_id: str


class PasswordCheck(Struct, frozen=True):
    password: Password


class PasswordChange(Struct, frozen=True):
    password: Password
    new_password: NewPassword


class Validated(Struct, frozen=True):
    valid: bool
    user_id: str
    email: str


class DeviceRegister(Struct, frozen=True):
    device_id: DeviceId
    firmware_version: str | None = None


class DeviceRegistered(Struct, frozen=True, kw_only=True):
    success: bool = True
    websocket_url: str


class Pair(Struct, frozen=True):
    pairing_code: PairingCode


class PairReply(Struct, frozen=True, kw_only=True):
    success: bool = True
    device_id: str


class ShareRequest(Struct, frozen=True):
    role: SharedRole = "viewer"


class ShareOffer(Struct, frozen=True):
    """A code for one other person. It is shown this once; a newer one for the same role ends it."""

    share_code: ShareCode
    role: SharedRole
    expires_in_s: Count


class Join(Struct, frozen=True):
    share_code: ShareCode


class JoinReply(Struct, frozen=True, kw_only=True):
    success: bool = True
    device_id: str
    role: Role


class RoleChange(Struct, frozen=True):
    role: SharedRole


class Member(Struct, frozen=True):
    """An account that may use a robot; `since` is null for the owner."""

    user_id: str
    email: str
    role: Role
    since: Timestamp | None


class Invitation(Struct, frozen=True):
    """A share code that has not been used."""

    role: SharedRole
    expires_at: Timestamp


class MemberList(Struct, frozen=True):
    """The owner first, then by e-mail."""

    members: list[Member]
    invitations: list[Invitation]


class DeviceRef(Struct, frozen=True):
    device_id: DeviceId


class Rename(Struct, frozen=True):
    name: Name


class DeviceList(Struct, frozen=True):
    devices: list[Device]


class TurnRequest(Struct, frozen=True):
    ttl: TtlS = 86_400


class EventQuery(Struct, frozen=True):
    """Which part of the history. Without `after`: the latest `limit` events. The page is always oldest first.

    `after` and `before` are cursors of one robot; `type` is the name of the event.
    """

    device_id: DeviceId | None = None
    type: Name | None = None
    after: Sequence | None = None
    before: Sequence | None = None
    limit: PageLimit = 50


class EventPage(Struct, frozen=True):
    events: list[StoredEvent]
    next_after: Sequence | None = None


class Readiness(Struct, frozen=True):
    ready: bool
    checks: dict[str, str]


DB = "UNAVAILABLE"
"""The database cannot be reached; or Redis, where attempts are counted."""

RELAY_ROWS: tuple[Row, ...] = (
    Row("GET", "/health", "Is the relay alive", reply=Health, auth=False),
    Row("GET", "/ready", "Can the relay serve: Postgres and Redis", reply=Readiness, auth=False),
    Row("GET", "/metrics", "Prometheus metrics", reply=None, media="text/plain; version=0.0.4", auth=False),
    Row("POST", "/api/auth/register", "Make an account", Register, LoginReply, auth=False, codes=("CONFLICT", "RATE_LIMITED", DB)),
    Row("POST", "/api/auth/login", "Sign in", Login, LoginReply, auth=False, codes=("RATE_LIMITED", DB)),
    Row("POST", "/api/auth/refresh", "A fresh token for one that is still good", reply=LoginReply, codes=(DB,)),
    Row("POST", "/api/auth/logout", "Sign out everywhere: all tokens and sockets of the account end", codes=(DB,)),
    Row("POST", "/api/auth/password", "Change the password: all other tokens and sockets end", PasswordChange, LoginReply, codes=("NOT_AUTHORIZED", "RATE_LIMITED", DB)),
    Row("GET", "/api/auth/me", "Who am I", reply=User, codes=(DB,)),
    Row("DELETE", "/api/auth/me", "Delete the account with all its data", PasswordCheck, codes=("NOT_AUTHORIZED", "RATE_LIMITED", DB)),
    Row("GET", "/api/auth/validate", "Is my token good (older apps)", reply=Validated, codes=(DB,)),
    Row("POST", "/api/device/register", "A robot announces itself (signed headers)", DeviceRegister, DeviceRegistered, auth=False, codes=("CLOCK_SKEW", "NOT_AUTHORIZED", DB)),
    Row("POST", "/api/device/pair", "Pair the robot that shows this code", Pair, PairReply, codes=("NOT_FOUND", "RATE_LIMITED", DB)),
    Row("POST", "/api/device/join", "Use a robot that somebody shares with me", Join, JoinReply, codes=("NOT_FOUND", "CONFLICT", "RATE_LIMITED", DB)),
    Row("GET", "/api/device/list", "My robots, and those shared with me", reply=DeviceList, codes=(DB,)),
    Row("GET", "/api/device/{device_id}", "One of my robots", reply=Device, codes=("NOT_FOUND", DB)),
    Row("PATCH", "/api/device/{device_id}", "Rename a robot (its owner)", Rename, Device, codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("DELETE", "/api/device/{device_id}", "Unpair a robot, and end all sharing (its owner)", codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("POST", "/api/device/{device_id}/share", "A code with which one other person may use the robot (its owner)", ShareRequest, ShareOffer, codes=("NOT_FOUND", "NOT_AUTHORIZED", "CONFLICT", DB)),
    Row("DELETE", "/api/device/{device_id}/share", "Withdraw all share codes (its owner)", codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("GET", "/api/device/{device_id}/members", "Who may use the robot (its owner)", reply=MemberList, codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("PATCH", "/api/device/{device_id}/members/{user_id}", "Give another role (its owner)", RoleChange, codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("DELETE", "/api/device/{device_id}/members/{user_id}", "Take somebody out (its owner), or leave", codes=("NOT_FOUND", "NOT_AUTHORIZED", DB)),
    Row("GET", "/api/user/devices", "My robots (older apps)", reply=DeviceList, codes=(DB,)),
    Row("POST", "/api/user/pair-device", "Pair by id (older apps); refused unless already mine", DeviceRef, PairReply, codes=("NOT_FOUND", DB)),
    Row("POST", "/api/user/unpair-device", "Unpair by id (older apps); who is no owner leaves", DeviceRef, codes=("NOT_FOUND", DB)),
    Row("POST", "/api/turn/credentials", "Short-lived ICE servers", TurnRequest, IceServers, codes=("TURN_ERROR", DB)),
    Row("GET", "/api/events", "History of events, paged by after= and limit=", reply=EventPage, codes=("NOT_FOUND", "NO_DEVICE", "NOT_PAIRED", DB), query=EventQuery),
)  # fmt: skip
"""The relay's REST API."""
