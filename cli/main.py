"""The `wimz` command. Each subcommand is a module with `add_arguments(parser)` and `run(arguments) -> status`.

A subcommand's module is imported only when it is the one that was asked for: the robot's needs no PostgreSQL
client, the relay's no camera.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from bus.errors import BusError
from cli.errors import CommandError


class Command(NamedTuple):
    name: str
    module: str
    summary: str


COMMANDS = (
    Command("demo", "cli.demo.command", "run everything on this machine: a simulated robot, its relay, the web client"),
    Command("robot", "cli.robot", "run the robot's processes"),
    Command("ps", "cli.ps", "print the robot's processes: state, CPU, memory, loop lag"),
    Command("relay", "cli.relay", "run the relay, and manage its accounts and devices"),
    Command("bus", "cli.bus.command", "look at the bus: list, echo, hz, call, pub, record, replay"),
    Command("detect", "cli.detect", "find dogs in pictures and videos, and draw what was found"),
    Command("sim", "cli.sim", "print the simulated machine as JSON"),
    Command("schema", "cli.schema", "print a document generated from the contract"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: its words, without the program's name; the process's own when None.

    Returns:
        The exit status: 0, or 1 when it failed with a message. Wrong usage exits with 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (CommandError, BusError) as error:
        print(f"wimz {arguments.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wimz", description="WIM-Z, a robot companion for dogs, and its relay.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked_for = next((word for word in words if not word.startswith("-")), None)
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.summary, description=f"{command.summary}.")
        if command.name == asked_for:
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
