from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bus.memory import MemoryHub
from bus.messages import MachineState, SimulatedFault
from bus.topics import SIMULATED_MACHINE, SIMULATOR_FAULT, SIMULATOR_READ
from contract.commands import Nothing
from hardware.config import HardwareConfig
from processes.simulator.config import SimulatorConfig
from processes.simulator.logic import Machine
from processes.simulator.service import LOOK_S, REPEAT_S, SimulatorService


class Simulated:
    """A machine by the hub's clock, whose pins the test sets by hand."""

    def __init__(self, hub: MemoryHub) -> None:
        self.hub = hub
        self.machine = Machine(HardwareConfig(), SimulatorConfig(), hub.now)
        self.alive = True
        self.counters: Counter[str] = Counter()

    def snapshot(self) -> MachineState:
        self.machine.advance(self.hub.now)
        return self.machine.snapshot(clients=1)

    def apply(self, fault: SimulatedFault) -> MachineState:
        self.machine.advance(self.hub.now)
        self.machine.apply(fault)
        return self.snapshot()


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def simulated(hub: MemoryHub) -> Simulated:
    return Simulated(hub)


@pytest.fixture
def published(hub: MemoryHub, simulated: Simulated) -> list[MachineState]:
    heard: list[MachineState] = []
    hub.bus("monitor").subscribe(SIMULATED_MACHINE, lambda message: heard.append(message.value))
    SimulatorService(hub.bus("simulator"), simulated)
    hub.advance(LOOK_S)
    assert len(heard) == 1
    heard.clear()
    return heard


def ask(hub: MemoryHub, topic: Any, body: Any) -> MachineState:
    future = hub.bus("motion").request(topic, body)
    hub.run()
    state = future.result(timeout=0)
    assert isinstance(state, MachineState)
    return state


@pytest.mark.usefixtures("published")
def test_a_read_is_the_machine_at_this_instant(hub: MemoryHub, simulated: Simulated) -> None:
    simulated.machine.bank.set_servo(5, 2000)
    hub.advance(LOOK_S / 2)

    state = ask(hub, SIMULATOR_READ, Nothing())

    assert state.servos.pan_us == 2000
    assert state.servos.pan_deg == pytest.approx(LOOK_S / 2 * 300)


@pytest.mark.usefixtures("published")
def test_a_fault_is_set_and_answered_with_the_machine(hub: MemoryHub, simulated: Simulated) -> None:
    state = ask(hub, SIMULATOR_FAULT, SimulatedFault(jam=True, beam_blocked=True, refill=7))

    assert (state.carousel.jammed, state.beam.broken, state.carousel.treats_left) == (True, True, 7)
    assert simulated.snapshot().carousel.jammed


def test_a_moving_machine_is_published_as_it_moves(
    hub: MemoryHub, simulated: Simulated, published: list[MachineState]
) -> None:
    simulated.machine.bank.set_servo(5, 2500)

    hub.advance(10 * LOOK_S)

    assert 9 <= len(published) <= 11
    angles = [state.servos.pan_deg for state in published]
    assert angles == sorted(angles)
    assert len(set(angles)) == len(angles)


def test_a_machine_at_rest_is_published_once_in_a_while(hub: MemoryHub, published: list[MachineState]) -> None:
    hub.advance(0.9 * REPEAT_S)
    assert published == []

    hub.advance(2 * REPEAT_S)
    assert len(published) == 2


@pytest.mark.usefixtures("published")
def test_what_went_wrong_is_counted_where_the_heartbeat_shows_it(hub: MemoryHub, simulated: Simulated) -> None:
    simulated.counters["hung_up"] = 3

    hub.advance(LOOK_S)

    assert hub.buses["simulator"].counters["simulator.hung_up"] == 3


@pytest.mark.usefixtures("published")
def test_a_machine_whose_pins_are_not_served_ends_the_process(hub: MemoryHub, simulated: Simulated) -> None:
    simulated.alive = False

    with pytest.raises(SystemExit, match="the pins are no longer served"):
        hub.advance(LOOK_S)
