"""How every process of the robot starts, beats and stops.

    if __name__ == "__main__":
        run("motion", build)

`build(context)` wires the process to `context.bus`; then the bus's loop runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bus import settings
from bus.base import Bus
from bus.errors import BusError
from bus.injection import serve_injections
from bus.messages import Heartbeat
from bus.topics import HEARTBEATS
from bus.zeromq import ZmqBus

T = TypeVar("T")

HEARTBEAT_S = 0.5
BUS_STOP_S = 2.0
PR_SET_PDEATHSIG = 1  # prctl(2)

log = logging.getLogger(__name__)


@dataclass
class Context:
    """What a process gets at start.

    Attributes:
        bus: its bus; handlers and timers run on its loop.
        data_dir: where it keeps what must outlive it.
        run_dir: where sockets and frames are.
    """

    bus: ZmqBus
    config: dict[str, Any]
    data_dir: Path
    run_dir: Path
    _on_stop: list[Callable[[], None]] = field(default_factory=list)

    def section(self, name: str, type_: type[T]) -> T:
        """A section of the configuration. Raises SettingsError."""
        return settings.section(self.config, name, type_)

    def on_stop(self, call: Callable[[], None]) -> None:
        """Call when the process stops; the last registered is called first."""
        self._on_stop.append(call)

    def close(self) -> None:
        for call in reversed(self._on_stop):
            try:
                call()
            except Exception:
                log.exception("closing failed")
        self._on_stop.clear()


def run(name: str, build: Callable[[Context], None]) -> None:
    """Start the process `name`: parse `--config`, build it, run its loop until it is told to stop.

    Exits 0 after SIGTERM or SIGINT, 2 with a readable message when a setting or the machine is wrong.
    """
    config_path = parse_arguments(name)
    log_to_stderr(name)
    die_with_parent()
    try:
        context = open_context(name, config_path)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: context.bus.stop())
        try:
            build(context)
            beat(context.bus)
            log.info("running, pid %d", os.getpid())
            context.bus.run()
        finally:
            context.close()
    except BusError as error:
        log.error("%s", error)
        sys.exit(2)
    log.info("stopped")


def run_async(name: str, build: Callable[[Context], AbstractAsyncContextManager[None]]) -> None:
    """Start the process `name`, whose work is done on asyncio's loop: `async with build(context)` until it is told to
    stop. The bus runs in a thread of its own, and its handlers there; the heartbeat comes from asyncio's loop.

    Exits 0 after SIGTERM or SIGINT, 2 with a readable message when a setting or the machine is wrong.
    """
    config_path = parse_arguments(name)
    log_to_stderr(name)
    die_with_parent()
    try:
        asyncio.run(_serve(open_context(name, config_path), build))
    except BusError as error:
        log.error("%s", error)
        sys.exit(2)
    log.info("stopped")


async def _serve(context: Context, build: Callable[[Context], AbstractAsyncContextManager[None]]) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    bus_thread: threading.Thread | None = None
    try:
        async with build(context):
            bus_thread = context.bus.start()
            log.info("running, pid %d", os.getpid())
            await _beat_until(stopping, context.bus, bus_thread)
    finally:
        context.close()
        context.bus.stop()
        if bus_thread is not None:
            await asyncio.to_thread(bus_thread.join, BUS_STOP_S)


async def _beat_until(stopping: asyncio.Event, bus: Bus, bus_thread: threading.Thread) -> None:
    """Publish the heartbeat from this loop, with its own lag, until `stopping` is set.

    Raises:
        BusError: the bus's thread has ended.
    """
    publish_beat = heartbeat(bus)
    while not stopping.is_set():
        if not bus_thread.is_alive():
            raise BusError("The bus's loop has ended; the log above says why.")
        publish_beat()
        due = time.monotonic() + HEARTBEAT_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), HEARTBEAT_S)
        bus.loop_lag_s = max(bus.loop_lag_s, time.monotonic() - due)


def parse_arguments(name: str) -> Path:
    """The path given as `--config`."""
    parser = argparse.ArgumentParser(prog=f"python -m processes.{name}")
    parser.add_argument("--config", type=Path, default=settings.ROOT / "robot_config.yaml", help="robot_config.yaml")
    path: Path = parser.parse_args().config
    return path


def open_context(name: str, config_path: Path) -> Context:
    """Read the configuration and join the bus.

    Raises:
        SettingsError: the configuration is wrong.
        BusError: a process of this name runs already.
    """
    config = settings.load(config_path)
    data = settings.data_dir(config)
    data.mkdir(parents=True, exist_ok=True)
    run_dir = settings.make_run_dir(data)
    bus = ZmqBus(name, run_dir)
    serve_injections(bus)
    return Context(bus, config, data, run_dir)


def beat(bus: Bus) -> None:
    """Publish the heartbeat from the bus's loop."""
    publish_beat = heartbeat(bus)
    publish_beat()
    bus.every(HEARTBEAT_S, publish_beat)


def heartbeat(bus: Bus) -> Callable[[], None]:
    """One beat per call, for a process whose work is done on another loop than the bus's."""
    started = time.monotonic()
    topic = HEARTBEATS[bus.name]

    def publish_beat() -> None:
        lag_ms = round(bus.loop_lag_s * 1000, 2)
        bus.loop_lag_s = 0.0
        bus.publish(topic, Heartbeat(os.getpid(), time.monotonic() - started, lag_ms, dict(bus.counters)))

    return publish_beat


def log_to_stderr(name: str) -> None:
    """One line a record, to stderr, where supervisord keeps and rotates it."""
    logging.basicConfig(
        level=os.environ.get("WIMZ_LOG", "INFO").upper(),
        format=f"%(asctime)s.%(msecs)03d %(levelname)s {name}: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


def die_with_parent(signal_number: int = signal.SIGTERM, parent: int | None = None) -> None:
    """Be told when the parent ends: a kill -9 of supervisord must not leave the robot running unsupervised.

    Call it from the main thread, since the signal fires when the *thread* that made this process ends.

    Args:
        parent: its pid, where that is known: the parent may be gone before this process can ask.
    """
    parent = os.getppid() if parent is None else parent
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal_number)
