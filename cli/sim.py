"""`wimz sim`: the simulated machine as JSON, and the faults that can be put into it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from bus import settings
from bus.messages import MachineState, SimulatedFault
from bus.promise import Promise
from bus.topics import SIMULATED_MACHINE, SIMULATOR_FAULT, SIMULATOR_READ
from bus.zeromq import ZmqBus
from cli.errors import CommandError
from contract.commands import Nothing
from contract.errors import ContractError

SWITCHES = ("jam", "beam_blocked", "beam_dead", "charging", "battery_adc_dead")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz sim`."""
    parser.add_argument(
        "--data", type=Path, default=Path("var"), help="the robot's data directory (default: %(default)s)"
    )
    parser.add_argument("--watch", action="store_true", help="one line of JSON at every change, until Ctrl-C")
    for switch in SWITCHES:
        parser.add_argument(
            f"--{switch.replace('_', '-')}", choices=("on", "off"), help=f"put the fault `{switch}` in, or mend it"
        )
    parser.add_argument("--battery", type=float, metavar="PCT", help="the battery holds so much, and has rested")
    parser.add_argument("--refill", type=int, metavar="N", help="put this many treats into the carousel")


def run(arguments: argparse.Namespace) -> int:
    """Print the machine as it is now, or as it changes; the faults asked for are put in before."""
    bus = _join(settings.ROOT / arguments.data)
    bus.start()
    try:
        fault = _fault(arguments)
        ask = bus.request(SIMULATOR_READ, Nothing()) if fault is None else bus.request(SIMULATOR_FAULT, fault)
        machine = _answer(ask)
        if not arguments.watch:
            print(readable(msgspec.to_builtins(machine)))
            return 0
        bus.subscribe(SIMULATED_MACHINE, lambda message: _line(message.value))
        threading.Event().wait()
    finally:
        bus.stop()
    return 0


def _join(data: Path) -> ZmqBus:
    run_dir = settings.run_dir(data.resolve())
    if not run_dir.is_dir():
        raise CommandError(f"no robot runs with {data}. Start one with `wimz demo`, or name its --data directory.")
    return ZmqBus(f"sim-{os.getpid()}", run_dir)


def _fault(arguments: argparse.Namespace) -> SimulatedFault | None:
    wanted: dict[str, Any] = {
        switch: getattr(arguments, switch) == "on" for switch in SWITCHES if getattr(arguments, switch) is not None
    }
    if arguments.refill is not None:
        if not 0 <= arguments.refill <= 10_000:
            raise CommandError(f"--refill {arguments.refill}: 0 to 10000 treats are accepted.")
        wanted["refill"] = arguments.refill
    if arguments.battery is not None:
        if not 0 <= arguments.battery <= 100:
            raise CommandError(f"--battery {arguments.battery:g}: 0 to 100 % are accepted.")
        wanted["battery_pct"] = arguments.battery
    return SimulatedFault(**wanted) if wanted else None


def _answer(asked: Promise) -> MachineState:
    try:
        machine: MachineState = asked.result()
    except ContractError as error:
        raise CommandError(f"the simulated machine does not answer: {error.message}") from error
    return machine


def readable(machine: dict[str, Any]) -> str:
    """JSON with one line for each pin, motor, servo …, since 160 pixels on 800 lines hide the rest."""
    parts = []
    for name, part in machine.items():
        text = json.dumps(part)
        if isinstance(part, dict):
            rows = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in part.items()]
            text = "{\n" + ",\n".join(rows) + "\n  }"
        parts.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _line(machine: MachineState) -> None:
    sys.stdout.write(msgspec.json.encode(machine).decode() + "\n")
    sys.stdout.flush()
