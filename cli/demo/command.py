"""The command line of `wimz demo`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from bus import settings
from cli.demo.data import DemoInfo
from cli.demo.stack import Options, Stack
from cli.exec_child import die_with_parent

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz demo`."""
    parser.add_argument("--relay-port", type=_port, default=8080, help="the relay and its page (default: %(default)s)")
    parser.add_argument("--robot-port", type=_port, default=8000, help="the robot's own API (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets phones in (default: %(default)s)"
    )
    parser.add_argument(
        "--camera",
        type=_camera,
        default={},
        metavar="file:PATH",
        help="what the robot sees: a video file, looped, instead of the drawn room",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("var"), help="where everything is kept (default: %(default)s of the checkout)"
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the program that started this one has ended"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo until it is told to stop, or a part of it fails."""
    if arguments.with_parent:
        die_with_parent(signal.SIGTERM, os.getppid())
    data = arguments.data if arguments.data.is_absolute() else settings.ROOT / arguments.data
    options = Options(
        data=data.resolve(),
        relay_port=arguments.relay_port,
        robot_port=arguments.robot_port,
        host=arguments.host,
        camera=arguments.camera,
    )
    stack = Stack(options, _progress)
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        info = stack.start()
        path = stack.publish(info)
        _say(_summary(info, options, path))
        stack.watch()
    except KeyboardInterrupt:
        _say("\nStopping.")
        return 0
    finally:
        for number in STOP_SIGNALS:  # a second Ctrl-C must not leave half of it running; stopping is bounded
            signal.signal(number, signal.SIG_IGN)
        stack.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _progress(part: str, what: str) -> None:
    _say(f"  {part:<10}{what}")


def _say(text: str) -> None:
    print(text.encode(sys.stdout.encoding, errors="replace").decode(sys.stdout.encoding), flush=True)


def _summary(info: DemoInfo, options: Options, path: Path) -> str:
    lines = [
        "",
        "  WIM-Z is running.",
        "",
        f"    Open      {info.relay_url}",
        f"    Sign in   {info.email}",
        f"    Password  {info.password}",
        "",
        f"    The robot at home   {info.robot_url}   token {info.robot_token}",
        f"    For scripts         {path}",
        f"    Logs                {options.data / 'log'}",
        "",
        "  Ctrl-C stops everything.",
    ]
    if options.host == "0.0.0.0":
        lines.insert(4, f"    Phones    http://ADDRESS-OF-THIS-MACHINE:{options.relay_port}")
    return "\n".join(lines)


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port. Accepted: 1 to 65535")
    return int(text)


def _camera(text: str) -> dict[str, Any]:
    """The keys of the robot's `camera` section that `text` stands for."""
    kind, _, path = text.partition(":")
    if text == "synthetic":
        return {"source": "synthetic"}
    if kind != "file" or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is no camera. Accepted: file:PATH, or synthetic")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path!r}")
    return {"source": "file", "path": str(Path(path).resolve())}
