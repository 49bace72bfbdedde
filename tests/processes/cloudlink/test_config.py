from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import SettingsError
from processes.cloudlink.config import CloudlinkConfig, relay_of

SECRET = "s" * 32


def test_without_a_relay_there_is_no_link(tmp_path: Path) -> None:
    assert relay_of(CloudlinkConfig(), {}, tmp_path) is None


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = CloudlinkConfig(relay_url="ws://a/ws/device", device_id="one")
    environ = {"RELAY_URL": "wss://b/ws/device", "DEVICE_ID": "two", "DEVICE_SECRET": SECRET}
    relay = relay_of(config, environ, tmp_path)
    assert relay is not None
    assert (relay.url, relay.device_id, relay.secret) == ("wss://b/ws/device", "two", SECRET)


def test_the_secret_may_be_in_a_file_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "device_secret").write_text(SECRET + "\n")
    relay = relay_of(CloudlinkConfig(relay_url="ws://a/", device_id="one"), {}, tmp_path)
    assert relay is not None
    assert relay.secret == SECRET
    assert SECRET not in repr(relay)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"RELAY_URL": "http://a/", "DEVICE_ID": "one", "DEVICE_SECRET": SECRET}, "ws://"),
        ({"RELAY_URL": "wss://a/", "DEVICE_SECRET": SECRET}, "DEVICE_ID"),
        ({"RELAY_URL": "wss://a/", "DEVICE_ID": "o n e", "DEVICE_SECRET": SECRET}, "DEVICE_ID"),
        ({"RELAY_URL": "wss://a/", "DEVICE_ID": "one"}, "DEVICE_SECRET"),
        ({"RELAY_URL": "wss://a/", "DEVICE_ID": "one", "DEVICE_SECRET": "short"}, "at least 16"),
    ],
)
def test_what_is_missing_or_wrong_is_named(environ: dict[str, str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=complaint):
        relay_of(CloudlinkConfig(), environ, tmp_path)
