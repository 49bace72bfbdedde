"""The way to the pins on a Pi 5 and on boards that are no Pi: gpiozero's devices on lgpio."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from gpiozero import PWMLED, DigitalOutputDevice, InputDevice

from hardware import kernel_pins
from hardware.config import HardwareConfig, MotorsConfig, PinsConfig, ServoConfig
from hardware.errors import HardwareError
from hardware.kernel_pins import KernelFactory, header_chip, kernel_factory
from hardware.motors import HBridgeMotors
from hardware.pins import abandon_factory, close_factory, connected, pin_factory
from hardware.servo import ContinuousServo, PulseServo, deg_to_us
from tests.hardware import lgpio_standin
from tests.hardware.lgpio_standin import Board

LGPIO = PinsConfig(factory="lgpio")
FRAME_US = 20_000


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    """A board whose header hangs on chip 0, as on any Pi."""
    return lgpio_standin.install(monkeypatch, {0: 54})


@pytest.fixture
def factory(board: Board) -> Iterator[KernelFactory]:
    factory = pin_factory(LGPIO)
    yield factory
    close_factory(factory)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="lgpio has no package for this Python")
def test_the_stand_in_has_the_signatures_of_the_lgpio_that_is_installed() -> None:
    spec = importlib.util.find_spec("lgpio")
    assert spec is not None
    assert spec.origin is not None
    definitions = {
        node.name: [argument.arg for argument in node.args.args]
        for node in ast.parse(Path(spec.origin).read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    for name in lgpio_standin.FUNCTIONS:
        assert list(inspect.signature(getattr(Board, name)).parameters)[1:] == definitions[name], name


@pytest.mark.parametrize("us", [*range(400, 2601, 7), 1503, 1504, 1499.6])
def test_a_servo_gets_its_pulse_to_the_microsecond(board: Board, factory: KernelFactory, us: float) -> None:
    servo = ContinuousServo(12, factory)

    assert servo.set_us(us) == us

    assert board.pulses == [(12, round(us), FRAME_US - round(us))]


def test_neighbouring_angles_are_different_pulses(board: Board, factory: KernelFactory) -> None:
    pan = ServoConfig(gpio=5)
    servo = PulseServo(pan, ContinuousServo(5, factory))
    degrees = [deg / 10 for deg in range(-900, 901)]

    for deg in degrees:
        servo.set_deg(deg)

    widths = [width for _, width, _ in board.pulses]
    assert widths == [round(deg_to_us(pan, deg)) for deg in degrees]
    assert len(set(widths)) == len(degrees), "gpiozero's whole per cent would leave eleven of them"


def test_a_servo_gets_no_pulse_before_it_is_asked_to_move(board: Board, factory: KernelFactory) -> None:
    servo = ContinuousServo(5, factory)

    assert board.pulses == []
    assert (board.line(0, 5).output, board.line(0, 5).level) == (True, 0)
    servo.close()


def test_a_released_servos_line_is_low_although_its_last_pulse_was_cut(board: Board, factory: KernelFactory) -> None:
    servo = ContinuousServo(12, factory)
    servo.set_us(1650)

    servo.release()

    assert (board.line(0, 12).train, board.line(0, 12).level) == (None, 0)
    servo.release()  # twice is no error
    servo.set_us(1500)
    assert board.line(0, 12).pulse_us == 1500


def test_a_closed_servos_pin_is_an_input(board: Board, factory: KernelFactory) -> None:
    servo = ContinuousServo(12, factory)
    servo.set_us(1650)

    servo.close()

    assert (board.line(0, 12).output, board.line(0, 12).train) == (False, None)


@pytest.mark.parametrize("speed", [0.005, 0.15, 0.333, 0.57, 0.7])
def test_motors_turn_at_the_speed_asked_for(board: Board, factory: KernelFactory, speed: float) -> None:
    motors = HBridgeMotors(MotorsConfig(), factory)
    assert board.pulses == []

    assert motors.set(speed, -speed) == (speed, -speed)

    assert board.line(0, 13).train == board.line(0, 19).train == (round(1000 * speed), 1000 - round(1000 * speed))
    assert [board.line(0, gpio).level for gpio in (17, 18, 27, 22)] == [1, 0, 0, 1]


def test_a_stop_is_low_at_once_and_needs_no_more_pulses(board: Board, factory: KernelFactory) -> None:
    motors = HBridgeMotors(MotorsConfig(), factory)
    motors.set(0.7, -0.7)

    motors.stop()

    for gpio in (13, 19, 17, 18, 27, 22):
        assert (board.line(0, gpio).train, board.line(0, gpio).level) == (None, 0)


def test_a_change_of_direction_happens_without_power(
    board: Board, factory: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    motors = HBridgeMotors(MotorsConfig(), factory)
    motors.set(0.7, 0.7)
    seen: list[tuple[int, int | None, int]] = []
    write = board.gpio_write

    def note(handle: int, gpio: int, level: int) -> object:
        if gpio in (17, 18):
            seen.append((gpio, board.line(0, 13).pulse_us, board.line(0, 13).level))
        return write(handle, gpio, level)

    monkeypatch.setattr(sys.modules["lgpio"], "gpio_write", note)
    motors.set(-0.7, 0.7)

    assert {gpio for gpio, _, _ in seen} == {17, 18}
    assert all((pulse_us, level) == (None, 0) for _, pulse_us, level in seen)
    assert board.line(0, 13).pulse_us == 700


def test_a_steady_light_costs_no_pulses(board: Board, factory: KernelFactory) -> None:
    tube = PWMLED(25, frequency=200, pin_factory=factory)

    tube.value = 0.15
    assert board.line(0, 25).train == (750, 4250)
    assert tube.value == pytest.approx(0.15)
    tube.value = 1.0
    assert (board.line(0, 25).train, board.line(0, 25).level) == (None, 1)
    tube.value = 0.0
    assert (board.line(0, 25).train, board.line(0, 25).level) == (None, 0)


def test_the_treat_beam_is_heard_with_the_kernels_own_time(board: Board, factory: KernelFactory) -> None:
    heard: list[tuple[float, int]] = []

    def note(ticks: float, state: int) -> None:
        heard.append((ticks, state))

    beam = InputDevice(7, pull_up=True, pin_factory=factory)
    beam.pin.edges = "falling"
    beam.pin.when_changed = note

    board.change(0, 7, 1, 1_000_000_000)
    board.change(0, 7, 0, 2_500_000_000)
    board.change(0, 7, 1, 2_600_000_000)
    board.change(0, 7, 0, 3_000_000_000)

    assert heard == [(2.5, 0), (3.0, 0)]
    beam.close()


def test_a_change_of_frequency_keeps_the_duty(board: Board, factory: KernelFactory) -> None:
    led = PWMLED(25, initial_value=0.25, frequency=100, pin_factory=factory)

    led.frequency = 200

    assert board.line(0, 25).train == (1250, 3750)


def test_a_line_of_somebody_else_is_a_readable_error_and_can_be_tried_again(board: Board) -> None:
    other = pin_factory(LGPIO)
    held = DigitalOutputDevice(13, pin_factory=other)
    factory = pin_factory(LGPIO)

    with pytest.raises(HardwareError, match=r"could not take the motor pins: .*GPIO busy"):
        HBridgeMotors(MotorsConfig(), factory)
    abandon_factory(factory)
    held.close()
    close_factory(other)

    again = pin_factory(LGPIO)
    motors = HBridgeMotors(MotorsConfig(), again)
    motors.set(0.5, 0.5)
    assert board.line(0, 13).pulse_us == 500
    close_factory(again)
    assert board.open_chips == []


def test_an_abandoned_factory_frees_its_lines_for_the_next_one(board: Board) -> None:
    factory = pin_factory(LGPIO)
    motors = HBridgeMotors(MotorsConfig(), factory)
    motors.set(0.5, 0.5)

    abandon_factory(factory)
    abandon_factory(factory)
    del motors  # its devices are collected, and touch nothing any more

    assert board.open_chips == []
    again = pin_factory(LGPIO)
    assert connected(again)
    HBridgeMotors(MotorsConfig(), again)
    assert board.line(0, 13).train is None
    close_factory(again)


def test_other_boards_name_the_line_of_each_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    board = lgpio_standin.install(monkeypatch, {1: 96, 3: 32})
    factory = pin_factory(PinsConfig(factory="lgpio", chip=1, lines={12: (3, 7), 5: (1, 80)}))

    servos = {gpio: ContinuousServo(gpio, factory) for gpio in (12, 5, 6)}
    for gpio, us in ((12, 1650), (5, 1500), (6, 1000)):
        servos[gpio].set_us(us)

    assert [board.line(*line).pulse_us for line in ((3, 7), (1, 80), (1, 6))] == [1650, 1500, 1000]
    close_factory(factory)
    assert board.open_chips == []


def test_a_chip_that_is_not_there_is_a_readable_error(board: Board) -> None:
    with pytest.raises(HardwareError, match=r"could not open /dev/gpiochip7 \(pins\.chip says which.*can not open"):
        pin_factory(PinsConfig(factory="lgpio", chip=7))


@pytest.mark.parametrize(("is_pi_5", "made", "chip"), [(True, "gpiochip4", 4), (True, "", 0), (False, "gpiochip4", 0)])
def test_a_pi_5s_header_is_found_under_old_and_new_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pi_5: bool, made: str, chip: int
) -> None:
    monkeypatch.setattr(kernel_pins, "is_raspberry_pi_5", lambda: is_pi_5)
    if made:
        (tmp_path / made).touch()

    assert header_chip(tmp_path) == chip


def test_lgpio_that_is_not_installed_is_a_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lgpio", None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)

    with pytest.raises(HardwareError, match="lgpio is not installed: install the extra 'pi'"):
        kernel_factory(LGPIO)


def test_the_whole_wiring_of_the_chassis_fits_on_a_pi_5(board: Board, factory: KernelFactory) -> None:
    hardware = msgspec.structs.replace(HardwareConfig(), pins=LGPIO)
    motors = HBridgeMotors(hardware.motors, factory)
    servos = [ContinuousServo(gpio, factory) for gpio in (5, 6, 12)]

    motors.set(0.4, 0.4)
    for servo in servos:
        servo.set_us(1500)

    assert {gpio for gpio, _, _ in board.pulses} == {13, 19, 5, 6, 12}
