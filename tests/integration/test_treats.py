"""Treats that are counted truly, whatever happens to the dispenser. Real processes and a simulated carousel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bus.base import Latest
from bus.messages import SimulatedFault
from bus.topics import DISPENSER_STATE, SIMULATOR_FAULT
from contract.commands import Dispensed, Led
from contract.errors import ContractError

if TYPE_CHECKING:
    from tests.integration.conftest import Machine


class Treats:
    """The dispenser beside what really fell."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._state = Latest(machine.bus, DISPENSER_STATE)

    def ready(self) -> None:
        self.machine.start("simulator", "dispenser")
        self.machine.until(
            lambda: not isinstance(self.machine.ask("led", Led(pattern="idle")), ContractError), "the dispenser is up"
        )

    @property
    def counted(self) -> int:
        """How many treats are missing from the full carousel, as the dispenser knows it."""
        assert self._state.message is not None
        return 60 - self._state.message.value.remaining

    @property
    def dropped(self) -> int:
        return self.machine.read().carousel.dropped

    def agree(self) -> None:
        """The count comes to what fell, once nothing falls any more."""
        self.machine.until(lambda: self.counted == self.dropped, f"counted {self.counted}, dropped {self.dropped}")
        assert self.machine.read().carousel.deg_per_s == 0


@pytest.fixture(scope="module")
def module_treats(machine: Machine) -> Treats:
    return Treats(machine)


@pytest.fixture
def treats(module_treats: Treats) -> Treats:
    module_treats.ready()
    return module_treats


def test_a_treat_is_confirmed_by_the_beam_and_counted(treats: Treats) -> None:
    before = treats.dropped
    given = treats.machine.ask("treat")
    assert isinstance(given, Dispensed)
    assert given.confirmed
    assert treats.dropped == before + 1
    assert given.remaining == 60 - treats.dropped


def test_a_jam_is_worked_loose(treats: Treats) -> None:
    before = treats.dropped
    treats.machine.bus.request(SIMULATOR_FAULT, SimulatedFault(jam=True)).result(10)
    assert isinstance(treats.machine.ask("treat"), Dispensed)
    assert treats.dropped == before + 1
    treats.agree()


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.3, 0.4])
def test_kill_9_while_dispensing_leaves_the_count_true_and_gives_no_request_twice(
    treats: Treats, delay_s: float
) -> None:
    before = treats.dropped
    treats.machine.begin("treat", id=f"killed after {delay_s}")
    time.sleep(delay_s)  # the instant is what is tried here
    treats.machine.kill("dispenser")
    treats.ready()
    treats.agree()
    fallen = treats.dropped - before
    given = treats.machine.ask("treat", id=f"killed after {delay_s}")
    assert isinstance(given, Dispensed)
    treats.agree()
    assert treats.dropped - before == max(fallen, 1)
    assert given.remaining == 60 - treats.dropped


def test_pixels_and_tube_show_the_pattern(treats: Treats) -> None:
    treats.machine.ask("led", Led(r=255, g=0, b=0))
    leds = treats.machine.read().leds
    assert leds.lit == len(leds.pixels)
    assert all(green == blue == 0 < red for red, green, blue in leds.pixels)
    treats.machine.ask("led", Led(pattern="solid"))
    assert treats.machine.read().leds.tube == 1.0
    treats.machine.ask("led", Led(pattern="off"))
    leds = treats.machine.read().leds
    assert (leds.lit, leds.tube) == (0, 0.0)
