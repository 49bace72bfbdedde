"""The dispenser's witness: a child process that sees to the end what a killed dispenser has begun.

A pin daemon holds its last pulse when its client dies: the carousel would go on turning, and nobody would count what
falls. The witness watches the beam all the time over a connection of its own and does nothing else, until the pipe
from its parent ends. If that was in the middle of a deed, it stops the carousel, watches what is still falling, and
writes down every treat that the beam saw, by the pins' own clock, so that one which the dispenser had already
counted is not counted twice. Where it saw that nothing fell, it strikes the deed out, and whoever asks again may have
it done. It holds the lock on the count until it is done, and a new dispenser waits for that.

A servo board holds its pulse too. Where the beam is reached by lgpio, whose lines have one owner, the witness of such a
carousel sees nothing and only stops it; a deed that nobody saw to its end is not done again.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

import yaml

from bus import settings
from bus.errors import BusError
from bus.runner import log_to_stderr
from hardware.config import HardwareConfig, hardware_config
from hardware.errors import HardwareError
from hardware.pins import abandon_factory, connected, pin_factory
from hardware.servo import servo_output
from processes.dispenser.config import DispenserConfig
from processes.dispenser.driver import NoBeam, beam_on
from processes.dispenser.limits import Moment
from processes.dispenser.store import TreatStore, boot_id

log = logging.getLogger(__name__)

PROGRAM = "processes.dispenser.witness"
WORD = struct.Struct("<?d")
"""What the parent says: whether a deed is under way, and since when (CLOCK_MONOTONIC, s)."""
READY = b"r"
SECTIONS = ("pins", "motors", "servos", "carousel", "beam", "leds", "dispenser")
"""Of the configuration. None of them holds a secret, so that they may be read in a list of processes."""
STARTS_WITHIN_S = 15.0
LOCK_PATIENCE_S = 10.0
MAX_BREAKS = 256


def store_path(data_dir: Path) -> Path:
    """Where the count is."""
    return data_dir / "treats.sqlite"


def lock_count(data_dir: Path) -> IO[bytes]:
    """The right to count, once a witness that is still at work has let go of it.

    Raises:
        BusError: it does not.
    """
    lock = (data_dir / "treats.lock").open("ab")
    give_up = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                lock.close()
                raise BusError(f"{lock.name} is held by another dispenser: stop that one first.") from None
            time.sleep(0.02)
        else:
            return lock


class Witness:
    """The parent's end.

    Args:
        config: the robot's whole configuration.
        lock: what `lock_count` gave; the child holds it too.

    Raises:
        HardwareError: it did not start, or cannot reach the pins.
    """

    def __init__(self, config: dict[str, Any], data_dir: Path, lock: IO[bytes]) -> None:
        sections = {name: config[name] for name in SECTIONS if name in config}
        needed = yaml.safe_dump(sections, default_flow_style=True, width=sys.maxsize)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(data_dir), needed],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[lock.fileno()],
                cwd=settings.ROOT,
                bufsize=0,
            )
        except OSError as error:
            raise HardwareError(f"the dispenser's witness could not be started: {error}") from error
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to, self._from = self._child.stdin, self._child.stdout
        ready, _, _ = select.select([self._from], [], [], STARTS_WITHIN_S)
        if not ready or self._from.read(1) != READY:
            self.close()
            raise HardwareError("the dispenser's witness did not start; the log says why")

    def turning(self, turning: bool) -> None:
        try:
            self._to.write(WORD.pack(turning, time.monotonic()))
        except OSError as error:
            raise HardwareError(f"the dispenser's witness is gone: {error}") from error

    def check(self) -> None:
        if self._child.poll() is not None:
            raise HardwareError(f"the dispenser's witness ended with {self._child.returncode}")

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._to.close()
        self._from.close()
        try:
            self._child.wait(5.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def watch(hardware: HardwareConfig, config: DispenserConfig, store: TreatStore) -> None:
    """Be the witness, until standard input ends.

    Raises:
        HardwareError: the pins cannot be reached.
    """
    breaks: deque[tuple[float, int]] = deque(maxlen=MAX_BREAKS)  # when it was heard of, and the pins' clock

    def on_break(at_us: int) -> None:
        breaks.append((time.monotonic(), at_us))

    factory = pin_factory(hardware.pins)
    sees = hardware.beam.fitted and hardware.pins.factory == "pigpio"  # with lgpio a line has one owner, the dispenser
    beam = beam_on(hardware, factory, on_break) if sees else NoBeam()
    os.write(sys.stdout.fileno(), READY)
    turning, since_s = False, 0.0
    while word := os.read(sys.stdin.fileno(), WORD.size):
        turning, since_s = WORD.unpack(word)
    if turning:
        try:
            servo_output(hardware.carousel, hardware.servos.board, factory).close()
            time.sleep(config.settle_s)
        except HardwareError as error:
            log.error("the carousel could not be stopped: %s", error)
        seen = [at_us for heard_s, at_us in breaks if heard_s >= since_s]
        settle(store, seen, saw_all=sees and connected(factory))
    abandon_factory(factory)  # the pins stay what they are: a new dispenser takes them over
    beam.close()


def settle(store: TreatStore, breaks: list[int], *, saw_all: bool) -> None:
    """Write down what the beam saw of the deed that was under way.

    Args:
        saw_all: whether no treat can have fallen unseen: then a deed that gave nothing is struck out.
    """
    deed = store.unfinished()
    if deed is None:
        return
    now = Moment(boot_id(), time.monotonic(), time.time())
    counted = sum(store.count(deed, at_us, now) for at_us in breaks)
    if saw_all and not deed.drops + counted:
        store.forget(deed)
    log.warning("the dispenser ended in the middle of a deed: the carousel stands, %d more counted", counted)


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}")
    parser.add_argument("data", type=Path, help="the robot's data directory")
    parser.add_argument("config", type=yaml.safe_load, help="the sections it needs, as YAML")
    arguments = parser.parse_args()
    log_to_stderr("witness")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent; this one ends when the parent has
    try:
        section = settings.section(arguments.config, "dispenser", DispenserConfig)
        store = TreatStore(store_path(arguments.data), section.capacity, section.same_treat_ms)
        watch(hardware_config(arguments.config), section, store)
        store.close()
    except (BusError, HardwareError, sqlite3.Error) as error:
        log.error("%s", error)
        sys.exit(2)


if __name__ == "__main__":
    main()
