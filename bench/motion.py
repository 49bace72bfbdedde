"""From a command to the pins: how long the robot takes to begin to move, and to stop.

`make bench-motion`; `SAMPLES=n` (300), `JSON=1`, `CHECK=1`. A real robot under supervisord with its camera and video
running, a real relay, a real WebRTC peer, all on one machine. A figure is from just before the client sends to the
change of the enable pins, as the simulated machine stamps it with the same CLOCK_MONOTONIC.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.demo_driver import until
from bench.motion_links import ChannelDriver, Driver, Loop, RestDriver, SocketDriver
from bench.motion_relay import Relay
from bench.motion_robot import PATIENCE_S, Pins, Robot, Simulator
from bench.report import Row, finish
from contract.commands import COMMANDS

P50_MS, P99_MS = 5.0, 20.0
WARM = 10
BETWEEN_S = 1.5 / COMMANDS["motor"].rate_hz
PROMPT_S = 0.0005
"""How long a thread of the benchmark may keep the sending one waiting."""
CAMERA = {"camera": {"width": 1280, "height": 720, "fps": 15}}


def main() -> None:
    samples = int(os.environ.get("SAMPLES", "300"))
    sys.setswitchinterval(PROMPT_S)
    with tempfile.TemporaryDirectory(prefix="wz-") as directory, ExitStack() as stack:
        Path(directory).chmod(0o711)
        loop = Loop()
        stack.callback(loop.close)
        simulator = Simulator(Path(directory) / "simulator")
        stack.callback(simulator.close)
        relay = Relay()
        stack.callback(relay.close)
        environment = relay.robot_environment(relay.port)
        robot = Robot(Path(directory) / "robot", simulator.port, environment, CAMERA)
        stack.callback(robot.close)
        robot.wait_until_up()
        relay.wait_for_robot()
        url = f"ws://127.0.0.1:{robot.port}/ws"
        drivers: dict[str, tuple[Driver, bool]] = {
            "REST": (RestDriver(robot.port), True),
            "data channel": (ChannelDriver(loop, url), True),
            "/ws": (SocketDriver(url), False),
            "relay": (SocketDriver(f"ws://127.0.0.1:{relay.port}/ws/app", relay.token), False),
        }
        rows = [measure(path, driver, simulator.pins, samples, aim) for path, (driver, aim) in drivers.items()]
    finish("Motion: command to pin", rows)


def measure(path: str, driver: Driver, pins: Pins, samples: int, has_aim: bool) -> Row:
    """Begin to move and stop, by turns."""
    driver.open()
    try:
        until(lambda: _moves(driver, pins), PATIENCE_S, f"it drives by {path}")
        times_ms = [_change_ms(driver, pins, number % 2 == 0) for number in range(WARM + samples)][WARM:]
    finally:
        driver.close()
    p50_ms, p99_ms = statistics.median(times_ms), statistics.quantiles(times_ms, n=100)[98]
    figures = {"worst_ms": max(times_ms), "p50_ms": p50_ms, "p99_ms": p99_ms}
    met = not has_aim or (p50_ms <= P50_MS and p99_ms <= P99_MS)
    return Row(f"{path} (p50 ≤ {P50_MS:g})" if has_aim else path, figures, P99_MS if has_aim else None, met)


def _moves(driver: Driver, pins: Pins) -> bool:
    """Whether a command by this path reaches the pins by now; they are at zero afterwards."""
    began_s = time.monotonic()
    driver.send(0.5, 0.5)
    moved = pins.wait_change(True, began_s, 0.2) is not None
    driver.send(0.0, 0.0)
    until(lambda: not pins.moving, PATIENCE_S, "zero")
    return moved


def _change_ms(driver: Driver, pins: Pins, moving: bool) -> float:
    speed = 0.5 if moving else 0.0
    time.sleep(BETWEEN_S)  # the robot takes so many commands a second
    sent_s = time.monotonic()
    driver.send(speed, speed)
    changed_s = pins.wait_change(moving, sent_s, PATIENCE_S)
    if changed_s is None:
        raise TimeoutError("a command did not reach the pins")
    return (changed_s - sent_s) * 1000


if __name__ == "__main__":
    main()
