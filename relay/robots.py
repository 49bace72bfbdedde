"""A robot's connection: what it reports, handed on; what it is sent, in its own dialect."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import gevent

from contract import frames
from contract.commands import CommandSpec
from contract.errors import ContractError
from contract.frames import Frame
from contract.units import Role
from contract.validate import encode
from relay import routing
from relay.apps import no_longer_yours
from relay.connection import Connection
from relay.presence import Claim
from relay.routing import Reply, Result, Seen, ShowCode, Signal, Store, ToAudience
from relay.store import PAIRING_CODE_LIFE_S

if TYPE_CHECKING:
    from relay.node import Node

MAX_PENDING = 256
USER_GONE_GRACE_S = 10.0
"""How long the last app of an account may be away before the robot is told."""


class RobotLink:
    """One robot's socket.

    Args:
        node: the worker.
        connection: its socket.
        device_id: who it is.
        claim: what this worker holds of it in Redis.
        members: the accounts that may use it, and as what.
        bare: it signs its bare id, so it speaks contract v1.0 and gets flat commands.
    """

    def __init__(
        self,
        node: Node,
        connection: Connection,
        device_id: str,
        claim: Claim,
        members: dict[str, Role],
        *,
        bare: bool,
    ) -> None:
        self.node = node
        self.connection = connection
        self.device_id = device_id
        self.claim = claim
        self.members = members
        self.bare = bare
        self.audience: dict[str, set[str]] = {}  # account -> workers that have app sessions of it
        self._announced: set[str] = set()
        self._pending: OrderedDict[str | int, deque[str]] = OrderedDict()
        self._making_code = False

    # -- Handler ----------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        action = routing.route_robot(self.device_id, data, datetime.now(UTC))
        if isinstance(action, ToAudience):
            self.to_audience(action.payload)
        elif isinstance(action, Reply):
            self.connection.send(action.payload)
        elif isinstance(action, Store):
            self.node.events.add((self, action.payload), action.event)
        elif isinstance(action, Signal):
            self.node.delivery.signal(self.device_id, action)
        elif isinstance(action, Result):
            self._result(action)
        elif isinstance(action, Seen):
            self.node.last_seen.note(self.device_id, action.version, action.local_ip)
        elif isinstance(action, ShowCode):
            self.show_code()
        else:
            self.node.metrics.count("wimz_relay_dropped_total", 'reason="unknown_type"')

    def gone(self, code: int) -> None:
        self.node.robot_gone(self, code)

    # -- to the robot -----------------------------------------------------------------------------

    def tell(self, frame: Frame) -> None:
        self.connection.send(encode(frame))

    def command(self, session_id: str, payload: bytes, key: str | None, urgent: bool, id: str | int | None) -> None:
        """Send a command; its result goes to `session_id`."""
        if id is not None:
            self._pending.setdefault(id, deque(maxlen=8)).append(session_id)
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        self.connection.send(routing.flattened(payload) if self.bare else payload, key, urgent=urgent)

    def refusal(self, user_id: str, spec: CommandSpec) -> ContractError | None:
        """Why this account may not send the command; None when it may. The robot's worker hears of roles first."""
        role = self.members.get(user_id)
        if role is None:
            return no_longer_yours()
        return None if routing.may(role, spec) else routing.not_in_this_role(role, spec)

    def set_members(self, members: dict[str, Role]) -> None:
        """Heed who may use it now; what those had open whose role is another ends, at the robot too."""
        before, self.members = self.members, members
        for user_id, role in before.items():
            if members.get(user_id) != role:
                self.tell(frames.AccessChanged(user_id=user_id, role=members.get(user_id)))

    def _result(self, result: Result) -> None:
        """Results go to who asked: the session that the robot names, else the one that has waited longest."""
        waiting = self._pending.get(result.id, deque())
        session_id = result.session
        if session_id is None and waiting:
            session_id = waiting.popleft()
        elif session_id is not None and session_id in waiting:
            waiting.remove(session_id)
        if not waiting:
            self._pending.pop(result.id, None)
        if session_id is None:
            self.node.metrics.count("wimz_relay_dropped_total", 'reason="result_unasked"')
            return
        self.node.delivery.to_session(session_id, self.device_id, result.payload)

    def show_code(self) -> None:
        """Give a robot without an owner a fresh code to show; tell one that has an owner so."""
        if self.members:
            self.tell(frames.Paired(paired=True))
        elif not self._making_code:
            self._making_code = True
            self.node.spawn(self._show_code)

    def _show_code(self) -> None:
        try:
            code = self.node.store.new_pairing_code(self.device_id)
        finally:
            self._making_code = False
        self.tell(frames.Paired(paired=code is None))
        if code is not None:
            self.tell(frames.PairingCodeShown(code=code, expires_in_s=PAIRING_CODE_LIFE_S))

    # -- who looks --------------------------------------------------------------------------------

    def to_audience(self, payload: bytes, seq: int | None = None) -> None:
        """Send to every app session of those who may see the robot; `seq` of an event that is in the history."""
        for user_id, workers in self.audience.items():
            for worker in workers:
                self.node.delivery.to_user(worker, user_id, self.device_id, payload, seq)

    def watchers(self) -> set[str]:
        """The workers that have app sessions of those who may see the robot."""
        return {worker for workers in self.audience.values() for worker in workers}

    def watch(self, user_id: str, worker: str, on: bool) -> None:
        """A worker has app sessions of an account now, or has none any more."""
        if user_id not in self.members:
            return
        workers = self.audience.setdefault(user_id, set())
        if on:
            workers.add(worker)
        else:
            workers.discard(worker)
        self._announce(user_id)

    def set_audience(self, audience: dict[str, set[str]]) -> None:
        self.audience = {user_id: workers for user_id, workers in audience.items() if user_id in self.members}
        for user_id in self._announced | set(self.audience):
            self._announce(user_id)

    def _announce(self, user_id: str) -> None:
        looks = bool(self.audience.get(user_id))
        if looks and user_id not in self._announced:
            self._announced.add(user_id)
            self.tell(frames.UserConnected(user_id=user_id))
        elif not looks and user_id in self._announced:
            gevent.spawn_later(USER_GONE_GRACE_S, self._announce_gone, user_id)

    def _announce_gone(self, user_id: str) -> None:
        if not self.audience.get(user_id) and user_id in self._announced:
            self._announced.discard(user_id)
            self.tell(frames.UserDisconnected(user_id=user_id))
