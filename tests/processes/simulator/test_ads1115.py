"""The simulated converter, against the datasheet (TI, SBAS444, revision D)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.simulator.ads1115 import CONFIG, CONVERSION, Ads1115

INPUTS = [1.0, 0.25, 2.0, 3.0]
SAMPLE_S = 1 / 128


def chip() -> Ads1115:
    return Ads1115(lambda channel: INPUTS[channel])


def word(chip: Ads1115, register: int) -> int:
    swapped = chip.read_word(register)
    return (swapped & 0xFF) << 8 | swapped >> 8


def converted(config: int) -> int:
    """The result of one conversion with these settings."""
    converter = chip()
    converter.write(CONFIG, config.to_bytes(2, "big"))
    converter.advance(1.0)
    return word(converter, CONVERSION)


def test_out_of_reset_it_sleeps_and_has_converted_nothing() -> None:
    assert word(chip(), CONFIG) == 0x8583
    assert word(chip(), CONVERSION) == 0


def test_a_conversion_takes_its_time_and_says_when_it_is_done() -> None:
    converter = chip()
    converter.write(CONFIG, b"\xc3\x83")
    assert not word(converter, CONFIG) & 0x8000

    converter.advance(0.9 * SAMPLE_S)
    assert not word(converter, CONFIG) & 0x8000
    assert word(converter, CONVERSION) == 0

    converter.advance(1.1 * SAMPLE_S)
    assert word(converter, CONFIG) == 0xC383
    assert word(converter, CONVERSION) == 8000


@pytest.mark.parametrize(
    ("config", "result"),
    [
        (0xC383, 8000),  # input 0 against ground, ±4.096 V
        (0xD383, 2000),  # input 1
        (0xE583, 32000),  # input 2, ±2.048 V
        (0xF583, 32767),  # input 3: beyond the end
        (0x8383, 6000),  # input 0 against 1
        (0xB383, (-8000) & 0xFFFF),  # input 2 against 3
        (0xF183, 16000),  # input 3, ±6.144 V
    ],
)
def test_input_and_amplifier_are_as_they_are_set(config: int, result: int) -> None:
    assert converted(config) == result


def test_without_the_start_bit_nothing_begins() -> None:
    assert converted(0x4383) == 0


def test_in_continuous_mode_it_converts_on_and_on() -> None:
    inputs = [1.0]
    converter = Ads1115(lambda channel: inputs[0])
    converter.write(CONFIG, b"\x42\x83")
    converter.advance(0.1)
    inputs[0] = 2.0
    converter.advance(0.2)

    assert word(converter, CONVERSION) == 16000


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=1, max_size=32)), max_size=20))
def test_nothing_that_is_written_breaks_it(writes: list[tuple[int, bytes]]) -> None:
    converter = chip()
    for moment, (register, data) in enumerate(writes):
        converter.write(register, data)
        converter.advance(float(moment))
        assert 0 <= converter.read_word(register) <= 0xFFFF
