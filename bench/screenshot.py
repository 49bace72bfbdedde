"""Makes docs/screenshot.png: the web client on the demo, as it looks while somebody drives. `make screenshot`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.demo_driver import Demo, Driver, chromium, until
from bus import settings


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="wimz-picture-") as directory, chromium() as browser:
        demo = Demo(Path(directory) / "var")
        try:
            demo.wait_until_ready()
            driver = Driver(browser.new_page(viewport={"width": 1100, "height": 700}))
            driver.open_robot(demo)
            driver.watch()
            driver.wait_for_video(30)
            driver.wait_for_control(30)
            driver.page.click("#treat")
            event = driver.page.locator('#events li[data-event="treat"]')
            until(lambda: event.count() > 0, 30, "the treat's event", driver.breathe)
            driver.page.select_option("#led-pattern", "rainbow")
            driver.push_joystick()
            until(lambda: demo.duty() > 0.5, 30, "the motors turn", driver.breathe)
            driver.page.screenshot(path=settings.ROOT / "docs" / "screenshot.png")
        finally:
            demo.close()


if __name__ == "__main__":
    main()
