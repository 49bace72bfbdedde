"""The clients on `/ws`: each one's frames go through its logic, on the bus's loop."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from bus.base import Bus, Latest
from bus.codec import Message
from bus.events import robot_event
from bus.gateway import Gateway, Session
from bus.liveness import LinkPing, on_restart
from bus.messages import Origin, RobotEvent, SignalOut
from bus.messages import Signal as SignalIn
from bus.promise import Promise
from bus.topics import EVENTS, PROCESSES, SIGNAL, SIGNAL_OUT, TELEMETRY
from contract import frames
from contract.errors import ContractError
from contract.models import status_of
from processes.local_api.logic import Action, Close, LanSocket, Send, SendStatus, Signal, Submit, encode
from processes.local_api.outgoing import Outgoing

log = logging.getLogger(__name__)

STATUS_S = 5.0
TICK_S = 0.1


class Pongs(Protocol):
    """Whether the answer to the last WebSocket ping has come."""

    def expect(self) -> None: ...

    def came(self) -> bool: ...


class Client:
    """One socket: its logic, its place at the gateway, its queue. Used on the bus's loop only."""

    def __init__(self, logic: LanSocket, session: Session, outgoing: Outgoing, pongs: Pongs, now: float) -> None:
        self.logic = logic
        self.session = session
        self.outgoing = outgoing
        self.pongs = pongs
        self.ping = LinkPing(now)
        self.received_s = now


class Sockets:
    """Every client. All methods run on the bus's loop.

    Args:
        check_token: raises ContractError unless it is the robot's; gets token, peer and time.
        device_id: goes with every event, when the robot has one.
        new_id: makes unguessable ids.
    """

    def __init__(
        self,
        bus: Bus,
        check_token: Callable[[str, str, float], None],
        device_id: str | None,
        wall_clock: Callable[[], datetime],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._bus = bus
        self._check_token = check_token
        self._device_id = device_id
        self._wall_clock = wall_clock
        self._new_id = new_id
        self._gateway = Gateway(bus)
        self._telemetry = Latest(bus, TELEMETRY)
        self._clients: set[Client] = set()
        for name in PROCESSES:
            bus.subscribe(EVENTS[name], lambda message: self._broadcast(message.value))
        bus.subscribe(SIGNAL_OUT, self._on_signal_out)
        on_restart(bus, "webrtc", self._video_restarted)
        bus.every(TICK_S, self._tick)
        bus.every(STATUS_S, self._send_status)

    def __len__(self) -> int:
        return len(self._clients)

    def open(self, peer: str, outgoing: Outgoing, pongs: Pongs, *, authenticated: bool) -> Client:
        """A new client."""
        now = self._bus.now()
        logic = LanSocket(
            authenticated=authenticated,
            check_token=lambda token, at: self._check_token(token, peer, at),
            new_session_id=self._new_id,
            now=now,
        )
        session = self._gateway.open(Origin("lan", self._new_id()))
        client = Client(logic, session, outgoing, pongs, now)
        self._clients.add(client)
        self._perform(client, logic.on_open())
        return client

    def on_text(self, client: Client, text: str | bytes, received: float) -> None:
        """A frame of the client's, which came in at `received` (CLOCK_MONOTONIC in s)."""
        client.received_s = received
        self._perform(client, client.logic.on_text(text, received))

    def close(self, client: Client) -> None:
        """The socket is gone: what it drove stops at once, and its video ends."""
        self._clients.discard(client)
        client.session.close()
        self._perform(client, client.logic.on_close())

    def close_all(self, code: int, reason: str) -> None:
        for client in list(self._clients):
            client.outgoing.close(code, reason)

    def _perform(self, client: Client, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(client, encode(action.frame))
            elif isinstance(action, SendStatus):
                self._send_status_to(client)
            elif isinstance(action, Submit):
                self._submit(client, action.message)
            elif isinstance(action, Signal):
                self._signal(client, action)
            elif isinstance(action, Close):
                client.outgoing.close(action.code, action.reason)

    def _send(self, client: Client, text: str) -> None:
        if not client.outgoing.send(text):
            self._bus.counters["local_api.too_slow"] += 1
            client.outgoing.close(frames.CLOSE_TOO_SLOW, "too slow", drop=True)

    # -- commands and signalling ------------------------------------------------------------------

    def _submit(self, client: Client, message: dict[str, Any]) -> None:
        now = self._bus.now()
        fresh = client.ping.fresh(now)
        client.ping.on_motion(now)
        client.session.submit(
            message, client.received_s, lambda answer: self._send(client, encode(answer)), link_fresh=fresh
        )

    def _signal(self, client: Client, action: Signal) -> None:
        body = SignalIn(msgspec.to_builtins(action.frame), Origin("lan", action.session_id))
        if isinstance(action.frame, frames.WebrtcClose):  # ending is never too often
            future = self._bus.request(SIGNAL, body, origin=client.session.origin)
        else:
            future = client.session.ask(SIGNAL, body, self._bus.now())
        future.add_done_callback(lambda done: self._signalled(client, action, done))

    def _signalled(self, client: Client, action: Signal, done: Promise) -> None:
        error = done.exception()
        if isinstance(error, ContractError):
            self._perform(client, client.logic.on_signal_refused(action.frame, action.session_id, error))
        elif error is not None:
            raise error

    def _on_signal_out(self, message: Message[SignalOut]) -> None:
        origin = message.value.origin
        if origin.source != "lan":
            return
        for client in self._clients:
            if client.logic.video == origin.session:
                self._perform(client, client.logic.on_signal(message.value.frame))
                return
        self._bus.counters["local_api.signals_for_nobody"] += 1

    def _video_restarted(self) -> None:
        """Its sessions ended with it; clients that are told ask again at once."""
        for client in list(self._clients):
            if client.logic.video is not None:
                close = frames.WebrtcClose(session_id=client.logic.video, reason="The robot's video has restarted.")
                # Said to webrtc too, in case it was asked for after the restart, and before this was known.
                self._signal(client, Signal(close, client.logic.video))
                self._perform(client, client.logic.on_signal(msgspec.to_builtins(close)))

    # -- events -----------------------------------------------------------------------------------

    def _event_text(self, event: RobotEvent) -> str:
        return encode(
            frames.Event(
                event=event.event,
                data=event.data,
                timestamp=event.timestamp,
                id=event.id,
                device_id=self._device_id if self._device_id is not None else msgspec.UNSET,
            )
        )

    def _broadcast(self, event: RobotEvent) -> None:
        text = self._event_text(event)
        for client in list(self._clients):
            if client.logic.authenticated:
                self._send(client, text)

    def _status(self) -> RobotEvent | None:
        telemetry = self._telemetry.fresh(self._bus.now())
        return None if telemetry is None else robot_event("status", status_of(telemetry), self._wall_clock())

    def _send_status(self) -> None:
        status = self._status()
        if status is not None:
            self._broadcast(status)

    def _send_status_to(self, client: Client) -> None:
        status = self._status()
        if status is not None:
            self._send(client, self._event_text(status))

    # -- life -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._bus.now()
        for client in list(self._clients):
            self._perform(client, client.logic.on_tick(now))
            if client.pongs.came():
                client.ping.on_pong()
            if client.ping.dead(now):
                client.outgoing.close(frames.CLOSE_HEARTBEAT_LOST, "no answer to a ping", drop=True)
            elif client.ping.due(now):
                client.pongs.expect()
                client.outgoing.ping()
                client.ping.on_sent(now)
