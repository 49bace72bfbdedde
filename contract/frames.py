"""The WebSocket frames of the contract, each a struct tagged by its `type`, and who may send which to whom."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from contract.units import (
    CandidateLine,
    Count,
    DeviceId,
    Identifier,
    LooseTimestamp,
    PairingCode,
    Role,
    Sdp,
    Sequence,
    Text,
    Timestamp,
    Token,
)

MAX_FRAME_BYTES = 65_536
"""Largest frame accepted on any socket (close 1009 beyond)."""

CLOSE_AUTH_FAILED = 4001
CLOSE_HEARTBEAT_LOST = 4002
CLOSE_SUPERSEDED = 4003
CLOSE_TOO_SLOW = 4008
CLOSE_TOO_LARGE = 1009
CLOSE_RESTARTING = 1012


class Frame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of every frame with a `type`."""


# -- anyone ---------------------------------------------------------------------------------------


class Auth(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="auth"):
    """First frame on `/ws`: an app gives `token`; a robot gives `device_id`, `timestamp` and `signature`."""

    token: Token | None = None
    device_id: DeviceId | None = None
    timestamp: int | None = None
    signature: Identifier | None = None


class AuthResult(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="auth_result"):
    success: bool
    user_id: str | None = None
    device_id: str | None = None


class Ping(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="ping"):
    """Keepalive; answered with `pong`, which carries the same `t` when one was given."""

    t: float | None = None


class Pong(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="pong"):
    t: float | None = None


class Error(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    """Something the receiver sent was refused, or its robot cannot be reached."""

    code: str
    message: str
    id: str | int | None = None
    command: str | None = None
    device_id: str | None = None
    session_id: str | None = None
    server_time: float | None = None
    retry_after_s: float | None = None


# -- WebRTC signalling ----------------------------------------------------------------------------


class IceServer(Struct, frozen=True, omit_defaults=True):
    urls: list[str] | str
    username: str | None = None
    credential: str | None = None


class IceServers(Struct, frozen=True):
    """What `RTCPeerConnection` takes as configuration; an empty list means host candidates only."""

    ice_servers: list[IceServer] = field(name="iceServers", default_factory=list)


class SessionDescription(Struct, frozen=True):
    type: Literal["offer", "answer"]
    sdp: Sdp


class IceCandidate(Struct, frozen=True):
    """As browsers give it. An empty `candidate` means that no more follow."""

    candidate: CandidateLine
    sdp_mid: str | None = field(name="sdpMid", default=None)
    sdp_mline_index: Annotated[int, Meta(ge=0, le=255)] | None = field(name="sdpMLineIndex", default=None)


class WebrtcWatch(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_request"):
    """App → relay: I want to watch. `device_id` chooses among several robots."""

    device_id: DeviceId | None = None


class WebrtcRequest(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_request"):
    """Relay → robot: offer video to this session. `ice_servers` is the object, or a bare list of servers."""

    session_id: Identifier
    ice_servers: IceServers | list[IceServer]
    user_id: str | None = None
    role: Role | None = None


class WebrtcCredentials(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_credentials"):
    """Relay → app: the session and its ICE servers; always before the offer."""

    session_id: Identifier
    ice_servers: IceServers


class WebrtcOffer(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_offer"):
    session_id: Identifier
    sdp: SessionDescription


class WebrtcAnswer(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_answer"):
    session_id: Identifier
    sdp: SessionDescription


class WebrtcIce(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_ice"):
    session_id: Identifier
    candidate: IceCandidate | None = None


class WebrtcClose(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_close"):
    """The session is over. Never echoed to whoever sent it."""

    session_id: Identifier
    reason: Text | None = None


class WebrtcError(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="webrtc_error"):
    """Robot → relay: the session could not be set up."""

    session_id: Identifier
    error: Text
    code: str | None = None


# -- app ↔ relay ----------------------------------------------------------------------------------


class StoredEvent(Struct, frozen=True):
    """An event in the history. `seq` grows by one per device and is the cursor."""

    seq: Sequence
    id: str
    device_id: str
    event: str
    data: dict[str, Any]
    timestamp: Timestamp


class SessionHello(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="session_hello"):
    session_id: Identifier
    device_id: DeviceId | None = None
    user_id: str | None = None
    last_seen_seq: Sequence = 0


class SessionAck(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="session_ack"):
    session_id: Identifier


class GetStatus(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="get_status"):
    device_id: DeviceId | None = None


class CatchUp(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="catch_up"):
    """App → relay: send me what happened after `after` (the `seq` of the last event that the app has; 0: all there is).

    Answered with `caught_up` pages. From the first page to the last, events of this robot come in the pages only; after
    the last they come by themselves again. So each comes once, in order.
    """

    device_id: DeviceId | None = None
    after: Sequence


class CaughtUp(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="caught_up"):
    """Relay → app: a page of the history, the oldest first; `more` follow without being asked for.

    `after` is the cursor before this page and `next_after` the one after it: by them an app knows whether the page
    follows what it has.
    """

    device_id: DeviceId
    after: Sequence
    events: list[StoredEvent]
    next_after: Sequence
    more: bool


class StatusResponse(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="status_response"):
    device_paired: bool
    robot_online: bool


# -- robot ↔ relay --------------------------------------------------------------------------------


class RobotConnected(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="robot_connected"):
    device_id: DeviceId | None = None
    version: str | None = None
    local_ip: str | None = None
    timestamp: LooseTimestamp = None


class RobotDisconnecting(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="robot_disconnecting"):
    device_id: DeviceId | None = None
    reason: Text | None = None


class Heartbeat(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="heartbeat"):
    device_id: DeviceId | None = None
    timestamp: LooseTimestamp = None


class GetProfiles(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="get_profiles"):
    device_id: DeviceId | None = None


class Profiles(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="profiles"):
    profiles: list[Any] = field(default_factory=list)


class UserConnected(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="user_connected"):
    """Relay → robot: someone looks now; robots in the field send no status without it."""

    user_id: str


class UserDisconnected(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="user_disconnected"):
    user_id: str


class AccessChanged(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="access_changed"):
    """Relay → robot: an account's role is another; None: it has none, or has signed out everywhere.

    What it has open in any other role ends, video too. The relay ends what it knows itself; this reaches sessions whose
    app or worker has gone.
    """

    user_id: Identifier
    role: Role | None = None


class SessionEnded(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="session_ended"):
    """Relay → robot: an app's socket is gone; what that session was driving has to stop."""

    session: Identifier


class CommandAck(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="command_ack"):
    """Robots in the field send it before the deed: it is never shown to an app as done."""

    command: str
    success: bool = True


class ModeChanged(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="mode_changed"):
    mode: str
    previous_mode: str | None = None
    locked: bool = False
    reason: Text | None = None


class Battery(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="battery"):
    level: float | None = None
    voltage: float | None = None
    charging: bool | None = None
    temperature: float | None = None
    mode: str | None = None


class EventAck(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="event_ack"):
    """Relay → robot: these events are stored; they need not be sent again."""

    ids: list[str]


class PairingCodeShown(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="pairing_code"):
    """Relay → robot without an owner: show this code."""

    code: PairingCode
    expires_in_s: Count


class Paired(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="paired"):
    """Relay → robot: whether it has an owner."""

    paired: bool


class GetPairingCode(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="get_pairing_code"):
    """Robot → relay: give me a new code to show."""


class Event(Struct, frozen=True, kw_only=True):
    """An event, robot → app. `data` has the type `contract.models.EVENT_DATA` gives for the name."""

    event: Annotated[str, Meta(min_length=1, max_length=64)]
    data: dict[str, Any] = field(default_factory=dict)
    timestamp: Timestamp | float | None = None
    device_id: DeviceId | UnsetType = UNSET
    id: Identifier | UnsetType = UNSET
    seq: Sequence | UnsetType = UNSET


APP_TO_RELAY: tuple[type[Frame], ...] = (
    Auth,
    Ping,
    SessionHello,
    GetStatus,
    CatchUp,
    WebrtcWatch,
    WebrtcAnswer,
    WebrtcIce,
    WebrtcClose,
)
RELAY_TO_APP: tuple[type[Frame], ...] = (
    AuthResult,
    Pong,
    Error,
    SessionAck,
    StatusResponse,
    CaughtUp,
    WebrtcCredentials,
    WebrtcOffer,
    WebrtcIce,
    WebrtcClose,
)
ROBOT_TO_RELAY: tuple[type[Frame], ...] = (
    Auth,
    Ping,
    RobotConnected,
    RobotDisconnecting,
    Heartbeat,
    GetProfiles,
    GetPairingCode,
    CommandAck,
    ModeChanged,
    Battery,
    WebrtcOffer,
    WebrtcIce,
    WebrtcError,
    WebrtcClose,
)
RELAY_TO_ROBOT: tuple[type[Frame], ...] = (
    AuthResult,
    Pong,
    Error,
    Profiles,
    UserConnected,
    UserDisconnected,
    SessionEnded,
    AccessChanged,
    EventAck,
    PairingCodeShown,
    Paired,
    WebrtcRequest,
    WebrtcAnswer,
    WebrtcIce,
    WebrtcClose,
)
APP_TO_ROBOT: tuple[type[Frame], ...] = (Auth, Ping, WebrtcWatch, WebrtcAnswer, WebrtcIce, WebrtcClose)
"""On the robot's own `/ws`, where the robot does what the relay does elsewhere."""
ROBOT_TO_APP: tuple[type[Frame], ...] = (
    AuthResult,
    Pong,
    Error,
    WebrtcCredentials,
    WebrtcOffer,
    WebrtcIce,
    WebrtcClose,
)
