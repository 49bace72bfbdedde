"""The simulated servo board, against the datasheet (NXP, PCA9685, revision 4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.simulator.pca9685 import Pca9685

MODE1, PRE_SCALE, LED0, ALL_LED = 0x00, 0xFE, 0x06, 0xFA
AWAKE, ASLEEP = 0x20, 0x30
STEP_US = 4.88


@pytest.fixture
def chip() -> Pca9685:
    """At 50 Hz, awake, with registers that count on."""
    chip = Pca9685(25e6)
    chip.write(MODE1, bytes((ASLEEP,)))
    chip.write(PRE_SCALE, bytes((121,)))
    chip.write(MODE1, bytes((AWAKE,)))
    return chip


def test_out_of_reset_it_sleeps_at_two_hundred_hertz_with_every_output_off() -> None:
    chip = Pca9685(25e6)

    assert (chip.read(MODE1), chip.read(PRE_SCALE)) == (0x11, 0x1E)
    assert chip.frequency_hz == pytest.approx(200, rel=0.02)
    assert [chip.pulse_us(channel) for channel in range(16)] == [None] * 16


def test_the_rate_changes_only_while_it_sleeps(chip: Pca9685) -> None:
    chip.write(PRE_SCALE, bytes((30,)))
    assert chip.frequency_hz == pytest.approx(50, rel=0.001)

    chip.write(MODE1, bytes((ASLEEP,)))
    chip.write(PRE_SCALE, bytes((1,)))
    assert chip.read(PRE_SCALE) == 3


def test_an_output_is_high_from_on_to_off(chip: Pca9685) -> None:
    chip.write(LED0 + 4 * 15, bytes((100, 0, 0x33, 1)))
    assert chip.pulse_us(15) == pytest.approx((307 - 100) * STEP_US)

    chip.write(LED0, bytes((0xA0, 0x0F, 100, 0)))  # over the end of a period
    assert chip.pulse_us(0) == pytest.approx((4096 - 4000 + 100) * STEP_US)


@pytest.mark.parametrize("registers", [(0, 0, 100, 0x10), (0, 0x10, 100, 0), (5, 0, 5, 0)])
def test_full_on_and_full_off_are_no_pulses(chip: Pca9685, registers: tuple[int, ...]) -> None:
    chip.write(LED0, bytes(registers))

    assert chip.pulse_us(0) is None


def test_all_outputs_are_written_at_once_and_read_as_zero(chip: Pca9685) -> None:
    chip.write(ALL_LED, bytes((0, 0, 100, 0)))

    assert [chip.pulse_us(channel) for channel in range(16)] == [pytest.approx(100 * STEP_US)] * 16
    assert [chip.read(ALL_LED + n) for n in range(4)] == [0] * 4


def test_without_auto_increment_a_block_stays_in_one_register(chip: Pca9685) -> None:
    chip.write(MODE1, b"\0")
    chip.write(LED0 + 2, bytes((1, 2, 100)))

    assert (chip.read(LED0 + 2), chip.read(LED0 + 3)) == (100, 0x10)


def test_a_block_goes_on_from_the_last_output_to_the_first_register(chip: Pca9685) -> None:
    chip.write(LED0 + 4 * 15 + 3, bytes((2, AWAKE)))

    assert (chip.read(LED0 + 4 * 15 + 3), chip.read(MODE1)) == (2, AWAKE)


def test_outputs_that_were_put_to_sleep_wait_for_a_restart(chip: Pca9685) -> None:
    chip.write(LED0, bytes((0, 0, 100, 0)))
    chip.write(MODE1, bytes((ASLEEP,)))
    assert (chip.read(MODE1), chip.pulse_us(0)) == (0x80 | ASLEEP, None)

    chip.write(MODE1, bytes((AWAKE,)))
    assert chip.pulse_us(0) is None

    chip.write(MODE1, bytes((0x80 | AWAKE,)))
    assert chip.read(MODE1) == AWAKE
    assert chip.pulse_us(0) == pytest.approx(100 * STEP_US)


def test_a_new_pulse_is_a_restart_too(chip: Pca9685) -> None:
    chip.write(LED0, bytes((0, 0, 100, 0)))
    chip.write(MODE1, bytes((ASLEEP,)))
    chip.write(MODE1, bytes((AWAKE,)))
    chip.write(LED0, bytes((0, 0, 50, 0)))

    assert chip.pulse_us(0) == pytest.approx(50 * STEP_US)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=1, max_size=32)), max_size=20))
def test_nothing_that_is_written_breaks_it(writes: list[tuple[int, bytes]]) -> None:
    chip = Pca9685(25e6)
    for register, data in writes:
        chip.write(register, data)

    assert 0 < chip.frequency_hz <= 25e6 / (4096 * 4)
    for channel in range(16):
        us = chip.pulse_us(channel)
        assert us is None or 0 < us < 1e6 / chip.frequency_hz
