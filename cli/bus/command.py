"""`wimz bus`: the arguments of its tools."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cli.bus import asking, listening, listing, player, recorder

N = TypeVar("N", int, float)
Tool = Callable[[argparse.Namespace], int]

MAX_WINDOW = 100_000
MAX_HZ = 1000.0
MAX_SECONDS = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tools of `wimz bus` and their arguments."""
    tools = parser.add_subparsers(dest="tool", metavar="TOOL", required=True)
    _list(_tool(tools, "list", listing.run, "the table of topics, and which of them live"))
    _echo(_tool(tools, "echo", listening.echo, "print what is said on topics"))
    _hz(_tool(tools, "hz", listening.hz, "measure how regularly a topic is published"))
    _call(_tool(tools, "call", asking.call, "ask a process to do something, and print its answer"))
    _pub(_tool(tools, "pub", asking.pub, "publish a value in the name of the topic's owner"))
    _record(_tool(tools, "record", recorder.record, "write down what is said"))
    _replay(_tool(tools, "replay", player.replay, "publish a recording, with its own timing"))


def run(arguments: argparse.Namespace) -> int:
    """Run the tool that was asked for."""
    tool: Tool = arguments.run_tool
    return tool(arguments)


def _tool(
    tools: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run_tool: Tool, summary: str
) -> argparse.ArgumentParser:
    parser = tools.add_parser(name, help=summary, description=f"{summary}.")
    parser.set_defaults(run_tool=run_tool)
    parser.add_argument(
        "--data", type=Path, default=Path("var"), help="the robot's data directory (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _list(parser: argparse.ArgumentParser) -> None:
    _add_topics(parser, "*", "all")


def _echo(parser: argparse.ArgumentParser) -> None:
    _add_topics(parser, "+", None)
    parser.add_argument("-n", "--count", type=_number(int, 1, 10**9), help="end after so many messages")


def _hz(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("-n", "--count", type=_number(int, 1, 10**9), help="end after so many lines, one a second")
    parser.add_argument(
        "--window",
        type=_number(int, 2, MAX_WINDOW),
        default=1000,
        help="measure over the last so many messages (default: %(default)s)",
    )


def _call(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("value", metavar="JSON", nargs="?", default="{}", help="default: %(default)s")
    parser.add_argument(
        "--timeout", type=_number(float, 0.001, 3600.0), metavar="SECONDS", help="default: the topic's own"
    )
    parser.add_argument("--id", help="names the deed: asked again with the same id, it is not done again")


def _pub(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("value", metavar="JSON", nargs="?", default="{}", help="default: %(default)s")
    parser.add_argument("-n", "--count", type=_number(int, 1, 10**9), help="so many times (default: once)")
    parser.add_argument(
        "--rate", type=_number(float, 0.001, MAX_HZ), metavar="HZ", help="again and again; until Ctrl-C without -n"
    )
    _add_wait(parser)


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    _add_topic_option(parser, "all that are not requests")
    parser.add_argument("--seconds", type=_number(float, 0.001, MAX_SECONDS), help="end after this time")
    parser.add_argument(
        "--max-mb",
        type=_number(float, 0.001, 100_000.0),
        default=100.0,
        metavar="MB",
        help="end at this size (default: %(default)g)",
    )


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    _add_topic_option(parser, "all in the file")
    parser.add_argument(
        "--speed", type=_number(float, 0.001, 1000.0), default=1.0, metavar="X", help="so many times as fast"
    )
    parser.add_argument("--loop", action="store_true", help="again and again, until Ctrl-C")
    _add_wait(parser)


def _add_topics(parser: argparse.ArgumentParser, how_many: str, default: str | None) -> None:
    parser.add_argument(
        "topics",
        metavar="TOPIC",
        nargs=how_many,
        help="names, or patterns such as 'motion/*'" + (f" (default: {default})" if default else ""),
    )


def _add_topic_option(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "-t",
        "--topic",
        dest="topics",
        metavar="TOPIC",
        action="append",
        default=[],
        help=f"a name, or a pattern such as 'motion/*'; may be given again (default: {default})",
    )


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=_number(float, 0.0, 3600.0),
        default=2.0,
        metavar="SECONDS",
        help="for listeners, where the owner does not run (default: %(default)g)",
    )


def _number(kind: type[N], low: N, high: N) -> Callable[[str], N]:
    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number; {low:g} to {high:g} is accepted") from error
        if not math.isfinite(value) or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: {low:g} to {high:g} is accepted")
        return value

    return parse
