"""Motors at full speed, and then something dies. Real processes, real bus, and pins that hold their last duty."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from bus.messages import Origin, SessionEnd
from bus.topics import DRIVER_GONE
from contract.commands import Driven, Motor, Servo
from contract.errors import ContractError

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

DRIVER = Origin("datachannel", "phone")
FULL = Motor(1.0, -1.0)
CLAMP = 0.7


def duty(machine: Machine) -> float:
    """The larger of the two duties at the H-bridge."""
    motors = machine.read().motors
    return max(abs(motors.left.duty), abs(motors.right.duty))


def drive(machine: Machine) -> Driven | ContractError:
    result: Driven | ContractError = machine.ask("motor", FULL, origin=DRIVER)
    return result


@pytest.fixture
def at_full_speed(machine: Machine) -> Machine:
    """Simulator, guard and motion, and a driver who holds the stick forward."""
    machine.start("simulator", "guard", "motion")

    def full_speed() -> bool:
        time.sleep(0.03)
        driven = drive(machine)
        return isinstance(driven, Driven) and driven.left >= CLAMP

    machine.until(lambda: not isinstance(machine.ask("release"), ContractError), "motion answers")
    machine.until(full_speed, "full speed")
    return machine


def zero_after(machine: Machine, what: str, *, driving: bool = False) -> None:
    """Wait until the motors are at zero, and tell how long it took."""

    def stopped() -> bool:
        if driving:
            drive(machine)
        return duty(machine) == 0

    print(f"{what}: zero after {machine.until(stopped, 'zero'):.0f} ms")


def test_kill_9_of_motion(at_full_speed: Machine) -> None:
    at_full_speed.kill("motion")
    zero_after(at_full_speed, "kill -9 of motion")


def test_sigstop_of_motion(at_full_speed: Machine) -> None:
    at_full_speed.signal("motion", signal.SIGSTOP)
    zero_after(at_full_speed, "SIGSTOP of motion")
    assert at_full_speed.wait("motion") == -signal.SIGKILL


def test_kill_9_of_guard_stops_a_motion_that_is_still_commanded(at_full_speed: Machine) -> None:
    at_full_speed.kill("guard")
    zero_after(at_full_speed, "kill -9 of guard", driving=True)
    refusal = drive(at_full_speed)
    assert isinstance(refusal, ContractError)
    assert refusal.code == "MOTOR_FAULT"


def test_sigstop_of_guard_stops_a_motion_that_is_still_commanded(at_full_speed: Machine) -> None:
    at_full_speed.signal("guard", signal.SIGSTOP)
    zero_after(at_full_speed, "SIGSTOP of guard", driving=True)
    at_full_speed.signal("guard", signal.SIGCONT)
    at_full_speed.until(lambda: isinstance(drive(at_full_speed), Driven), "it drives again")
    assert at_full_speed.ended("motion") is None, "a guard that was asleep must not take it out on motion"


def test_a_driver_who_falls_silent(at_full_speed: Machine) -> None:
    zero_after(at_full_speed, "dead-man")


def test_a_session_that_ends(at_full_speed: Machine) -> None:
    at_full_speed.bus.request(DRIVER_GONE, SessionEnd(DRIVER)).result(10)
    assert duty(at_full_speed) == 0


@pytest.mark.parametrize("command", ["stop", "emergency_stop"])
def test_stop_is_answered_when_the_pins_are_at_zero(at_full_speed: Machine, command: str) -> None:
    assert not isinstance(at_full_speed.ask(command, origin=Origin("cloud", "somebody", role="viewer")), ContractError)
    assert duty(at_full_speed) == 0


def test_a_restart_of_motion_does_not_release_the_emergency_stop(at_full_speed: Machine) -> None:
    at_full_speed.ask("emergency_stop")
    at_full_speed.kill("motion")
    at_full_speed.start("motion")

    def emergency_stopped() -> bool:
        refusal = drive(at_full_speed)
        assert isinstance(refusal, ContractError)
        return refusal.code == "EMERGENCY_STOPPED"

    at_full_speed.until(emergency_stopped, "EMERGENCY_STOPPED")


def test_sigterm_of_motion(at_full_speed: Machine) -> None:
    at_full_speed.signal("motion", signal.SIGTERM)
    assert at_full_speed.wait("motion") == 0
    assert duty(at_full_speed) == 0


def test_a_new_motion_begins_at_zero_and_drives_again(at_full_speed: Machine) -> None:
    at_full_speed.kill("motion")
    at_full_speed.start("motion")
    at_full_speed.until(lambda: isinstance(drive(at_full_speed), Driven), "it drives again")
    driven = drive(at_full_speed)
    assert isinstance(driven, Driven)
    zero_after(at_full_speed, "dead-man of the new motion")


def test_a_pin_daemon_that_dies_is_told_and_found_again(at_full_speed: Machine) -> None:
    at_full_speed.kill("simulator")

    def refused() -> bool:
        answer = drive(at_full_speed)
        return isinstance(answer, ContractError) and answer.code == "MOTOR_FAULT"

    at_full_speed.until(refused, "MOTOR_FAULT")
    at_full_speed.start("simulator")
    at_full_speed.until(lambda: isinstance(drive(at_full_speed), Driven), "it drives again")
    assert at_full_speed.ended("motion") is None
    assert at_full_speed.ended("guard") is None


def test_the_head_turns_to_where_it_is_pointed(at_full_speed: Machine) -> None:
    at_full_speed.ask("servo", Servo(pan=30.0, tilt=-20.0), origin=DRIVER)

    def pointed() -> bool:
        servos = at_full_speed.read().servos
        return abs(servos.pan_deg - 30.0) < 0.5 and abs(servos.tilt_deg + 20.0) < 0.5

    at_full_speed.until(pointed, "pan 30°, tilt -20°")
    at_full_speed.ask("servo_center", origin=DRIVER)
