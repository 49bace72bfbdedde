"""What goes wrong in `make drill`: each scenario brings the motors to full speed, breaks something, and tells how long
it took to zero. Two lanes, each with a robot of its own, so that they can run side by side."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from bench.demo_driver import until
from bench.motion_links import (
    SEND_S,
    ChannelDriver,
    Hand,
    Loop,
    Proxy,
    RestDriver,
    SocketDriver,
    rest_burst,
)
from bench.motion_relay import Relay
from bench.motion_robot import PATIENCE_S, PHYSICS_NICE, Robot, Simulator
from bus.runner import die_with_parent
from hardware.priority import go_first

log = logging.getLogger(__name__)

SILENCE_MS, KILL_MS = 500.0, 300.0
LATE_S = 3.0
"""A zero that has not come by then will not come."""
QUIET_S = 0.08
FLOOD_HZ = 2000
PROMPT_S = 0.0005
"""How long a thread of the drill may keep the others waiting, which hold the lines to the robot."""
BURST_S = 2.0
STEADY_S = 11.0
"""cloudlink tries a link again at once that held for 10 s, and another one later and later."""
AWAY_S = 1.0
"""How long the pins cannot be reached."""
OLD_ENOUGH_S = 1.2
"""supervisord takes the death of a younger process for a failed start, and waits with the next."""
SLEEP_BY_SELECT = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""
"""libfaketime 0.9.10, told to leave the monotonic clock alone, fails the clock_nanosleep that `time.sleep` is."""


class Figure(NamedTuple):
    """What a fault came to: how long to zero, from the instant that counts; None where it did not come."""

    what: str
    limit_ms: float
    zero_ms: float | None

    @property
    def failed(self) -> bool:
        return self.zero_ms is None or self.zero_ms > self.limit_ms


class Try(NamedTuple):
    """A figure, and how long it took before until the robot drove at full speed."""

    figure: Figure
    back_ms: float


class Scenario(NamedTuple):
    """`fault` breaks something while the motors turn, and yields each figure that comes of it."""

    hand: Hand
    fault: Callable[[], Iterator[Figure]]


class Lane:
    """A robot, and who drives it. Subclasses list scenarios.

    Args:
        stack: closes what the lane has opened.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.stack = stack
        self.loop = Loop()
        self.stack.callback(self.loop.close)
        self.simulator = Simulator(directory / "simulator")
        self.stack.callback(self.simulator.close)
        self.pins = self.simulator.pins

    def scenarios(self) -> list[Scenario]:
        raise NotImplementedError

    def run(self, tries: int) -> list[Try]:
        """Every scenario in turn, again and again: the deaths of one process lie apart."""
        go_first(PHYSICS_NICE)  # the lines are held here; the robot's processes were started before, by others
        done: list[Try] = []
        for number in range(tries):
            for scenario in self.scenarios():
                back_ms = self.to_full_speed(scenario.hand)
                for figure in scenario.fault():
                    done.append(Try(figure, back_ms))
                    if figure.failed:
                        log.error("try %d, load %.1f: %s", number + 1, os.getloadavg()[0], figure)
                scenario.hand.let_go()
        return done

    def to_full_speed(self, hand: Hand) -> float:
        """Hold the stick forward until both motors turn as fast as they may; how long that took, in ms."""
        begun = time.monotonic()
        hand.press()
        try:
            until(self.pins.full_speed, PATIENCE_S, "full speed")
        except TimeoutError as error:
            raise TimeoutError(f"the robot drives no more: {hand.trouble}") from error
        return (time.monotonic() - begun) * 1000

    def rest_ms(self, since_s: float) -> float | None:
        """From that instant to zero for good."""
        rest_s = self.pins.rest_from(since_s, LATE_S, QUIET_S)
        return None if rest_s is None else (rest_s - since_s) * 1000

    def zero_ms(self, since_s: float) -> float | None:
        """From that instant to the first zero, while it is still driven."""
        zero_s = self.pins.zero_from(since_s, LATE_S)
        return None if zero_s is None else (zero_s - since_s) * 1000

    def hand(self, driver: SocketDriver | RestDriver | ChannelDriver) -> Hand:
        hand = Hand(driver)
        self.stack.callback(hand.close)
        return hand

    def proxy(self, port: int, **options: bool | Callable[[bytes], bool]) -> Proxy:
        proxy = Proxy(self.loop, port, **options)  # type: ignore[arg-type]
        self.stack.callback(proxy.close)
        return proxy


class LinkLane(Lane):
    """Lines that break, fall silent, and deliver late."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack)
        self.relay = Relay()
        self.stack.callback(self.relay.close)
        self.relay_line = self.proxy(self.relay.port, robot_listens=False, counts=lambda data: b'"motor"' in data)
        environment = self.relay.robot_environment(self.relay_line.port)
        self.robot = Robot(directory / "robot", self.simulator.port, environment)
        self.stack.callback(self.robot.close)
        self.robot.wait_until_up()
        self.relay.wait_for_robot()
        url = f"ws://127.0.0.1:{self.robot.port}/ws"
        self.socket_line, self.rest_line = self.proxy(self.robot.port), self.proxy(self.robot.port)
        self.direct = SocketDriver(url)
        self.channel = ChannelDriver(self.loop, url)
        self.by_socket, self.by_channel = self.hand(self.direct), self.hand(self.channel)
        self.by_line = self.hand(SocketDriver(f"ws://127.0.0.1:{self.socket_line.port}/ws"))
        self.by_relay = self.hand(SocketDriver(f"ws://127.0.0.1:{self.relay.port}/ws/app", self.relay.token))

    def scenarios(self) -> list[Scenario]:
        return [
            self._leaving("driver's socket reset", self.by_socket, self.direct.reset),
            self._leaving("driver's socket closed", self.by_socket, self.direct.close),
            self._leaving("data channel closed", self.by_channel, self.channel.close_channel),
            self._leaving("WebRTC hung up", self.by_channel, self.channel.hang_up),
            Scenario(self.by_relay, self._stalled),
            Scenario(self.by_relay, self._relay_cut),
        ]

    def _leaving(self, what: str, hand: Hand, leave: Callable[[], None]) -> Scenario:
        def fault() -> Iterator[Figure]:
            last_s = hand.let_go()
            leave()
            hand.lost()
            yield Figure(what, SILENCE_MS, self.rest_ms(last_s))

        return Scenario(hand, fault)

    def _relay_cut(self) -> Iterator[Figure]:
        """Once the link has held for so long that it is tried again at once."""
        until(lambda: time.monotonic() - self.relay_line.opened_s > STEADY_S, PATIENCE_S, "a steady link")
        last_s = self.relay_line.cut()
        yield Figure("relay cut", SILENCE_MS, self.rest_ms(last_s))

    def _stalled(self) -> Iterator[Figure]:
        """It is driven through the relay, then by whoever is nearer; then all lines are held for as long as two seconds
        of commands take, and let go one after another."""
        lines = (self.socket_line, self.rest_line, self.relay_line)
        pressed_s = time.monotonic()
        self.by_line.press()
        until(lambda: self.socket_line.delivered_s > pressed_s, PATIENCE_S, "a nearer driver")
        until(self.pins.full_speed, PATIENCE_S, "full speed")
        for line in lines:
            line.hold()
        last_s = max(self.socket_line.delivered_s, self.relay_line.delivered_s)
        yield Figure("lines fall silent", SILENCE_MS, self.rest_ms(last_s))
        kept, end_s = [], time.monotonic() + BURST_S
        while time.monotonic() < end_s:
            kept.append(rest_burst(self.rest_line.port, 1.0, 1.0))
            time.sleep(SEND_S)  # the pace of the commands, which is what is tried
        self.by_line.let_go()
        self.by_relay.let_go()
        for path, line in zip(("/ws", "REST", "relay"), lines, strict=True):
            before_s = line.delivered_s
            line.release()
            line.wait_for_burst(before_s, SEND_S, path)
            yield Figure(f"2 s of commands at once, {path}", SILENCE_MS, self.rest_ms(line.delivered_s))
        for connection in kept:
            connection.close()


class ProcessLane(Lane):
    """Processes that die and hang, a bus that is flooded, a clock that jumps, pins that cannot be reached.

    monitor is stopped meanwhile: it holds back what dies five times in a minute, and here that is done on purpose.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack)
        self._clock = directory / "clock"
        self._clock.write_text("+0\n")
        self._hours = 0
        site = directory / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SLEEP_BY_SELECT)
        self.environment = {
            "LD_PRELOAD": str(faketime_library()),
            "PYTHONPATH": str(site),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self._refuse_a_clock_that_stands()
        self.pin_line = self.proxy(self.simulator.port)
        self.robot = Robot(directory / "robot", self.pin_line.port, self.environment)
        self.stack.callback(self.robot.close)
        self.robot.wait_until_up()
        self.robot.stop_program("monitor")
        self.by_socket = self.hand(SocketDriver(f"ws://127.0.0.1:{self.robot.port}/ws"))

    def _refuse_a_clock_that_stands(self) -> None:
        """Raise RuntimeError unless the wall clock of the robot's processes jumps, and the monotonic one does not."""
        script = "import time; print(time.time(), time.monotonic())"
        self._jump()
        wall_s, monotonic_s = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        if abs(float(wall_s) - time.time() - 3600) > 60 or abs(float(monotonic_s) - time.monotonic()) > 60:
            raise RuntimeError(f"libfaketime does not do what the drill needs: {wall_s} {monotonic_s}")
        self._jump()

    def _jump(self) -> None:
        """An hour forward, or back again."""
        self._hours = 1 - self._hours
        self._clock.write_text(f"+{self._hours}h\n")

    def scenarios(self) -> list[Scenario]:
        return [
            Scenario(self.by_socket, self._motion_killed),
            Scenario(self.by_socket, self._clock_jumps),
            Scenario(self.by_socket, self._guard_killed),
            Scenario(self.by_socket, self._flooded),
            Scenario(self.by_socket, self._motion_hangs),
            Scenario(self.by_socket, self._pins_reset),
            Scenario(self.by_socket, self._guard_hangs),
            Scenario(self.by_socket, self._local_api_killed),
            Scenario(self.by_socket, self._pins_silent),
        ]

    def _of_age(self, name: str) -> int:
        """The pid of a process that supervisord takes for started."""
        until(lambda: self.robot.uptime_s(name) > OLD_ENOUGH_S, PATIENCE_S, f"{name} has run for a while")
        until(self.pins.full_speed, PATIENCE_S, "full speed")
        return self.robot.pid(name)

    def _killed(self, name: str, number: signal.Signals, what: str) -> Iterator[Figure]:
        pid = self._of_age(name)
        at_s = time.monotonic()
        os.kill(pid, number)
        yield Figure(what, KILL_MS, self.zero_ms(at_s))
        until(lambda: self.robot.pid(name) not in (0, pid), PATIENCE_S, f"another {name}")

    def _motion_killed(self) -> Iterator[Figure]:
        return self._killed("motion", signal.SIGKILL, "motion kill -9")

    def _motion_hangs(self) -> Iterator[Figure]:
        return self._killed("motion", signal.SIGSTOP, "motion SIGSTOP")

    def _guard_killed(self) -> Iterator[Figure]:
        return self._killed("guard", signal.SIGKILL, "guard kill -9")

    def _guard_hangs(self) -> Iterator[Figure]:
        pid = self._of_age("guard")
        at_s = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield Figure("guard SIGSTOP", KILL_MS, self.zero_ms(at_s))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _local_api_killed(self) -> Iterator[Figure]:
        """gunicorn's worker, which has the sockets, and then its master."""
        worker = psutil.Process(self._of_age("local_api"))
        master = worker.parent()
        assert master is not None
        at_s = time.monotonic()
        worker.kill()
        master.kill()
        yield Figure("local_api kill -9", KILL_MS, self.zero_ms(at_s))
        until(lambda: self.robot.pid("local_api") not in (0, worker.pid), PATIENCE_S, "another local_api")

    def _clock_jumps(self) -> Iterator[Figure]:
        self._jump()
        time.sleep(2 * SEND_S)  # it is driven on across the jump
        yield Figure("wall clock jumps an hour", SILENCE_MS, self.rest_ms(self.by_socket.let_go()))

    def _flooded(self) -> Iterator[Figure]:
        command = [sys.executable, "-m", "bench.motion_flood", str(self.robot.run_dir)]
        rogue = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert rogue.stdout is not None
        rogue.stdout.readline()
        time.sleep(4 * SEND_S)  # it is driven on in the flood
        until(self.pins.full_speed, PATIENCE_S, "full speed in the flood")
        yield Figure("bus flooded", SILENCE_MS, self.rest_ms(self.by_socket.let_go()))
        rogue.terminate()
        sent = msgspec.json.decode(rogue.communicate()[0], type=dict[str, float])
        events_hz = sent["events"] / sent["seconds"]
        requests_hz = (sent["requests"] + sent["stops"] + sent["garbage"]) / sent["seconds"]
        if min(events_hz, requests_hz) < FLOOD_HZ:
            log.warning("a thin flood: %.0f events and %.0f requests a second", events_hz, requests_hz)

    def _pins_reset(self) -> Iterator[Figure]:
        """The daemon hangs up, and takes new connections at once."""
        last_s = self.by_socket.let_go()
        self.pin_line.cut()
        yield Figure("pigpiod hangs up, back at once", SILENCE_MS, self.rest_ms(last_s))

    def _pins_silent(self) -> Iterator[Figure]:
        """Nothing gets through to the daemon for a while. Nobody can reach the pins then, so the time counts from when
        they can be reached again."""
        self.by_socket.let_go()
        self.pin_line.hold()
        time.sleep(AWAY_S)
        self.pin_line.release()
        yield Figure(f"pigpiod silent for {AWAY_S:g} s, from its return", SILENCE_MS, self.rest_ms(time.monotonic()))


def faketime_library() -> Path:
    """Raises FileNotFoundError where the Debian package is not installed."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        raise FileNotFoundError("libfaketime is missing: scripts/system-packages.sh faketime")
    return found


def run_lane(name: str, directory: Path, tries: int) -> list[Try]:
    """All tries of a lane, on a robot that is started and stopped here."""
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the robot is stopped all the same
    sys.setswitchinterval(PROMPT_S)
    with ExitStack() as stack:
        lane = {"links": LinkLane, "processes": ProcessLane}[name](directory, stack)
        return lane.run(tries)
