"""A running relay under nonsense, by its own document, in bodies and on sockets: no 500, no crash, one error shape.

`FUZZ_EXAMPLES` sets how many examples each gets (`make fuzz-relay`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import struct
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contract import frames
from contract.commands import COMMANDS
from contract.openapi import relay_openapi
from contract.rest import RELAY_ROWS
from tests.relay.conftest import PATIENCE_S, Account, RelayServer, Robot

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 50,
    suppress_health_check=list(HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
# Throttles are counted by address, and this is one; a row that is not found by its method is werkzeug's own 405.
schema = schemathesis.openapi.from_dict(relay_openapi())


@pytest.fixture(scope="module")
def target(make_relay: Callable[..., RelayServer]) -> Iterator[RelayServer]:
    relay = make_relay()
    yield relay
    relay.close_all()
    relay.stop()


@pytest.fixture
def owner(target: RelayServer) -> Account:
    return target.account()


@pytest.fixture(autouse=True)
def _nothing_breaks(target: RelayServer) -> Iterator[None]:
    """No worker crashes, and none has an error that it did not expect."""
    pids, before = target.worker_pids(), target.log.stat().st_size
    yield
    assert target.worker_pids() == pids
    assert "Traceback" not in target.log.read_bytes()[before:].decode()


@pytest.mark.parametrize("row", RELAY_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_every_row_keeps_to_its_document(target: RelayServer, owner: Account, row: Any) -> None:
    robot = target.robot(owner)
    operation = schema[row.path][row.method]

    @quick
    @hypothesis.given(case=operation.as_strategy())
    def conforms(case: Any) -> None:
        if "device_id" in (case.path_parameters or {}) and random.Random(repr(case.body)).random() < 0.5:
            case.path_parameters["device_id"] = robot.device_id
        # A token that ends with the test's own requests would end the test: logout is one of them.
        token = target.fresh_token(owner)
        response = case.call(base_url=f"http://127.0.0.1:{target.port}", headers={"Authorization": f"Bearer {token}"})
        if response.status_code != 503 or row.path != "/ready":
            case.validate_response(
                response,
                checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
            )
        assert response.status_code != 500
        if response.status_code >= 400 and row.path != "/ready":
            _one_shape(response.content)

    conforms()


def _one_shape(body: bytes) -> None:
    answer = json.loads(body)
    assert answer["success"] is False
    assert set(answer) == {"success", "error"}
    assert {"code", "message"} <= set(answer["error"]) <= {"code", "message", "server_time", "retry_after_s"}


# -- JSON that is none, or too much of it ----------------------------------------------------------

NASTY: dict[str, bytes] = {
    "empty": b"",
    "not json": b"{",
    "bad utf-8": b'{"email":"\xff\xfe@b","password":"\xc3\x28 password"}',
    "overlong utf-8": b'{"email":"\xc0\xaf@b","password":"long enough"}',
    "lone surrogate": rb'{"email":"\ud800@b","password":"\udfff long enough","name":"\ud800"}',
    "bare surrogate": b'{"email":"\xed\xa0\x80@b"}',
    "U+0000": rb'{"email":"a\u0000@b.c","password":"long\u0000enough","name":"\u0000","device_id":"\u0000"}',
    "NaN": b'{"ttl":NaN,"after":NaN}',
    "infinity": b'{"ttl":-Infinity}',
    "1e999": b'{"ttl":1e999}',
    "huge number": b'{"ttl":' + b"9" * 5000 + b',"after":' + b"9" * 5000 + b"}",
    "tiny number": b'{"ttl":1e-99999}',
    "deep array": b"[" * 30_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and whole": b"[" * 25_000 + b"]" * 25_000,
    "duplicate keys": b'{"email":"a@b.c","email":5,"password":"x","password":"yy","role":"viewer","role":"owner"}',
    "array": b"[]",
    "number": b"7",
    "text": b'"text"',
    "null": b"null",
    "long text": b'{"email":"' + b"a" * 60_000 + b'","password":"x"}',
    "bom": b"\xef\xbb\xbf{}",
    "utf-16": '{"email":"a@b.c"}'.encode("utf-16"),
    "too large": b'{"x":"' + b"a" * 70_000 + b'"}',
    "many keys": json.dumps({f"k{number}": number for number in range(4000)}).encode(),
}


@pytest.mark.parametrize("row", [row for row in RELAY_ROWS if row.body], ids=lambda row: f"{row.method} {row.path}")
def test_nasty_bodies_are_refused_in_one_shape(target: RelayServer, owner: Account, row: Any) -> None:
    path = row.path.replace("{device_id}", target.robot(owner).device_id).replace("{user_id}", "u_none")
    for name, body in NASTY.items():
        answer = target.call(row.method, path, body, token=owner.token)
        # A body that says nothing is a good one where nothing has to be said.
        assert answer.status in (200, 400, 401, 403, 404, 409, 413, 429), (name, answer.body)
        if answer.status != 200:
            assert answer.code


@pytest.mark.parametrize(
    "query",
    ["limit=1e999", "limit=NaN", "after=" + "9" * 4000, "type=%00", "type=%ff", "device_id=%00", "after=-1", "a=%"],
)
def test_nasty_queries_are_refused_in_one_shape(target: RelayServer, owner: Account, query: str) -> None:
    answer = target.get(f"/api/events?{query}", token=owner.token)
    assert answer.status in (200, 400, 403, 404), answer.body
    if answer.status != 200:
        assert answer.code


def test_nasty_paths_and_headers_are_refused_in_one_shape(target: RelayServer, owner: Account) -> None:
    for name in ("\0", "\x7f", "é", "\udcff", "a" * 4000, "..", "a b", "%", "\n"):
        quoted = urllib.parse.quote(name.encode("utf-8", "surrogateescape"))
        for path in (f"/api/device/{quoted}", f"/api/device/{quoted}/members/{quoted}", f"/{quoted}"):
            for method in ("GET", "PATCH", "DELETE"):
                answer = target.call(method, path, b"{}", token=owner.token)
                assert 400 <= answer.status < 500, (method, path, answer.body)
                assert answer.code
    for header, value in (("Authorization", "Bearer \xff\xfe"), ("X-Device-ID", "\xff"), ("X-Timestamp", "9" * 4000)):
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=PATIENCE_S)
        connection.request("GET", "/api/auth/me", headers={header: value})
        reply = connection.getresponse()
        assert reply.status in (400, 401)
        reply.read()
        connection.close()


# -- sockets ---------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_names = st.sampled_from(sorted([*COMMANDS, "fly", "", "\0"]))
_types = st.sampled_from(
    sorted({str(type_.__struct_config__.tag) for type_ in (*frames.APP_TO_RELAY, *frames.ROBOT_TO_RELAY)} | {"", "fly"})
)
_keys = st.sampled_from(
    ["device_id", "id", "t", "data", "session_id", "sdp", "candidate", "after", "left", "right", "token", "timestamp"]
)
_messages = st.one_of(
    st.fixed_dictionaries({"command": _names | _json}, optional={"type": st.just("command")}),
    st.fixed_dictionaries({"type": _types | _json}),
    st.fixed_dictionaries({"event": st.text(max_size=70) | _json}),
).flatmap(lambda base: st.dictionaries(_keys, _json, max_size=5).map(lambda more: {**more, **base}))


@pytest.mark.parametrize("kind", ["app", "robot"])
def test_made_up_messages_are_answered_or_dropped(target: RelayServer, owner: Account, kind: str) -> None:
    robot = target.robot(owner)
    opened = target.device(robot) if kind == "robot" else target.app(owner)

    @settings(quick, max_examples=max(100, EXAMPLES * 10))
    @hypothesis.given(message=_messages)
    def goes_on(message: Any) -> None:
        opened.send(json.dumps(message, allow_nan=True))
        for answer in opened.sync():
            if answer.get("type") == "error":
                assert answer["code"] != "INTERNAL_ERROR"
                assert answer["message"]

    goes_on()


@pytest.mark.parametrize("kind", ["app", "robot"])
def test_nasty_json_on_a_socket_is_answered_or_closes_it(target: RelayServer, owner: Account, kind: str) -> None:
    robot = target.robot(owner)
    for name, body in NASTY.items():
        opened = target.device(robot) if kind == "robot" else target.app(owner)
        opened.connection.send(body, text=True)
        if name in ("bad utf-8", "overlong utf-8", "bare surrogate", "utf-16"):
            assert opened.closed() == 1007, name
        elif name == "too large":
            assert opened.closed() == 1009
        else:
            opened.sync()
            assert opened.seen[-2]["type"] == "error", name
            opened.close()


def test_nasty_text_in_events_is_refused_or_stored_as_it_is(target: RelayServer, owner: Account) -> None:
    robot = target.robot(owner)
    opened = target.device(robot)
    for text in (r"\u0000", r"\ud800", "\\ud83d\\udc15", "9" * 3000):
        value = text if text.isdigit() else f'"{text}"'
        opened.send('{"event":"treat","id":"' + str(len(text)) + '","data":{"x":' + value + "}}")
        answer = opened.get_any("error", "event_ack")
        assert answer["type"] == "event_ack" or answer["code"] in ("INVALID_PARAMETER", "INVALID_JSON")
    opened.send({"event": "treat", "id": "good", "data": {}})
    opened.get("event_ack", ids=["good"])


def test_random_bytes_as_frames_close_that_socket_alone(target: RelayServer, owner: Account) -> None:
    bystander = target.app(owner)
    chance = random.Random(7)
    for _ in range(EXAMPLES * 5):
        raw = target.raw(owner)
        raw.sendall(chance.randbytes(chance.randrange(1, 300)))
        raw.shutdown(socket.SHUT_WR)
        while True:
            try:
                if not raw.recv(4096):
                    break
            except ConnectionResetError:
                break
        raw.close()
    bystander.sync()


# -- frames ----------------------------------------------------------------------------------------

_SEEDS = [
    *NASTY.values(),
    b'{"type":"ping"}',
    b'{"command":"motor","left":0.5,"right":-0.5,"t":1}',
    b'{"command":"treat","id":"fuzz"}',
    b'{"event":"treat","data":{},"id":"fuzz"}',
    b'{"type":"catch_up","device_id":"wimz_none","after":0}',
    b'{"type":"webrtc_request"}',
    b'{"type":"auth","token":"no.such.token"}',
    b'{"type":"auth","device_id":"\\u0000","signature":"\\ud800","timestamp":1}',
    b'{"type":"auth","device_id":"wimz_none","signature":"00","timestamp":99999999999999999999}',
]


def _frame(chance: random.Random, opcode: int, payload: bytes, fin: bool = True) -> bytes:
    mask = chance.randbytes(4)
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = struct.pack("!BH", 0xFE, size) if size < 65_536 else struct.pack("!BQ", 0xFF, size)
    repeated = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
    return bytes([opcode | (0x80 if fin else 0)]) + length + mask + masked


def _conversation(chance: random.Random) -> bytes:
    """A few frames: good ones, fragments with control frames between them, and some that are damaged."""
    parts = []
    for _ in range(chance.randrange(1, 6)):
        payload = chance.choice(_SEEDS)
        if chance.random() < 0.3:  # damaged JSON
            at = chance.randrange(len(payload) + 1)
            payload = payload[:at] + chance.randbytes(chance.randrange(4)) + payload[at + chance.randrange(4) :]
        shape = chance.randrange(8)
        if shape == 0:
            cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.randrange(1, 40)))
            for start, end in zip([0, *cuts], cuts, strict=False):
                parts.append(_frame(chance, 0 if start else 1, payload[start:end], fin=False))
                if chance.random() < 0.2:
                    parts.append(_frame(chance, 9, chance.randbytes(chance.randrange(126))))
            parts.append(_frame(chance, 0, payload[cuts[-1] :]))
        elif shape == 1:
            parts.append(_frame(chance, chance.randrange(16), payload[: chance.choice([1, 2, 125, 126, 70_000])]))
        elif shape == 2:
            parts.append(
                _frame(chance, 8, chance.choice([b"", b"\3", b"\3\xe8", b"\x0f\xa8\xff", chance.randbytes(9)]))
            )
        elif shape == 3:
            damaged = bytearray(_frame(chance, 1, payload))
            damaged[chance.randrange(min(10, len(damaged)))] ^= 1 << chance.randrange(8)
            parts.append(bytes(damaged))
        elif shape == 4:  # a length beyond all memory
            parts.append(
                b"\x81\xff" + struct.pack("!Q", chance.choice([2**63, 2**63 - 1, 2**32])) + chance.randbytes(20)
            )
        else:
            parts.append(_frame(chance, 1, payload))
    return b"".join(parts)


@pytest.mark.parametrize("kind", ["app", "robot", "nobody"])
def test_mutated_frames_harm_nobody_else(target: RelayServer, owner: Account, kind: str) -> None:
    bystanders = target.account()
    robot = target.device(target.robot(bystanders))
    app = target.app(bystanders)
    app.get("device_status", online=True)
    fuzzed = target.robot(owner)
    chance = random.Random(f"{kind} {EXAMPLES}")
    for number in range(EXAMPLES * 20):
        opened = _handshake(target, kind, owner, fuzzed)
        with contextlib.suppress(OSError), opened:
            data = _conversation(chance)
            while data:
                size = chance.choice([1, 7, 1000, len(data)])
                opened.sendall(data[:size])
                data = data[size:]
                if chance.random() < 0.5:
                    break  # cut off in the middle, or the rest at once
            opened.sendall(data)
            if chance.random() < 0.8:
                opened.shutdown(socket.SHUT_WR)
                while opened.recv(65_536):
                    pass
        if number % 20 == 0:
            app.send({"command": "led", "pattern": "rainbow", "id": f"{kind}{number}"})
            robot.get("led", id=f"{kind}{number}")
    # The robot was superseded again and again, by itself; it and its owner are still served.
    last = target.device(fuzzed)
    mine = target.app(owner)
    mine.get("device_status", device_id=fuzzed.device_id, online=True)
    mine.send({"command": "stop", "device_id": fuzzed.device_id, "id": "last"})
    last.get("stop")


def _handshake(target: RelayServer, kind: str, account: Account, robot: Robot) -> socket.socket:
    """A socket whose handshake has been answered."""
    opened = socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S)
    path = {"app": "/ws/app", "robot": "/ws/device", "nobody": "/ws"}[kind]
    headers = {"Authorization": f"Bearer {account.token}"} if kind == "app" else {}
    if kind == "robot":
        headers = robot.headers()
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: relay",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        chunk = opened.recv(1)
        assert chunk, answer
        answer += chunk
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return opened
