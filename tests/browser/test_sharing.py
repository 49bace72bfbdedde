"""Sharing a robot and looking after an account, in the browser, with the real relay."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.relay.conftest import PASSWORD, Account, RelayServer
from tests.relay.conftest import make_relay as make_relay
from tests.relay.conftest import relay_valkey as relay_valkey

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
NAMELESS = re.compile(r"- (?:button|link|textbox|combobox|checkbox|slider|spinbutton)(?: \[[^\]]*\])*:?$", re.MULTILINE)


@pytest.fixture(scope="module")
def house(make_relay: Callable[..., RelayServer]) -> Iterator[RelayServer]:
    relay = make_relay()
    yield relay
    relay.close_all()
    relay.stop()


@pytest.fixture
def visit(browser: Browser, house: RelayServer) -> Iterator[Callable[..., Page]]:
    """Opens the relay's page as an account that has signed in; problems on any page fail the test."""
    pages: list[Page] = []
    problems: list[str] = []

    def opened(account: Account, size: ViewportSize = PHONE) -> Page:
        page = browser.new_context(viewport=size, service_workers="block").new_page()
        pages.append(page)
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        page.goto(f"http://127.0.0.1:{house.port}/")
        page.fill("#email", account.email)
        page.fill("#password", PASSWORD)
        page.click("#sign-in")
        page.wait_for_selector("#robots")
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert problems == []


def _show(page: Page, name: str) -> None:
    """Nothing is wider than the screen, and all that can be used has a name.

    `SCREENSHOTS` names a folder that keeps what it looks like.
    """
    before = page.viewport_size
    assert before is not None
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{name} is wider than the screen"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{size['width']}.png")
    page.set_viewport_size(before)
    assert NAMELESS.findall(page.locator("body").aria_snapshot()) == [], name


def test_an_owner_shares_and_a_viewer_watches_until_taken_out(house: RelayServer, visit: Callable[..., Page]) -> None:
    owner, friend = house.account(), house.account()
    robot = house.robot(owner)
    house.device(robot)
    mine, theirs = visit(owner), visit(friend)
    mine.click(f'[data-device="{robot.device_id}"]')
    mine.click("#share")
    mine.click("#share-make")
    expect(mine.locator("#share-code")).to_have_text(re.compile(r"^\w{4}-\w{4}$"))
    _show(mine, "share")
    theirs.fill("#pairing-code", mine.inner_text("#share-code").lower())
    theirs.click("#pair")
    expect(theirs.locator("#robots a")).to_contain_text("watch only")
    _show(theirs, "robots")
    theirs.click(f'[data-device="{robot.device_id}"]')
    expect(theirs.locator("#robot")).to_have_attribute("data-role", "viewer")
    for hidden in ("#joystick", "#treat", "#led-pattern"):
        expect(theirs.locator(hidden)).to_be_hidden()
    expect(theirs.locator("#stop")).to_be_visible()
    expect(theirs.locator("#watch")).to_be_visible()
    _show(theirs, "viewer")
    mine.click("#sharing-close")
    mine.click("#share")
    row = mine.locator(f'#members [data-member="{friend.user_id}"]')
    row.locator("select").select_option("driver")
    expect(theirs.locator("#robot")).to_have_attribute("data-role", "driver")
    expect(theirs.locator("#joystick")).to_be_visible()
    _show(mine, "members")
    row.locator("button").click()
    row.locator("button").click()
    expect(row).to_have_count(0)
    theirs.wait_for_selector("#robots")
    expect(theirs.locator("#robots a")).to_have_count(0)


def test_a_member_leaves_and_an_owner_renames_and_unpairs(house: RelayServer, visit: Callable[..., Page]) -> None:
    owner, friend = house.account(), house.account()
    robot = house.robot(owner)
    house.share(owner, robot, friend, "driver")
    theirs = visit(friend)
    theirs.click(f'[data-device="{robot.device_id}"]')
    theirs.click("#share")
    theirs.click("#leave")
    theirs.click("#leave")
    expect(theirs.locator("#robots")).to_contain_text("No robot yet")
    mine = visit(owner)
    mine.click(f'[data-device="{robot.device_id}"]')
    mine.click("#share")
    mine.fill("#rename", "Biscuit's robot")
    mine.click("#rename-save")
    expect(mine.locator("#sharing-title")).to_have_text("Biscuit's robot")
    mine.click("#unpair")
    mine.click("#unpair")
    expect(mine.locator("#robots")).to_contain_text("No robot yet")


def test_what_was_missed_is_caught_up_when_the_line_is_back(house: RelayServer, visit: Callable[..., Page]) -> None:
    owner = house.account()
    robot = house.robot(owner)
    opened = house.device(robot)
    page = visit(owner)
    page.route("**/api/events*", lambda route: route.abort())  # what is known, is known by the socket alone
    page.click(f'[data-device="{robot.device_id}"]')
    page.wait_for_selector('#robot[data-online="yes"]')

    def treats(numbers: range) -> None:
        for number in numbers:
            opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 999 - number}, "id": f"e{number}"})
        stored: set[str] = set()
        while len(stored) < len(numbers):
            stored.update(opened.get("event_ack")["ids"])

    treats(range(3))
    expect(page.locator("#events li[data-event=treat]")).to_have_count(3, timeout=20_000)
    page.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector('#robot[data-online="no"]')
    treats(range(3, 123))
    page.context.set_offline(False)
    expect(page.locator("#events li[data-event=treat]")).to_have_count(123, timeout=20_000)
    treats(range(123, 125))
    expect(page.locator("#events li[data-event=treat]")).to_have_count(125, timeout=20_000)
    expect(page.locator("#events li").first).to_contain_text("875 left")


def test_an_account_changes_its_password_signs_out_everywhere_and_ends(
    house: RelayServer, visit: Callable[..., Page]
) -> None:
    owner = house.account()
    page, other = visit(owner), visit(owner, DESKTOP)
    page.click("#account-link")
    expect(page.locator("#account-email")).to_have_text(owner.email)
    _show(page, "account")
    page.fill("#old-password", "not it")
    page.fill("#new-password", "another good one")
    page.click("#password-form button")
    expect(page.locator("#password-form .problem")).to_have_text("The password is not right.")
    page.fill("#old-password", PASSWORD)
    page.click("#password-form button")
    other.wait_for_selector("#email")
    expect(other.locator("#problem")).to_contain_text("sign in again")
    other.fill("#email", owner.email)
    other.fill("#password", "another good one")
    other.click("#sign-in")
    other.wait_for_selector("#robots")
    page.click("#everywhere-form button")
    for each in (page, other):
        each.wait_for_selector("#email")
    other.fill("#email", owner.email)
    other.fill("#password", "another good one")
    other.click("#sign-in")
    other.click("#account-link")
    other.fill("#delete-password", "another good one")
    _show(other, "account")
    other.click("#delete-form button")
    other.wait_for_selector("#email")
    assert house.rows("SELECT 1 FROM users WHERE user_id = %s", owner.user_id) == []
