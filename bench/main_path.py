"""The main path as a person feels it, on the demo's own processes in a real Chromium.

`make bench-main-path`; `TRIES=n`, `JSON=1`, `CHECK=1`. The aims are those of the product: video within 3 s of pressing
Watch, the motors within 150 ms of a push, zero at once on letting go and within 500 ms of the last command when the
tab is closed, video and control again within 10 s of a kill -9 of any robot process, 5 s of a relay worker.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from playwright.sync_api import Browser

from bench.demo_driver import Demo, Driver, chromium, until
from bench.report import Row, finish
from bus.topics import PROCESSES

PATIENCE_S = 30.0
RETURN_S = 10.0
RETURN_FROM_WORKER_S = 5.0


def main() -> None:
    tries = int(os.environ.get("TRIES", "5"))
    with tempfile.TemporaryDirectory(prefix="wimz-bench-") as directory, chromium() as browser:
        demo = Demo(Path(directory) / "var")
        try:
            demo.wait_until_ready()
            rows = measure(demo, browser, tries)
        finally:
            demo.close()
    finish("The main path", rows)


def measure(demo: Demo, browser: Browser, tries: int) -> list[Row]:
    """Every row of the table."""
    watch, push, let_go, close = [], [], [], []
    for _ in range(tries):
        driver = open_robot(demo, browser)
        watch.append(timed(driver.watch, driver.stamp, driver))
        driver.wait_for_control(PATIENCE_S)
        push.append(timed(driver.push_joystick, lambda: demo.duty() > 0, driver))
        driver.page.wait_for_timeout(400)
        let_go.append(timed(driver.let_go, lambda: demo.duty() == 0, driver))
        driver.push_joystick()
        until(lambda: demo.duty() > 0.3, PATIENCE_S, "the motors turn", driver.breathe)
        close.append(timed(driver.page.context.close, lambda: demo.duty() == 0))
    rows = [
        row("Watch to the first picture", watch, 3.0),
        row("joystick pushed to motor duty", push, 0.15),
        row("joystick let go to zero", let_go, 0.15),
        row("tab closed to zero", close, 0.5),
    ]
    driver = open_robot(demo, browser)
    driver.watch()
    driver.wait_for_video(PATIENCE_S)
    for process in PROCESSES:
        back = [timed(lambda: kill(demo, process), lambda: drives(demo, driver), driver) for _ in range(2)]  # noqa: B023
        rows.append(row(f"kill -9 {process} to video and control", back, RETURN_S))
    back = [timed(lambda: kill_worker(demo), lambda: drives(demo, driver), driver) for _ in range(2)]
    rows.append(row("kill -9 of a relay worker to robot, app, video and control", back, RETURN_FROM_WORKER_S))
    driver.page.context.close()
    return rows


def open_robot(demo: Demo, browser: Browser) -> Driver:
    driver = Driver(browser.new_context(viewport={"width": 1100, "height": 900}, service_workers="block").new_page())
    driver.open_robot(demo)
    return driver


def timed(act: Callable[[], object], done: Callable[[], object], driver: Driver | None = None) -> float:
    """Seconds from the act until the condition holds."""
    begun = time.perf_counter()
    act()
    until(done, PATIENCE_S, "it", driver.breathe if driver else None)
    return time.perf_counter() - begun


def row(what: str, seconds: list[float], aim_s: float) -> Row:
    worst = max(seconds)
    return Row(
        what, {"p50_ms": statistics.median(seconds) * 1000, "worst_ms": worst * 1000}, aim_s * 1000, worst <= aim_s
    )


def kill(demo: Demo, process: str) -> None:
    """kill -9, and wait until supervisord has started another."""
    before = until(lambda: demo.pid(process), PATIENCE_S, f"{process} runs")
    os.kill(before, signal.SIGKILL)
    until(lambda: demo.pid(process) not in (0, before), PATIENCE_S, f"{process} is back")


def kill_worker(demo: Demo) -> None:
    """kill -9 of the relay's worker that has the most connections: the app's or the robot's is among them."""
    workers = demo.relay_workers()
    worker = max(workers, key=lambda pid: len(psutil.Process(pid).net_connections("tcp")))
    os.kill(worker, signal.SIGKILL)
    until(lambda: worker not in demo.relay_workers() and len(demo.relay_workers()) >= 2, PATIENCE_S, "a new worker")


def drives(demo: Demo, driver: Driver) -> bool:
    """The picture moves, the robot is online, and the joystick turns the motors."""
    page = driver.page
    if (
        page.get_attribute("#robot", "data-online") != "yes"
        or page.get_attribute("#robot", "data-control") != "datachannel"
    ):
        return False
    first = driver.stamp()
    driver.push_joystick()
    page.wait_for_timeout(150)
    try:
        moving = demo.duty() > 0
    finally:
        driver.let_go()
    later = driver.stamp()
    return bool(first and later and later["number"] > first["number"] and moving)


if __name__ == "__main__":
    main()
