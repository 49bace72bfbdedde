"""Commands as apps send them: ranges, aliases, flat and wrapped, ids, and results."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import commands
from contract.commands import COMMANDS, CommandSpec
from contract.errors import ContractError
from contract.units import LedPattern
from contract.validate import literal_values

GOOD: dict[str, dict[str, Any]] = {
    "motor": {"left": 0.5, "right": -1},
    "servo": {"pan": -90, "tilt": 45},
    "led": {"pattern": "rainbow"},
    "audio": {"file": "good_dog.mp3"},
    "audio_volume": {"level": 100},
    "treat_refill": {"count": 60},
    "mode": {"mode": "guardian"},
    "mission_start": {"mission_id": "sit-1"},
    "mission_get": {"mission_id": "sit-1"},
    "mission_stop": {"mission_id": "sit-1"},
}
BAD: list[dict[str, Any]] = [
    {"command": "motor"},
    {"command": "motor", "left": 1.01, "right": 0},
    {"command": "motor", "left": 0, "right": "0"},
    {"command": "motor", "left": True, "right": False},
    {"command": "motor", "left": math.nan, "right": 0},
    {"command": "motor", "left": 0, "right": math.inf},
    {"command": "servo"},
    {"command": "servo", "pan": 91},
    {"command": "servo", "tilt": -45.5},
    {"command": "servo", "pan": "left"},
    {"command": "led"},
    {"command": "led", "pattern": "disco"},
    {"command": "led", "r": 1, "g": 2},
    {"command": "led", "r": 256, "g": 0, "b": 0},
    {"command": "led", "r": 1.5, "g": 0, "b": 0},
    {"command": "led", "pattern": "solid", "r": 1},
    {"command": "audio", "file": "../secret"},
    {"command": "audio", "file": "/etc/passwd"},
    {"command": "audio", "file": ".hidden"},
    {"command": "audio", "file": ""},
    {"command": "audio", "file": "a\x00b"},
    {"command": "audio_volume", "level": 101},
    {"command": "mode", "mode": "party"},
    {"command": "mission_start", "mission_id": "two words"},
    {"command": "treat_refill"},
    {"command": "treat_refill", "count": -1},
    {"command": "treat_refill", "count": 1.5},
    {"command": "treat", "id": ""},
    {"command": "treat", "id": "x" * 200},
    {"command": "treat", "id": 1.5},
    {"command": "treat", "id": -1},
    {"command": "treat", "device_id": "a/b"},
    {"command": "motor", "left": 0, "right": 0, "t": -1},
    {"command": "motor", "left": 0, "right": 0, "t": "now"},
    {"command": "motor", "data": {"left": 0}},
    {"command": "motor", "data": [0, 0]},
    {"command": 5},
    {},
]


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=lambda spec: spec.name)
def test_every_command_parses_flat_and_wrapped_under_every_name(spec: CommandSpec) -> None:
    fields = GOOD.get(spec.name, {})
    body = msgspec.convert(fields, spec.body)
    for name in (spec.name, *spec.aliases):
        flat = commands.parse({"command": name, "unknown": [1], **fields})
        wrapped = commands.parse({"type": "command", "command": name, "data": {"unknown": 1, **fields}})
        assert flat.spec is wrapped.spec is spec
        assert flat.body == wrapped.body == body


@pytest.mark.parametrize("message", BAD, ids=repr)
def test_bad_input_is_refused_with_what_is_accepted(message: dict[str, Any]) -> None:
    with pytest.raises(ContractError) as refusal:
        commands.parse(message)
    assert refusal.value.code == "INVALID_PARAMETER"
    assert len(refusal.value.message) > 20


@pytest.mark.parametrize("name", ["zap", "", "MOTOR", "motor ", "x" * 5000])
def test_an_unknown_command_lists_the_commands_there_are(name: str) -> None:
    with pytest.raises(ContractError) as refusal:
        commands.parse({"command": name})
    assert refusal.value.code == "UNKNOWN_COMMAND"
    assert "emergency_stop" in refusal.value.message
    assert len(refusal.value.message) < 500


def test_no_name_means_two_commands() -> None:
    names = [name for spec in COMMANDS.values() for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))


def test_stop_is_urgent_and_open_to_everyone_who_watches() -> None:
    urgent = {name for name, spec in COMMANDS.items() if spec.urgent}
    assert urgent == {"stop", "emergency_stop"}
    assert all(COMMANDS[name].role == "viewer" for name in urgent)


def test_only_what_is_driven_at_a_rate_may_be_dropped_as_stale() -> None:
    assert {name for name, spec in COMMANDS.items() if spec.motion} == {"motor", "servo"}


def test_there_are_thirteen_led_patterns() -> None:
    patterns = literal_values(LedPattern)
    assert len(patterns) == 13
    for pattern in patterns:
        commands.parse({"command": "led", "pattern": pattern})


def test_the_envelope_is_kept() -> None:
    command = commands.parse({"command": "treat", "id": 7, "device_id": "wimz_1", "t": 12.5})
    assert (command.id, command.device_id, command.t_ms) == (7, "wimz_1", 12.5)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"command": "motor"}, True),
        ({"type": "command", "command": "motor"}, True),
        ({"type": "command_ack", "command": "motor"}, False),
        ({"type": "error", "command": "motor"}, False),
        ({"event": "status"}, False),
    ],
)
def test_what_counts_as_a_command(message: dict[str, Any], expected: bool) -> None:
    assert commands.is_command(message) is expected


def test_a_result_is_made_only_for_a_command_with_an_id() -> None:
    assert commands.parse({"command": "stop"}).result(None) is None
    result = commands.parse({"command": "dispense_treat", "id": "a1"}).result(commands.Dispensed(11, True))
    assert msgspec.to_builtins(result) == {
        "type": "command_result",
        "id": "a1",
        "command": "treat",
        "success": True,
        "data": {"remaining": 11, "confirmed": True},
    }


def test_a_refusal_becomes_a_result_with_its_code_and_words() -> None:
    result = commands.parse({"command": "treat", "id": 3}).result(ContractError("EMPTY", "No treats are left."))
    assert msgspec.to_builtins(result) == {
        "type": "command_result",
        "id": 3,
        "command": "treat",
        "success": False,
        "error": {"code": "EMPTY", "message": "No treats are left."},
    }


@given(
    left=st.floats(-1, 1),
    right=st.floats(-1, 1),
    id_=st.none()
    | st.integers(0, 2**53)
    | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    t_ms=st.none() | st.floats(0, 1e15),
)
def test_flat_is_the_inverse_of_parse(left: float, right: float, id_: str | int | None, t_ms: float | None) -> None:
    command = commands.Command(COMMANDS["motor"], commands.Motor(left, right), id_, None, t_ms)
    assert commands.parse(commands.flat(command)) == command
