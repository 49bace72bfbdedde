"""Robots and apps for the relay's drills, which come back like the real ones and count what happens to them."""

from __future__ import annotations

import contextlib
import json
import random
import ssl
import threading
import time
from collections import Counter
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from bench.nginx import Nginx
from contract.frames import CLOSE_RESTARTING
from processes.cloudlink.driver import CONNECT_TIMEOUT_S
from processes.cloudlink.logic import Closed, Link
from relay.auth import sign

EVERY_S = 0.2
APP_READY_WITHIN_S, APP_STEADY_AFTER_S = 8.0, 5.0
APP_BACKOFF_S, APP_MAX_BACKOFF_S = 0.5, 10.0
"""As web/socket.js and web/backoff.js have it."""
LOST = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError, ssl.SSLError)


class Person(threading.Thread):
    """Keeps one connection, through nginx.

    Attributes:
        lost_s, open_s: when its connection was last lost, and when it last had one.
    """

    def __init__(self, nginx: Nginx) -> None:
        super().__init__(daemon=True)
        self._nginx = nginx
        self.ended = False
        self.lost_s = self.open_s = 0.0
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        while not self.ended:
            closed = Closed()
            opened_s = self.open_s
            try:
                with self._open() as connection:
                    self.open_s = time.monotonic()
                    self._live(connection)
            except ConnectionClosed as error:
                closed = Closed(code=error.rcvd.code if error.rcvd else None)
                self.errors[f"closed {closed.code or 1006}"] += 1
            except LOST as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                closed = Closed(http_status=status)
                self.errors[f"{type(error).__name__} {status or ''}".strip()] += 1
            if self.open_s != opened_s:
                self.lost_s = time.monotonic()
            self._wait(closed)

    def _open(self) -> ClientConnection:
        raise NotImplementedError

    def _wait(self, closed: Closed) -> None:
        """Sit out the pause that the real one makes before it connects again."""
        raise NotImplementedError

    def _live(self, connection: ClientConnection) -> None:
        next_s = 0.0
        while not self.ended:
            now = time.monotonic()
            if now >= next_s:
                next_s = now + EVERY_S
                self._speak(connection)
            with contextlib.suppress(TimeoutError):
                self._hear(connection, json.loads(connection.recv(timeout=max(0.0, next_s - time.monotonic()))))

    def _speak(self, connection: ClientConnection) -> None:
        raise NotImplementedError

    def _hear(self, connection: ClientConnection, message: dict[str, Any]) -> None:
        raise NotImplementedError


class Robot(Person):
    """Sends events until they are acknowledged, and carries commands out.

    Attributes:
        done: how often each command was carried out.
        acknowledged: the ids of events that the relay says are stored.
        quiet: make no new events.
    """

    def __init__(self, nginx: Nginx, device_id: str, secret: str) -> None:
        super().__init__(nginx)
        self.device_id = device_id
        self._secret = secret
        self._signed_s = 0
        self.done: Counter[str] = Counter()
        self.waiting: dict[str, float] = {}
        self.acknowledged: set[str] = set()
        self.last_ack_s = 0.0
        self.made = 0
        self.quiet = False
        self._link = Link(time.monotonic())

    def _wait(self, closed: Closed) -> None:
        self._link.on_closed(closed, time.monotonic(), random.random())
        while not self.ended and not self._link.due(time.monotonic()):
            time.sleep(0.01)

    def _open(self) -> ClientConnection:
        self._link.on_dial()
        self._signed_s = max(int(time.time()), self._signed_s + 1)
        signature = sign(self._secret, f"{self.device_id}:{self._signed_s}")
        headers = {"X-Device-ID": self.device_id, "X-Timestamp": str(self._signed_s), "X-Signature": signature}
        connection = self._nginx.websocket(
            "/ws/device", headers, open_timeout=CONNECT_TIMEOUT_S, close_timeout=0.2, ping_interval=None
        )
        self._link.on_open(time.monotonic())
        self.waiting = dict.fromkeys(self.waiting, 0.0)  # all that is not acknowledged goes out again
        return connection

    def _speak(self, connection: ClientConnection) -> None:
        if not self.quiet:
            self.made += 1
            self.waiting[f"e{self.made}"] = 0.0
        now = time.monotonic()
        for id, sent_s in list(self.waiting.items()):
            if now - sent_s > 30.0 or not sent_s:
                self.waiting[id] = now
                connection.send(json.dumps({"event": "treat", "data": {"remaining": 7}, "id": id}))

    def _hear(self, connection: ClientConnection, message: dict[str, Any]) -> None:
        if message.get("type") == "event_ack":
            for id in message["ids"]:
                self.waiting.pop(id, None)
                self.acknowledged.add(id)
            self.last_ack_s = time.monotonic()
        elif "command" in message and message.get("id") is not None:
            self.done[message["id"]] += 1
            result = {"type": "command_result", "id": message["id"], "command": message["command"], "success": True}
            connection.send(json.dumps(result))


class App(Person):
    """Sends a command five times a second, each once only.

    Attributes:
        last_done_s: when the last command that succeeded was sent.
        refused: the codes of those that did not.
        late: commands that were answered more than once.
    """

    def __init__(self, nginx: Nginx, token: str) -> None:
        super().__init__(nginx)
        self._token = token
        self._sent: dict[str, float] = {}
        self._number = 0
        self.last_done_s = 0.0
        self.refused: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._attempt = 0

    def _wait(self, closed: Closed) -> None:
        if self.open_s and self.lost_s >= self.open_s and self.lost_s - self.open_s >= APP_STEADY_AFTER_S:
            self._attempt = 0
        if closed.code == CLOSE_RESTARTING:
            delay_s = 0.05 + 0.45 * random.random()
        else:
            delay_s = min(APP_MAX_BACKOFF_S, APP_BACKOFF_S * 2**self._attempt) * (0.5 + 0.5 * random.random())
            self._attempt += 1
        time.sleep(delay_s)

    def _open(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._nginx.websocket(
            "/ws/app", headers, open_timeout=APP_READY_WITHIN_S, close_timeout=0.2, ping_interval=None
        )

    def _speak(self, connection: ClientConnection) -> None:
        self._number += 1
        id = f"c{self._number}"
        self._sent[id] = time.monotonic()
        connection.send(json.dumps({"command": "led", "pattern": "rainbow", "id": id}))

    def _hear(self, connection: ClientConnection, message: dict[str, Any]) -> None:
        if message.get("type") == "command_result":
            self.answered[message["id"]] += 1
            if message["success"]:
                self.last_done_s = max(self.last_done_s, self._sent[message["id"]])
            else:
                self.refused[message["error"]["code"]] += 1
        elif message.get("event") == "treat":
            self.events[message["id"]] += 1
