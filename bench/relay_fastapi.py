"""The peer of `make bench-relay`: a relay on FastAPI, uvicorn and redis.asyncio, written as the field writes it.

Tokens and signatures are checked at connect, every message is parsed, checked and routed; a robot of another worker
is reached by one PUBLISH to its channel; an event is stored before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator

import jwt
import psycopg
import redis.asyncio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.relay_dialects import secret_of
from relay.auth import sign

SECRET = os.environ["JWT_SECRET"]
robots: dict[str, WebSocket] = {}
bus: redis.asyncio.Redis = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], max_connections=1000)
pubsub = bus.pubsub()
database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


async def listen() -> None:
    """Hand what other workers publish to the robots of this one."""
    await pubsub.subscribe("control")
    async for message in pubsub.listen():
        if message["type"] == "message":
            robot = robots.get(message["channel"].decode().partition(":")[2])
            if robot is not None:
                await robot.send_text(message["data"].decode())


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(listen())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


_dump = json.JSONEncoder(separators=(",", ":")).encode


@app.websocket("/ws/app")
async def app_socket(socket: WebSocket, token: str) -> None:
    await socket.accept()
    try:
        user = jwt.decode(token, SECRET, algorithms=["HS256"])["sub"]
    except jwt.InvalidTokenError:
        await socket.close(4001)
        return
    device = "wimz_" + user[2:]
    await socket.send_text(_dump({"type": "auth_result", "success": True, "user_id": user}))
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await _command(socket, user, device, await socket.receive_text())


async def _command(socket: WebSocket, user: str, owned: str, text: str) -> None:
    message = json.loads(text)
    command, device = message.get("command"), message.get("device_id", owned)
    if device != owned:
        await socket.send_text(_dump({"type": "error", "code": "NOT_AUTHORIZED"}))
        return
    data = {name: value for name, value in message.items() if name not in ("command", "type", "device_id")}
    if command == "motor" and not (-1 <= data["left"] <= 1 and -1 <= data["right"] <= 1):
        await socket.send_text(_dump({"type": "error", "code": "INVALID_PARAMETER"}))
        return
    routed = {"type": "command", "command": command, "data": data, "device_id": device, "user_id": user}
    routed["timestamp"] = int(time.time() * 1000)
    robot = robots.get(device)
    if robot is not None:
        await robot.send_text(_dump(routed))
    elif not await bus.publish(f"device:{device}", _dump(routed)):
        await socket.send_text(_dump({"type": "error", "code": "DEVICE_OFFLINE"}))


@app.websocket("/ws/device")
async def device_socket(socket: WebSocket, device_id: str, sig: str) -> None:
    await socket.accept()
    number = int(device_id.removeprefix("wimz_bench"))
    if not hmac.compare_digest(sig, sign(secret_of(number), device_id)):
        await socket.close(4001)
        return
    robots[device_id] = socket
    await pubsub.subscribe(f"device:{device_id}")
    await socket.send_text(_dump({"type": "paired", "success": True}))
    try:
        while True:
            message = json.loads(await socket.receive_text())
            if "event" in message:
                database.execute(
                    "INSERT INTO peer_events (device_id, id, event, data) VALUES (%s, %s, %s, %s) "
                    "ON CONFLICT DO NOTHING",
                    (device_id, message["id"], message["event"], json.dumps(message["data"])),
                )
                await socket.send_text(_dump({"type": "event_ack", "ids": [message["id"]]}))
    except WebSocketDisconnect:
        if robots.get(device_id) is socket:
            del robots[device_id]
            await pubsub.unsubscribe(f"device:{device_id}")
