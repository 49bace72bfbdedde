"""The simulated machine on the bus."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from bus.base import Bus
from bus.codec import Request
from bus.messages import MachineState, SimulatedFault
from bus.topics import SIMULATED_MACHINE, SIMULATOR_FAULT, SIMULATOR_READ
from contract.commands import Nothing

LOOK_S = 0.02
"""How often the machine is looked at for a change."""
REPEAT_S = 1.0
"""How often a machine at rest is published all the same."""


class Simulation(Protocol):
    """The machine, as the bus needs it."""

    @property
    def alive(self) -> bool:
        """Whether the pins are served."""

    @property
    def counters(self) -> Counter[str]:
        """What went wrong, by kind."""

    def snapshot(self) -> MachineState:
        """The machine at this instant."""

    def apply(self, fault: SimulatedFault) -> MachineState:
        """Break or mend something, and return the machine."""


class SimulatorService:
    """Answers `simulator/read` and `simulator/fault`, and publishes `simulator/machine` as it changes."""

    def __init__(self, bus: Bus, simulation: Simulation) -> None:
        self._bus = bus
        self._simulation = simulation
        self._published: MachineState | None = None
        self._published_at = float("-inf")
        bus.serve(SIMULATOR_READ, self._on_read)
        bus.serve(SIMULATOR_FAULT, self._on_fault)
        bus.every(LOOK_S, self._look)

    def _on_read(self, _: Request[Nothing]) -> MachineState:
        return self._simulation.snapshot()

    def _on_fault(self, request: Request[SimulatedFault]) -> MachineState:
        return self._simulation.apply(request.body)

    def _look(self) -> None:
        if not self._simulation.alive:
            raise SystemExit("the pins are no longer served: see the log above")
        for what, times in self._simulation.counters.items():
            self._bus.counters[f"simulator.{what}"] = times
        state = self._simulation.snapshot()
        now = self._bus.now()
        if state != self._published or now - self._published_at >= REPEAT_S:
            self._published, self._published_at = state, now
            self._bus.publish(SIMULATED_MACHINE, state)
