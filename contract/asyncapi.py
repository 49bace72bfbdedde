"""AsyncAPI 3.0 of the sockets and data channels, from the tables of frames, commands and events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from contract import frames
from contract.commands import COMMANDS, CommandFrame, CommandResult, Relayed
from contract.errors import ErrorBody
from contract.frames import Event, Frame
from contract.jsonschema import CONTRACT_VERSION, Document, Schemas
from contract.models import EVENT_DATA

_COMMANDS = tuple(f"command.{name}" for name in COMMANDS)
_RELAYED = tuple(f"relayed.{name}" for name in COMMANDS)
_RESULTS = tuple(f"result.{name}" for name in COMMANDS)
_EVENTS = tuple(f"event.{name}" for name in EVENT_DATA)
_ROBOT_EVENTS = tuple(name for name in _EVENTS if name != "event.device_status")

_SERVERS: Document = {
    "relay": {"host": "relay.example.org", "protocol": "wss", "description": "The cloud relay."},
    "robot": {"host": "robot.local:8000", "protocol": "ws", "description": "The robot itself, on the local network."},
    "peer": {"host": "robot.local", "protocol": "webrtc", "description": "A WebRTC session with the robot."},
}


def _frame_names(types: Iterable[type[Frame]]) -> tuple[str, ...]:
    return tuple(f"frame.{type_.__name__}" for type_ in types)


@dataclass(frozen=True)
class _Channel:
    """One socket or data channel, as its server sees it.

    Attributes:
        server: key in `_SERVERS`.
        address: path of a socket; label of a data channel.
        received: names of the messages that the server takes.
        sent: names of the messages that the server sends.
    """

    server: str
    address: str
    description: str
    received: tuple[str, ...]
    sent: tuple[str, ...]


_FROM_APP = (*_frame_names(frames.APP_TO_RELAY), *_COMMANDS)
_TO_APP = (*_frame_names(frames.RELAY_TO_APP), *_RESULTS, *_EVENTS)
_FROM_ROBOT = (*_frame_names(frames.ROBOT_TO_RELAY), *_RESULTS, *_ROBOT_EVENTS)
_TO_ROBOT = (*_frame_names(frames.RELAY_TO_ROBOT), *_RELAYED)


def _merged(*groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


CHANNELS: dict[str, _Channel] = {
    "relayDevice": _Channel(
        "relay", "/ws/device", "Robots. They sign in with headers; see the contract.", _FROM_ROBOT, _TO_ROBOT
    ),
    "relayApp": _Channel(
        "relay", "/ws/app", "Apps. They bring their token in a header or in the URL.", _FROM_APP, _TO_APP
    ),
    "relayEither": _Channel(
        "relay",
        "/ws",
        "Apps or robots; the first frame is `auth`.",
        _merged(_FROM_APP, _FROM_ROBOT),
        _merged(_TO_APP, _TO_ROBOT),
    ),
    "robotLan": _Channel(
        "robot",
        "/ws",
        "Apps on the local network; the robot does what the relay does elsewhere.",
        (*_frame_names(frames.APP_TO_ROBOT), *_COMMANDS),
        (*_frame_names(frames.ROBOT_TO_APP), *_RESULTS, *_ROBOT_EVENTS),
    ),
    "control": _Channel(
        "peer",
        "control",
        "Data channel opened by the robot: unordered, no retransmits. Motion at 20 Hz.",
        _COMMANDS,
        (*_frame_names([frames.Error]), *_RESULTS),
    ),
    "events": _Channel(
        "peer",
        "events",
        "Data channel opened by the robot: ordered, reliable. A session that has pinged here and falls silent is over.",
        _frame_names([frames.Ping]),
        (*_frame_names([frames.Pong]), *_ROBOT_EVENTS),
    ),
}


def _frame_types() -> list[type[Frame]]:
    groups: Sequence[tuple[type[Frame], ...]] = (
        frames.APP_TO_RELAY,
        frames.RELAY_TO_APP,
        frames.ROBOT_TO_RELAY,
        frames.RELAY_TO_ROBOT,
        frames.APP_TO_ROBOT,
        frames.ROBOT_TO_APP,
    )
    return list(dict.fromkeys(type_ for group in groups for type_ in group))


def events_asyncapi() -> Document:
    """AsyncAPI 3.0 of `/ws/device`, `/ws/app`, `/ws`, the robot's `/ws` and the two data channels."""
    frame_types = _frame_types()
    bodies = [spec.body for spec in COMMANDS.values()]
    results = [spec.result for spec in COMMANDS.values() if spec.result is not None]
    types: list[Any] = [CommandFrame, CommandResult, Relayed, ErrorBody, Event]
    schemas = Schemas([*types, *frame_types, *bodies, *results, *EVENT_DATA.values()])
    messages: Document = {}
    for frame_type in frame_types:
        messages[f"frame.{frame_type.__name__}"] = _message(
            str(frame_type.__struct_config__.tag), frame_type.__doc__, schemas[frame_type]
        )
    for name, spec in COMMANDS.items():
        payload = _command_payload(name, schemas)
        relayed = {"allOf": [payload, schemas[Relayed]]}
        messages[f"command.{name}"] = _message(name, spec.body.__doc__, payload)
        messages[f"relayed.{name}"] = _message(f"{name}, relayed", Relayed.__doc__, relayed)
        messages[f"result.{name}"] = _message(f"{name} result", CommandResult.__doc__, _result_payload(name, schemas))
    for name, data in EVENT_DATA.items():
        payload = {"allOf": [schemas[Event], {"properties": {"event": {"const": name}, "data": schemas[data]}}]}
        messages[f"event.{name}"] = _message(f"{name} event", data.__doc__, payload)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "WIM-Z sockets and data channels",
            "version": CONTRACT_VERSION,
            "description": f"JSON text frames of at most {frames.MAX_FRAME_BYTES} bytes.",
        },
        "defaultContentType": "application/json",
        "servers": _SERVERS,
        "channels": {key: _channel(channel) for key, channel in CHANNELS.items()},
        "operations": _operations(),
        "components": {"messages": messages, "schemas": schemas.components},
    }


def _message(title: str, doc: str | None, payload: Document) -> Document:
    summary = re.sub(r"\s+", " ", doc or "").strip()
    described = {"summary": summary} if summary else {}
    return {"name": title, "title": title, **described, "payload": payload}


def _command_payload(name: str, schemas: Schemas) -> Document:
    """A command, flat or wrapped: the fields stand beside `command`, or inside `data`."""
    spec = COMMANDS[name]
    body = schemas[spec.body]
    wrapped = {"properties": {"data": body}, "required": ["data"]}
    return {
        "allOf": [
            schemas[CommandFrame],
            {"properties": {"command": {"enum": [name, *spec.aliases]}}},
            {"anyOf": [body, wrapped]},
        ]
    }


def _result_payload(name: str, schemas: Schemas) -> Document:
    spec = COMMANDS[name]
    properties: Document = {"command": {"const": name}, "error": {"anyOf": [schemas[ErrorBody], {"type": "null"}]}}
    if spec.result is not None:
        properties["data"] = {"anyOf": [schemas[spec.result], {"type": "null"}]}
    return {"allOf": [schemas[CommandResult], {"properties": properties}]}


def _channel(channel: _Channel) -> Document:
    return {
        "address": channel.address,
        "description": channel.description,
        "servers": [{"$ref": f"#/servers/{channel.server}"}],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _merged(channel.received, channel.sent)
        },
    }


def _operations() -> Document:
    operations: Document = {}
    for key, channel in CHANNELS.items():
        for action, names in (("receive", channel.received), ("send", channel.sent)):
            operations[f"{key}.{action}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/{name}"} for name in names],
            }
    return operations
