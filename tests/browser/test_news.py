"""What the page says: what was missed, what was refused, what somebody may do, and other people's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.steps import DEVICE, open_robot, watch

Eventually = Callable[..., Any]

NASTY = (
    '<img src="x" onerror="hacked = 1"><script>hacked = 1</script> '
    "\"'`${hacked = 1} \u202e\u05e9\u05dc\u05d5\u05dd \U0001f415 "
)
LONG = NASTY + "W" * 10_000
"""Marks, quotes, a turn to right-to-left that nobody ends, an emoji beyond the first plane, and no place to break."""


WIDEST = """() => [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map((each) => `${each.tagName} #${each.id} .${each.className}`).slice(0, 5)"""


def treat(seq: int, **data: Any) -> dict[str, Any]:
    told = {"dispensed": True, "remaining": 100 - seq} | data
    return {"seq": seq, "id": f"e{seq}", "device_id": DEVICE, "event": "treat", "data": told, "timestamp": None}


def asked(relay: Any) -> list[int]:
    """Where each catch-up began."""
    return [message["after"] for _, message in list(relay.received) if message.get("type") == "catch_up"]


def test_what_was_missed_comes_once_after_each_way_of_coming_back(
    page: Page, relay: Any, eventually: Eventually
) -> None:
    listed = page.locator('#events li[data-event="treat"]')
    toasts = page.locator("#toasts")
    relay.history = [treat(n) for n in (1, 2, 3)]
    open_robot(page, relay)
    expect(listed).to_have_count(3)
    eventually(lambda: asked(relay) == [3])  # a first visit: what is listed is where it begins
    expect(toasts).to_be_empty()

    page.click("#back")
    relay.history += [treat(4), treat(5)]
    page.click(f'#robots a[data-device="{DEVICE}"]')  # another choice of the robot
    expect(toasts).to_contain_text("2 events while you were away.")
    expect(listed).to_have_count(5)
    assert asked(relay) == [3, 3]

    relay.history.append(treat(6))
    relay.drop_sockets()  # another connection
    expect(listed).to_have_count(6)
    assert asked(relay) == [3, 3, 5]

    relay.history += [treat(7), treat(8)]
    relay.send(treat(8))  # its forerunner was lost on the way
    expect(listed).to_have_count(8)
    assert asked(relay) == [3, 3, 5, 6]
    relay.send(treat(8))

    relay.failing = {"code": "BUSY", "message": "Catching up runs already."}
    page.reload()  # another visit
    eventually(lambda: asked(relay)[4:] == [8])
    relay.history.append(treat(9))
    relay.failing = None
    expect(listed).to_have_count(9)
    eventually(lambda: len(asked(relay)) >= 6)
    assert set(asked(relay)[4:]) == {8}
    assert [listed.nth(place).inner_text().split("\n")[1] for place in (0, 8)] == ["91 left", "99 left"]
    expect(toasts).not_to_contain_text("busy")


def test_pages_of_an_earlier_request_hide_no_gap(page: Page, relay: Any) -> None:
    page.goto(relay.url)
    told = page.evaluate("""async () => {
        const { CatchUp } = await import("/catchup.js");
        const { seen } = await import("/seen.js");
        const told = { asks: [], kept: [] };
        const event = (seq) => ({ seq });
        const catchUp = new CatchUp({ ask: (after) => told.asks.push(after) > 0, keep: (seq) => told.kept.push(seq) });
        catchUp.live(event(10)); // the first that is seen, and with no history before it
        catchUp.begin();
        told.stray = catchUp.page({ events: [event(31), event(32)], after: 30, next_after: 32, more: false });
        told.follows = catchUp.page({ events: [event(9), event(11), event(32)], after: 8, next_after: 32, more: true });
        catchUp.live(event(33)); // a page will bring it
        told.last = catchUp.page({ events: [event(33)], after: 32, next_after: 33, more: false });
        catchUp.live(event(34));
        catchUp.live(event(34));
        catchUp.live(event(36));
        localStorage.setItem("wimz.seen", "{ not ours");
        told.unreadable = seen.get("u", "robot");
        for (let n = 0; n < 100; n += 1) seen.set("u", `robot${n}`, n);
        told.bounded = JSON.parse(localStorage.getItem("wimz.seen")).length;
        told.seen = [seen.get("u", "robot99"), seen.get("u", "robot0"), seen.get("other", "robot99")];
        return told;
    }""")
    assert told["asks"] == [10, 10, 34]
    assert told["kept"] == [10, 32, 33, 34]
    assert (told["stray"], told["follows"], told["last"]) == (0, 2, 1)
    assert (told["unreadable"], told["bounded"], told["seen"]) == (None, 64, [99, None, None])


def test_every_refusal_is_a_sentence_with_the_time_to_wait(page: Page, relay: Any) -> None:
    open_robot(page, relay)
    refusals: list[tuple[str, dict[str, Any], str]] = [
        ("COOLDOWN", {"retry_after_s": 19.2}, "A treat was just given. The next one can be given in 20 seconds."),
        ("DAILY_LIMIT", {"retry_after_s": 18_100.0}, "enough treats for today. The next one can be given in 5 hours."),
        ("RATE_LIMITED", {"retry_after_s": 150.0}, "Try again in 3 minutes."),
        ("RATE_LIMITED", {}, "That was too often in a short time. Wait a moment."),
        ("EMPTY", {}, "There are no treats left. Please refill."),
        ("TREAT_JAM", {}, "The treat is stuck."),
        ("UNAVAILABLE", {}, "That part of the robot is not running right now."),
        ("EMERGENCY_STOPPED", {}, "The emergency stop is on. Release it first."),
        ("LOW_BATTERY", {}, "The battery is too low for this."),
        ("NEW_IN_TWO_YEARS", {}, "Words of the robot."),
    ]
    for code, more, words in refusals:
        relay.robot.refusal = {"code": code, "message": "Words of the robot."} | more
        page.click("#treat")
        expect(page.locator("#treat-state")).to_contain_text(words)
    relay.robot.refusal = {"code": "COOLDOWN", "message": "", "retry_after_s": 0.5}
    page.click("#treat")
    expect(page.locator("#treat-state")).to_contain_text("in 1 second.")
    expect(page.locator("#treat-state")).to_be_empty()  # by then it would not be true any more

    unsaid = page.evaluate("""async () => {
        const { sentence } = await import("/format.js");
        const { ERROR_STATUS } = await import("/messages.js");
        return Object.keys(ERROR_STATUS).filter((code) => sentence({ code, message: "theirs" }) === "theirs");
    }""")
    # What these say depends on what was asked.
    assert set(unsaid) == {"INVALID_PARAMETER", "INVALID_JSON", "CONFLICT", "CLOCK_SKEW", "METHOD_NOT_ALLOWED"}


def test_a_role_that_changes_or_goes_is_said_at_once(page: Page, relay: Any, eventually: Eventually) -> None:
    toasts, robot = page.locator("#toasts"), page.locator("#robot")
    open_robot(page, relay)
    watch(page)
    relay.role = "viewer"
    page.click("#share")
    with page.expect_response("**/api/device/list"):
        relay.send(relay.presence(DEVICE, online=True))
    expect(page.locator("#role-note")).to_contain_text("You may watch, and stop the robot.")
    expect(toasts).to_contain_text("You may only watch this robot now")
    expect(page.locator("#sharing")).to_have_count(0)
    for hidden in ("#joystick", "#treat", "#led-pattern", "#mode"):
        expect(page.locator(hidden)).to_be_hidden()
    relay.role = "driver"
    with page.expect_response("**/api/device/list"):  # the page looks there too, and is to find the robot
        relay.send(relay.presence(DEVICE, online=True))
    expect(toasts).to_contain_text("You may drive this robot now.")
    expect(page.locator("#joystick")).to_be_visible()
    expect(page.locator("#role-note")).to_be_hidden()

    held: list[Route] = []
    page.route("**/api/device/list", lambda route: held.append(route))  # until it is answered, the view stays
    relay.owned = False
    gone = {"type": "error", "code": "NOT_AUTHORIZED", "message": "Not yours any more.", "device_id": DEVICE}
    relay.send(gone)
    expect(robot).to_have_attribute("data-video", "off")
    expect(page.locator("#state")).to_have_text("You may not use this robot any more.")
    eventually(lambda: not relay.robot.sessions)
    page.unroute("**/api/device/list")
    for each in held:
        each.fallback()
    expect(toasts).to_contain_text("You may not use this robot any more.")
    expect(page.locator("#robots a")).to_have_count(1)


def test_other_peoples_words_stay_text_and_in_their_place(page: Page, relay: Any, eventually: Eventually) -> None:
    relay.names = {DEVICE: LONG, "wimz_patch": NASTY}
    relay.robot.mode = {"mode": LONG, "reason": LONG}
    mission = {"id": '"]' + "<img>", "name": LONG, "is_active": False, "rewards_given": LONG, "daily_limit": 3}
    relay.robot.missions = [mission] * 300
    said: list[dict[str, Any]] = [
        {"event": "error", "data": {"code": LONG, "message": LONG, "severity": LONG}},
        {"event": "alert", "data": {"message": NASTY}},
        {"event": "mission", "data": {"id": LONG, "status": 7, "reason": LONG}},
        {"event": "mode", "data": {"mode": {"a": 1}, "reason": ["b"]}},
        {"event": "detection", "data": {"detected": True, "behavior": LONG}},
        {"event": "treat", "data": None, "timestamp": LONG},
        {"event": LONG},
        {"event": "constructor"},
        {"event": 5},
    ]

    def harmless(*selectors: str) -> None:
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, page.evaluate(WIDEST)
        assert page.evaluate("document.querySelector('img[src=x], #view script') === null && !('hacked' in window)")
        for selector in selectors:
            assert (
                page.locator(selector).evaluate_all("all => Math.max(...all.map((each) => each.innerText.length))")
                < 1000
            )
        assert len(page.inner_text("#view")) < 50_000

    open_robot(page, relay)
    expect(page.locator("#robot-name")).to_contain_text("<img src=")
    expect(page.locator("#missions li")).to_have_count(100)
    for number, event in enumerate(said, 1):
        relay.send({"id": f"n{number}", "seq": number, "device_id": DEVICE, **event})
    expect(page.locator("#events li[data-event]")).to_have_count(len(said))
    strange: list[Any] = [None, 7, "text", [], {"event": "device_status", "device_id": DEVICE}]
    for message in strange:
        relay.send(message)
    relay.send({"type": "error", "device_id": DEVICE, "command": "x", "code": LONG, "message": LONG})
    expect(page.locator("#toasts p")).not_to_have_count(0)
    harmless("#robot-name", "#events li", "#missions li", "#mode-reason", "#toasts p")
    page.click("#share", timeout=5_000)
    harmless("#sharing h1")
    page.click("#sharing-close")
    page.click("#back")
    expect(page.locator("#robots a")).to_have_count(2)
    harmless("#robots li")
