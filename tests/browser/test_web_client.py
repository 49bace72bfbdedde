"""The web client in a real Chromium, against a relay and a robot that play their parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.steps import DEVICE, TOKEN, open_robot, sign_in, watch

Eventually = Callable[..., Any]

BRIGHTNESS = """() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const drawing = canvas.getContext("2d");
    drawing.drawImage(document.getElementById("video"), 0, 0, 1, 1);
    return drawing.getImageData(0, 0, 1, 1).data[0];
}"""


def push_forward(page: Page) -> None:
    """Put a finger on the stick and push it to the front rim; it stays there."""
    box = page.locator("#joystick").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - box["height"] / 2)


def test_signing_in_shows_the_robots_and_who_is_online(page: Page, relay: Any) -> None:
    sign_in(page, relay, password="wrong")
    expect(page.locator("#problem")).to_have_text("E-mail or password is wrong.")
    refusal = {"success": False, "error": {"code": "UNAVAILABLE", "message": "`postgres` is away."}}
    page.route("**/api/device/list", lambda route: route.fulfill(status=503, json=refusal))
    sign_in(page, relay)
    expect(page.locator("#robots")).to_contain_text("The server cannot do this right now.")
    page.unroute("**/api/device/list")
    expect(page.locator("#robots a")).to_have_count(2)
    biscuit = page.locator(f'a[data-device="{DEVICE}"]')
    expect(biscuit).to_have_attribute("data-online", "yes")
    relay.send(relay.presence(DEVICE, online=False))
    expect(biscuit).to_have_attribute("data-online", "no")
    relay.send(relay.presence(DEVICE, online=True))
    expect(biscuit).to_have_attribute("data-online", "yes")
    page.fill("#pairing-code", "abcd2345")
    page.click("#pair")
    expect(page.locator("form.pair #problem")).to_contain_text("This code is not known")


def test_an_expired_token_leads_to_signing_in_again(page: Page, relay: Any) -> None:
    page.goto(relay.url)
    expect(page.locator("#sign-in")).to_be_visible()
    page.evaluate("localStorage.setItem('wimz.token', 'old')")
    page.reload()
    expect(page.locator("#problem")).to_have_text("Please sign in again.")
    assert page.evaluate("localStorage.getItem('wimz.token')") is None


def test_a_page_that_stays_open_fetches_a_fresh_sign_in(page: Page, relay: Any, eventually: Eventually) -> None:
    fresh = {"token": TOKEN, "expires_in": 3600, "user_id": "u_1"}
    page.route("**/api/auth/refresh", lambda route: route.fulfill(json=fresh))
    sign_in(page, relay)
    expect(page.locator("#robots a")).to_have_count(2)
    page.evaluate("""() => {
        const claims = { iat: Date.now() / 1000 - 60, exp: Date.now() / 1000 + 30 };
        sessionStorage.setItem("wimz.token", `head.${btoa(JSON.stringify(claims))}.signature`);
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    eventually(lambda: page.evaluate("sessionStorage.getItem('wimz.token')") == TOKEN)


def test_watching_shows_moving_video_and_stop_watching_ends_it(page: Page, relay: Any, eventually: Eventually) -> None:
    open_robot(page, relay)
    watch(page)
    first = page.evaluate(BRIGHTNESS)
    eventually(lambda: abs(page.evaluate(BRIGHTNESS) - first) > 10)
    expect(page.locator("#state")).to_contain_text("fps")
    page.get_by_role("button", name="Stop watching").click()
    expect(page.locator("#robot")).to_have_attribute("data-video", "off")
    eventually(lambda: not relay.robot.sessions)


def test_the_stick_sends_at_20_hz_over_the_channel_and_zero_when_let_go(
    page: Page, relay: Any, eventually: Eventually
) -> None:
    open_robot(page, relay)
    watch(page)
    push_forward(page)
    eventually(lambda: len(relay.over_control("motor")) >= 22)
    page.mouse.up()
    eventually(lambda: relay.commands("motor"))  # the zero goes out on every open path
    eventually(lambda: relay.over_control("motor")[-1][1]["left"] == 0)
    driven = [message for _, message in relay.over_control("motor") if message["left"]]
    assert {(message["left"], message["right"]) for message in driven[2:]} == {(1, 1)}
    gaps = [after["t"] - before["t"] for before, after in itertools.pairwise(driven)]
    assert 40 <= sorted(gaps)[len(gaps) // 2] <= 60  # the median, in the client's own clock
    assert [m["left"] for _, m in relay.commands("motor")] == [0]


def test_without_a_channel_the_stick_drives_over_the_socket(page: Page, relay: Any, eventually: Eventually) -> None:
    open_robot(page, relay)
    push_forward(page)
    eventually(lambda: len(relay.commands("motor")) >= 5)
    page.mouse.up()
    eventually(lambda: relay.commands("motor")[-1][1]["left"] == 0)
    assert all(message["device_id"] == DEVICE for _, message in relay.commands("motor"))
    assert relay.robot.control == []


def test_emergency_stop_repeats_on_every_path_until_answered_and_latches(
    page: Page, relay: Any, eventually: Eventually
) -> None:
    open_robot(page, relay)
    watch(page)
    relay.robot.answering = False
    page.click("#estop")
    eventually(lambda: len(relay.over_control("emergency_stop")) >= 3 and len(relay.commands("emergency_stop")) >= 3)
    expect(page.locator("#robot")).to_have_attribute("data-estop", "off")  # nobody has confirmed it yet
    relay.robot.answering = True
    expect(page.locator("#robot")).to_have_attribute("data-estop", "on")
    sent = len(relay.over_control("motor"))
    push_forward(page)
    page.mouse.up()
    page.click("#release")
    expect(page.locator("#robot")).to_have_attribute("data-estop", "off")
    assert len(relay.over_control("motor")) == sent


def test_an_emergency_stop_that_nobody_answers_is_said_so(page: Page, relay: Any) -> None:
    open_robot(page, relay)
    relay.robot.answering = False
    page.click("#estop")
    expect(page.locator("#estop-state")).to_contain_text("has not answered")
    expect(page.locator("#toasts")).to_contain_text("Emergency stop: The robot did not answer.")
    assert len({message["id"] for _, message in relay.commands("emergency_stop")}) == 1


def test_a_refused_push_shows_the_latched_emergency_stop(page: Page, relay: Any) -> None:
    open_robot(page, relay)
    relay.robot.refusal = {"code": "EMERGENCY_STOPPED", "message": "…"}
    push_forward(page)
    expect(page.locator("#robot")).to_have_attribute("data-estop", "on")
    page.mouse.up()


def test_a_page_that_opens_later_shows_that_the_emergency_stop_is_on_and_when_it_is_released(
    page: Page, relay: Any, eventually: Eventually
) -> None:
    relay.robot.emergency_stop = True
    open_robot(page, relay)
    expect(page.locator("#robot")).to_have_attribute("data-estop", "on")

    def released() -> bool:
        """The robot says so every few seconds; what is older than the page's own news is no news to it."""
        relay.send({"event": "status", "device_id": DEVICE, "data": {"emergency_stop": False}})
        return page.locator("#robot").get_attribute("data-estop") == "off"

    eventually(released)


def test_treat_look_and_lights(page: Page, relay: Any, eventually: Eventually) -> None:
    open_robot(page, relay)
    expect(page.locator("#reading-battery")).to_have_text("78 %")
    expect(page.locator("#reading-wifi")).to_have_text("–")
    page.click("#treat")
    expect(page.locator("#treats-left")).to_have_text("11 left")
    relay.robot.refusal = {"code": "EMPTY", "message": "…"}
    page.click("#treat")
    expect(page.locator("#treat-state")).to_have_text("There are no treats left. Please refill.")
    relay.robot.refusal = None
    page.select_option("#led-pattern", "rainbow")
    eventually(lambda: any(m["pattern"] == "rainbow" for _, m in relay.commands("led")))
    box = page.locator("#look").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.92, box["y"] + box["height"] * 0.08)
    pointed = eventually(lambda: relay.commands("servo"))[-1][1]
    assert (pointed["pan"], pointed["tilt"]) == (90, 45)
    page.click("#center")
    eventually(lambda: relay.commands("servo_center"))


def test_events_are_listed_newest_first_live_and_from_the_history(page: Page, relay: Any) -> None:
    relay.history = [
        {
            "seq": n,
            "id": f"e{n}",
            "device_id": DEVICE,
            "event": "treat",
            "data": {"dispensed": True, "remaining": 20 - n},
        }
        for n in (1, 2)
    ]
    open_robot(page, relay)
    expect(page.locator('#events li[data-event="treat"]')).to_have_count(2)
    battery = {"code": "LOW_BATTERY", "message": "<b>14 %</b> left", "severity": "warning"}
    for _ in range(2):  # said twice, listed once
        relay.send({"event": "error", "id": "e3", "seq": 3, "device_id": DEVICE, "data": battery, "timestamp": None})
    expect(page.locator("#events li").first).to_contain_text("<b>14 %</b> left")
    expect(page.locator('#events li[data-event="error"]')).to_have_count(1)
    expect(page.locator("#events li").nth(1)).to_contain_text("18 left")


def test_a_lost_socket_comes_back_while_the_video_goes_on(page: Page, relay: Any, eventually: Eventually) -> None:
    open_robot(page, relay)
    watch(page)
    before = relay.connections
    relay.drop_sockets()
    eventually(lambda: relay.connections > before)
    expect(page.locator("#robot")).to_have_attribute("data-video", "live")
    push_forward(page)
    eventually(lambda: any(m["left"] for _, m in relay.over_control("motor")))
    page.mouse.up()
    page.click("#treat")
    expect(page.locator("#treats-left")).to_have_text("11 left")
    page.click("#watch")
    expect(page.locator("#robot")).to_have_attribute("data-video", "off")
    closed = [message for _, message in relay.received if message.get("type") == "webrtc_close"]
    assert closed == []  # the session was the old socket's: the new one does not speak for it


def test_video_and_control_come_back_when_the_robot_dies(page: Page, relay: Any, eventually: Eventually) -> None:
    open_robot(page, relay)
    watch(page)
    expect(page.locator("#state")).to_contain_text("ms")  # it has answered a ping
    first = next(iter(relay.robot.sessions))
    relay.robot.silent = True
    eventually(lambda: relay.robot.sessions and first not in relay.robot.sessions)
    relay.robot.silent = False
    expect(page.locator("#robot")).to_have_attribute("data-video", "live")
    expect(page.locator("#robot")).to_have_attribute("data-control", "datachannel")
    assert len(relay.robot.sessions) == 1


def test_an_offline_robot_says_so_and_video_starts_when_it_comes(page: Page, relay: Any) -> None:
    open_robot(page, relay)
    relay.send(relay.presence(DEVICE, online=False))
    expect(page.locator("#presence")).to_have_text("Offline")
    page.click("#watch")
    expect(page.locator("#state")).to_contain_text("The robot is offline")
    page.click("#treat")
    expect(page.locator("#treat-state")).to_have_text("The robot is offline.")
    assert relay.commands("treat") == []
    relay.send(relay.presence(DEVICE, online=True))
    expect(page.locator("#robot")).to_have_attribute("data-video", "live")
    assert relay.commands("treat") == []  # nothing is kept for later


def test_the_robots_own_page_asks_for_its_token_once(page: Page, lan_robot: Any) -> None:
    lan_robot.owned = False
    page.goto(lan_robot.url)
    page.fill("#robot-token", "wrong")
    page.click("#unlock")
    expect(page.locator("#problem")).to_have_text("This is not the robot's token.")
    page.fill("#robot-token", TOKEN)
    page.click("#unlock")
    expect(page.locator("#reading-wifi")).to_have_text("strong")
    expect(page.locator("#own-code")).to_have_text("ABCD-2345")
    expect(page.locator("#pairing")).to_contain_text("Good for another 9 minutes")
    watch(page)
    lan_robot.owned = True
    page.reload()
    expect(page.locator("#robot")).to_have_attribute("data-control", "relay")
    expect(page.locator("#pairing")).to_be_hidden()


def test_the_installed_app_says_when_there_is_no_server(browser: Browser, relay: Any) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(relay.url)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        relay.shut()
        page.reload()
        expect(page.get_by_role("heading", name="No connection")).to_be_visible()


def test_pure_logic(page: Page, relay: Any) -> None:
    page.goto(relay.url)
    results = page.evaluate(
        """async () => {
            const { mix, RateLimit } = await import("/drive.js");
            const { backoffMs, promptMs } = await import("/backoff.js");
            const format = await import("/format.js");
            const { EventLog } = await import("/events.js");
            const { offerPatienceMs } = await import("/session.js");
            const sent = [];
            let clock = 0;
            const later = [];
            const limit = new RateLimit(70, (v) => sent.push(v), { now: () => clock, later: (f) => later.push(f) });
            [1, 2, 3].forEach((v) => limit.push(v));
            clock = 70;
            later.forEach((f) => f());
            const log = new EventLog();
            for (let seq = 0; seq < 300; seq += 1) log.add({ event: "treat", id: String(seq), seq });
            log.add({ event: "status" });
            return {
                mixes: [[0, 1], [0, -1], [1, 0], [0.05, 0.05], [1, 1], [NaN, 1], [0, 5]].map(([x, y]) => mix(x, y)),
                gentle: mix(0, 1, { top: 0.5 }),
                backoff: [0, 1, 2, 30].map((n) => backoffMs(n, { random: () => 1 })),
                least: backoffMs(0, { random: () => 0 }),
                prompt: [promptMs(() => 0), promptMs(() => 1)],
                words: [format.battery({ level: 50 }), format.battery(null), format.temperature(NaN), format.wifi(-90)],
                live: format.liveLine({ rttMs: 0.4, fps: 14.6, relayed: true }),
                patience: [null, 100, 9000].map(offerPatienceMs),
                sent,
                log: [log.items.length, log.items[0].seq],
            };
        }"""
    )
    assert results["mixes"] == [
        {"left": 1, "right": 1},
        {"left": -1, "right": -1},
        {"left": 1, "right": -1},
        {"left": 0, "right": 0},
        {"left": 1, "right": 0},
        {"left": 0, "right": 0},
        {"left": 1, "right": 1},
    ]
    assert results["gentle"] == {"left": 0.5, "right": 0.5}
    assert results["backoff"] == [500, 1000, 2000, 10_000]
    assert results["least"] == 250
    assert results["prompt"] == [50, 500]
    assert results["words"] == ["50 %", "–", "–", "very weak"]
    assert results["live"] == "Live · 1 ms · 15 fps · relayed"
    assert results["patience"] == [8000, 2200, 8000]
    assert results["sent"] == [1, 3]
    assert results["log"] == [200, 299]
