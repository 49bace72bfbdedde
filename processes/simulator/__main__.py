"""Start the simulated machine, where there is no real one."""

from __future__ import annotations

import logging
import time

from bus.runner import Context, run
from hardware.board import board_model, is_raspberry_pi
from hardware.config import hardware_config
from processes.simulator.config import SimulatorConfig
from processes.simulator.logic import Machine
from processes.simulator.pigpiod import PigpioServer
from processes.simulator.service import SimulatorService

log = logging.getLogger(__name__)


def build(context: Context) -> None:
    config = context.section("simulator", SimulatorConfig)
    if is_raspberry_pi() or not config.enabled:
        log.info("%s: nothing to simulate", board_model() if config.enabled else "simulator.enabled is false")
        context.bus.stop()
        return
    hardware = hardware_config(context.config)
    server = PigpioServer(Machine(hardware, config, time.monotonic()), max_connections=config.max_connections)
    context.on_stop(server.stop)
    port = server.start(hardware.pins.host, hardware.pins.port)
    log.info("the simulated pins are at %s:%d", hardware.pins.host, port)
    SimulatorService(context.bus, server)


if __name__ == "__main__":
    run("simulator", build)
