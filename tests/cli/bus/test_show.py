from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.bus.show import WIDTH, table, value_text

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=60,
)


@given(PLAIN)
def test_what_is_shown_can_be_pasted_back_and_obeys_no_control_character(value: Any) -> None:
    text = value_text(value)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_short_value_takes_one_line_and_a_long_list_few() -> None:
    assert value_text({"pid": 7}) == '{"pid": 7}'
    text = value_text({"lit": 3, "pixels": [[0, 0, 0]] * 160})
    assert len(text.splitlines()) < 24
    assert max(len(line) for line in text.splitlines()) <= WIDTH


def test_letters_of_every_language_are_shown_as_they_are() -> None:
    assert value_text({"name": "Grüße"}) == '{"name": "Grüße"}'
    assert value_text({"name": "\x1b[2J\x9b"}) == r'{"name": "\u001b[2J\u009b"}'


def test_columns_are_as_wide_as_they_need() -> None:
    assert table([("A", "B"), ("long", "x")]) == "A     B\nlong  x"
