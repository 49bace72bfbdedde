"""The process table and the topic table name the same processes, and each of them can be started."""

from __future__ import annotations

import configparser
import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from bus import settings
from bus.topics import PROCESSES
from cli.robot import SUPERVISORD_CONF, Robot


@pytest.fixture(scope="module")
def conf() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.read(SUPERVISORD_CONF)
    return parser


def programs(conf: configparser.ConfigParser) -> list[str]:
    return [name.removeprefix("program:") for name in conf.sections() if name.startswith("program:")]


def test_the_programs_are_the_processes_that_own_topics(conf: configparser.ConfigParser) -> None:
    assert sorted(programs(conf)) == sorted(PROCESSES)


@pytest.mark.parametrize("name", PROCESSES)
def test_every_program_runs_a_module_that_is_there(conf: configparser.ConfigParser, name: str) -> None:
    assert f" -m processes.{name} " in conf[f"program:{name}"]["command"]
    assert importlib.util.find_spec(f"processes.{name}.__main__") is not None


def test_everything_that_a_program_writes_is_bounded(conf: configparser.ConfigParser) -> None:
    for name in programs(conf):
        section = conf[f"program:{name}"]
        assert section["redirect_stderr"] == "true"
        assert section["stdout_logfile_maxbytes"] == "1MB"
        assert section["stdout_logfile_backups"] == "2"


def test_supervisords_own_log_is_bounded(conf: configparser.ConfigParser) -> None:
    assert conf["supervisord"]["logfile_maxbytes"] == "1MB"
    assert conf["supervisord"]["logfile_backups"] == "2"


@pytest.mark.parametrize("name", PROCESSES)
def test_every_program_comes_back_whatever_ended_it(conf: configparser.ConfigParser, name: str) -> None:
    """The simulator alone may end: where real pins are configured it has nothing to do."""
    section = conf[f"program:{name}"]
    assert section["autorestart"] == ("unexpected" if name == "simulator" else "true")
    assert int(section["startretries"]) >= 100_000
    assert (section["stopsignal"], section["stopasgroup"], section["killasgroup"]) == ("TERM", "true", "true")


def test_the_pins_are_there_before_those_who_drive_them_and_what_is_seen_from_outside_comes_last(
    conf: configparser.ConfigParser,
) -> None:
    by_priority = sorted(programs(conf), key=lambda name: int(conf[f"program:{name}"]["priority"]))
    assert by_priority[:3] == ["simulator", "guard", "motion"]
    assert by_priority[-1] == "local_api"
    assert len({conf[f"program:{name}"]["priority"] for name in programs(conf)}) == len(by_priority)


def test_a_monitor_that_keeps_dying_is_slowed_down_by_supervisord_itself(conf: configparser.ConfigParser) -> None:
    """Monitor holds what crashes in a loop, and nobody holds monitor."""
    assert int(conf["program:monitor"]["startsecs"]) > int(conf["program:camera"]["startsecs"])


def test_supervisord_accepts_the_table_also_with_spaces_in_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(Path("/home/dog lover/robot 1.yaml"), tmp_path / "data dir")
    (robot.data_dir / "log").mkdir(parents=True)
    run_dir = settings.make_run_dir(robot.data_dir)
    for key, value in robot.environment({}).items():
        monkeypatch.setenv(key, value)
    options = ServerOptions()
    options.realize(["-n", "-c", str(SUPERVISORD_CONF)])
    run_dir.rmdir()
    commands = {group.name: group.process_configs[0].command for group in options.process_group_configs}
    assert commands["motion"] == f'"{sys.executable}" -m processes.motion --config "/home/dog lover/robot 1.yaml"'


def test_a_second_robot_on_the_same_data_is_refused(short_dir: Path) -> None:
    """Any server at the supervisor's socket will do for the first one."""
    robot = Robot(SUPERVISORD_CONF.with_name("robot_config.yaml"), short_dir)
    robot.prepare()
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(robot.supervisor_socket))
        first.listen()
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "robot", "--data", str(short_dir)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    robot.supervisor_socket.unlink()
    robot.supervisor_socket.parent.rmdir()
    assert done.returncode == 1
    assert "runs already: stop it, or choose another with --data" in done.stderr
