"""What logs look like, and what never gets into them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from relay import logs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1XzEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"GET /ws/app?token={TOKEN}&x=1 HTTP/1.1", TOKEN),
        ("GET /ws/device?device_id=r1&sig=0123abcd", "0123abcd"),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        ("{'password': 'correct horse'}", "correct"),
        ('{"signature":"0123abcd"}', "0123abcd"),
        ("postgresql://wimz:s3cret@db/wimz", "s3cret"),
        ("redis://:s3cret@cache:6379/0", "s3cret"),
        (f"something said {TOKEN} somewhere", TOKEN),
    ],
)
def test_secrets_are_taken_out(text: str, secret: str) -> None:
    assert secret not in logs.without_secrets(text)
    assert "…" in logs.without_secrets(text)


def test_other_text_stays_as_it_is() -> None:
    for text in ("the robot wimz_r_1 is not connected", "fan-out: cannot publish: Error 111", "GET /health 200"):
        assert logs.without_secrets(text) == text


def _record(message: str, exception: KeyError | None = None) -> logging.LogRecord:
    info = None
    if exception is not None:
        try:
            raise exception
        except KeyError:
            info = sys.exc_info()
    return logging.LogRecord("relay.x", logging.ERROR, "x.py", 1, message, None, info)


def test_json_is_one_line_an_entry_also_with_a_traceback() -> None:
    line = logs.formatter("json").format(_record("two\nlines", KeyError(f"token={TOKEN}")))
    entry = json.loads(line)
    assert "\n" not in line
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "relay.x", "two\nlines")
    assert "KeyError" in entry["exception"]
    assert TOKEN not in line


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="text or json"):
        logs.formatter("xml")


def test_a_real_relay_logs_json_and_no_token(make_relay: Callable[..., Any]) -> None:
    relay = make_relay(LOG_FORMAT="json")
    account = relay.account()
    relay.open(f"/ws/app?token={account.token}").get("auth_result")
    relay.open("/ws/app?token=not.a.token").get("error", code="AUTH_FAILED")
    relay.get(f"/api/events?token={account.token}")
    relay.get(f"/health?token={account.token}", headers={"Referer": f"https://x/?token={account.token}"})
    relay.close_all()
    relay.stop()
    lines = relay.log.read_text().splitlines()
    assert all(line.startswith("{") for line in lines if line), [line for line in lines if line[:1] != "{"][:5]
    entries = [json.loads(line) for line in lines if line]
    assert any(entry["logger"] == "gunicorn.access" for entry in entries)
    assert account.token not in "\n".join(lines)
    assert "not.a.token" not in "\n".join(lines)
