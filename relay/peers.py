"""What other workers send, done here; and what becomes of what they did not get."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from contract import commands
from contract.errors import ContractError
from relay.apps import offline
from relay.fanout import Envelope
from relay.presence import SOCKET_TIMEOUT_S
from relay.routing import Signal

if TYPE_CHECKING:
    from relay.node import Node

COMMAND_MAX_AGE_S = 1.0
MOTION_MAX_AGE_S = 0.5
"""A command that Redis held for longer is not carried out (contract: never late). A stop always is."""


class Peers:
    """Handlers of the envelopes, by kind. They run in the channel's greenlet and do not block."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._handlers: dict[str, Callable[[Envelope], None]] = {
            "to_robot": self._to_robot,
            "to_session": self._to_session,
            "to_user": self._to_user,
            "signal": self._signal,
            "presence": self._presence,
            "watch": self._watch,
            "supersede": self._supersede,
            "device_changed": self._device_changed,
            "user_changed": self._user_changed,
            "user_ended": self._user_ended,
        }

    def receive(self, envelope: Envelope, age_s: float) -> None:
        """An envelope has come, `age_s` later than the fastest from its sender."""
        if envelope.kind == "command":
            self._command(envelope, age_s)
        else:
            self._handlers[envelope.kind](envelope)

    def lost(self, worker: str, envelopes: list[Envelope], gone: bool) -> None:
        """Nobody got these: their worker is gone, or Redis is."""
        if gone:
            self._node.worker_gone(worker)
        reason = "worker_gone" if gone else "redis_away"
        for envelope in envelopes:
            self._node.metrics.count("wimz_relay_dropped_total", f'reason="{reason}"')
            if envelope.kind == "command":
                error = offline(envelope.to) if gone else _redis_away()
                self._refuse(envelope, error)

    # -- commands ---------------------------------------------------------------------------------

    def _command(self, envelope: Envelope, age_s: float) -> None:
        spec = commands.find(envelope.name)
        motion = spec.motion
        if age_s > (MOTION_MAX_AGE_S if motion else COMMAND_MAX_AGE_S) and not envelope.flag:
            self._node.metrics.count("wimz_relay_dropped_total", 'reason="stale"')
            if age_s < SOCKET_TIMEOUT_S:  # later, its sender has been told that it failed
                late = ContractError("STALE_COMMAND", "The command came too late to be carried out.")
                self._refuse(envelope, late)
            return
        link = self._node.robots.get(envelope.to)
        if link is None:
            self._refuse(envelope, offline(envelope.to))
            return
        error = link.refusal(envelope.user, spec)
        if error is not None:
            self._refuse(envelope, error)
            return
        link.command(envelope.about, envelope.payload, envelope.key, envelope.flag, envelope.id)

    def _refuse(self, envelope: Envelope, error: ContractError) -> None:
        self._node.delivery.refuse_command(envelope.about, envelope.to, envelope.name, envelope.id, error)

    # -- everything else --------------------------------------------------------------------------

    def _to_robot(self, envelope: Envelope) -> None:
        link = self._node.robots.get(envelope.to)
        if link is not None:
            link.connection.send(envelope.payload)

    def _to_session(self, envelope: Envelope) -> None:
        if envelope.to in self._node.apps:
            self._node.delivery.to_session(envelope.to, envelope.about, envelope.payload)

    def _to_user(self, envelope: Envelope) -> None:
        seq = envelope.id if isinstance(envelope.id, int) else None
        self._node.delivery.to_user(self._node.worker, envelope.to, envelope.about, envelope.payload, seq)

    def _signal(self, envelope: Envelope) -> None:
        if envelope.about in self._node.video:
            self._node.delivery.signal(envelope.to, Signal(envelope.about, envelope.payload, envelope.flag))

    def _presence(self, envelope: Envelope) -> None:
        if envelope.flag:
            self._node.places.place(envelope.about, envelope.name)
        elif self._node.places.located.get(envelope.about) == envelope.name:
            self._node.places.place(envelope.about, None)

    def _watch(self, envelope: Envelope) -> None:
        link = self._node.robots.get(envelope.to)
        if link is not None:
            link.watch(envelope.about, envelope.name, envelope.flag)

    def _supersede(self, envelope: Envelope) -> None:
        link = self._node.robots.get(envelope.to)
        if link is not None and link.claim.connection == envelope.id:
            self._node.superseded(link)

    def _device_changed(self, envelope: Envelope) -> None:
        self._node.spawn(self._node.access.device_changed, envelope.to)

    def _user_changed(self, envelope: Envelope) -> None:
        self._node.spawn(self._node.access.user_changed, envelope.to)

    def _user_ended(self, envelope: Envelope) -> None:
        self._node.access.user_ended(envelope.to, int(envelope.id or 0))


def _redis_away() -> ContractError:
    return ContractError("UNAVAILABLE", "The robot is connected elsewhere, and the way there is cut. Try again soon.")
