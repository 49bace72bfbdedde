from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.config import ServoConfig
from hardware.pins import Factory
from hardware.servo import ContinuousServo, PulseServo, deg_to_us, us_to_deg
from processes.simulator.local import LocalSimulator

PAN = ServoConfig(gpio=5)
PULSE_STEP_US = 5
"""pigpiod's steps."""


@pytest.mark.parametrize(
    ("servo", "deg", "us"),
    [
        (PAN, 0, 1500),
        (PAN, 90, 2500),
        (PAN, -90, 500),
        (PAN, 45, 2000),
        (ServoConfig(gpio=5, inverted=True), 45, 1000),
        (ServoConfig(gpio=5, centre_deg=9), 0, 1600),
        (ServoConfig(gpio=5, centre_deg=9, inverted=True), 9, 1500),
        (ServoConfig(gpio=5, centre_deg=9), 90, 2500),
        (ServoConfig(gpio=5, min_us=1000, max_us=2000, range_deg=90), 45, 2000),
    ],
)
def test_the_pulse_of_an_angle(servo: ServoConfig, deg: float, us: float) -> None:
    assert deg_to_us(servo, deg) == pytest.approx(us)


@given(
    st.builds(
        ServoConfig,
        gpio=st.just(5),
        range_deg=st.floats(90, 270),
        centre_deg=st.floats(-20, 20),
        inverted=st.booleans(),
    ),
    st.floats(-20, 20),
)
def test_an_angle_comes_back_from_its_pulse(servo: ServoConfig, deg: float) -> None:
    assert us_to_deg(servo, deg_to_us(servo, deg)) == pytest.approx(deg, abs=1e-9)


def test_a_servo_gets_no_pulse_before_it_is_asked_to_move(simulated: LocalSimulator, factory: Factory) -> None:
    servo = PulseServo(PAN, factory)

    state = simulated.state()
    assert state.servos.pan_us is None
    assert state.pins["5"].duty == 0
    servo.close()


@pytest.mark.parametrize("deg", [-90, -33.3, 0, 1, 30, 89.5, 90])
def test_the_pulse_on_the_line_is_the_angles(simulated: LocalSimulator, factory: Factory, deg: float) -> None:
    servo = PulseServo(PAN, factory)

    assert servo.set_deg(deg) == pytest.approx(deg)
    assert simulated.state().servos.pan_us == pytest.approx(deg_to_us(PAN, deg), abs=PULSE_STEP_US)


def test_the_head_turns_to_where_it_is_sent(simulated: LocalSimulator, factory: Factory) -> None:
    servo = PulseServo(PAN, factory)

    servo.set_deg(30)

    simulated.wait_for(lambda state: abs(state.servos.pan_deg - 30) < 1)


def test_an_angle_beyond_the_mechanics_is_cut_and_the_driver_says_so(
    simulated: LocalSimulator, factory: Factory
) -> None:
    tilt = ServoConfig(gpio=6, limit_deg=45)
    servo = PulseServo(tilt, factory)

    assert servo.set_deg(80) == pytest.approx(45)
    assert simulated.state().servos.tilt_us == pytest.approx(2000, abs=PULSE_STEP_US)
    assert servo.set_deg(-80) == pytest.approx(-45)


def test_an_angle_that_an_offset_servo_cannot_reach_is_cut_at_its_last_pulse(factory: Factory) -> None:
    assert PulseServo(ServoConfig(gpio=5, centre_deg=9), factory).set_deg(90) == pytest.approx(81)


def test_a_released_servo_stays_where_it_is(simulated: LocalSimulator, factory: Factory) -> None:
    servo = PulseServo(PAN, factory)
    servo.set_deg(30)
    turned = simulated.wait_for(lambda state: state.servos.pan_deg > 20).servos.pan_deg

    servo.release()

    state = simulated.state()
    assert state.servos.pan_us is None
    assert state.servos.pan_deg >= turned
    servo.set_deg(-30)  # and can be asked again
    simulated.wait_for(lambda state: state.servos.pan_deg < -29)


def test_a_closed_servo_gives_its_pin_back(simulated: LocalSimulator, factory: Factory) -> None:
    servo = PulseServo(PAN, factory)
    servo.set_deg(10)

    servo.close()

    assert simulated.state().pins["5"].mode == "input"
    PulseServo(PAN, factory)


@pytest.mark.parametrize("us", [1500, 1502, 1650, 1350])
def test_a_continuous_servo_gets_the_pulse_asked_for(simulated: LocalSimulator, factory: Factory, us: int) -> None:
    servo = ContinuousServo(12, factory)
    assert simulated.state().pins["12"].duty == 0

    assert servo.set_us(us) == us

    assert simulated.state().pins["12"].duty * 20_000 == pytest.approx(us, abs=PULSE_STEP_US)


def test_a_continuous_servo_stands_still_at_its_middle_and_without_pulses(
    simulated: LocalSimulator, factory: Factory
) -> None:
    servo = ContinuousServo(12, factory)
    servo.set_us(1650)
    assert simulated.state().carousel.deg_per_s > 0

    servo.set_us(1500)
    assert simulated.state().carousel.deg_per_s == 0

    servo.set_us(1350)
    assert simulated.state().carousel.deg_per_s < 0

    servo.release()
    assert simulated.state().carousel.deg_per_s == 0


@pytest.mark.parametrize(("asked", "applied"), [(100, 400), (5000, 2600)])
def test_a_pulse_that_no_servo_understands_is_cut(factory: Factory, asked: float, applied: float) -> None:
    assert ContinuousServo(12, factory).set_us(asked) == applied
