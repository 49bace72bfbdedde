"""The servo board: its registers as they are written, on a simulated chip that obeys the datasheet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gpiozero.pins.pigpio import PiGPIOFactory
from hypothesis import given
from hypothesis import strategies as st

from hardware.config import HardwareConfig, PinsConfig, ServoBoardConfig, ServoConfig, ServosConfig
from hardware.errors import HardwareError
from hardware.i2c import PigpioI2c, i2c_device
from hardware.pca9685 import ServoBoard, prescale, servo_board, step_us
from hardware.pins import close_factory, pin_factory
from hardware.servo import BoardOutput
from processes.simulator.local import LocalSimulator
from processes.simulator.pca9685 import Pca9685
from tests.hardware import lgpio_standin

BOARD = ServoBoardConfig()
WIRING = HardwareConfig(servos=ServosConfig(pan=ServoConfig(driver="pca9685", channel=0), board=BOARD))


class WiredChip:
    """The simulated chip, reached without a bus; `answers` is whether it has power."""

    def __init__(self, chip: Pca9685) -> None:
        self.chip = chip
        self.writes: list[tuple[int, bytes]] = []
        self.answers = True

    def read(self, register: int) -> int:
        if not self.answers:
            raise HardwareError("I2C read failed")
        return self.chip.read(register)

    def read_word(self, register: int) -> int:
        return self.read(register) << 8 | self.read(register + 1)

    def write(self, register: int, data: bytes) -> None:
        if not self.answers:
            raise HardwareError("I2C write failed")
        self.writes.append((register, data))
        self.chip.write(register, data)

    def close(self) -> None:
        self.writes.append((-1, b""))


@pytest.fixture
def wired() -> WiredChip:
    return WiredChip(Pca9685(BOARD.oscillator_hz))


@pytest.fixture
def simulated() -> Iterator[LocalSimulator]:
    with LocalSimulator(WIRING) as simulated:
        yield simulated


def test_the_prescale_is_the_datasheets() -> None:
    assert prescale(25e6, 200) == 30  # its own example, section 7.3.5
    assert prescale(25e6, 50) == 121
    assert step_us(25e6) == pytest.approx(4.88)


@given(st.integers(23_000_000, 28_000_000), st.floats(400, 2600))
def test_every_board_is_within_three_microseconds_over_the_whole_range(oscillator_hz: int, us: float) -> None:
    wired = WiredChip(Pca9685(oscillator_hz))
    board = ServoBoard(ServoBoardConfig(oscillator_hz=oscillator_hz), wired)

    applied = board.set_us(3, us)

    assert wired.chip.pulse_us(3) == pytest.approx(applied)
    assert applied == pytest.approx(us, abs=3.0)
    assert wired.chip.frequency_hz == pytest.approx(50, rel=0.005)


def test_a_chip_out_of_reset_is_set_up_asleep_and_makes_no_pulse(wired: WiredChip) -> None:
    ServoBoard(BOARD, wired)

    assert wired.writes == [(0xFD, b"\x10"), (0x00, b"\x30"), (0xFE, b"\x79"), (0x01, b"\x04"), (0x00, b"\x20")]
    assert wired.chip.frequency_hz == pytest.approx(50, rel=0.005)
    assert all(wired.chip.pulse_us(channel) is None for channel in range(16))


def test_a_pulse_is_one_transaction(wired: WiredChip) -> None:
    board = ServoBoard(BOARD, wired)
    wired.writes.clear()

    board.set_us(2, 1500)

    assert wired.writes == [(0x0E, bytes((0, 0, 307 & 0xFF, 307 >> 8)))]


def test_whoever_comes_second_leaves_the_others_outputs_alone(wired: WiredChip) -> None:
    first = ServoBoard(BOARD, wired)
    first.set_us(0, 1500)
    before = wired.chip.pulse_us(0)

    second = BoardOutput(2, ServoBoard(BOARD, wired))
    second.set_us(1650)
    second.close()

    assert wired.chip.pulse_us(0) == before
    assert wired.chip.pulse_us(2) is None


def test_a_chip_that_ran_at_another_rate_is_stopped_before_it_is_changed(wired: WiredChip) -> None:
    wired.chip.write(0xFE, b"\x1e")
    wired.chip.write(0x00, b"\x20")
    wired.chip.write(0x06, bytes((0, 0, 0, 8)))
    assert wired.chip.pulse_us(0) is not None

    ServoBoard(BOARD, wired)

    assert wired.chip.pulse_us(0) is None
    assert wired.chip.frequency_hz == pytest.approx(50, rel=0.005)


def test_a_brown_out_is_noticed_and_mended_with_the_next_pulse(
    wired: WiredChip, caplog: pytest.LogCaptureFixture
) -> None:
    board = ServoBoard(BOARD, wired)
    board.set_us(0, 1500)
    wired.chip.reset()
    assert wired.chip.pulse_us(0) is None

    board.set_us(0, 1600)

    assert wired.chip.pulse_us(0) == pytest.approx(1600, abs=3)
    assert "the servo board had lost its settings" in caplog.text
    wired.chip.reset()
    board.off(0)
    assert wired.chip.pulse_us(0) is None


def test_a_board_that_does_not_answer_is_a_readable_error_and_lets_go_of_the_bus(wired: WiredChip) -> None:
    wired.answers = False

    with pytest.raises(HardwareError, match=r"no PCA9685 answers at 0x40 on I²C bus 1 .*servos\.board\.address"):
        ServoBoard(BOARD, wired)

    assert wired.writes == [(-1, b"")]


def test_over_the_bus_a_missing_board_is_told_apart_from_a_missing_bus(simulated: LocalSimulator) -> None:
    factory = pin_factory(simulated.pins)

    with pytest.raises(HardwareError, match=r"no PCA9685 answers at 0x41 .*I2C read failed"):
        servo_board(ServoBoardConfig(address=0x41), factory)
    with pytest.raises(HardwareError, match="could not open I²C bus 7"):
        servo_board(ServoBoardConfig(i2c_bus=7), factory)
    close_factory(factory)


def test_a_board_that_loses_power_is_an_error_of_the_servo(simulated: LocalSimulator) -> None:
    factory = pin_factory(simulated.pins)
    board = servo_board(BOARD, factory)
    simulated.machine.bank.servo_board = None  # nothing answers at the address

    with pytest.raises(HardwareError, match="could not read the chip at 0x40 on I²C bus 1"):
        board.set_us(0, 1500)
    close_factory(factory)


def test_handles_that_killed_owners_left_open_are_taken_back(simulated: LocalSimulator) -> None:
    killed: PiGPIOFactory = pin_factory(simulated.pins)
    for _ in range(512):
        PigpioI2c(killed, 1, BOARD.address)
    close_factory(killed)  # pigpiod keeps the handles

    factory = pin_factory(simulated.pins)
    servo_board(BOARD, factory).set_us(0, 1500)

    assert simulated.state().servos.pan_us == pytest.approx(1500, abs=3)
    close_factory(factory)


def test_on_a_pi_5_the_registers_go_through_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = lgpio_standin.install(monkeypatch, {0: 54})
    chip = machine.i2c[1, 0x40] = lgpio_standin.I2cChip()
    chip.registers[0x00] = 0x11
    factory = pin_factory(PinsConfig(factory="lgpio"))

    board = servo_board(BOARD, factory)
    assert board.set_us(1, 2000) == pytest.approx(2000, abs=3)
    board.off(1)
    board.close()

    assert chip.transactions[-2:] == [(0x0A, bytes((0, 0, 410 & 0xFF, 410 >> 8))), (0x0A, b"\0\0\0\x10")]
    with pytest.raises(HardwareError, match="could not read the chip at 0x41"):
        i2c_device(factory, 1, 0x41).read(0)
    with pytest.raises(HardwareError, match="could not open /dev/i2c-5"):
        i2c_device(factory, 5, 0x40)
    close_factory(factory)
