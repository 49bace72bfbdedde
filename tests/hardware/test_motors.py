from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable

import msgspec
import pigpio
import pytest

from bus.settings import ROOT
from hardware import motors as motors_module
from hardware.config import HardwareConfig, MotorsConfig, WheelConfig
from hardware.errors import HardwareError
from hardware.motors import HBridgeMotors
from hardware.pins import Factory, close_factory, pin_factory
from processes.simulator.local import LocalSimulator

IN_IN_ENABLE = MotorsConfig()
DIR_PWM = MotorsConfig(driver="dir_pwm")
DUTY_STEP = 0.005
"""pigpiod has 200 steps at 1 kHz."""

Rig = tuple[LocalSimulator, HBridgeMotors]


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Callable[[MotorsConfig], Rig]:
    """Builds the motors of a wiring, on a machine that is wired alike."""

    def build(motors: MotorsConfig) -> Rig:
        simulated = LocalSimulator(msgspec.structs.replace(HardwareConfig(), motors=motors))
        request.addfinalizer(simulated.close)
        factory: Factory = pin_factory(simulated.pins)
        request.addfinalizer(lambda: close_factory(factory))
        return simulated, HBridgeMotors(motors, factory)

    return build


def duties(simulated: LocalSimulator) -> tuple[float, float]:
    motors = simulated.state().motors
    return motors.left.duty, motors.right.duty


@pytest.mark.parametrize("motors", [IN_IN_ENABLE, DIR_PWM], ids=["in_in_enable", "dir_pwm"])
@pytest.mark.parametrize("speeds", [(0.3, 0.6), (-0.3, 0.6), (0.57, -0.29), (-0.7, -0.005), (0.0, 0.25)])
def test_both_motors_turn_both_ways(
    rig: Callable[[MotorsConfig], Rig], motors: MotorsConfig, speeds: tuple[float, float]
) -> None:
    simulated, driver = rig(motors)

    assert driver.set(*speeds) == speeds
    assert duties(simulated) == pytest.approx(speeds, abs=1e-6)


@pytest.mark.parametrize("motors", [IN_IN_ENABLE, DIR_PWM], ids=["in_in_enable", "dir_pwm"])
def test_the_duty_is_clamped_and_the_driver_says_so(rig: Callable[[MotorsConfig], Rig], motors: MotorsConfig) -> None:
    simulated, driver = rig(motors)

    assert driver.set(1.0, -1.0) == (0.7, -0.7)
    assert duties(simulated) == (0.7, -0.7)


def test_trim_slows_the_motor_that_runs_faster(rig: Callable[[MotorsConfig], Rig]) -> None:
    simulated, driver = rig(MotorsConfig(left=WheelConfig(in1=17, in2=18, enable=13, trim=0.9)))

    assert driver.set(0.5, 0.5) == pytest.approx((0.45, 0.5))
    assert duties(simulated) == pytest.approx((0.45, 0.5), abs=DUTY_STEP)


@pytest.mark.parametrize("kind", ["in_in_enable", "dir_pwm"])
def test_a_motor_that_is_wired_the_other_way_round_is_turned_round(
    rig: Callable[[MotorsConfig], Rig], kind: str
) -> None:
    motors = msgspec.convert(
        {"driver": kind, "left": {"in1": 17, "in2": 18, "enable": 13, "dir": 17, "pwm": 13, "inverted": True}},
        MotorsConfig,
    )
    simulated, driver = rig(motors)

    assert driver.set(0.5, 0.5) == (0.5, 0.5)
    assert duties(simulated) == (0.5, 0.5)
    assert simulated.state().pins["17"].level == 0
    assert simulated.state().pins["27"].level == 1


@pytest.mark.parametrize("motors", [IN_IN_ENABLE, DIR_PWM], ids=["in_in_enable", "dir_pwm"])
def test_a_change_of_direction_goes_through_zero(rig: Callable[[MotorsConfig], Rig], motors: MotorsConfig) -> None:
    simulated, driver = rig(motors)
    driver.set(0.5, -0.5)
    sides = (motors.left, motors.right)
    seen: list[list[tuple[int, int, float]]] = [[], []]
    note_edge = simulated.machine.note_edge

    def note(now: float) -> None:
        pins = simulated.machine.bank.pins
        for wheel, states in zip(sides, seen, strict=True):
            if motors.driver == "dir_pwm":
                states.append((pins[wheel.dir or 0].level, 0, pins[wheel.pwm or 0].duty))
            else:
                in1, in2 = pins[wheel.in1 or 0].level, pins[wheel.in2 or 0].level
                states.append((in1, in2, pins[wheel.enable or 0].duty))
        note_edge(now)

    simulated.machine.note_edge = note  # type: ignore[method-assign]
    driver.set(-0.5, 0.5)

    assert duties(simulated) == (-0.5, 0.5)
    for states in seen:
        assert all(in1 + in2 < 2 for in1, in2, _ in states), "both inputs were high"
        for before, after in itertools.pairwise(states):
            turned = before[:2] != after[:2]
            assert not turned or after[2] == 0, f"the direction changed under power: {before} then {after}"


@pytest.mark.parametrize("motors", [IN_IN_ENABLE, DIR_PWM], ids=["in_in_enable", "dir_pwm"])
def test_stop_writes_zero_to_every_pin(rig: Callable[[MotorsConfig], Rig], motors: MotorsConfig) -> None:
    simulated, driver = rig(motors)
    driver.set(0.7, -0.7)

    driver.stop()

    pins = simulated.state().pins
    assert {gpio: pins[str(gpio)].level for gpio in (13, 19, 17, 27)} == {13: 0, 19: 0, 17: 0, 27: 0}
    assert duties(simulated) == (0.0, 0.0)


def test_stop_cuts_both_motors_with_its_first_two_commands(
    rig: Callable[[MotorsConfig], Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a way there and back, and the daemon may be another machine's."""
    simulated, driver = rig(IN_IN_ENABLE)
    driver.set(0.7, 0.7)
    moving: list[tuple[float, float]] = []
    execute = pigpio._pigpio_command

    def count(*arguments: int) -> int:
        result: int = execute(*arguments)
        moving.append(duties(simulated))
        return result

    monkeypatch.setattr(pigpio, "_pigpio_command", count)
    driver.stop()

    assert moving[0][0] == 0.0
    assert moving[1] == (0.0, 0.0)


def test_stop_stops_what_somebody_else_started(rig: Callable[[MotorsConfig], Rig]) -> None:
    simulated, driver = rig(IN_IN_ENABLE)
    other = pin_factory(simulated.pins)
    for gpio in (13, 19):
        other.connection.set_PWM_dutycycle(gpio, 5000)
    for gpio in (17, 27):
        other.connection.write(gpio, 1)
    assert duties(simulated) == (0.5, 0.5)

    driver.stop()

    assert duties(simulated) == (0.0, 0.0)
    close_factory(other)


@pytest.mark.parametrize("speeds", [(float("nan"), 0.1), (0.1, float("inf"))])
def test_a_speed_that_is_no_number_stops_the_motors(
    rig: Callable[[MotorsConfig], Rig], speeds: tuple[float, float]
) -> None:
    simulated, driver = rig(IN_IN_ENABLE)
    driver.set(0.5, 0.5)

    with pytest.raises(ValueError, match="finite numbers from -1 to 1 are accepted"):
        driver.set(*speeds)

    assert duties(simulated) == (0.0, 0.0)


def test_close_leaves_the_motors_at_zero_and_the_pins_free(rig: Callable[[MotorsConfig], Rig]) -> None:
    simulated, driver = rig(IN_IN_ENABLE)
    driver.set(0.5, 0.5)

    driver.close()

    assert duties(simulated) == (0.0, 0.0)
    assert {simulated.state().pins[str(gpio)].mode for gpio in (13, 17, 18, 19, 22, 27)} == {"input"}


DRIVE_AND_HANG = """
import sys, time
from hardware.config import MotorsConfig, PinsConfig
from hardware.errors import HardwareError
from hardware.motors import HBridgeMotors
from hardware.pins import pin_factory

motors = HBridgeMotors(MotorsConfig(), pin_factory(PinsConfig(port=int(sys.argv[1]))))
motors.set(0.7, -0.7)
print("driving", flush=True)
time.sleep(60)
"""


@pytest.fixture
def left_running(simulated: LocalSimulator) -> LocalSimulator:
    """Motors whose driver was killed: pigpiod holds the last duty for ever, and so does the simulator."""
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVE_AND_HANG, str(simulated.pins.port)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"driving\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    simulated.wait_for(lambda state: state.clients == 0)
    assert duties(simulated) == (0.7, -0.7)
    return simulated


def test_a_killed_driver_leaves_the_motors_running_and_the_next_one_starts_at_zero(
    left_running: LocalSimulator,
) -> None:
    factory = pin_factory(left_running.pins)
    motors = HBridgeMotors(IN_IN_ENABLE, factory)

    assert duties(left_running) == (0.0, 0.0)
    motors.close()
    close_factory(factory)


def test_the_power_is_cut_before_the_pins_are_taken(
    left_running: LocalSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a slow line taking them is long."""

    def never(*_: object, **__: object) -> None:
        raise OSError("the line is cut")

    monkeypatch.setattr(motors_module, "PWMOutputDevice", never)
    factory = pin_factory(left_running.pins)
    with pytest.raises(HardwareError, match="the line is cut"):
        HBridgeMotors(IN_IN_ENABLE, factory)

    assert duties(left_running) == (0.0, 0.0)
    close_factory(factory)
