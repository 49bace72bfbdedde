"""An app's connection: what it asks for, done."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from contract import frames
from contract.errors import ContractError
from contract.frames import CLOSE_AUTH_FAILED
from contract.units import Role
from contract.validate import encode
from relay import routing
from relay.auth import refused_token
from relay.catchup import CatchUps
from relay.connection import Connection
from relay.routing import AppSender, History, Reply, Signal, Status, ToRobot, Watch

if TYPE_CHECKING:
    from relay.node import Node

MAX_VIDEO_SESSIONS = 8
MAX_REMEMBERED_SESSIONS = 16
SESSION_CREDENTIALS_TTL_S = 3600


class AppSession:
    """One app socket. All methods but `open_video` run in the hub and do not block.

    Args:
        node: the worker.
        connection: its socket.
        sender: who it is, for routing.
        expires_at: unix seconds at which its token ends.
        token_version: that of its token.
    """

    def __init__(
        self, node: Node, connection: Connection, sender: AppSender, expires_at: float, token_version: int
    ) -> None:
        self.node = node
        self.connection = connection
        self.sender = sender
        self.expires_at = expires_at
        self.token_version = token_version
        self.ready = False
        self.drove: set[str] = set()
        self._opening = 0
        self._catch_ups = CatchUps(node, self)

    @property
    def id(self) -> str:
        return self.sender.session_id

    @property
    def user_id(self) -> str:
        return self.sender.user_id

    # -- Handler ----------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        action = routing.route_app(self.sender, data, int(time.time() * 1000))
        if isinstance(action, ToRobot):
            self.drove.add(action.device_id)
            self.node.delivery.command(self, action)
        elif isinstance(action, Reply):
            self.connection.send(action.payload)
        elif isinstance(action, Signal):
            self._signal(action)
        elif isinstance(action, Watch):
            self._watch(action.device_id)
        elif isinstance(action, Status):
            self._status(action.device_id)
        elif isinstance(action, History):
            self._catch_ups.ask(action.device_id, action.after)

    def gone(self, code: int) -> None:
        self.node.app_gone(self, code)

    # -- what it asks for -------------------------------------------------------------------------

    def tell(self, payload: bytes) -> None:
        """Send something that the worker or another one has for this app."""
        if self.ready:
            self.connection.send(payload)

    def tell_event(self, device_id: str, seq: int, payload: bytes) -> None:
        """Send an event that is in the history, unless the app gets it by catching up, or has."""
        if not self._catch_ups.covers(device_id, seq):
            self.tell(payload)

    def refuse(self, error: ContractError, *, device_id: str | None = None) -> None:
        self.node.metrics.count("wimz_relay_refused_total", f'code="{error.code}"')
        self.connection.send(routing.error_frame(error, device_id=device_id))

    def _status(self, device_id: str | None) -> None:
        asked = [device_id] if device_id else list(self.sender.roles)
        online = any(device in self.node.places.located for device in asked)
        self.connection.send(encode(frames.StatusResponse(device_paired=bool(self.sender.roles), robot_online=online)))

    def _watch(self, device_id: str) -> None:
        if device_id not in self.node.places.located:
            self.refuse(offline(device_id), device_id=device_id)
        elif len(self.sender.webrtc) + self._opening >= MAX_VIDEO_SESSIONS:
            message = f"This app has {MAX_VIDEO_SESSIONS} video sessions open. Close one with webrtc_close."
            self.refuse(ContractError("VIEWER_LIMIT", message), device_id=device_id)
        else:
            self._opening += 1
            self.node.spawn(self.open_video, device_id)

    def open_video(self, device_id: str) -> None:
        """Get credentials, hand them to the app, then ask the robot for its offer. Blocks: not in the hub."""
        try:
            ice_servers = self.node.ice.ice_servers(SESSION_CREDENTIALS_TTL_S, self.user_id)
        except ContractError as error:
            self.refuse(error, device_id=device_id)
            return
        finally:
            self._opening -= 1
        role = self.sender.roles.get(device_id)
        if not self.connection.open or role is None:
            return
        session_id = f"{self.node.worker}.{secrets.token_urlsafe(12)}"
        self.sender.webrtc[session_id] = device_id
        self.node.video[session_id] = self
        self.connection.send(encode(frames.WebrtcCredentials(session_id=session_id, ice_servers=ice_servers)))
        request = frames.WebrtcRequest(session_id=session_id, ice_servers=ice_servers, user_id=self.user_id, role=role)
        if not self.node.delivery.to_robot(device_id, encode(request)):
            self.end_video(session_id)
            self.refuse(offline(device_id), device_id=device_id)

    def _signal(self, action: Signal) -> None:
        device_id = self.sender.webrtc[action.session_id]
        if action.ends:
            self.end_video(action.session_id)
        if not self.node.delivery.to_robot(device_id, action.payload) and not action.ends:
            self.refuse(offline(device_id), device_id=device_id)

    def from_robot(self, device_id: str, action: Signal) -> bool:
        """A signalling frame of the robot's; False when the session is not between the two."""
        if self.sender.webrtc.get(action.session_id) != device_id:
            return False
        self.connection.send(action.payload)
        if action.ends:
            self.end_video(action.session_id)
        return True

    def end_video(self, session_id: str) -> None:
        """Forget a session, and remember that it was."""
        self.sender.webrtc.pop(session_id, None)
        self.node.video.pop(session_id, None)
        self.sender.ended.append(session_id)
        del self.sender.ended[:-MAX_REMEMBERED_SESSIONS]

    # -- what changes around it -------------------------------------------------------------------

    def roles_changed(self, roles: dict[str, Role]) -> list[str]:
        """Heed the account's roles; ends what a lost role had open. Returns the robots whose role is new."""
        before = self.sender.roles
        self.sender.set_roles(roles)
        for session_id, device_id in list(self.sender.webrtc.items()):
            if roles.get(device_id) != before.get(device_id):
                self._close_video(session_id, device_id, "your role has changed")
        for device_id in [device for device in self.drove if roles.get(device) != before.get(device)]:
            self.node.delivery.to_robot(device_id, encode(frames.SessionEnded(session=self.id)))
            self.drove.discard(device_id)
        self._catch_ups.keep_only(roles)
        for device_id in set(before) - set(roles):
            self.refuse(no_longer_yours(), device_id=device_id)
        return [device_id for device_id in roles if roles[device_id] != before.get(device_id)]

    def _close_video(self, session_id: str, device_id: str, reason: str) -> None:
        """End a video session at both ends."""
        close = encode(frames.WebrtcClose(session_id=session_id, reason=reason))
        self.node.delivery.to_robot(device_id, close)
        self.connection.send(close)
        self.end_video(session_id)

    def sign_out(self) -> None:
        """The account's tokens have ended: so does everything of this app, video too."""
        for session_id, device_id in list(self.sender.webrtc.items()):
            self._close_video(session_id, device_id, "signed out")
        self.connection.send(routing.error_frame(refused_token()))
        self.connection.close(CLOSE_AUTH_FAILED, "signed out")


def offline(device_id: str) -> ContractError:
    return ContractError("DEVICE_OFFLINE", f"The robot {device_id} is not connected.")


def no_longer_yours() -> ContractError:
    """The robot's own worker knows first that somebody lost a robot."""
    return ContractError("NOT_AUTHORIZED", "This robot is not one of yours any more.")
