from __future__ import annotations

import pigpio
import pytest

from processes.simulator.gpio import PWM_HZ, GpioBank, Mode, Pull


@pytest.fixture
def bank() -> GpioBank:
    return GpioBank()


def test_out_of_reset_every_pin_is_an_input_with_the_chips_own_pulls(bank: GpioBank) -> None:
    assert {bank.get_mode(gpio) for gpio in range(54)} == {Mode.INPUT}
    assert [bank.read(gpio, 0.0) for gpio in (2, 8, 9, 27)] == [1, 1, 0, 0]
    assert bank.levels & 0xFFFFFFFF == 0b1_1111_1111


def test_a_write_makes_an_output_and_stops_what_drove_the_pin(bank: GpioBank) -> None:
    bank.set_pwm(17, 100)
    assert bank.write(17, 1) == 0

    assert bank.get_mode(17) == Mode.OUTPUT
    assert bank.pins[17].duty == 1.0
    assert bank.get_pwm(17) == pigpio.PI_NOT_PWM_GPIO


def test_pwm_starts_with_pigpios_defaults(bank: GpioBank) -> None:
    assert bank.get_pwm(13) == pigpio.PI_NOT_PWM_GPIO
    assert bank.get_range(13) == 255
    assert bank.get_frequency(13) == 800

    assert bank.set_pwm(13, 128) == 0
    assert bank.get_pwm(13) == 128
    assert bank.get_mode(13) == Mode.OUTPUT


@pytest.mark.parametrize(
    ("asked_hz", "given_hz"),
    [(0, 10), (1, 10), (50, 50), (55, 50), (700, 800), (900, 1000), (1000, 1000), (3000, 4000), (99_999, 8000)],
)
def test_a_pwm_frequency_snaps_to_those_that_5_us_samples_allow(bank: GpioBank, asked_hz: int, given_hz: int) -> None:
    assert bank.set_frequency(13, asked_hz) == given_hz
    assert bank.get_frequency(13) == given_hz


def test_the_duty_is_that_of_the_real_steps(bank: GpioBank) -> None:
    assert bank.set_frequency(13, 1000) == 1000
    assert bank.set_range(13, 10_000) == 200 == bank.get_real_range(13)
    bank.set_pwm(13, 3333)

    assert bank.pins[13].duty == 66 / 200
    assert bank.pins[13].frequency_hz == 1000


@pytest.mark.parametrize("hz", PWM_HZ)
def test_every_frequency_has_its_real_range(bank: GpioBank, hz: int) -> None:
    bank.set_frequency(13, hz)

    assert bank.get_real_range(13) * hz == 200_000


def test_a_new_range_keeps_the_duty(bank: GpioBank) -> None:
    bank.set_pwm(13, 51)
    bank.set_range(13, 1000)

    assert bank.get_pwm(13) == 200
    assert bank.get_range(13) == 1000


def test_a_servos_pulse_is_measured_whoever_makes_it(bank: GpioBank) -> None:
    assert bank.pins[5].pulse_us is None
    bank.set_servo(5, 1234)
    assert bank.pins[5].pulse_us == pytest.approx(1234)
    assert bank.get_servo(5) == 1234
    bank.set_servo(5, 0)
    assert bank.pins[5].pulse_us is None

    bank.set_frequency(5, 50)
    bank.set_range(5, 10_000)
    bank.set_pwm(5, 750)
    assert bank.pins[5].pulse_us == pytest.approx(1500)
    assert bank.get_servo(5) == pigpio.PI_NOT_SERVO_GPIO


def test_a_change_of_mode_ends_pwm(bank: GpioBank) -> None:
    bank.set_pwm(13, 255)
    assert bank.set_mode(13, Mode.OUTPUT) == 0
    assert bank.pins[13].duty == 1.0, "it is an output already"

    bank.set_mode(13, Mode.INPUT)

    assert bank.pins[13].duty == 0.0
    assert bank.get_pwm(13) == pigpio.PI_NOT_PWM_GPIO


def test_a_line_under_pwm_is_read_where_it_stands_in_its_period(bank: GpioBank) -> None:
    bank.set_frequency(13, 1000)
    bank.set_range(13, 200)
    bank.set_pwm(13, 50)

    samples = [bank.read(13, 10.0 + n * 1e-6) for n in range(0, 1000, 10)]

    assert sum(samples) == pytest.approx(25, abs=1)


def test_an_input_follows_its_pull_and_what_holds_it(bank: GpioBank) -> None:
    bank.set_pull(20, Pull.UP)
    assert bank.read(20, 0.0) == 1
    bank.hold(20, 0)
    assert bank.read(20, 0.0) == 0
    assert not bank.levels >> 20 & 1
    bank.hold(20, None)
    bank.set_pull(20, Pull.OFF)
    assert bank.read(20, 0.0) == 0


def test_bits_are_set_and_cleared_only_where_it_is_permitted(bank: GpioBank) -> None:
    bank.write(17, 0)
    bank.write(18, 1)

    assert bank.write_bits(1 << 17, 1) == 0
    assert bank.write_bits(1 << 18 | 1, 0) == pigpio.PI_SOME_PERMITTED

    assert bank.pins[17].level == 1
    assert bank.pins[18].level == 0


def test_hardware_pwm_and_clocks_take_the_pins_that_have_them(bank: GpioBank) -> None:
    assert bank.set_hardware_pwm(12, 25_000, 250_000) == 0
    assert (bank.get_mode(12), bank.get_pwm(12), bank.get_range(12)) == (Mode.ALT0, 250_000, 1_000_000)
    assert bank.get_frequency(12) == 25_000
    assert bank.pins[12].duty == 0.25
    assert bank.set_hardware_pwm(12, 0, 0) == 0
    assert bank.pins[12].duty == 0.0

    assert bank.set_clock(4, 1_000_000) == 0
    assert (bank.pins[4].frequency_hz, bank.get_pwm(4)) == (1e6, 500_000)
    assert bank.set_clock(4, 0) == 0
    assert bank.get_mode(4) == Mode.INPUT


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda bank: bank.set_mode(54, 0), pigpio.PI_BAD_GPIO),
        (lambda bank: bank.set_mode(5, 8), pigpio.PI_BAD_MODE),
        (lambda bank: bank.get_mode(54), pigpio.PI_BAD_GPIO),
        (lambda bank: bank.set_pull(54, 0), pigpio.PI_BAD_GPIO),
        (lambda bank: bank.set_pull(5, 3), pigpio.PI_BAD_PUD),
        (lambda bank: bank.read(54, 0.0), pigpio.PI_BAD_GPIO),
        (lambda bank: bank.write(54, 0), pigpio.PI_BAD_GPIO),
        (lambda bank: bank.write(5, 2), pigpio.PI_BAD_LEVEL),
        (lambda bank: bank.set_pwm(32, 0), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_pwm(5, 256), pigpio.PI_BAD_DUTYCYCLE),
        (lambda bank: bank.get_pwm(32), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_range(5, 24), pigpio.PI_BAD_DUTYRANGE),
        (lambda bank: bank.set_range(5, 40_001), pigpio.PI_BAD_DUTYRANGE),
        (lambda bank: bank.set_range(32, 100), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.get_range(32), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.get_real_range(32), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_frequency(32, 100), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.get_frequency(32), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_servo(5, 499), pigpio.PI_BAD_PULSEWIDTH),
        (lambda bank: bank.set_servo(5, 2501), pigpio.PI_BAD_PULSEWIDTH),
        (lambda bank: bank.set_servo(32, 1500), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.get_servo(32), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_hardware_pwm(5, 100, 0), pigpio.PI_NOT_HPWM_GPIO),
        (lambda bank: bank.set_hardware_pwm(12, 200_000_000, 0), pigpio.PI_BAD_HPWM_FREQ),
        (lambda bank: bank.set_hardware_pwm(12, 100, 1_000_001), pigpio.PI_BAD_HPWM_DUTY),
        (lambda bank: bank.set_clock(5, 1_000_000), pigpio.PI_BAD_HCLK_PASS),
        (lambda bank: bank.set_clock(17, 1_000_000), pigpio.PI_NOT_HCLK_GPIO),
        (lambda bank: bank.set_clock(4, 1), pigpio.PI_BAD_HCLK_FREQ),
        (lambda bank: bank.set_glitch_filter(32, 0), pigpio.PI_BAD_USER_GPIO),
        (lambda bank: bank.set_glitch_filter(5, 300_001), pigpio.PI_BAD_FILTER),
    ],
)
def test_what_pigpiod_refuses_is_refused_with_its_code(call: object, error: int) -> None:
    assert callable(call)
    assert call(GpioBank()) == error
