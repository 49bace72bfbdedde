from __future__ import annotations

import io
import json
import os
import secrets

import pytest

from cli.embedded import EmbeddedPostgres
from cli.main import main


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, postgres_url: str, redis_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("JWT_SECRET", secrets.token_urlsafe(48))
    monkeypatch.setenv("MASTER_KEY", secrets.token_urlsafe(48))
    assert main(["relay", "migrate"]) == 0


def add_user(monkeypatch: pytest.MonkeyPatch, password: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
    return main(["relay", "add-user", "ann@wimz.example"])


def test_migrating_twice_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["relay", "migrate"]) == 0
    assert capsys.readouterr().out == "The database is up to date.\n"


def test_an_account_and_its_robot_are_made_and_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add_user(monkeypatch, "a long enough one") == 0
    capsys.readouterr()
    assert main(["relay", "add-device", "rex", "--owner", "ann@wimz.example"]) == 0
    identity = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert identity["DEVICE_ID"] == "rex"
    assert len(identity["DEVICE_SECRET"]) >= 32
    assert main(["relay", "devices"]) == 0
    header, *table = capsys.readouterr().out.splitlines()
    (row,) = [line for line in table if line.startswith("rex ")]
    assert header.split() == ["DEVICE", "OWNER", "SHARED", "LAST", "SEEN", "VERSION", "NAME"]
    assert row.split() == ["rex", "ann@wimz.example", "-", "never", "-", "rex"]
    assert main(["relay", "devices", "--json"]) == 0
    (listed,) = [device for device in json.loads(capsys.readouterr().out) if device["device_id"] == "rex"]
    assert (listed["device_id"], listed["owner_email"], listed["last_seen"]) == ("rex", "ann@wimz.example", None)


def test_who_may_use_a_robot_is_listed_and_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for email in ("owner@wimz.example", "guest@wimz.example"):
        monkeypatch.setattr("sys.stdin", io.StringIO("a long enough one\n"))
        assert main(["relay", "add-user", email]) == 0
    assert main(["relay", "add-device", "kit", "--owner", "owner@wimz.example"]) == 0

    def listed(*arguments: str) -> list[tuple[str, str]]:
        capsys.readouterr()
        assert main(["relay", "members", "kit", "--json", *arguments]) == 0
        return [(member["email"], member["role"]) for member in json.loads(capsys.readouterr().out)]

    owner = ("owner@wimz.example", "owner")
    assert listed() == [owner]
    for role in ("viewer", "driver"):
        assert listed("--share", "guest@wimz.example", role) == [owner, ("guest@wimz.example", role)]
    assert main(["relay", "members", "kit"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["ACCOUNT", "ROLE", "SINCE"]
    assert listed("--remove", "guest@wimz.example") == [owner]
    refusals = {
        ("--remove", "guest@wimz.example"): "is not shared with",
        ("--share", "guest@wimz.example", "owner"): "Accepted: driver, viewer.",
        ("--share", "owner@wimz.example", "viewer"): "may do everything",
        ("--share", "nobody@wimz.example", "viewer"): "There is no account",
    }
    for arguments, words in refusals.items():
        assert main(["relay", "members", "kit", *arguments]) == 1
        assert words in capsys.readouterr().err
    assert main(["relay", "members", "nokit"]) == 1
    assert "There is no device" in capsys.readouterr().err


def test_a_device_for_an_account_that_is_not_there_is_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "add-device", "bo", "--owner", "nobody@wimz.example"]) == 1
    assert "There is no account" in capsys.readouterr().err
    assert main(["relay", "devices", "--json"]) == 0
    assert "bo" not in [device["device_id"] for device in json.loads(capsys.readouterr().out)]


def test_secrets_move_to_a_new_master_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_server: EmbeddedPostgres
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_server.create_database("reseal"))
    assert main(["relay", "migrate"]) == 0
    assert main(["relay", "add-device", "rex", "--json"]) == 0
    old = os.environ["MASTER_KEY"]
    monkeypatch.setenv("MASTER_KEY", secrets.token_urlsafe(48))
    assert main(["relay", "reseal"]) == 1
    assert "opens with neither key" in capsys.readouterr().err
    monkeypatch.setenv("MASTER_KEY_PREVIOUS", old)
    for resealed in (1, 0):
        capsys.readouterr()
        assert main(["relay", "reseal", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"resealed": resealed}
    monkeypatch.delenv("MASTER_KEY_PREVIOUS")
    assert main(["relay", "reseal"]) == 0
    postgres_server.drop_database("reseal")


def test_a_refusal_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert add_user(monkeypatch, "short") == 1
    assert "The password is too short." in capsys.readouterr().err
    assert main(["relay", "pair", "ann@wimz.example", "nobody"]) == 1
    assert capsys.readouterr().err.startswith("wimz relay: There is no")


def test_a_setting_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MASTER_KEY")
    assert main(["relay", "serve"]) == 1
    assert "MASTER_KEY is not set. Accepted:" in capsys.readouterr().err


def test_a_database_that_is_not_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///wimz?host=/nowhere")
    assert main(["relay", "devices"]) == 1
    assert "wimz relay: the database refused: " in capsys.readouterr().err
