"""A robot changes hands: unpaired by one owner, paired by the next with the code that it shows, in the browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bench.demo_driver import Demo, Driver, until

LIVE_S = 20.0
NEXT_OWNER = {"email": "next@example.org", "password": "correct horse"}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "var")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.close()


def call(url: str, method: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    """The relay's or the robot's answer."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=LIVE_S) as reply:
        return json.loads(reply.read())


def test_the_next_owner_pairs_with_the_code_and_the_first_is_out(browser: Browser, demo: Demo) -> None:
    relay, device = demo.info["relay_url"], demo.info["device_id"]
    account = {"email": demo.info["email"], "password": demo.info["password"]}
    first = call(f"{relay}/api/auth/login", "POST", account)["token"]
    assert call(f"{demo.info['robot_url']}/pairing", "GET")["paired"] is True
    assert call(f"{relay}/api/device/{device}", "DELETE", token=first)["success"] is True
    shown = until(lambda: call(f"{demo.info['robot_url']}/pairing", "GET")["code"], LIVE_S, "the robot shows a code")

    driver = Driver(browser.new_page(viewport={"width": 1100, "height": 900}))
    page = driver.page
    page.goto(relay)
    page.click("#switch")
    page.fill("#email", NEXT_OWNER["email"])
    page.fill("#password", NEXT_OWNER["password"])
    page.click("#sign-in")
    page.fill("#pairing-code", shown.lower())
    page.click("#pair")
    page.click(f'#robots a[data-device="{device}"]')
    page.wait_for_selector('#robot[data-online="yes"]')
    driver.watch()
    driver.wait_for_video(LIVE_S)
    driver.wait_for_control(LIVE_S)
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the next owner drives", driver.breathe)
    driver.let_go()
    page.context.close()

    with pytest.raises(urllib.error.HTTPError) as refused:
        call(f"{relay}/api/device/{device}", "GET", token=first)
    assert refused.value.code == 404
    with pytest.raises(urllib.error.HTTPError) as used:
        call(f"{relay}/api/device/pair", "POST", {"pairing_code": shown}, first)
    assert used.value.code == 404
    assert driver.problems == []
