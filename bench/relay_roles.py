"""How long a role that is taken away still counts: part of `make drill-relay-load`."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import psycopg
from websockets.sync.client import ClientConnection, connect

from bench.relay import Server, Site
from bench.relay_dialects import device_of, secret_of, user_of
from relay.auth import Tokens, sign

PATIENCE_S = 10.0


def role_changes(site: Site, near: Server, far: Server, first: int, times: int) -> list[float]:
    """A member who watches and drives becomes a viewer, again and again.

    Args:
        near, far: the robot is on the one; its member's app, and its owner who takes the role away, on the other.
        first: of two accounts that nobody else uses.

    Returns:
        Seconds from the owner's request until the robot and the app have both been told that it is over.
    """
    robot, owner, member = device_of(first), user_of(first), user_of(first + 1)
    tokens = Tokens(site.secret)
    token, owners = (tokens.issue(user_id, 0, datetime.now(UTC)) for user_id in (member, owner))
    with psycopg.connect(site.postgres.url) as connection:
        connection.execute("INSERT INTO members (user_id, device_id, role) VALUES (%s, %s, 'driver')", (member, robot))
    took_s = []
    with ExitStack() as stack:
        at = str(int(time.time()))
        headers = {
            "X-Device-ID": robot,
            "X-Timestamp": at,
            "X-Signature": sign(secret_of(first), f"{robot}:{at}"),
        }
        link = stack.enter_context(connect(f"ws://127.0.0.1:{near.port}/ws/device", additional_headers=headers))
        app = stack.enter_context(
            connect(f"ws://127.0.0.1:{far.port}/ws/app", additional_headers={"Authorization": f"Bearer {token}"})
        )
        _next(app, lambda message: message.get("event") == "device_status" and message["data"]["is_online"])
        http_ = http.client.HTTPConnection("127.0.0.1", far.port, timeout=PATIENCE_S)
        stack.callback(http_.close)
        for _ in range(times):
            app.send(json.dumps({"type": "webrtc_request", "device_id": robot}))
            _next(link, lambda message: message.get("type") == "webrtc_request")
            began_s = time.monotonic()
            _give(http_, robot, member, "viewer", owners)
            _next(link, lambda message: message.get("type") == "access_changed")
            _next(app, lambda message: message.get("type") == "webrtc_close")
            took_s.append(time.monotonic() - began_s)
            _give(http_, robot, member, "driver", owners)
            _next(link, lambda message: message.get("type") == "access_changed")
    return took_s


def _give(http_: http.client.HTTPConnection, robot: str, member: str, role: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    http_.request("PATCH", f"/api/device/{robot}/members/{member}", json.dumps({"role": role}), headers)
    answer = http_.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the role was not changed: {answer.status} {body.decode()}")


def _next(connection: ClientConnection, wanted: Callable[[dict[str, Any]], object]) -> None:
    """Wait for a message."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not wanted(json.loads(connection.recv(timeout=max(0.0, deadline_s - time.monotonic())))):
        pass
