from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cli.demo.data import DataDir, DemoInfo, write_private
from cli.errors import CommandError

INFO = DemoInfo("http://relay", "http://robot", "a@b", "pw", "wimz_1", "secret", "token")
HOLD_INHERITED_LOCK = "import time; print('held', flush=True); time.sleep(0.5)"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_secrets_are_made_once_and_kept_for_this_account_alone(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    made = data.secrets()
    assert DataDir(tmp_path).secrets() == made
    assert min(len(made.jwt_secret), len(made.master_key), len(made.device_secret)) >= 32
    assert mode(tmp_path / "demo_secrets.json") == 0o600


def test_two_demos_have_different_secrets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = DataDir(tmp_path / "a").secrets(), DataDir(tmp_path / "b").secrets()
    assert a.password != b.password
    assert a.device_id != b.device_id


def test_damaged_secrets_are_named_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "demo_secrets.json").write_text("{")
    with pytest.raises(CommandError, match=r"demo_secrets\.json cannot be read"):
        DataDir(tmp_path).secrets()
    assert (tmp_path / "demo_secrets.json").read_text() == "{"


def test_the_info_file_is_private_and_complete(tmp_path: Path) -> None:
    path = DataDir(tmp_path).write_info(INFO)
    assert path == tmp_path / "demo.json"
    assert mode(path) == 0o600
    assert set(json.loads(path.read_text())) == {
        "relay_url",
        "robot_url",
        "email",
        "password",
        "device_id",
        "device_secret",
        "robot_token",
    }


def test_a_file_is_replaced_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")
    reader = path.open()
    write_private(path, b"new")
    with reader:
        assert reader.read() == "old\n"
    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_overrides_replace_single_keys_of_a_section_and_leave_the_rest(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    base = {"pins": {"factory": "lgpio", "host": "127.0.0.1"}, "leds": {"pixels": 160}, "empty": None}
    data.write_robot_config(base, {"pins": {"factory": "pigpio", "port": 4321}, "empty": {"key": 1}, "camera": {}})
    assert yaml.safe_load(data.robot_config.read_text()) == {
        "pins": {"factory": "pigpio", "host": "127.0.0.1", "port": 4321},
        "leds": {"pixels": 160},
        "empty": {"key": 1},
        "camera": {},
    }


def test_a_directory_in_use_is_refused_at_once_and_its_info_file_stays(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    descriptor = first.lock(0)
    first.write_info(INFO)
    with pytest.raises(CommandError, match=rf"runs already \(process {os.getpid()}\): stop it, or choose another"):
        DataDir(tmp_path).lock(60)
    assert (tmp_path / "demo.json").exists()
    os.close(descriptor)


def test_the_servers_of_a_demo_that_is_gone_are_waited_for(tmp_path: Path) -> None:
    """They inherited the lock, and hold it until the last of them has stopped."""
    data = DataDir(tmp_path)
    descriptor = data.lock(0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_INHERITED_LOCK], pass_fds=[descriptor], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        os.close(descriptor)
        (tmp_path / "demo.lock").write_text(f"{ended_process()}\n")
        data.write_info(INFO)
        descriptor = data.lock(60)
    assert (tmp_path / "demo.lock").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / "demo.json").exists()
    os.close(descriptor)


def test_waiting_for_servers_that_never_stop_ends(tmp_path: Path) -> None:
    tmp_path.joinpath("demo.lock").write_text(f"{ended_process()}\n")
    with (tmp_path / "demo.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        started = time.monotonic()
        with pytest.raises(CommandError, match="runs already"):
            DataDir(tmp_path).lock(0.2)
        assert time.monotonic() - started >= 0.2


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match=r"cannot use the data directory .*file: Not a directory"):
        DataDir(tmp_path / "file").lock(0)


def ended_process() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid
