"""A real relay: gunicorn with two gevent workers, on real Valkey and PostgreSQL; and clients that speak to it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from relay import admin
from relay.auth import Tokens, sign
from relay.crypto import Passwords

ROOT = Path(__file__).resolve().parents[2]
SECRET = "relay test secret, long enough for HS256 to be content with"
MASTER_KEY = "relay test master key, which is long enough as well"
PASSWORD = "correct horse"
PATIENCE_S = 15.0

_numbers = itertools.count(1)


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        time.sleep(0.02)
    return result


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; the shape is checked on the way."""
        assert self.json["success"] is False
        assert self.json["error"]["message"]
        return str(self.json["error"]["code"])


class Socket:
    """A WebSocket client whose messages can be picked by what they are."""

    def __init__(self, url: str, **options: Any) -> None:
        self._open = contextlib.ExitStack()
        self.connection: ClientConnection = self._open.enter_context(connect(url, **options))
        self.seen: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any] | str) -> None:
        self.connection.send(message if isinstance(message, str) else json.dumps(message))

    def get(self, kind: str, timeout_s: float = PATIENCE_S, **members: Any) -> dict[str, Any]:
        """The next message whose type, event or command is `kind` and that has these members."""
        deadline = time.monotonic() + timeout_s
        while True:
            message: dict[str, Any] = json.loads(self.connection.recv(timeout=max(0.0, deadline - time.monotonic())))
            self.seen.append(message)
            names = (message.get("type"), message.get("event"), message.get("command"))
            if kind in names and all(message.get(name) == value for name, value in members.items()):
                return message

    def get_any(self, *kinds: str) -> dict[str, Any]:
        """The next message whose type is one of these."""
        while True:
            message: dict[str, Any] = json.loads(self.connection.recv(timeout=PATIENCE_S))
            self.seen.append(message)
            if message.get("type") in kinds:
                return message

    def sync(self) -> list[dict[str, Any]]:
        """Everything that came before the answer to a ping sent now."""
        mark = float(next(_numbers))
        start = len(self.seen)
        self.send({"type": "ping", "t": mark})
        self.get("pong", t=mark)
        return self.seen[start:-1]

    def closed(self, timeout_s: float = PATIENCE_S) -> int:
        """The code with which the relay closes it."""
        try:
            while True:
                self.seen.append(json.loads(self.connection.recv(timeout=timeout_s)))
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006

    def close(self) -> None:
        self._open.close()


@dataclass
class Account:
    """An account of the relay's."""

    user_id: str
    email: str
    token: str


@dataclass
class Robot:
    """A robot's identity."""

    device_id: str
    secret: str

    def headers(self, timestamp: int | None = None) -> dict[str, str]:
        at = str(int(time.time()) if timestamp is None else timestamp)
        signature = sign(self.secret, f"{self.device_id}:{at}")
        return {"X-Device-ID": self.device_id, "X-Timestamp": at, "X-Signature": signature}


@dataclass
class RelayServer:
    """A running relay and what tests do with it."""

    port: int
    database_url: str
    redis_url: str
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    sockets: list[Socket] = field(default_factory=list)

    # -- the server -------------------------------------------------------------------------------

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket"]
        command += ["-c", "relay/gunicorn.conf.py", "relay.app:create_app()"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        until(self._ready, "the relay is ready", 30.0)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        with contextlib.suppress(OSError):
            return len(self.worker_pids()) == 2 and self.get("/ready").status == 200
        return False

    def stop(self) -> float:
        """Stop it; returns how long that took, seconds."""
        assert self.process is not None
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - began

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def pid_of(self, socket_: Socket) -> int:
        """The worker that has this connection's other end."""
        ours = socket_.connection.socket.getsockname()
        wanted = [f"0100007F:{self.port:04X}", f"0100007F:{ours[1]:04X}"]  # our port may go to other servers as well
        inode = next(
            line.split()[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1:4] == [*wanted, "01"]
        )
        for pid in self.worker_pids():
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) == f"socket:[{inode}]":
                        return pid
        raise AssertionError("no worker has it")

    # -- HTTP -------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        for name, value in ({"Authorization": f"Bearer {token}"} if token else {} | (headers or {})).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def get(self, path: str, **options: Any) -> Reply:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return self.call("POST", path, body, **options)

    # -- who there is -----------------------------------------------------------------------------

    def account(self) -> Account:
        number = next(_numbers)
        made = Account(f"u_{number}", f"person{number}@example.org", "")
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "INSERT INTO users (user_id, email, password_hash) VALUES (%s, %s, %s)",
                (made.user_id, made.email, _password_hash()),
            )
        made.token = Tokens(SECRET).issue(made.user_id, 0, datetime.now(UTC))
        return made

    def fresh_token(self, account: Account) -> str:
        """A token of the account's version of now."""
        ((version,),) = self.rows("SELECT token_version FROM users WHERE user_id = %s", account.user_id)
        return Tokens(SECRET).issue(account.user_id, version, datetime.now(UTC))

    def robot(self, owner: Account | None = None, device_id: str | None = None) -> Robot:
        device_id, secret = admin.add_device(self.database_url, MASTER_KEY, device_id or f"wimz_t{next(_numbers)}")
        if owner is not None:
            admin.pair(self.database_url, owner.email, device_id)
        return Robot(device_id, secret)

    def share(self, owner: Account, robot: Robot, friend: Account, role: str) -> None:
        """Have the friend use the owner's robot."""
        offer = self.post(f"/api/device/{robot.device_id}/share", {"role": role}, token=owner.token).json
        joined = self.post("/api/device/join", {"share_code": offer["share_code"]}, token=friend.token)
        assert joined.json["role"] == role

    # -- WebSockets -------------------------------------------------------------------------------

    def open(self, path: str, headers: dict[str, str] | None = None, **options: Any) -> Socket:
        options = {"compression": None, "ping_interval": None, "close_timeout": 2, **options}
        self.sockets.append(Socket(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, **options))
        return self.sockets[-1]

    def app(self, account: Account, **options: Any) -> Socket:
        """An app that has signed in."""
        opened = self.open("/ws/app", {"Authorization": f"Bearer {account.token}"}, **options)
        assert opened.get("auth_result")["success"] is True
        return opened

    def raw(self, account: Account, receive_buffer: int = 4096) -> socket.socket:
        """An app's socket after the handshake, with a client that does nothing by itself, not even answer a ping."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(PATIENCE_S)
        raw.connect(("127.0.0.1", self.port))
        lines = [
            "GET /ws/app HTTP/1.1",
            "Host: relay",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
            f"Authorization: Bearer {account.token}",
        ]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        while raw.recv(1) != b"{":  # the first message: it is signed in
            pass
        return raw

    def device(self, robot: Robot, **options: Any) -> Socket:
        """A robot that the relay has taken in."""
        opened = self.open("/ws/device", robot.headers(), **options)
        opened.get("paired")
        return opened

    def on_worker(self, pid: int, make: Callable[[], Socket], *, other: bool = False, close: bool = True) -> Socket:
        """Connect until the connection is on that worker, or with `other` on another; close those that are not."""
        for _ in range(200):
            made = make()
            if (self.pid_of(made) == pid) is not other:
                return made
            if close:
                made.close()
        raise AssertionError("the kernel gives all connections to one worker")

    def forgive_addresses(self) -> None:
        """Forget the attempts from this address, which all tests share."""
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter("wimz:limit:*-address:*"):
                client.delete(key)

    def close_all(self) -> None:
        for opened in self.sockets:
            opened.close()
        self.sockets.clear()

    def execute(self, query: str, *values: Any) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(query.encode(), values)

    def rows(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()


@functools.cache
def _password_hash() -> str:
    return Passwords().hash(PASSWORD)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def relay_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey that nobody empties while relays run on it."""
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    server = EmbeddedValkey(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def make_relay(
    postgres_server: EmbeddedPostgres, relay_valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RelayServer]]:
    """Starts relays with settings of one's own; all end with the run."""
    started: list[RelayServer] = []
    database = f"relays_{next(_numbers)}"
    database_url = postgres_server.create_database(database)
    admin.migrate(database_url)

    def make(**settings: str) -> RelayServer:
        port = _free_port()
        environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATABASE_URL": database_url,
            "REDIS_URL": relay_valkey.url,
            "JWT_SECRET": SECRET,
            "MASTER_KEY": MASTER_KEY,
            "WEB_CONCURRENCY": "2",
            **settings,
        }
        log = tmp_path_factory.mktemp("relay") / "relay.log"
        server = RelayServer(port, database_url, environment["REDIS_URL"], log, environment)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.close_all()
        server.stop()
    postgres_server.drop_database(database)


@pytest.fixture(scope="session")
def shared_relay(make_relay: Callable[..., RelayServer]) -> RelayServer:
    return make_relay(ALLOW_BARE_ID_SIGNATURE="1")


@pytest.fixture
def relay(shared_relay: RelayServer) -> Iterator[RelayServer]:
    """The run's relay, without connections when the test begins."""
    yield shared_relay
    shared_relay.close_all()
