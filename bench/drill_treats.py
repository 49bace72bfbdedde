"""Treats stay true whatever happens to the dispenser: real processes, and a simulated machine that knows what fell.

`make drill-treats`; `TRIES=n` (200), `SEED=n`, `JSON=1`, `CHECK=1`. Figures are failures, of which none is accepted:

- kill -9 of the dispenser, and of its witness, at a random instant of a treat. Then the count is what fell, the
  carousel stands, and the same request sent again gives no second treat.
- power loss: the files as they are at a random instant, opened anew, are whole, hold every treat that was answered,
  and none that did not fall.
- a disk that takes no more writes from a random instant on: the count is what fell when it takes them again.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.report import Row, finish
from bus.base import Latest
from bus.topics import DISPENSER_STATE, HEARTBEATS
from contract.commands import Dispensed, Led, Refill
from contract.errors import ContractError
from tests.integration.conftest import Machine

CAPACITY = 10_000
CONFIG = f"""
dispenser: {{capacity: {CAPACITY}, low_at: 0, cooldown_s: 0, daily_limit: null}}
simulator: {{treats: {CAPACITY}}}
"""
DEED_S = 0.6
"""About as long as a treat takes, from the request to a little after its answer."""
FILES = ("treats.sqlite", "treats.sqlite-wal")
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class Treats:
    """A robot's dispenser beside what really fell.

    Args:
        data: an empty directory for the robot.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.machine = Machine(data)
        with (data / "robot_config.yaml").open("a") as config:
            config.write(CONFIG)
        self._state = Latest(self.machine.bus, DISPENSER_STATE)
        self._beat = Latest(self.machine.bus, HEARTBEATS["dispenser"])

    def ready(self) -> None:
        """Start what does not run, and wait until the dispenser answers."""
        self.machine.start("simulator", "dispenser")
        self.machine.until(
            lambda: not isinstance(self.machine.ask("led", Led(pattern="off")), ContractError), "the dispenser is up"
        )

    def begin_anew(self) -> None:
        """After a failure: the count is set to what fell, so that the next try fails by its own fault alone."""
        self.ready()
        self.machine.ask("treat_refill", Refill(CAPACITY - self.dropped))

    @property
    def counted(self) -> int:
        """How many treats are missing from the full carousel, as the dispenser knows it."""
        return CAPACITY - self._state.message.value.remaining if self._state.message else -1

    @property
    def dropped(self) -> int:
        return self.machine.read().carousel.dropped

    def agree(self) -> None:
        """The carousel stands, and the count comes to what fell."""
        self.machine.until(lambda: self.machine.read().carousel.deg_per_s == 0, "the carousel stands")
        self.machine.until(lambda: self.counted == self.dropped, f"counted {self.counted}, dropped {self.dropped}")

    def programs(self) -> list[psutil.Process]:
        """The dispenser, then its witness."""
        found: list[psutil.Process] = []

        def both_run() -> bool:
            try:
                dispenser = psutil.Process(self._beat.message.value.pid if self._beat.message else 0)
                found[:] = [dispenser, *dispenser.children()]
                return len(found) == 2 and all(program.status() != psutil.STATUS_ZOMBIE for program in found)
            except psutil.NoSuchProcess:
                return False

        self.machine.until(both_run, "the dispenser and its witness run")
        return found

    def close(self) -> None:
        self.machine.close()


def kill_dispenser(treats: Treats, name: str, delay_s: float) -> str:
    """kill -9 that long after a treat was asked for, then ask with the same id; what it came to."""
    before = treats.dropped
    treats.machine.begin("treat", id=name)
    time.sleep(delay_s)  # the instant is what is tried
    treats.machine.kill("dispenser")
    return _ask_again(treats, name, before)


def kill_witness(treats: Treats, name: str, delay_s: float) -> str:
    """The same with the witness, which the dispenser replaces."""
    before = treats.dropped
    programs = treats.programs()
    answer = treats.machine.begin("treat", id=name)
    time.sleep(delay_s)
    programs[1].kill()
    treats.machine.until(answer.done, "an answer")
    treats.machine.until(lambda: programs[1] not in treats.programs(), "another witness")
    return _ask_again(treats, name, before)


def _ask_again(treats: Treats, name: str, before: int) -> str:
    treats.ready()
    treats.agree()
    fallen = treats.dropped - before
    again = treats.machine.ask("treat", id=name)
    third = treats.machine.ask("treat", id=name)
    treats.agree()
    given = treats.dropped - before
    refused = isinstance(again, ContractError) and again.code == "CONFLICT"
    assert refused or isinstance(again, Dispensed), f"{name}: {again}"
    assert given == (fallen if fallen or refused else 1), f"{name}: {fallen} had fallen, {given} in the end"
    assert refused == (third is not None and isinstance(third, ContractError)), f"{name}: {again}, then {third}"
    return "refused again" if refused else "given before" if fallen else "given after"


def lose_power(treats: Treats, name: str, delay_s: float) -> str:
    """What a machine would find that lost its power that long after a treat was asked for."""
    answered = treats.counted
    programs = treats.programs()
    answer = treats.machine.begin("treat", id=name)
    time.sleep(delay_s)
    done = answer.done()
    for program in programs:
        program.send_signal(signal.SIGSTOP)
    try:
        with tempfile.TemporaryDirectory(prefix="wimz-drill-") as copy:
            for file in FILES:
                if (treats.data / file).exists():
                    shutil.copy(treats.data / file, copy)
            counted, finished = _open_copy(Path(copy) / FILES[0], name)
    finally:
        for program in programs:
            program.send_signal(signal.SIGCONT)
    assert counted <= treats.dropped, f"{name}: {counted} counted, {treats.dropped} fell"
    assert counted >= answered + done, f"{name}: {counted} counted, {answered + done} answered"
    assert finished or not done, f"{name}: answered, and the request is not known"
    assert isinstance(answer.result(), Dispensed)
    treats.agree()
    return "counted" if counted > answered else "not counted"


def _open_copy(path: Path, request_id: str) -> tuple[int, bool]:
    """How many treats are counted in a copy of the files, and whether that request is finished there."""
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (remaining,) = database.execute("SELECT remaining FROM carousel").fetchone()
        row = database.execute("SELECT confirmed FROM deeds WHERE request_id = ?", (request_id,)).fetchone()
    finally:
        database.close()
    return CAPACITY - remaining, row is not None and row[0] is not None


def fail_the_disk(treats: Treats, name: str, delay_s: float) -> str:
    """No file can grow or be written from that long after (or, half of the tries, before) a treat was asked for."""
    before = treats.dropped
    programs = treats.programs()
    fails_first = delay_s < DEED_S / 2
    if fails_first:
        _limit_files(programs, (0, resource.RLIM_INFINITY))
    answer = treats.machine.begin("treat", id=name)
    time.sleep(delay_s)
    _limit_files(programs, (0, resource.RLIM_INFINITY))
    treats.machine.until(answer.done, "an answer")
    error = answer.exception()
    if fails_first:
        assert isinstance(error, ContractError), f"{name}: {answer}"
        assert error.code == "INTERNAL_ERROR", f"{name}: {error}"
        assert treats.dropped == before, f"{name}: a treat fell that could not be written down"
    _limit_files(programs, NO_LIMIT)
    treats.agree()
    assert treats.dropped - before == (0 if fails_first else 1), f"{name}: {treats.dropped - before} fell"
    return "refused" if fails_first else "counted at once" if error is None else "counted later"


def _limit_files(programs: list[psutil.Process], limits: tuple[int, int]) -> None:
    for program in programs:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, limits)


Try = Callable[[Treats, str, float], str]
TRIES: tuple[tuple[str, Try, float], ...] = (
    ("kill -9 of the dispenser", kill_dispenser, 1.0),
    ("kill -9 of the witness", kill_witness, 0.25),
    ("power loss", lose_power, 1.0),
    ("disk takes no writes", fail_the_disk, 0.25),
)
"""What is tried, and its share of TRIES."""


def drill(treats: Treats, what: str, attempt: Try, tries: int, dice: random.Random) -> Row:
    """Try it at random instants, and count how often it went wrong."""
    came_to: Counter[str] = Counter()
    wrong = 0
    for number in range(tries):
        delay_s = dice.uniform(0.0, DEED_S)
        treats.ready()
        try:
            treats.agree()
            came_to[attempt(treats, f"{what}, {number}", delay_s)] += 1
        except (AssertionError, ContractError, psutil.Error) as error:
            wrong += 1
            print(f"after {delay_s * 1000:.0f} ms: {error}", file=sys.stderr)
            treats.begin_anew()
    outcomes = ", ".join(f"{times} {outcome}" for outcome, times in came_to.most_common())
    return Row(f"{what}: {outcomes}", {"tries": tries, "wrong": wrong}, 0, wrong == 0)


def main() -> None:
    tries = int(os.environ.get("TRIES", "200"))
    seed = int(os.environ.get("SEED", str(time.time_ns() % 10**9)))
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="wimz-drill-") as directory:
        treats = Treats(Path(directory))
        try:
            rows = [drill(treats, what, attempt, max(1, round(share * tries)), dice) for what, attempt, share in TRIES]
        finally:
            treats.close()
    finish(f"Treats, at random instants (SEED={seed})", rows)


if __name__ == "__main__":
    main()
