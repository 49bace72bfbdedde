"""Servos on the pins of the simulated machine and on its servo board, over pigpio's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import MachineState
from hardware.config import CarouselConfig, HardwareConfig, ServoConfig, ServosConfig
from hardware.pins import Factory, close_factory, pin_factory
from hardware.servo import ContinuousServo, PulseServo, SpinDriver, deg_to_us, servo_output, us_to_deg
from processes.simulator.local import LocalSimulator

PAN = ServoConfig(gpio=5)
WITHIN_US = 5
"""The aim over the whole range, whatever makes the pulses."""

ON_PINS = HardwareConfig()
ON_BOARD = HardwareConfig(
    servos=ServosConfig(
        pan=ServoConfig(driver="pca9685", channel=0), tilt=ServoConfig(driver="pca9685", channel=1, limit_deg=45.0)
    ),
    carousel=CarouselConfig(driver="pca9685", channel=2),
)


class Rig:
    """A machine, and its servos as they are wired."""

    def __init__(self, hardware: HardwareConfig) -> None:
        self.simulated = LocalSimulator(hardware)
        self.factory: Factory = pin_factory(self.simulated.pins)
        self.hardware = hardware

    def output(self, servo: ServoConfig | CarouselConfig) -> SpinDriver:
        return servo_output(servo, self.hardware.servos.board, self.factory)

    def pan(self, **changes: object) -> PulseServo:
        servo = msgspec.structs.replace(self.hardware.servos.pan, **changes)
        return PulseServo(servo, self.output(servo))

    def tilt(self) -> PulseServo:
        return PulseServo(self.hardware.servos.tilt, self.output(self.hardware.servos.tilt))

    def carousel(self) -> SpinDriver:
        return self.output(self.hardware.carousel)

    def state(self) -> MachineState:
        return self.simulated.state()

    def wait_for(self, condition: Callable[[MachineState], bool]) -> MachineState:
        return self.simulated.wait_for(condition)


@pytest.fixture(params=[ON_PINS, ON_BOARD], ids=["gpio", "pca9685"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(request.param)
    yield rig
    close_factory(rig.factory)
    rig.simulated.close()


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


def test_a_servo_gets_no_pulse_before_it_is_asked_to_move(rig: Rig) -> None:
    servo = rig.pan()

    assert rig.state().servos.pan_us is None
    servo.close()


def test_the_pulse_on_the_line_is_the_one_asked_for_over_the_whole_range(rig: Rig) -> None:
    servo = rig.output(rig.hardware.servos.pan)
    errors = {}
    for asked in [tenths / 10 for tenths in range(4000, 26001, 13)]:
        servo.set_us(asked)
        seen = rig.state().servos.pan_us
        assert seen is not None, f"no pulse for {asked} µs"
        errors[asked] = abs(seen - asked)

    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] <= WITHIN_US, f"{errors[worst]:.1f} µs off at {worst} µs"


@pytest.mark.parametrize("deg", [-90, -33.3, 0, 1, 30, 89.5, 90])
def test_the_pulse_on_the_line_is_the_angles(rig: Rig, deg: float) -> None:
    servo = rig.pan()

    assert servo.set_deg(deg) == pytest.approx(deg)
    assert rig.state().servos.pan_us == pytest.approx(deg_to_us(PAN, deg), abs=WITHIN_US)


def test_the_head_turns_to_where_it_is_sent(rig: Rig) -> None:
    pan, tilt = rig.pan(), rig.tilt()

    pan.set_deg(30)
    tilt.set_deg(-20)

    rig.wait_for(lambda state: abs(state.servos.pan_deg - 30) < 1 and abs(state.servos.tilt_deg + 20) < 1)


def test_an_angle_beyond_the_mechanics_is_cut_and_the_driver_says_so(rig: Rig) -> None:
    servo = rig.tilt()

    assert servo.set_deg(80) == pytest.approx(45)
    assert rig.state().servos.tilt_us == pytest.approx(2000, abs=WITHIN_US)
    assert servo.set_deg(-80) == pytest.approx(-45)


def test_an_angle_that_an_offset_servo_cannot_reach_is_cut_at_its_last_pulse(rig: Rig) -> None:
    assert rig.pan(centre_deg=9).set_deg(90) == pytest.approx(81)


def test_a_released_servo_stays_where_it_is(rig: Rig) -> None:
    servo = rig.pan()
    servo.set_deg(30)
    turned = rig.wait_for(lambda state: state.servos.pan_deg > 20).servos.pan_deg

    servo.release()

    state = rig.state()
    assert state.servos.pan_us is None
    assert state.servos.pan_deg >= turned
    servo.set_deg(-30)  # and can be asked again
    rig.wait_for(lambda state: state.servos.pan_deg < -29)


def test_a_closed_servo_gets_no_more_pulses_and_can_be_opened_again(rig: Rig) -> None:
    servo = rig.pan()
    servo.set_deg(10)

    servo.close()

    assert rig.state().servos.pan_us is None
    assert rig.state().pins["5"].mode == "input"
    again = rig.pan()
    again.set_deg(20)
    assert rig.state().servos.pan_us is not None


def test_a_servo_whose_owner_was_killed_gets_no_more_pulses_once_it_has_a_new_one(rig: Rig) -> None:
    killed = rig.carousel()
    killed.set_us(1650)

    other = pin_factory(rig.simulated.pins)
    servo = servo_output(rig.hardware.carousel, rig.hardware.servos.board, other)

    assert rig.state().carousel.deg_per_s == 0
    servo.close()
    close_factory(other)


@pytest.mark.parametrize("us", [1500, 1502, 1650, 1350])
def test_a_continuous_servo_gets_the_pulse_asked_for(simulated: LocalSimulator, factory: Factory, us: int) -> None:
    servo = ContinuousServo(12, factory)
    assert simulated.state().pins["12"].duty == 0

    assert servo.set_us(us) == us

    assert simulated.state().pins["12"].duty * 20_000 == pytest.approx(us, abs=WITHIN_US)


def test_a_continuous_servo_stands_still_at_its_middle_and_without_pulses(rig: Rig) -> None:
    servo = rig.carousel()
    servo.set_us(1650)
    assert rig.state().carousel.deg_per_s > 0

    servo.set_us(1500)
    assert rig.state().carousel.deg_per_s == 0

    servo.set_us(1350)
    assert rig.state().carousel.deg_per_s < 0

    servo.release()
    assert rig.state().carousel.deg_per_s == 0


@pytest.mark.parametrize(("asked", "applied"), [(100, 400), (5000, 2600)])
def test_a_pulse_that_no_servo_understands_is_cut(rig: Rig, asked: float, applied: float) -> None:
    assert rig.carousel().set_us(asked) == pytest.approx(applied, abs=WITHIN_US)
