from __future__ import annotations

import subprocess
import sys

import pytest

from cli.main import COMMANDS, main


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"usage: wimz {command}" in capsys.readouterr().out


def test_the_list_of_commands_is_printed_without_loading_any() -> None:
    program = (
        "import sys; from cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'cli.demo.command', 'cli.relay', 'cli.robot', 'psycopg', 'redis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "run the relay" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [[], ["dance"], ["demo", "--relay-port", "70000"], ["demo", "--camera", "file:"]])
def test_wrong_usage_is_refused_with_what_is_accepted(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert "usage: wimz" in capsys.readouterr().err


def test_a_camera_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--camera", "file:/nowhere/dog.mp4"])
    assert "there is no file '/nowhere/dog.mp4'" in capsys.readouterr().err


def test_a_command_that_cannot_be_done_ends_with_one_line_and_status_1() -> None:
    done = run("robot", "--config", "/nowhere/robot.yaml")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "wimz robot: Cannot read the configuration /nowhere/robot.yaml: No such file or directory."
    ]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "schema", "robot"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
