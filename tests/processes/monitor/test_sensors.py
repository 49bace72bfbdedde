"""The thread that reads the battery, on the simulated machine."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator

import pytest

from bus.messages import SimulatedFault
from hardware.config import PinsConfig
from hardware.errors import HardwareError
from processes.monitor.sensors import SensorThread, open_sensor
from processes.simulator.local import LocalSimulator

PATIENCE_S = 30.0


class Ear:
    """What the thread told."""

    def __init__(self, pins: PinsConfig, simulated: LocalSimulator) -> None:
        self.heard: queue.Queue[float | HardwareError] = queue.Queue()
        self.thread = SensorThread(lambda: open_sensor(pins, simulated.hardware.battery), self.heard.put, 0.01)
        self.thread.start()

    def next(self, kind: type) -> float | HardwareError:
        """The next of that kind."""
        while not isinstance(heard := self.heard.get(timeout=PATIENCE_S), kind):
            pass
        return heard


@pytest.fixture
def simulated() -> Iterator[LocalSimulator]:
    with LocalSimulator() as simulated:
        yield simulated


@pytest.fixture
def ear(simulated: LocalSimulator) -> Iterator[Ear]:
    ear = Ear(simulated.pins, simulated)
    yield ear
    ear.thread.stop()


def test_the_battery_is_read_again_and_again(simulated: LocalSimulator, ear: Ear) -> None:
    first = ear.next(float)
    assert first == pytest.approx(simulated.state().battery.volts, abs=0.05)
    assert ear.next(float) == pytest.approx(first, abs=0.05)


def test_a_converter_that_falls_silent_is_told_and_heard_again_when_it_is_back(
    simulated: LocalSimulator, ear: Ear
) -> None:
    ear.next(float)
    simulated.apply(SimulatedFault(battery_adc_dead=True))
    assert "0x48" in str(ear.next(HardwareError))
    simulated.apply(SimulatedFault(battery_adc_dead=False))
    assert ear.next(float) == pytest.approx(simulated.state().battery.volts, abs=0.05)


def test_pins_that_cannot_be_reached_are_told(simulated: LocalSimulator) -> None:
    with socket.socket() as nobody:  # it has a port, and does not listen there
        nobody.bind(("127.0.0.1", 0))
        ear = Ear(PinsConfig(port=nobody.getsockname()[1]), simulated)
        assert "no pigpio daemon answers" in str(ear.next(HardwareError))
        ear.thread.stop()


def test_a_thread_that_is_stopped_gives_the_pins_back(simulated: LocalSimulator, ear: Ear) -> None:
    ear.next(float)
    assert simulated.state().clients == 1
    ear.thread.stop()
    simulated.wait_for(lambda machine: machine.clients == 0)
