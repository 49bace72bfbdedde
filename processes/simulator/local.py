"""A simulated machine inside the calling process, for trying drivers out and for tests.

with LocalSimulator() as simulated:
    motors = HBridgeMotors(simulated.hardware.motors, pin_factory(simulated.pins))
    motors.set(0.5, 0.5)
    print(simulated.state().motors)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import msgspec

from bus.messages import MachineState, SimulatedFault
from hardware.config import HardwareConfig, PinsConfig
from processes.simulator.config import SimulatorConfig
from processes.simulator.logic import Machine
from processes.simulator.pigpiod import PigpioServer

_LOOK_S = 0.002


class LocalSimulator:
    """A machine of this wiring, whose pins are served on a free port of this computer.

    Attributes:
        machine: the machine itself; the server's thread works on it.
        hardware: its wiring, with `pins` pointing to it.
    """

    def __init__(self, hardware: HardwareConfig | None = None, world: SimulatorConfig | None = None) -> None:
        wiring = hardware or HardwareConfig()
        self.machine = Machine(wiring, world or SimulatorConfig(), time.monotonic())
        self.server = PigpioServer(self.machine)
        port = self.server.start("127.0.0.1", 0)
        self.hardware = msgspec.structs.replace(wiring, pins=PinsConfig(port=port))

    @property
    def pins(self) -> PinsConfig:
        """How its pins are reached."""
        return self.hardware.pins

    def state(self) -> MachineState:
        """The machine at this instant."""
        return self.server.snapshot()

    def apply(self, fault: SimulatedFault) -> MachineState:
        """Break or mend something."""
        return self.server.apply(fault)

    def wait_for(self, condition: Callable[[MachineState], bool], timeout_s: float = 10.0) -> MachineState:
        """The first machine that meets the condition.

        Raises:
            TimeoutError: none did; the message holds the last one.
        """
        deadline = time.monotonic() + timeout_s
        while not condition(state := self.state()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the machine never came to that within {timeout_s} s: {state}")
            time.sleep(_LOOK_S)
        return state

    def close(self) -> None:
        """Stop serving; whoever still holds a pin is hung up on."""
        self.server.stop()

    def __enter__(self) -> LocalSimulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
