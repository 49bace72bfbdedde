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
from relay.auth import sign

EVERY_S = 0.2
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 5.0
PROMPT_CODES = (1012, 1001)
LOST = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError, ssl.SSLError)


class Person(threading.Thread):
    """Keeps one connection, through nginx."""

    def __init__(self, nginx: Nginx) -> None:
        super().__init__(daemon=True)
        self._nginx = nginx
        self.ended = False
        self.connects = 0
        self.errors: Counter[str] = Counter()

    def run(self) -> None:
        failures = 0
        while not self.ended:
            delay_s = 0.0
            try:
                with self._open() as connection:
                    self.connects += 1
                    failures = 0
                    self._live(connection)
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else 1006
                self.errors[f"closed {code}"] += 1
                delay_s = 0.1 if code in PROMPT_CODES else FIRST_BACKOFF_S
            except LOST as error:
                status = getattr(getattr(error, "response", None), "status_code", "")
                self.errors[f"{type(error).__name__} {status}".strip()] += 1
                delay_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures, 3))
                failures += 1
            time.sleep(delay_s * (0.5 + 0.5 * random.random()))

    def _open(self) -> ClientConnection:
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

    def _open(self) -> ClientConnection:
        self._signed_s = max(int(time.time()), self._signed_s + 1)
        signature = sign(self._secret, f"{self.device_id}:{self._signed_s}")
        headers = {"X-Device-ID": self.device_id, "X-Timestamp": str(self._signed_s), "X-Signature": signature}
        connection = self._nginx.websocket("/ws/device", headers, open_timeout=5, close_timeout=0.2, ping_interval=None)
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

    def _open(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._nginx.websocket("/ws/app", headers, open_timeout=5, close_timeout=0.2, ping_interval=None)

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
