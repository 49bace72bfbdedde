"""`make drill-relay`: hosts cut off and killed, Redis and PostgreSQL paused and restarted, under robots and apps.

nginx, Redis and PostgreSQL are one host, two more have two relay workers each (as root: network namespaces). PAIRS (20)
of robot and app, each with five events and commands a second. PAUSE_S (10).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench import report
from bench.relay_hosts import Site, enter_namespace
from bench.relay_people import App, Robot
from bench.report import Row
from cli.children import Child
from cli.embedded import EmbeddedPostgres, EmbeddedValkey

BACK_AIM_S = 5.0
HEAL_AIM_S = 15.0
GROWTH_AIM_MB = 64.0
PATIENCE_S = 60.0
HEALING_S = 1.0


class Crowd:
    """Robots and apps in pairs."""

    def __init__(self, site: Site, pairs: int) -> None:
        self.site = site
        self.robots: list[Robot] = []
        self.apps: list[App] = []
        for number in range(pairs):
            token, device_id, secret = site.add_pair(number)
            self.robots.append(Robot(site.nginx, device_id, secret))
            self.apps.append(App(site.nginx, token))
        for person in (*self.robots, *self.apps):
            person.start()
        self.wait_for_all("the first time")

    def wait_for_all(self, when: str) -> float:
        """Until every app has had a command carried out, and every robot an event stored, sent after now."""
        began_s = time.monotonic()

        def all_back() -> bool:
            return all(app.last_done_s > began_s for app in self.apps) and all(
                robot.last_ack_s > began_s for robot in self.robots
            )

        return self.site.until(all_back, f"everyone is back ({when})", PATIENCE_S)

    def since(self, began_s: float) -> dict[str, float]:
        """Seconds until the last one whose connection was lost had noticed, and was connected again."""
        people = [*self.robots, *self.apps]
        return {
            "noticed_s": max(0.0, *(person.lost_s - began_s for person in people)),
            "connected_s": max(0.0, *(person.open_s - began_s for person in people)),
        }

    def settle(self) -> None:
        """No new events, and all that there are acknowledged."""
        for robot in self.robots:
            robot.quiet = True
        self.site.until(lambda: not any(robot.waiting for robot in self.robots), "all is stored", 2 * PATIENCE_S)

    def end(self) -> None:
        for person in (*self.robots, *self.apps):
            person.ended = True
        for person in (*self.robots, *self.apps):
            person.join(10)

    def wrongs(self) -> dict[str, float]:
        """What must never be: events lost or doubled, commands carried out twice or answered twice."""
        stored = Counter(self.site.stored())
        acknowledged = {(robot.device_id, id) for robot in self.robots for id in robot.acknowledged}
        made = sum(robot.made for robot in self.robots)
        return {
            "events": made,
            "lost": len(acknowledged - set(stored)) + made - len(stored),
            "doubled": sum(count - 1 for count in stored.values()),
            "commands": sum(sum(robot.done.values()) for robot in self.robots),
            "twice": sum(count - 1 for robot in self.robots for count in robot.done.values()),
            "answered_twice": sum(count - 1 for app in self.apps for count in app.answered.values()),
        }


def restart(server: EmbeddedPostgres | EmbeddedValkey) -> None:
    server.stop()
    server.start()


def pause(children: list[Child], seconds: float) -> None:
    """Stop them for a while, as a machine that hangs does."""
    pids = [pid for child in children for pid in _family(child.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _family(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def drills(site: Site, crowd: Crowd, pause_s: float) -> list[Row]:
    """Each trouble, and how long until everyone was back, after its beginning (hosts) or its end (servers)."""
    rows: list[Row] = []

    def back(what: str, aim_s: float) -> None:
        before_kb, began_s = memory_kb, time.monotonic()
        took_s = crowd.wait_for_all(what)
        growth_mb = max(0, site.rss_kb() - before_kb) / 1024
        figures = {"growth_mb": growth_mb, **crowd.since(began_s), "back_s": took_s}
        rows.append(Row(what, figures, aim_s, took_s <= aim_s and growth_mb <= GROWTH_AIM_MB))

    first, second = site.hosts
    memory_kb = site.rss_kb()
    first.cut()
    back("a host is cut off", BACK_AIM_S)
    first.heal()
    time.sleep(HEALING_S)  # its workers still have to find Redis and PostgreSQL again
    site.until(site.ready, "the host is there again", PATIENCE_S)
    second.kill()
    back("a host is killed", BACK_AIM_S)
    second.start()
    site.until(site.ready, "the host is there again", PATIENCE_S)
    troubles: dict[str, Callable[[], None]] = {
        "Redis restarted": lambda: restart(site.valkey),
        "PostgreSQL restarted": lambda: restart(site.postgres),
        f"Redis paused for {pause_s:g} s": lambda: pause([site.valkey.child], pause_s),
        f"PostgreSQL paused for {pause_s:g} s": lambda: pause([site.postgres.child], pause_s),
        f"both paused for {pause_s:g} s": lambda: pause([site.valkey.child, site.postgres.child], pause_s),
    }
    for what, trouble in troubles.items():
        memory_kb = site.rss_kb()
        trouble()
        back(what, HEAL_AIM_S)
    return rows


def run(directory: Path, pairs: int, pause_s: float) -> list[Row]:
    """The whole drill."""
    site = Site(directory)
    try:
        crowd = Crowd(site, pairs)
        rows = drills(site, crowd, pause_s)
        crowd.settle()
        wrongs = crowd.wrongs()
        never = ("lost", "doubled", "twice", "answered_twice")
        rows.append(Row("what must never be", wrongs, 0, not any(wrongs[name] for name in never)))
        refusals = sum((app.refused for app in crowd.apps), Counter[str]())
        rows.append(Row("commands refused, with the reason", {code: float(count) for code, count in refusals.items()}))
        errors = sum((person.errors for person in (*crowd.robots, *crowd.apps)), Counter[str]())
        rows.append(Row("connections lost, with the reason", {what: float(count) for what, count in errors.items()}))
        crowd.end()
    finally:
        site.close()
    return rows


def main() -> None:
    enter_namespace()
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    try:
        rows = run(directory, int(os.environ.get("PAIRS", "20")), float(os.environ.get("PAUSE_S", "10")))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    report.finish("The relay under trouble", rows)


if __name__ == "__main__":
    main()
