"""The tables of REST rows are consistent with the commands and with the contract's paths and statuses."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from contract import commands
from contract.commands import COMMANDS
from contract.errors import STATUS_OF_CODE, ContractError
from contract.rest import RELAY_ROWS, ROBOT_ROWS, EventQuery, Register, Row, TurnRequest
from contract.validate import convert

CONTRACT_PATHS = """
GET /health · GET /telemetry · POST /motor/speed · POST /motor/stop · POST /motor/emergency · GET /camera/stream ·
GET /camera/snapshot · POST /servo/pan · POST /servo/tilt · POST /servo/center · POST /treat/dispense ·
POST /treat/carousel/rotate · POST /led/pattern · POST /led/color · POST /led/off · POST /audio/play ·
POST /audio/stop · POST /audio/volume · GET /audio/files · GET /mode/get · POST /mode/set · GET /missions ·
GET /missions/{id} · POST /missions/{id}/start · POST /missions/{id}/stop · GET /missions/active
"""
ROBOT = {f"{row.method} {row.path}": row for row in ROBOT_ROWS}
READING = {"audio_files", "audio_current", "mode_get", "mission_list", "mission_get"}
"""Commands that change nothing, which a GET may carry out."""
ALL_ROWS = [*ROBOT_ROWS, *RELAY_ROWS]


def made(path: str, body: dict[str, Any], **params: str) -> msgspec.Struct:
    row = ROBOT[path]
    assert row.make is not None
    return row.make(convert(row.body, body) if row.body else None, params)


def test_every_path_of_the_contract_is_served() -> None:
    assert {path.strip() for path in CONTRACT_PATHS.split("·")} <= ROBOT.keys()


@pytest.mark.parametrize("rows", [ROBOT_ROWS, RELAY_ROWS])
def test_no_row_stands_twice(rows: tuple[Row, ...]) -> None:
    assert len({(row.method, row.path) for row in rows}) == len(rows)


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_a_row_names_only_known_codes_and_builds_its_commands_own_fields(row: Row) -> None:
    assert set(row.codes) <= STATUS_OF_CODE.keys()
    assert (row.command is None) == (row.make is None)
    assert row.method == "POST" or row.command is None or row.command.name in READING
    assert row.reply is not None or not row.media.endswith("json")


def test_every_command_with_a_row_of_its_own_reaches_it() -> None:
    by_rest = {row.command.name for row in ROBOT_ROWS if row.command}
    assert COMMANDS.keys() - by_rest == {"get_status"}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("POST /motor/speed", {"left": 1, "right": -1}, commands.Motor(1, -1)),
        ("POST /servo/pan", {"angle": -90}, commands.Servo(pan=-90)),
        ("POST /servo/tilt", {"angle": 45}, commands.Servo(tilt=45)),
        ("POST /led/pattern", {"pattern": "fire"}, commands.Led(pattern="fire")),
        ("POST /led/color", {"r": 1, "g": 2, "b": 255}, commands.Led(r=1, g=2, b=255)),
        ("POST /led/off", {}, commands.Led(pattern="off")),
        ("POST /audio/volume", {"level": 0}, commands.Volume(0)),
        ("POST /treat/dispense", {}, commands.Nothing()),
        ("POST /treat/refill", {"count": 12}, commands.Refill(12)),
    ],
)
def test_a_body_becomes_the_commands_fields(path: str, body: dict[str, Any], expected: msgspec.Struct) -> None:
    assert made(path, body) == expected


def test_a_path_parameter_becomes_a_field() -> None:
    assert made("POST /missions/{id}/start", {}, id="sit-1") == commands.MissionRef("sit-1")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("POST /servo/pan", {"angle": 90.5}),
        ("POST /servo/tilt", {"angle": 46}),
        ("POST /servo/tilt", {"angle": "10"}),
        ("POST /led/color", {"r": -1, "g": 0, "b": 0}),
        ("POST /led/color", {"r": True, "g": 0, "b": 0}),
        ("POST /led/pattern", {"pattern": ""}),
        ("POST /audio/volume", {"level": 50.5}),
        ("POST /mode/set", {"mode": None}),
    ],
)
def test_a_bad_body_is_refused(path: str, body: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="Accepted"):
        made(path, body)


@pytest.mark.parametrize("ttl", [0, -1, 86_401, "600", 1.5, None])
def test_turn_credentials_live_between_a_second_and_a_day(ttl: Any) -> None:
    assert convert(TurnRequest, {}).ttl == 86_400
    with pytest.raises(ContractError):
        convert(TurnRequest, {"ttl": ttl})


@pytest.mark.parametrize(
    "body",
    [
        {"email": "nobody", "password": "long enough"},
        {"email": "a@b", "password": "short"},
        {"email": "a b@c.de", "password": "long enough"},
        {"email": "a@b\n", "password": "long enough"},
        {"email": "a@b", "password": "x" * 257},
    ],
)
def test_a_new_account_needs_an_address_and_a_password(body: dict[str, str]) -> None:
    with pytest.raises(ContractError):
        convert(Register, body)


def test_the_history_is_paged() -> None:
    assert convert(EventQuery, {"device_id": "wimz_1"}) == EventQuery(device_id="wimz_1", limit=50)
    with pytest.raises(ContractError, match="from 1 to 200"):
        convert(EventQuery, {"limit": 201})


def test_parameters_in_paths_are_named_once() -> None:
    for row in ALL_ROWS:
        names = re.findall(r"{(\w+)}", row.path)
        assert len(names) == len(set(names))
