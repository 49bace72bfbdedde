"""Redis goes away under a running relay, and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.embedded import EmbeddedValkey


@pytest.fixture(scope="module")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of this module's own, to be stopped at will."""
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    server = EmbeddedValkey(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def frail(make_relay: Callable[..., Any], valkey: EmbeddedValkey) -> Any:
    return make_relay(REDIS_URL=valkey.url)


@pytest.fixture
def three(frail: Any) -> Iterator[tuple[Any, Any, Any]]:
    """A robot, an app on its worker, and an app on the other."""
    account = frail.account()
    robot = frail.device(frail.robot(account))
    near = frail.on_worker(frail.pid_of(robot), lambda: frail.app(account))
    far = frail.on_worker(frail.pid_of(robot), lambda: frail.app(account), other=True)
    far.get("device_status", online=True)
    yield robot, near, far
    frail.close_all()


def _ask_until_done(app: Any, robot: Any) -> None:
    """Send commands until one is carried out."""
    deadline = time.monotonic() + 20
    number = 0
    while "treat" not in [message.get("command") for message in robot.sync()]:
        assert time.monotonic() < deadline
        number += 1
        app.send({"command": "treat", "id": f"again{number}"})
        time.sleep(0.1)


def test_without_redis_one_worker_goes_on_the_rest_is_refused_and_it_heals(
    three: Any, frail: Any, valkey: EmbeddedValkey
) -> None:
    robot, near, far = three
    valkey.stop()
    near.send({"command": "led", "pattern": "rainbow", "id": "near"})
    robot.get("led", id="near")
    robot.send({"type": "command_result", "id": "near", "command": "led", "success": True})
    near.get("command_result", id="near", success=True)
    far.send({"command": "led", "pattern": "rainbow", "id": "far"})
    assert far.get("command_result", id="far")["error"]["code"] == "UNAVAILABLE"
    account = frail.account()
    alone = frail.device(frail.robot(account))
    assert frail.get("/ready").status == 503
    valkey.start()
    _ask_until_done(far, robot)
    late = frail.on_worker(frail.pid_of(alone), lambda: frail.app(account), other=True)
    late.get("device_status", online=True)


def test_a_command_that_redis_holds_up_is_refused_and_never_carried_out_late(
    three: Any, valkey: EmbeddedValkey
) -> None:
    robot, _, far = three
    os.kill(valkey.child.pid, signal.SIGSTOP)
    try:
        far.send({"command": "treat", "id": "held"})
        assert far.get("command_result", id="held")["error"]["code"] == "UNAVAILABLE"
    finally:
        os.kill(valkey.child.pid, signal.SIGCONT)
    _ask_until_done(far, robot)
    assert "held" not in [message.get("id") for message in robot.seen]
    assert len([message for message in far.seen if message.get("id") == "held"]) == 1


def test_a_role_taken_away_while_redis_is_away_ends_all_the_same(frail: Any, valkey: EmbeddedValkey) -> None:
    owner, friend, distant = frail.account(), frail.account(), frail.account()
    robot = frail.robot(owner)
    for member in (friend, distant):
        frail.share(owner, robot, member, "driver")
    opened = frail.device(robot)
    near = frail.on_worker(frail.pid_of(opened), lambda: frail.app(friend))
    far = frail.on_worker(frail.pid_of(opened), lambda: frail.app(distant), other=True)
    near.get("device_status", online=True)
    valkey.stop()
    try:
        frail.execute("DELETE FROM members WHERE device_id = %s", robot.device_id)
        for app in (near, far):
            app.get("error", code="NOT_AUTHORIZED", device_id=robot.device_id)
        near.send({"command": "led", "pattern": "rainbow", "id": "late", "device_id": robot.device_id})
        assert near.get("command_result", id="late")["error"]["code"] == "NOT_AUTHORIZED"
        opened.get("access_changed", user_id=friend.user_id)
    finally:
        valkey.start()
    frail.close_all()
