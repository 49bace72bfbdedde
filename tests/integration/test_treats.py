"""Treats that are counted truly, whatever happens to the dispenser. Real processes and a simulated carousel."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import psutil
import pytest

from bench.drill_treats import CAPACITY, DEED_S, TRIES, Treats, Try
from bus.messages import SimulatedFault
from bus.topics import SIMULATOR_FAULT
from contract.commands import Dispensed, Led, Refill, Refilled
from contract.errors import ContractError

ATTEMPTS = 8
"""Of each kind that the drill tries some hundred times."""


@pytest.fixture(scope="module")
def module_treats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Treats]:
    treats = Treats(tmp_path_factory.mktemp("robot"))
    yield treats
    treats.close()


@pytest.fixture
def treats(module_treats: Treats) -> Treats:
    module_treats.begin_anew()
    module_treats.agree()
    return module_treats


def test_a_treat_is_confirmed_by_the_beam_and_counted(treats: Treats) -> None:
    before = treats.dropped
    given = treats.machine.ask("treat")
    assert isinstance(given, Dispensed)
    assert given.confirmed
    assert treats.dropped == before + 1
    assert given.remaining == CAPACITY - treats.dropped


def test_a_jam_is_worked_loose(treats: Treats) -> None:
    before = treats.dropped
    treats.machine.bus.request(SIMULATOR_FAULT, SimulatedFault(jam=True)).result(10)
    assert isinstance(treats.machine.ask("treat"), Dispensed)
    assert treats.dropped == before + 1
    treats.agree()


@pytest.mark.parametrize(("what", "attempt"), [(what, attempt) for what, attempt, _ in TRIES])
def test_at_random_instants_the_count_stays_true_and_no_request_is_given_twice(
    treats: Treats, what: str, attempt: Try
) -> None:
    dice = random.Random()
    for number in range(ATTEMPTS):
        delay_s = dice.uniform(0.0, DEED_S)
        treats.ready()
        treats.agree()
        attempt(treats, f"{what}, {number}, after {delay_s:.4f} s", delay_s)


@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.35])
def test_pins_that_die_in_the_middle_of_a_treat_give_no_request_twice(treats: Treats, delay_s: float) -> None:
    answer = treats.machine.begin("treat", id=f"pins died after {delay_s}")
    time.sleep(delay_s)  # the instant is what is tried here
    treats.machine.kill("simulator")
    treats.machine.until(answer.done, "an answer")
    error = answer.exception()
    assert error is None or (isinstance(error, ContractError) and error.code == "UNAVAILABLE")
    treats.machine.kill("dispenser")  # which would answer from memory
    treats.ready()
    again = treats.machine.ask("treat", id=f"pins died after {delay_s}")
    assert isinstance(again, Dispensed) or again.code == "CONFLICT"
    assert treats.dropped == 0, "by the new machine, in which nothing was to fall"
    assert treats.machine.read().carousel.deg_per_s == 0


def test_a_beam_that_sees_nothing_is_a_jam_and_no_success(treats: Treats) -> None:
    treats.machine.bus.request(SIMULATOR_FAULT, SimulatedFault(beam_dead=True)).result(10)
    try:
        refusal = treats.machine.ask("treat")
    finally:
        treats.machine.bus.request(SIMULATOR_FAULT, SimulatedFault(beam_dead=False)).result(10)
    assert isinstance(refusal, ContractError)
    assert refusal.code == "TREAT_JAM"
    assert treats.machine.read().carousel.deg_per_s == 0


def test_a_refill_outlives_a_kill(treats: Treats) -> None:
    assert treats.machine.ask("treat_refill", Refill(7), id="refill") == Refilled(7)
    treats.machine.kill("dispenser")
    treats.ready()
    treats.machine.until(lambda: treats.counted == CAPACITY - 7, "seven are left")
    refusal = treats.machine.ask("treat_refill", Refill(CAPACITY + 1))
    assert isinstance(refusal, ContractError)
    assert refusal.code == "INVALID_PARAMETER"


def test_one_dispenser_leaves_one_witness(treats: Treats) -> None:
    for _ in range(2):
        treats.machine.kill("dispenser")
        treats.ready()
    dispenser, *witnesses = treats.programs()
    assert len(witnesses) == 1
    of_this_robot = str(treats.data)
    alive = [
        program for program in psutil.process_iter(["cmdline"]) if of_this_robot in (program.info["cmdline"] or [])
    ]
    assert {program.pid for program in alive} == {witnesses[0].pid}
    assert dispenser.is_running()


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
