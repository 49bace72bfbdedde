"""`wimz robot`: run the processes of supervisord.conf in the foreground."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bus import settings
from cli.errors import CommandError

SUPERVISORD_CONF = settings.ROOT / "supervisord.conf"
DEFAULT_CONFIG = settings.ROOT / "robot_config.yaml"


@dataclass(frozen=True)
class Robot:
    """One robot of this machine.

    Attributes:
        config: its robot_config.yaml.
        data_dir: what it keeps; also its identity on this machine.
    """

    config: Path
    data_dir: Path

    @property
    def supervisor_socket(self) -> Path:
        return settings.run_dir(self.data_dir) / "supervisor.sock"

    @property
    def argv(self) -> list[str]:
        """What runs it, in the foreground."""
        return [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(SUPERVISORD_CONF)]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with what supervisord.conf asks for."""
        return {
            **base,
            "WIMZ_PYTHON": sys.executable,
            "WIMZ_CONFIG": str(self.config),
            "WIMZ_DATA": str(self.data_dir),
            "WIMZ_RUN": str(settings.run_dir(self.data_dir)),
        }

    def prepare(self) -> None:
        """Make its directories.

        Raises:
            SettingsError: the configuration cannot be read, or the run directory is not ours.
            CommandError: the data directory cannot be made.
        """
        settings.load(self.config)
        try:
            (self.data_dir / "log").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"cannot make {self.data_dir / 'log'}: {error.strerror}") from error
        settings.make_run_dir(self.data_dir)

    def is_running(self) -> bool:
        """Whether its supervisord answers."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.supervisor_socket)) == 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz robot`."""
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="its settings (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="its data directory (default: `robot.data_dir` of the settings)")


def run(arguments: argparse.Namespace) -> int:
    """Become the robot's supervisord."""
    config: Path = arguments.config.resolve()
    data_dir = arguments.data.resolve() if arguments.data else settings.data_dir(settings.load(config))
    robot = Robot(config, data_dir)
    robot.prepare()
    if robot.is_running():
        raise CommandError(
            f"a robot with the data directory {robot.data_dir} runs already: stop it, or choose another with --data"
        )
    os.execve(robot.argv[0], robot.argv, robot.environment(os.environ))
