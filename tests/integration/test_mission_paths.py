"""Modes and missions by every path: the deed, what is told of it, and each refusal that the contract names."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.demo_driver import until
from contract.errors import STATUS_OF_CODE
from contract.rest import ROBOT_ROWS
from contract.units import MODE_ALIASES
from tests.integration.test_paths import ANYBODYS_CODES, PATIENCE_S, Door

LONG, SHORT = "long", "short"
MISSIONS = {
    LONG: "{name: Long, target_behavior: resting, required_duration: 3000, attempt_seconds: 3600, daily_limit: 9}",
    SHORT: "{name: Short, target_behavior: moving, also_accepted: [sitting], required_duration: 0.4, daily_limit: 1}",
}
REST = {
    "mode": ("POST", "/mode/set"),
    "mode_get": ("GET", "/mode/get"),
    "mission_list": ("GET", "/missions"),
    "mission_get": ("GET", "/missions/{id}"),
    "mission_start": ("POST", "/missions/{id}/start"),
    "mission_stop": ("POST", "/missions/{id}/stop"),
}
PATHS = ["REST", "/ws", "data channel", "relay"]
LISTENERS = ["/ws", "relay"]


def patiently(ask: Callable[[], Any], what: str) -> Any:
    """The answer; a door that has enough for now is asked again."""
    answer: list[Any] = []

    def answered() -> bool:
        answer[:] = [ask()]
        return bool(answer[0] != "RATE_LIMITED")

    until(answered, PATIENCE_S, f"{what} is not rate limited")
    return answer[0]


class Room(Door):
    """A robot that sees the drawn dog, with missions of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        folder = directory / "missions"
        folder.mkdir()
        for mission, text in MISSIONS.items():
            (folder / f"{mission}.yaml").write_text(text)
        self.changes: dict[str, Any] = {}
        self.earned: dict[str, list[tuple[str, Any]]] | None = None
        super().__init__(directory, stack, {"missions": {"folder": str(folder)}})

    def body(self, command: str) -> dict[str, Any]:
        return {**super().body(command), **self.changes}

    def do(self, path: str, command: str, **changes: Any) -> Any:
        """The data of the answer, or the code of the refusal."""

        def ask() -> Any:
            if path == "REST":
                method, place = REST[command]
                body = {key: value for key, value in changes.items() if key != "mission_id"}
                return self.rest(method, place.replace("{id}", changes.get("mission_id", "")), body)
            self.changes = changes
            try:
                return self.ask(path, command)
            finally:
                self.changes = {}

        return patiently(ask, f"{command} by {path}")

    def rest(self, method: str, place: str, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.robot.port, timeout=PATIENCE_S)
        headers = {"Content-Type": "application/json"}
        connection.request(method, place, json.dumps(body) if method == "POST" and body else None, headers)
        answer = connection.getresponse()
        reply = json.loads(answer.read())
        connection.close()
        if answer.status == 200:
            return reply
        assert (reply["success"], answer.status) == (False, STATUS_OF_CODE[reply["error"]["code"]])
        assert reply["error"]["message"]
        return reply["error"]["code"]

    def active(self) -> Any:
        return patiently(lambda: self.rest("GET", "/missions/active", None), "the active mission")

    def mode(self) -> str:
        return str(self.do("REST", "mode_get")["mode"])

    def heard(self) -> dict[str, list[dict[str, Any]]]:
        """What each listener has heard until now."""
        return {listener: list(self.sockets[listener].frames) for listener in LISTENERS}

    def told(self, listener: str, before: dict[str, list[dict[str, Any]]]) -> list[tuple[str, Any]]:
        """What was told there since: of missions and treats how it went, of modes which."""
        known = {id(frame) for frame in before[listener]}
        return [
            (frame["event"], frame["data"][key])
            for frame in list(self.sockets[listener].frames)
            for key in [{"mission": "status", "mode": "mode", "treat": "dispensed"}.get(frame.get("event", ""))]
            if key is not None and id(frame) not in known
        ]

    def earn(self) -> None:
        """Today's one treat of the short mission, once."""
        if self.earned is not None:
            return
        before = self.heard()
        assert self.do("REST", "mission_start", mission_id=SHORT) == {"success": True}
        until(
            lambda: all(("mission", "completed") in self.told(listener, before) for listener in LISTENERS),
            PATIENCE_S,
            "the dog earns its treat, and the mission ends",
        )
        self.earned = {listener: self.told(listener, before) for listener in LISTENERS}


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    directory.chmod(0o711)
    try:
        with ExitStack() as stack:
            yield Room(directory, stack)
    finally:
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def calm(room: Room) -> Iterator[None]:
    yield
    room.do("REST", "mission_stop", mission_id=LONG)
    room.do("REST", "mode", mode="manual")
    room.do("REST", "mode", mode="idle")


@contextmanager
def running(room: Room) -> Iterator[None]:
    assert room.do("REST", "mission_start", mission_id=LONG) == {"success": True}
    yield


@contextmanager
def stopped(room: Room) -> Iterator[None]:
    """By the emergency stop, which missions knows of: what ran has ended."""
    with running(room):
        room.rest("POST", "/motor/emergency", None)
        until(lambda: room.active() is None, PATIENCE_S, "the emergency stop is known")
        yield


@contextmanager
def earned(room: Room) -> Iterator[None]:
    room.earn()
    yield


def as_it_is(room: Room) -> AbstractContextManager[None]:
    return nullcontext()


Situation = Callable[[Room], AbstractContextManager[None]]

REFUSALS: list[tuple[Situation, str, dict[str, Any], str]] = [
    (as_it_is, "mode", {"mode": "docking"}, "NOT_FITTED"),
    (as_it_is, "mission_get", {"mission_id": "dance"}, "NOT_FOUND"),
    (as_it_is, "mission_start", {"mission_id": "dance"}, "NOT_FOUND"),
    (as_it_is, "mission_stop", {"mission_id": "dance"}, "NOT_FOUND"),
    (running, "mission_start", {"mission_id": LONG}, "CONFLICT"),
    (running, "mission_start", {"mission_id": SHORT}, "CONFLICT"),
    (stopped, "mission_start", {"mission_id": LONG}, "EMERGENCY_STOPPED"),
    (earned, "mission_start", {"mission_id": SHORT}, "DAILY_LIMIT"),
    (as_it_is, "mode", {"mode": "flying"}, "INVALID_PARAMETER"),
    (as_it_is, "mode", {"mode": 3}, "INVALID_PARAMETER"),
    (as_it_is, "mission_start", {"mission_id": "x" * 200}, "INVALID_PARAMETER"),
    (as_it_is, "mission_stop", {"mission_id": "x" * 200}, "INVALID_PARAMETER"),
    (as_it_is, "mission_get", {"mission_id": "x" * 200}, "INVALID_PARAMETER"),
]
OF_AN_INSTANT = {("mode", "EMERGENCY_STOPPED")}
"""Pressed between sending and arrival: the process's own tests hold it, where time is theirs."""


def test_every_refusal_that_the_contract_names_is_tried() -> None:
    named = {
        (row.command.name, code)
        for row in ROBOT_ROWS
        if row.command is not None and row.command.name in REST
        for code in row.codes
        if code not in ANYBODYS_CODES
    }
    tried = {(command, code) for _, command, _, code in REFUSALS if code != "INVALID_PARAMETER"}
    assert tried == named - OF_AN_INSTANT


@pytest.mark.parametrize(("situation", "command", "body", "code"), REFUSALS)
@pytest.mark.parametrize("path", PATHS)
def test_what_cannot_be_is_refused_alike(
    room: Room, path: str, situation: Situation, command: str, body: dict[str, Any], code: str
) -> None:
    with situation(room):
        before = room.mode(), room.active() is None
        assert room.do(path, command, **body) == code
        assert (room.mode(), room.active() is None) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_mission_is_started_seen_and_stopped(room: Room, path: str) -> None:
    before = room.heard()
    room.do(path, "mission_start", mission_id=LONG)
    assert room.active()["id"] == LONG
    assert room.do(path, "mission_get", mission_id=LONG)["is_active"]
    assert room.do(path, "mode_get")["mode"] == "training"
    listed = room.do(path, "mission_list")
    missions = listed if path == "REST" else listed["missions"]
    assert {one["id"]: one["is_active"] for one in missions} == {LONG: True, SHORT: False}
    room.do(path, "mission_stop", mission_id=LONG)
    assert room.active() is None
    assert room.mode() == "idle"
    expected = [("mode", "training"), ("mission", "started"), ("mission", "stopped"), ("mode", "idle")]
    until(
        lambda: all(room.told(listener, before)[-4:] == expected for listener in LISTENERS),
        PATIENCE_S,
        "mission and mode are told to all",
    )


@pytest.mark.parametrize("name", ["idle", "guardian", "training", "manual", *MODE_ALIASES])
@pytest.mark.parametrize("path", PATHS)
def test_a_mode_is_set_by_each_of_its_names(room: Room, path: str, name: str) -> None:
    room.do(path, "mode", mode=name)
    now = room.do(path, "mode_get")
    assert (now["mode"], bool(now["reason"]), bool(now["source"])) == (MODE_ALIASES.get(name, name), True, True)


def test_the_drawn_dog_earns_a_treat_which_all_are_told_of(room: Room) -> None:
    room.earn()
    mission = room.do("REST", "mission_get", mission_id=SHORT)
    assert (mission["rewards_given"], mission["success_count"], mission["is_active"]) == (1, 1, False)
    assert room.earned is not None
    for told in room.earned.values():
        assert ("treat", True) in told
        assert [what for event, what in told if event == "mission"] == ["started", "success", "rewarded", "completed"]
