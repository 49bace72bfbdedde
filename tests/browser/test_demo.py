"""The main job, end to end, on the demo's own processes: a real browser drives a robot and watches its camera."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from bench.demo_driver import Demo, Driver, until

LIVE_S = 20.0
"""How long a loaded machine may take for what a person waits a second or two for."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo") / "var")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def visitor(browser: Browser, demo: Demo) -> Iterator[Driver]:
    """Someone who has signed in, and stays with the robot's page through all that is done to it."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, service_workers="block")
    context.set_default_timeout(LIVE_S * 1000)
    driver = Driver(context.new_page())
    driver.open_robot(demo)
    yield driver
    context.close()


@pytest.fixture
def driver(visitor: Driver) -> Iterator[Driver]:
    """The same, watching the robot and about to drive it."""
    visitor.watch()
    visitor.wait_for_video(LIVE_S)
    visitor.wait_for_control(LIVE_S)
    yield visitor
    assert visitor.problems == []


def test_the_numbers_in_the_picture_only_grow(driver: Driver) -> None:
    numbers = [stamp["number"] for _ in range(60) if (stamp := driver.stamp())]
    assert len(numbers) > 30
    assert numbers == sorted(numbers)


def test_pushing_the_joystick_drives_and_letting_go_stops(driver: Driver, demo: Demo) -> None:
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn", lambda: driver.page.wait_for_timeout(20))
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", lambda: driver.page.wait_for_timeout(20))


def test_closing_the_tab_stops_the_motors(browser: Browser, demo: Demo) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 900}, service_workers="block")
    other = Driver(context.new_page())
    other.open_robot(demo)
    other.watch()
    other.wait_for_control(LIVE_S)
    other.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn", lambda: other.page.wait_for_timeout(20))
    context.close()
    until(lambda: demo.duty() == 0, 2.0, "the motors stand")


def test_without_video_the_joystick_drives_through_the_relay(browser: Browser, demo: Demo) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 900}, service_workers="block")
    driver = Driver(context.new_page())
    driver.open_robot(demo)
    assert driver.page.get_attribute("#robot", "data-control") == "relay"
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn", driver.breathe)
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", driver.breathe)
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn again", driver.breathe)
    context.close()
    until(lambda: demo.duty() == 0, 2.0, "the motors stand when the tab is closed")


def test_a_treat_lowers_the_count_and_is_told(driver: Driver, demo: Demo) -> None:
    left = give_a_treat(driver, demo)
    treats = driver.page.locator('#events li[data-event="treat"]')
    until(
        lambda: treats.count() > 0 and f"{left} left" in treats.first.inner_text(), LIVE_S, "the event", driver.breathe
    )


def give_a_treat(driver: Driver, demo: Demo) -> int:
    """One less on the button and one more that fell; returns how many are left. (A restarted machine is full again.)"""
    until(lambda: driver.treats_left() >= 0, LIVE_S, "the count", driver.breathe)
    before, dropped = driver.treats_left(), demo.machine().carousel.dropped
    driver.page.click("#treat")
    try:
        until(lambda: driver.treats_left() == before - 1, LIVE_S, "one less", driver.breathe)
    except TimeoutError as error:
        said, dropped_now = driver.page.inner_text("#treat-state"), demo.machine().carousel.dropped
        raise AssertionError(
            f"{driver.treats_left()} left after {before}, {dropped_now - dropped} fell, the page says {said!r}"
        ) from error
    assert demo.machine().carousel.dropped == dropped + 1
    return before - 1


def test_an_emergency_stop_latches_until_it_is_released(driver: Driver, demo: Demo) -> None:
    robot = driver.page.locator("#robot")
    driver.page.click("#estop")
    until(lambda: robot.get_attribute("data-estop") == "on", LIVE_S, "it latches", driver.breathe)
    driver.push_joystick()
    driver.page.wait_for_timeout(300)
    assert demo.duty() == 0
    driver.let_go()
    driver.page.click("#release")
    until(lambda: robot.get_attribute("data-estop") == "off", LIVE_S, "it is released", driver.breathe)
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn again", driver.breathe)
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", driver.breathe)


def test_the_head_and_the_lights_follow(driver: Driver, demo: Demo) -> None:
    driver.page.locator("#pan").evaluate(
        "slider => { slider.value = 30; slider.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    until(lambda: abs(demo.machine().servos.pan_deg - 30) < 2, LIVE_S, "the head turns", driver.breathe)
    driver.page.select_option("#led-pattern", "rainbow")
    until(lambda: demo.machine().leds.lit > 0, LIVE_S, "the lights are on", driver.breathe)
    driver.page.click("#led-off")
    until(lambda: demo.machine().leds.lit == 0, LIVE_S, "the lights are off", driver.breathe)


@pytest.mark.parametrize(
    "process", ["camera", "webrtc", "motion", "guard", "dispenser", "cloudlink", "local_api", "monitor", "simulator"]
)
def test_a_killed_process_comes_back_and_video_and_control_with_it(driver: Driver, demo: Demo, process: str) -> None:
    before = until(lambda: demo.pid(process), LIVE_S, f"{process} runs")
    os.kill(before, signal.SIGKILL)
    until(lambda: demo.pid(process) not in (0, before), LIVE_S, f"{process} is back", driver.breathe)
    driver.wait_for_video(LIVE_S)
    driver.wait_for_control(LIVE_S)
    until(lambda: _drives(driver, demo), LIVE_S, "the joystick drives", driver.breathe)
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", driver.breathe)


def _drives(driver: Driver, demo: Demo) -> bool:
    driver.push_joystick()
    driver.page.wait_for_timeout(300)
    try:
        moving = demo.duty() > 0.1
    finally:
        driver.let_go()
    return moving


def test_the_same_with_app_and_robot_on_different_workers(driver: Driver, demo: Demo) -> None:
    robots_worker = until(lambda: worker_of_the_robot(demo), LIVE_S, "one worker has the robot", driver.breathe)
    for _ in range(40):
        if not driver.video_sessions[-1].startswith(f"{robots_worker}."):
            break
        driver.page.reload()
        driver.page.wait_for_selector('#robot[data-online="yes"]')
        driver.watch()
        driver.wait_for_video(LIVE_S)
        driver.wait_for_control(LIVE_S)
    assert not driver.video_sessions[-1].startswith(f"{robots_worker}.")  # the relay names sessions by their worker
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn", driver.breathe)
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", driver.breathe)
    give_a_treat(driver, demo)


def worker_of_the_robot(demo: Demo) -> str | None:
    """By the relay's metrics, in which a killed worker is seen for ten seconds more."""
    with urllib.request.urlopen(demo.info["relay_url"] + "/metrics", timeout=10) as reply:
        text = reply.read().decode()
    workers = re.findall(r'^wimz_relay_connections\{worker="([^"]+)",kind="robot"\} 1$', text, re.M)
    return workers[0] if len(workers) == 1 else None


def test_a_killed_relay_worker_is_replaced_and_everyone_returns(driver: Driver, demo: Demo) -> None:
    workers = demo.relay_workers()
    assert len(workers) >= 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    robot = driver.page.locator("#robot")
    until(lambda: len(set(demo.relay_workers()) - set(workers)) >= 2, LIVE_S, "new workers", driver.breathe)
    until(lambda: robot.get_attribute("data-online") == "yes", LIVE_S, "the robot is online", driver.breathe)
    driver.wait_for_video(LIVE_S)
    driver.wait_for_control(LIVE_S)


def test_the_page_is_the_robots_own_at_home(browser: Browser, demo: Demo) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 900}, service_workers="block")
    driver = Driver(context.new_page())
    driver.page.goto(demo.info["robot_url"])
    driver.watch()
    driver.wait_for_video(LIVE_S)
    driver.wait_for_control(LIVE_S)
    driver.push_joystick()
    until(lambda: demo.duty() > 0.3, LIVE_S, "the motors turn", driver.breathe)
    driver.let_go()
    until(lambda: demo.duty() == 0, LIVE_S, "the motors stand", driver.breathe)
    context.close()
    assert driver.problems == []


def test_a_picture_can_be_taken_over_http(demo: Demo) -> None:
    with urllib.request.urlopen(demo.info["robot_url"] + "/camera/snapshot", timeout=10) as reply:
        assert reply.headers["Content-Type"] == "image/jpeg"
        assert reply.read(2) == b"\xff\xd8"
