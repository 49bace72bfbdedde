"""What a person does first: sign in, open the robot, watch it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

DEVICE, OFFLINE_DEVICE = "wimz_biscuit", "wimz_patch"
EMAIL, PASSWORD, TOKEN = "robin@example.org", "correct horse", "token-of-robin"


def sign_in(page: Page, relay: Any, password: str = PASSWORD) -> None:
    page.goto(relay.url)
    page.fill("#email", EMAIL)
    page.fill("#password", password)
    page.click("#sign-in")


def open_robot(page: Page, relay: Any, device: str = DEVICE) -> None:
    """As somebody who has signed in before, and was at the list of robots."""
    page.context.add_init_script(f"if (location.host) sessionStorage.setItem('wimz.token', '{TOKEN}')")
    page.goto(relay.url)
    page.click(f'#robots a[data-device="{device}"]')
    expect(page.locator("#robot")).to_have_attribute("data-control", "relay" if device == DEVICE else "none")


def watch(page: Page) -> None:
    page.get_by_role("button", name="Watch", exact=True).click()
    expect(page.locator("#robot")).to_have_attribute("data-video", "live")
    expect(page.locator("#robot")).to_have_attribute("data-control", "datachannel")
