"""Input becomes a struct, or one error that says what was wrong and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from contract.commands import Led, Motor, Servo
from contract.errors import STATUS_OF_CODE, ContractError, ErrorReply
from contract.rest import LedColorBody, Login, Register, TurnRequest
from contract.validate import accepted, convert, decode, decode_json, encode, loose_fields

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def refusal_of(action: Callable[[], object]) -> ContractError | None:
    try:
        action()
    except ContractError as refusal:
        return refusal
    return None


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"left":1', b"nothing", b"\xff\xfe", b'{"left":NaN}', b'{"left":Infinity}', b"[" * 100_000, b"{} {}"],
)
def test_what_is_not_json_is_refused_as_such(raw: bytes) -> None:
    with pytest.raises(ContractError) as refusal:
        decode(Motor, raw)
    assert refusal.value.code == "INVALID_JSON"
    assert refusal.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"', b"true", b"{}", b'{"left":1}'])
def test_json_of_the_wrong_shape_is_an_invalid_parameter(raw: bytes) -> None:
    with pytest.raises(ContractError) as refusal:
        decode(Motor, raw)
    assert refusal.value.code == "INVALID_PARAMETER"


@pytest.mark.parametrize(
    "value", [1.0001, -1.0001, 2, -7e300, math.nan, math.inf, -math.inf, True, "0.5", None, [], {}]
)
def test_a_speed_out_of_range_or_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(ContractError) as refusal:
        convert(Motor, {"left": value, "right": 0.0})
    assert refusal.value.code == "INVALID_PARAMETER"


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_every_speed_in_range_is_taken_as_it_is(left: float, right: float) -> None:
    assert decode(Motor, encode(Motor(left, right))) == Motor(left, right)


@given(JSON_VALUES)
def test_nothing_but_a_contract_error_is_raised(value: Any) -> None:
    for type_ in (Motor, Servo, Led, Login, TurnRequest):
        refusal = refusal_of(lambda type_=type_: convert(type_, value))  # type: ignore[misc]
        assert refusal is None or (refusal.code, refusal.message[-1]) == ("INVALID_PARAMETER", ".")


@given(st.binary(max_size=64))
def test_any_bytes_are_json_or_refused(raw: bytes) -> None:
    refusal = refusal_of(lambda: decode_json(raw))
    assert refusal is None or refusal.code == "INVALID_JSON"


def test_numbers_that_overflow_a_double_are_refused() -> None:
    with pytest.raises(ContractError):
        decode(Motor, b'{"left":1e999,"right":0}')


def test_a_message_nested_beyond_reason_is_refused() -> None:
    nested: Any = 0
    for _ in range(100):
        nested = [nested]
    with pytest.raises(ContractError, match="nested deeper"):
        convert(Motor, {"left": 0.0, "right": 0.0, "extra": nested})


def test_unknown_fields_are_ignored() -> None:
    assert convert(Motor, {"left": 0, "right": 1, "colour": "red"}) == Motor(0, 1)


def test_a_non_finite_number_is_refused_even_in_a_field_that_is_ignored() -> None:
    with pytest.raises(ContractError, match="finite"):
        convert(Motor, {"left": 0, "right": 1, "extra": {"deep": [math.nan]}})


def test_the_message_names_the_field_and_what_is_accepted() -> None:
    with pytest.raises(ContractError) as refusal:
        convert(LedColorBody, {"r": 300, "g": 0, "b": 0})
    assert "`r`" in refusal.value.message
    assert "from 0 to 255" in refusal.value.message


def test_the_structs_own_rule_speaks_for_itself() -> None:
    with pytest.raises(ContractError, match=r"Give pan \(degrees, -90 to 90\)"):
        convert(Servo, {})


def test_accepted_describes_ranges_units_and_choices_in_words() -> None:
    assert accepted(Motor) == (
        "an object with left a number from -1 to 1 (fraction of full speed, forward is positive), "
        "right a number from -1 to 1 (fraction of full speed, forward is positive)"
    )
    assert "password text of 8 to 256 characters (at least 8 characters)" in accepted(Register)


def test_the_error_reply_has_the_one_shape() -> None:
    reply = ContractError("NOT_FOUND", "There is no such robot.").reply()
    assert isinstance(reply, ErrorReply)
    assert msgspec.json.decode(encode(reply)) == {
        "success": False,
        "error": {"code": "NOT_FOUND", "message": "There is no such robot."},
    }


def test_an_error_code_that_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(ValueError, match="STATUS_OF_CODE"):
        ContractError("OOPS", "…")
    assert set(STATUS_OF_CODE.values()) <= {400, 401, 403, 404, 405, 409, 413, 429, 500, 503}


class Loose(Struct):
    bounded: Annotated[float, Meta(ge=0.0, le=1.0)]
    half_bounded: Annotated[float, Meta(ge=0.0)] | None
    free: list[float]
    anything: dict[str, Any]
    word: str


class Nesting(Struct):
    inner: list[Loose]


def test_the_fields_that_can_hold_a_nan_are_found() -> None:
    assert loose_fields(Loose) == ("half_bounded", "free", "anything")


def test_a_number_without_bounds_inside_a_field_is_named() -> None:
    with pytest.raises(TypeError, match=r"Nesting\.inner: a number in Loose has no bounds"):
        loose_fields(Nesting)
