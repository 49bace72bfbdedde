"""Whatever takes the hand off the stick, in a real Chromium: one zero goes out at once, and nothing after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.steps import DEVICE, open_robot, watch

Eventually = Callable[..., Any]

BEATS_MS = 200
"""Four commands would fall into it, if driving went on."""
HIDE = """() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    delete document.visibilityState;
}"""


class Hand:
    """Fingers on the screen and on the keys, and what the robot is told of them."""

    def __init__(self, page: Page, relay: Any, eventually: Eventually) -> None:
        self.page, self.relay, self.eventually = page, relay, eventually
        self.screen: CDPSession = page.context.new_cdp_session(page)
        box = page.locator("#joystick").bounding_box()
        assert box is not None
        self.middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.front = {"x": self.middle[0], "y": box["y"] + 4, "id": 1}

    def told(self) -> list[float]:
        """The speed of the left track in every motor command, as they came by either way."""
        both = self.relay.commands("motor") + self.relay.over_control("motor")
        return [message["left"] for _, message in sorted(both, key=lambda entry: entry[0])]

    def touch(self, kind: str, *points: dict[str, Any]) -> None:
        self.screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    def push(self) -> None:
        """One finger pushes the stick to its front, and stays there until the robot is driven."""
        before = len(self.told())
        self.touch("touchStart", {"x": self.middle[0], "y": self.middle[1], "id": 1})
        self.touch("touchMove", self.front)
        self.eventually(lambda: any(left > 0 for left in self.told()[before:]))

    def hold_key(self) -> None:
        before = len(self.told())
        self.page.keyboard.down("w")
        self.eventually(lambda: any(left > 0 for left in self.told()[before:]))

    def must_stand(self, why: str) -> None:
        """The last word was zero, and it stays the last one, even when the finger goes on moving."""
        self.eventually(lambda: self.told()[-1] == 0)
        sent = self.told()
        self.page.wait_for_timeout(BEATS_MS)
        assert self.told()[len(sent) :] in ([], [0]), f"driven on after: {why}"  # the other path may be a little later
        expect(self.page.locator("#joystick")).not_to_have_class("held")


@pytest.fixture
def hand(page: Page, relay: Any, eventually: Eventually) -> Hand:
    open_robot(page, relay)
    return Hand(page, relay, eventually)


def _second_finger(hand: Hand) -> None:
    hand.touch("touchStart", hand.front, {"x": hand.middle[0] + 20, "y": hand.middle[1], "id": 2})


def _evaluate(script: str) -> Callable[[Hand], None]:
    return lambda hand: hand.page.evaluate(script)


def _watch_only(hand: Hand) -> None:
    hand.relay.send(hand.relay.presence(DEVICE, online=True) | {"role": "viewer"})


FINGER = {
    "finger lifted": lambda hand: hand.touch("touchEnd"),
    "touch cancelled": lambda hand: hand.touch("touchCancel"),
    "second finger": _second_finger,
    "window left": _evaluate("dispatchEvent(new Event('blur'))"),
    "tab hidden": _evaluate(HIDE),
    "page put away": _evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))"),
    "menu opened": _evaluate("document.body.dispatchEvent(new MouseEvent('contextmenu', { bubbles: true }))"),
    "Stop pressed": _evaluate("document.getElementById('stop').click()"),
}


def test_a_finger_that_ends_driving(hand: Hand) -> None:
    for why, end in FINGER.items():
        hand.push()
        end(hand)
        if why != "finger lifted" and why != "touch cancelled":
            hand.touch("touchMove", hand.front | {"y": hand.front["y"] + 3})  # still on the glass
            hand.must_stand(why)
            hand.touch("touchEnd")
        hand.must_stand(why)


def test_keys_that_end_driving(hand: Hand) -> None:
    endings: dict[str, Callable[[], Any]] = {
        "key let go": lambda: hand.page.keyboard.up("w"),
        "window left": lambda: hand.page.evaluate("dispatchEvent(new Event('blur'))"),
        "tab hidden": lambda: hand.page.evaluate(HIDE),
        "focus in a field": lambda: hand.page.focus("#led-pattern"),
        "Escape": lambda: hand.page.keyboard.press("Escape"),
        "a dialog": lambda: hand.page.click("#share"),
    }
    for why, end in endings.items():
        hand.page.evaluate("document.activeElement.blur()")
        hand.hold_key()
        end()
        hand.must_stand(why)
        hand.page.keyboard.up("w")
    sent = len(hand.told())
    hand.page.keyboard.press("w")  # the dialog is open: keys are for it
    hand.page.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent


def test_a_mouse_let_go_outside_the_window_ends_driving(hand: Hand) -> None:
    hand.page.mouse.move(*hand.middle)
    hand.page.mouse.down()
    hand.page.mouse.move(hand.front["x"], hand.front["y"])
    hand.eventually(lambda: hand.told() and hand.told()[-1] > 0)
    hand.page.evaluate("""() => document.getElementById("joystick").dispatchEvent(
        new PointerEvent("pointermove", { pointerId: 1, buttons: 0, clientX: 5, clientY: 5 }))""")
    hand.must_stand("let go outside")
    hand.page.mouse.up()


def test_leaving_the_page_ends_driving(hand: Hand) -> None:
    hand.push()
    hand.page.go_back()
    hand.eventually(lambda: hand.told()[-1] == 0)
    sent = len(hand.told())
    hand.page.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent


def test_closing_the_tab_ends_driving(hand: Hand) -> None:
    hand.push()
    other = hand.page.context.new_page()
    hand.page.close(run_before_unload=True)
    hand.relay.wait(lambda: not hand.relay.sockets)
    sent = len(hand.told())
    other.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent


def test_a_lost_line_ends_driving_until_the_stick_is_pushed_again(hand: Hand) -> None:
    hand.push()
    before = hand.relay.connections
    hand.relay.drop_sockets()
    hand.eventually(lambda: hand.relay.connections > before)
    expect(hand.page.locator("#robot")).to_have_attribute("data-control", "relay")
    sent = len(hand.told())
    hand.touch("touchMove", hand.front | {"y": hand.front["y"] + 3})
    hand.page.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent
    hand.touch("touchEnd")
    hand.push()
    hand.touch("touchEnd")
    hand.must_stand("finger lifted")


def test_a_lost_channel_ends_driving_though_the_relay_is_there(hand: Hand) -> None:
    watch(hand.page)
    hand.push()
    for session_id in list(hand.relay.robot.sessions):
        hand.relay.robot.call(hand.relay.robot.close(session_id))
    hand.must_stand("channel lost")
    hand.touch("touchEnd")


def test_a_role_that_is_taken_back_ends_driving(hand: Hand) -> None:
    hand.push()
    _watch_only(hand)
    hand.must_stand("only watching")
    expect(hand.page.locator("#joystick")).to_be_hidden()
    hand.touch("touchEnd")
