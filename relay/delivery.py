"""What goes from one to another: to a connection of this worker directly, to any other through its worker's channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract import commands, frames
from contract.errors import ContractError
from relay import routing
from relay.apps import AppSession, offline
from relay.fanout import Envelope
from relay.robots import RobotLink
from relay.routing import Signal, ToRobot
from relay.store import EventRow, NewEvent

if TYPE_CHECKING:
    from relay.node import Node


class Delivery:
    """A worker's. Nothing here blocks."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def command(self, session: AppSession, action: ToRobot) -> None:
        """Send an app's command to its robot, wherever that is."""
        link = self._node.robots.get(action.device_id)
        if link is not None:
            error = link.refusal(session.user_id, commands.find(action.command))
            if error is None:
                link.command(session.id, action.payload, action.key, action.urgent, action.id)
            else:
                self.refuse_command(session.id, action.device_id, action.command, action.id, error)
            return
        worker = self._node.places.located.get(action.device_id)
        if worker is None:
            self.refuse_command(session.id, action.device_id, action.command, action.id, offline(action.device_id))
            return
        envelope = Envelope(
            "command",
            action.device_id,
            session.id,
            action.payload,
            action.key,
            action.urgent,
            action.id,
            action.command,
            session.user_id,
        )
        self._node.fanout.send(worker, envelope)

    def refuse_command(
        self, session_id: str, device_id: str, command: str, id: str | int | None, error: ContractError
    ) -> None:
        """Tell an app session that its command was not carried out."""
        self._node.metrics.count("wimz_relay_refused_total", f'code="{error.code}"')
        self.to_session(session_id, "", routing.refusal(error, command, id, device_id))

    def to_robot(self, device_id: str, payload: bytes) -> bool:
        """Send a frame to a robot, wherever it is; False when it is nowhere."""
        link = self._node.robots.get(device_id)
        if link is not None:
            link.connection.send(payload)
            return True
        worker = self._node.places.located.get(device_id)
        if worker is None:
            return False
        self._node.fanout.send(worker, Envelope("to_robot", device_id, payload=payload))
        return True

    def to_session(self, session_id: str, device_id: str, payload: bytes) -> None:
        """Send to an app session, wherever that is; what is about a robot only while it may use the robot."""
        session = self._node.apps.get(session_id)
        if session is not None:
            if not device_id or device_id in session.sender.roles:
                session.tell(payload)
            return
        worker = session_id.partition(".")[0]
        if worker == self._node.worker:
            self._node.metrics.count("wimz_relay_dropped_total", 'reason="session_gone"')
        else:
            self._node.fanout.send(worker, Envelope("to_session", session_id, device_id, payload))

    def to_user(self, worker: str, user_id: str, device_id: str, payload: bytes, seq: int | None = None) -> None:
        """Send something about a robot to an account's app sessions of one worker; `seq` of a stored event."""
        if worker != self._node.worker:
            self._node.fanout.send(worker, Envelope("to_user", user_id, device_id, payload, id=seq))
            return
        for session in list(self._node.users.get(user_id, {}).values()):
            if device_id not in session.sender.roles:
                continue
            if seq is None:
                session.tell(payload)
            else:
                session.tell_event(device_id, seq, payload)

    def signal(self, device_id: str, action: Signal) -> None:
        """Hand a robot's signalling frame to the app that the session belongs to."""
        session = self._node.video.get(action.session_id)
        if session is not None:
            if not session.from_robot(device_id, action):
                self._node.metrics.count("wimz_relay_dropped_total", 'reason="foreign_session"')
            return
        worker = action.session_id.partition(".")[0]
        if worker == self._node.worker or worker == action.session_id:
            self._node.metrics.count("wimz_relay_dropped_total", 'reason="session_gone"')
        else:
            envelope = Envelope("signal", device_id, action.session_id, action.payload, flag=action.ends)
            self._node.fanout.send(worker, envelope)

    def stored(self, mark: tuple[RobotLink, bytes], event: NewEvent, row: EventRow | None) -> None:
        """An event is in the database: the robot may forget it, and apps hear of it, once."""
        link, payload = mark
        present = self._node.robots.get(link.device_id, link)
        present.tell(frames.EventAck(ids=[event.id]))
        if row is not None:
            present.to_audience(routing.added(payload, b'"seq":%d' % row.seq), row.seq)
