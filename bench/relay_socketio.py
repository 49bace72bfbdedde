"""The other peer of `make bench-relay`: Flask-SocketIO on gevent, with its Redis message queue and a room per robot."""

from __future__ import annotations

import hmac
import json
import os
import time
from typing import Any

import jwt
import psycopg
from flask import Flask, request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import SocketIO, emit, join_room
from socketio import RedisManager

from bench.relay_dialects import secret_of
from relay.auth import sign

HOUR_S = 3600


def create_app() -> Flask:
    """The application, for gunicorn's gevent worker."""
    secret = os.environ["JWT_SECRET"]
    app = Flask("socketio-relay")
    io = SocketIO(
        app,
        async_mode="gevent",
        client_manager=RedisManager(os.environ["REDIS_URL"]),  # `message_queue` does not know unix://
        ping_interval=HOUR_S,
        ping_timeout=HOUR_S,
        http_compression=False,
    )
    database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    users: dict[str, str] = {}
    robots: dict[str, str] = {}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {"status": "ok"}

    @io.on("connect")
    def connected(auth: dict[str, str]) -> None:
        sid = request.sid  # type: ignore[attr-defined]
        if "token" in auth:
            users[sid] = jwt.decode(auth["token"], secret, algorithms=["HS256"])["sub"]
        else:
            device = auth["device_id"]
            number = int(device.removeprefix("wimz_bench"))
            if not hmac.compare_digest(auth["sig"], sign(secret_of(number), device)):
                raise Refused("AUTH_FAILED")
            robots[sid] = device
            join_room(device)
        emit("admitted", {"success": True})

    @io.on("disconnect")
    def disconnected(reason: Any = None) -> None:
        users.pop(request.sid, None)  # type: ignore[attr-defined]
        robots.pop(request.sid, None)  # type: ignore[attr-defined]

    @io.on("command")
    def command(message: dict[str, Any]) -> None:
        user = users[request.sid]  # type: ignore[attr-defined]
        device = "wimz_" + user[2:]
        if message.get("device_id", device) != device:
            emit("error", {"code": "NOT_AUTHORIZED"})
            return
        data = {name: value for name, value in message.items() if name not in ("command", "device_id")}
        routed = {"type": "command", "command": message["command"], "data": data, "device_id": device, "user_id": user}
        io.emit("command", {**routed, "timestamp": int(time.time() * 1000)}, to=device)

    @io.on("event")
    def event(message: dict[str, Any]) -> None:
        device = robots[request.sid]  # type: ignore[attr-defined]
        database.execute(
            "INSERT INTO peer_events (device_id, id, event, data) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (device, message["id"], message["event"], json.dumps(message["data"])),
        )
        emit("event_ack", {"ids": [message["id"]]})

    return app
