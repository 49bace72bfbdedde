"""Whatever takes the hand off the stick, in a real Chromium: one zero goes out at once, and nothing after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.steps import DEVICE, open_robot, watch

Eventually = Callable[..., Any]

BEATS_MS = 120
"""Two commands would fall into it, if driving went on."""
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


@pytest.fixture
def hand(page: Page, relay: Any, eventually: Eventually) -> Hand:
    open_robot(page, relay)
    return Hand(page, relay, eventually)


def test_hands_that_leave_the_stick_end_driving(hand: Hand) -> None:
    page = hand.page

    def event(script: str) -> Callable[[], None]:
        return lambda: page.evaluate(script)

    gone: dict[str, Callable[[], Any]] = {
        "window left": event("dispatchEvent(new Event('blur'))"),
        "tab hidden": event(HIDE),
    }
    other_finger = {"x": hand.middle[0] + 20, "y": hand.middle[1], "id": 2}
    by_finger: dict[str, Callable[[], Any]] = gone | {
        "second finger": lambda: hand.touch("touchStart", hand.front, other_finger),
        "page put away": event("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))"),
        "menu opened": event("document.body.dispatchEvent(new MouseEvent('contextmenu', { bubbles: true }))"),
        "Stop pressed": event("document.getElementById('stop').click()"),
        "finger lifted": lambda: hand.touch("touchEnd"),
        "touch cancelled": lambda: hand.touch("touchCancel"),
    }
    for why, end in by_finger.items():
        hand.push()
        end()
        if why not in ("finger lifted", "touch cancelled"):
            hand.touch("touchMove", hand.front | {"y": hand.front["y"] + 3})  # it is still on the glass
            hand.must_stand(why)
            hand.touch("touchEnd")
        hand.must_stand(why)

    page.mouse.move(*hand.middle)
    page.mouse.down()
    page.mouse.move(hand.front["x"], hand.front["y"])
    hand.eventually(lambda: hand.told()[-1] > 0)
    page.evaluate("""() => document.getElementById("joystick").dispatchEvent(
        new PointerEvent("pointermove", { pointerId: 1, buttons: 0, clientX: 5, clientY: 5 }))""")
    hand.must_stand("let go where nobody told")
    page.mouse.up()

    by_key: dict[str, Callable[[], Any]] = gone | {
        "key let go": lambda: page.keyboard.up("w"),
        "focus in a field": lambda: page.focus("#led-pattern"),
        "Escape": lambda: page.keyboard.press("Escape"),
        "a dialog": lambda: page.click("#share"),
    }
    for why, end in by_key.items():
        page.evaluate("document.activeElement.blur()")
        hand.hold_key()
        end()
        hand.must_stand(why)
        page.keyboard.up("w")
    sent = len(hand.told())
    page.keyboard.press("w")  # the dialog is open: keys are for it
    page.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent


def test_a_way_or_a_right_that_is_lost_ends_driving_until_the_stick_is_pushed_again(hand: Hand) -> None:
    robot = hand.page.locator("#robot")
    hand.push()
    before = hand.relay.connections
    hand.relay.drop_sockets()
    hand.eventually(lambda: hand.relay.connections > before)
    expect(robot).to_have_attribute("data-control", "relay")
    sent = len(hand.told())
    hand.touch("touchMove", hand.front | {"y": hand.front["y"] + 3})
    hand.page.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent
    hand.touch("touchEnd")

    watch(hand.page)
    hand.push()
    for session_id in list(hand.relay.robot.sessions):
        hand.relay.robot.call(hand.relay.robot.close(session_id))
    hand.must_stand("the channel is gone, though the relay is there")
    hand.touch("touchEnd")
    hand.page.click("#watch")

    hand.push()
    hand.relay.role = "viewer"
    hand.relay.send(hand.relay.presence(DEVICE, online=True))
    hand.must_stand("only watching now")
    hand.touch("touchEnd")


def test_leaving_the_page_and_closing_the_tab_end_driving(hand: Hand) -> None:
    page, relay = hand.page, hand.relay
    hand.push()
    page.go_back()
    hand.must_stand("back to the list")
    hand.touch("touchEnd")
    page.go_forward()
    expect(page.locator("#robot")).to_have_attribute("data-control", "relay")
    hand.push()
    page.goto("about:blank")
    hand.must_stand("another site")
    hand.touch("touchEnd")
    page.go_back()
    expect(page.locator("#robot")).to_have_attribute("data-control", "relay")
    hand.push()
    other = page.context.new_page()
    page.close(run_before_unload=True)
    relay.wait(lambda: not relay.sockets)
    sent = len(hand.told())
    other.wait_for_timeout(BEATS_MS)
    assert len(hand.told()) == sent
