"""The rows of /mode, /missions and /snapshots, with the missions process played by the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bus import snapshots
from bus.topics import COMMAND_TOPICS
from contract.errors import ContractError
from contract.models import Mission, MissionList, ModeNow
from tests.processes.local_api.conftest import Robot

PICTURE = "00000001-presence-20260302T120000Z.jpg"


def mission(id_: str, *, active: bool = False) -> Mission:
    return Mission(
        id=id_,
        name=id_.title(),
        description="",
        target_behavior="sitting",
        required_duration=3.0,
        cooldown_seconds=5.0,
        daily_limit=10,
        is_active=active,
        rewards_given=1,
        progress=0.5,
        success_count=1,
        fail_count=0,
        created_at="2026-03-02T12:00:00.000Z",
    )


class Missions:
    """What the missions process answers, and what it was asked."""

    def __init__(self) -> None:
        self.missions = [mission("come"), mission("sit")]
        self.asked: list[tuple[str, str]] = []

    def get(self, request: Any) -> Mission:
        for each in self.missions:
            if each.id == request.body.mission_id:
                return each
        raise ContractError("NOT_FOUND", "There is no such mission.")

    def start(self, request: Any) -> None:
        self.get(request)
        if any(each.is_active for each in self.missions):
            raise ContractError("CONFLICT", "The mission 'sit' is running; stop it first.")
        self.asked.append(("start", request.body.mission_id))

    def set_mode(self, request: Any) -> None:
        if request.body.mode == "docking":
            raise ContractError("NOT_FITTED", "This robot has no dock to go to.")
        self.asked.append(("mode", request.body.mode))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Robot, Missions]]:
    robot, missions = Robot(tmp_path_factory.mktemp("robot")), Missions()
    bus = robot.bus("missions")
    now = ModeNow(mode="idle", reason="Nobody has set a mode yet.", source="start", since="2026-03-02T12:00:00.000Z")
    for command, handler in (
        ("mode", missions.set_mode),
        ("mode_get", lambda request: now),
        ("mission_list", lambda request: MissionList(missions.missions)),
        ("mission_get", missions.get),
        ("mission_start", missions.start),
        ("mission_stop", missions.get),
    ):
        bus.serve(COMMAND_TOPICS[command], handler)
    robot.threads.append(bus.start())
    yield robot, missions
    robot.close()


def test_the_mode_is_got_and_set(both: tuple[Robot, Missions]) -> None:
    robot, missions = both
    assert robot.get("/mode/get").json["mode"] == "idle"
    assert robot.post("/mode/set", {"mode": "coach"}).json == {"success": True}
    assert missions.asked[-1] == ("mode", "coach")
    reply = robot.post("/mode/set", {"mode": "docking"})
    assert (reply.status, reply.error) == (409, "NOT_FITTED")


def test_missions_are_listed_and_the_active_one_is_told_or_null(both: tuple[Robot, Missions]) -> None:
    robot, missions = both
    assert [each["id"] for each in robot.get("/missions").json] == ["come", "sit"]
    reply = robot.get("/missions/active")
    assert (reply.status, reply.json) == (200, None)
    missions.missions[1] = mission("sit", active=True)
    assert robot.get("/missions/active").json["id"] == "sit"
    reply = robot.post("/missions/come/start")
    assert (reply.status, reply.error) == (409, "CONFLICT")
    missions.missions[1] = mission("sit")


def test_one_mission_is_got_and_started_by_its_id(both: tuple[Robot, Missions]) -> None:
    robot, missions = both
    assert robot.get("/missions/sit").json["required_duration"] == 3.0
    for reply in (robot.get("/missions/fly"), robot.post("/missions/fly/start"), robot.post("/missions/fly/stop")):
        assert (reply.status, reply.error) == (404, "NOT_FOUND")
    assert robot.post("/missions/sit/start").json == {"success": True}
    assert missions.asked[-1] == ("start", "sit")


def test_pictures_are_listed_and_fetched_by_a_name_that_leads_nowhere_else(both: tuple[Robot, Missions]) -> None:
    robot, _ = both
    assert robot.get("/snapshots").json == {"snapshots": []}
    folder = snapshots.folder(robot.data)
    folder.mkdir()
    (folder / PICTURE).write_bytes(b"a picture")
    (folder / snapshots.UNFINISHED).write_bytes(b"half")
    (robot.data / "secret.jpg").write_bytes(b"secret")
    assert robot.get("/snapshots").json == {"snapshots": [PICTURE]}
    reply = robot.get(f"/snapshots/{PICTURE}")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (200, "image/jpeg", b"a picture")
    for name in ("..%2fsecret.jpg", "%2e%2e/secret.jpg", "secret.jpg", ".unfinished", "x" * 300, PICTURE + "%0a"):
        reply = robot.get(f"/snapshots/{name}")
        assert reply.status == 404, name
        assert robot.ask("GET", f"/snapshots/{PICTURE}", host="robot.local").status == 401
