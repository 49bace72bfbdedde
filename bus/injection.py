"""A process publishes, in its own name, what a tool asks it to: how `wimz bus pub` and `wimz bus replay` are heard
although every topic has one owner. Whoever may enter the run directory may ask; nobody outside the robot can.
"""

from __future__ import annotations

from bus.base import Bus
from bus.codec import Request
from bus.messages import Publication
from bus.topics import GUARD_BEAT, HEARTBEATS, MOTION_BEAT, PUBLISH, TOPICS, Kind
from contract.errors import ContractError
from contract.validate import convert

SIGNS_OF_LIFE = frozenset({MOTION_BEAT.name, GUARD_BEAT.name, *(topic.name for topic in HEARTBEATS.values())})
"""What the motors' safety and the watchdog lean on: only the loop behind it may say it."""


def serve_injections(bus: Bus) -> None:
    """Let tools publish through the process of `bus`."""
    bus.serve(PUBLISH[bus.name], lambda request: _publish(bus, request))


def _publish(bus: Bus, request: Request[Publication]) -> None:
    topic = TOPICS.get(request.body.topic)
    if topic is None or topic.owner != bus.name or topic.kind not in (Kind.STATE, Kind.EVENT):
        raise ContractError("INVALID_PARAMETER", f"{bus.name} publishes no topic {request.body.topic!r}.")
    if topic.name in SIGNS_OF_LIFE:
        raise ContractError("INVALID_PARAMETER", f"{topic.name} is a sign of life: nobody else may say it.")
    bus.publish(topic, convert(topic.payload, request.body.value))
