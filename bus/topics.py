"""THE table of topics: what is said on the bus, by whom, and how."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from bus import messages
from bus.messages import Source
from contract.commands import COMMANDS, CommandSpec, Nothing
from contract.models import HistoryQuery, Telemetry, TelemetryHistory
from contract.units import Role

T = TypeVar("T", bound=Struct)

PROCESSES = (
    "simulator",
    "guard",
    "motion",
    "dispenser",
    "audio",
    "camera",
    "detector",
    "webrtc",
    "cloudlink",
    "local_api",
    "monitor",
    "missions",
)
"""The robot's processes, as `supervisord.conf` lists them (a test holds the two together)."""

EVERY_PATH: tuple[Source, ...] = ("lan", "datachannel", "cloud")
"""The ways into the robot. The machine's own console and the missions are inside."""

SIGNALS_HZ = 50.0
"""An app trickles its ICE candidates in a burst: at most half of this at once."""

DEFAULT_QUEUE = 1000
"""Messages a slow reader of an EVENT topic may fall behind before the newest are dropped and counted."""


class Kind(Enum):
    """How a topic behaves.

    STATE: the latest value wins; a new subscriber gets it at once; it goes stale after `max_age_s`.
    EVENT: queued in order, bounded, drops counted; a new subscriber hears only what comes.
    REQUEST: answered once, by a deadline; a repeated id is answered from memory.
    STOP: a REQUEST on a lane of its own that nothing overtakes.
    """

    STATE = "state"
    EVENT = "event"
    REQUEST = "request"
    STOP = "stop"


@dataclass(frozen=True)
class Outside:
    """Who may reach a topic from outside the robot. `bus/gateway.py` enforces it.

    Attributes:
        paths: where it may come in.
        role: the least role that may send it.
        rate_hz: how often one session may send it; None: as often as it likes (stops).
    """

    paths: tuple[Source, ...]
    role: Role
    rate_hz: float | None


@dataclass(frozen=True)
class Topic(Generic[T]):
    """One row of the table.

    Attributes:
        name: `owner/what`.
        kind: see `Kind`.
        owner: the process that publishes it (STATE, EVENT) or answers it (REQUEST, STOP).
        payload: type of the message.
        reply: type of the answer (REQUEST, STOP).
        max_age_s: STATE: stale after; REQUEST, STOP: default deadline.
        rate_hz: nominal rate of a STATE.
        queue: how far a reader of an EVENT may fall behind.
        outside: who may send it from outside the robot, and how often; None: inside only.
        schema: checksum of the types, so that two versions of the program notice that they differ.
        prefix: what a subscription to it matches; no other topic's name can begin with it.
    """

    name: str
    kind: Kind
    owner: str
    payload: type[T]
    reply: type[Struct] = Nothing
    max_age_s: float = 2.0
    rate_hz: float = 0.0
    queue: int = DEFAULT_QUEUE
    outside: Outside | None = None
    schema: int = field(init=False)
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", self.name.encode() + b"\0")
        object.__setattr__(self, "schema", schema_id(self.payload, self.reply))


def schema_id(*types: type[Struct]) -> int:
    """A checksum of the JSON schemas of `types`."""
    return zlib.crc32(msgspec.json.encode(msgspec.json.schema_components(types), order="deterministic"))


def _state(name: str, type_: type[T], rate_hz: float, max_age_s: float) -> Topic[T]:
    return Topic(name, Kind.STATE, name.partition("/")[0], type_, rate_hz=rate_hz, max_age_s=max_age_s)


def _event(name: str, type_: type[T], queue: int = DEFAULT_QUEUE) -> Topic[T]:
    return Topic(name, Kind.EVENT, name.partition("/")[0], type_, queue=queue)


def _request(
    name: str,
    type_: type[T],
    reply: type[Struct] = Nothing,
    timeout_s: float = 2.0,
    outside: Outside | None = None,
) -> Topic[T]:
    return Topic(name, Kind.REQUEST, name.partition("/")[0], type_, reply, max_age_s=timeout_s, outside=outside)


def outside_of(spec: CommandSpec) -> Outside:
    """A command comes in by every path; stops as often as anybody likes."""
    return Outside(EVERY_PATH, spec.role, None if spec.urgent else spec.rate_hz)


def _command(spec: CommandSpec) -> Topic[Struct]:
    kind = Kind.STOP if spec.urgent else Kind.REQUEST
    name = f"{spec.service}/{spec.name}"
    return Topic(
        name,
        kind,
        spec.service,
        spec.body,
        spec.result or Nothing,
        max_age_s=spec.timeout_s,
        outside=outside_of(spec),
    )


HEARTBEATS: Mapping[str, Topic[messages.Heartbeat]] = {
    process: _state(f"{process}/heartbeat", messages.Heartbeat, 2.0, 2.0) for process in PROCESSES
}
EVENTS: Mapping[str, Topic[messages.RobotEvent]] = {
    process: _event(f"{process}/event", messages.RobotEvent) for process in PROCESSES
}
FAULTS: Mapping[str, Topic[messages.Fault]] = {
    process: _event(f"{process}/fault", messages.Fault, queue=100) for process in PROCESSES
}
PUBLISH: Mapping[str, Topic[messages.Publication]] = {
    process: _request(f"{process}/publish", messages.Publication) for process in PROCESSES
}
"""Asks a process to publish something in its own name: for tools and tests."""
COMMAND_TOPICS: Mapping[str, Topic[Struct]] = {
    spec.name: _command(spec) for spec in COMMANDS.values() if spec.service in PROCESSES
}
"""Topic of every command whose process is part of this robot; the others are answered with UNAVAILABLE."""

CAMERA_TICK = _state("camera/tick", messages.FrameTick, 15.0, 1.0)
CAMERA_STATE = _state("camera/state", messages.CameraState, 2.0, 3.0)
MOTION_STATE = _state("motion/state", messages.MotionState, 20.0, 0.5)
MOTION_BEAT = _state("motion/beat", messages.Beat, 20.0, 0.2)
GUARD_BEAT = _state("guard/beat", messages.Beat, 20.0, 0.2)
DISPENSER_STATE = _state("dispenser/state", messages.DispenserState, 1.0, 5.0)
AUDIO_STATE = _state("audio/state", messages.AudioState, 1.0, 5.0)
SIGHTING = _state("detector/sighting", messages.Sighting, 5.0, 2.0)
BOXES = _state("detector/boxes", messages.Boxes, 15.0, 1.0)
MODE_STATE = _state("missions/state", messages.ModeState, 1.0, 5.0)
LINK_STATE = _state("cloudlink/state", messages.LinkState, 1.0, 5.0)
VIDEO_STATE = _state("webrtc/state", messages.VideoState, 1.0, 5.0)
TELEMETRY = _state("monitor/telemetry", Telemetry, 1.0, 5.0)
BATTERY_STATE = _state("monitor/battery", messages.BatteryState, 1.0, 5.0)
TELEMETRY_HISTORY = _request("monitor/history", HistoryQuery, TelemetryHistory)
HEALTH = _state("monitor/health", messages.Health, 1.0, 5.0)
SIGNAL_OUT = _event("webrtc/signal_out", messages.SignalOut)
SIGNAL = _request(
    "webrtc/signal", messages.Signal, timeout_s=5.0, outside=Outside(("lan", "cloud"), "viewer", SIGNALS_HZ)
)
DRIVER_GONE: Topic[messages.SessionEnd] = Topic(
    "motion/driver_gone", Kind.STOP, "motion", messages.SessionEnd, max_age_s=0.4
)
SIMULATED_MACHINE = _state("simulator/machine", messages.MachineState, 50.0, 3.0)
SIMULATOR_READ = _request("simulator/read", Nothing, messages.MachineState)
SIMULATOR_FAULT = _request("simulator/fault", messages.SimulatedFault, messages.MachineState)
PAIRING_CODE = _request("cloudlink/pairing_code", Nothing, outside=Outside(("lan",), "owner", 0.5))

_ALL: tuple[Topic[Any], ...] = (
    *HEARTBEATS.values(),
    *EVENTS.values(),
    *FAULTS.values(),
    *COMMAND_TOPICS.values(),
    *PUBLISH.values(),
    CAMERA_TICK,
    CAMERA_STATE,
    MOTION_STATE,
    MOTION_BEAT,
    GUARD_BEAT,
    DISPENSER_STATE,
    AUDIO_STATE,
    SIGHTING,
    BOXES,
    MODE_STATE,
    LINK_STATE,
    VIDEO_STATE,
    TELEMETRY,
    BATTERY_STATE,
    TELEMETRY_HISTORY,
    HEALTH,
    SIGNAL_OUT,
    SIGNAL,
    DRIVER_GONE,
    PAIRING_CODE,
    SIMULATED_MACHINE,
    SIMULATOR_READ,
    SIMULATOR_FAULT,
)

TOPICS: Mapping[str, Topic[Any]] = {topic.name: topic for topic in _ALL}
"""Every topic by name."""
