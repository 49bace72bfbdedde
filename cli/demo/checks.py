"""Whether the parts of the demo answer. Each check returns None when it does, else what is missing, in words."""

from __future__ import annotations

import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any

from bus.base import Latest
from bus.topics import HEARTBEATS, MOTION_STATE, PROCESSES, TELEMETRY
from bus.zeromq import ZmqBus

TIMEOUT_S = 5.0

# Ask our own machine and no proxy, whatever the environment says.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, *, body: dict[str, Any] | None = None, token: str | None = None) -> tuple[str, bytes]:
    """GET, or POST when there is a body. Returns the content type and the content.

    Raises:
        OSError, http.client.HTTPException: no answer, or an answer that reports an error.
    """
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with _opener.open(request, timeout=TIMEOUT_S) as response:
        return response.headers.get_content_type(), response.read()


def answers(url: str, *, token: str | None = None, content_type: str | None = None) -> str | None:
    """Whether `url` answers with 200, and with `content_type` when given."""
    try:
        found, _ = fetch(url, token=token)
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error}"
    if content_type is not None and found != content_type:
        return f"{url} answers with {found} instead of {content_type}"
    return None


class DeviceOnline:
    """Whether the relay has the robot's connection, as its owner sees it."""

    def __init__(self, relay_url: str, email: str, password: str, device_id: str) -> None:
        self._relay_url = relay_url
        self._account = {"email": email, "password": password}
        self._device_id = device_id
        self._token: str | None = None

    def __call__(self) -> str | None:
        try:
            if self._token is None:
                _, answer = fetch(f"{self._relay_url}/api/auth/login", body=self._account)
                self._token = str(json.loads(answer)["token"])
            _, answer = fetch(f"{self._relay_url}/api/device/{self._device_id}", token=self._token)
            online = json.loads(answer)["is_online"]
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return f"the relay does not tell about the robot: {error}"
        return None if online else "the robot is not connected to the relay"


class RobotWhole:
    """Whether every process of the robot beats, motion may drive, and the treats are counted.

    The simulator is left out: there is none on a Raspberry Pi, and where it is missing motion says so.
    """

    def __init__(self, run_dir: Path) -> None:
        self._bus = ZmqBus("demo", run_dir)
        processes = [process for process in PROCESSES if process != "simulator"]
        self._beats = {process: Latest(self._bus, HEARTBEATS[process]) for process in processes}
        self._motion = Latest(self._bus, MOTION_STATE)
        self._telemetry = Latest(self._bus, TELEMETRY)
        self._bus.start()

    def __call__(self) -> str | None:
        now = self._bus.now()
        silent = [process for process, beat in self._beats.items() if beat.fresh(now) is None]
        if silent:
            return f"not heard from: {', '.join(silent)}"
        motion, telemetry = self._motion.fresh(now), self._telemetry.fresh(now)
        if motion is None or motion.fault is not None:
            return "motion cannot drive yet" if motion is None else motion.fault
        if telemetry is None or telemetry.treats_remaining is None:
            return "the treats are not counted yet"
        return None

    def close(self) -> None:
        self._bus.stop()


def read_token(path: Path) -> str | None:
    """The token that the robot made at its first start; None until it has."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
