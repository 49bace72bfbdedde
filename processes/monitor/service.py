"""Monitor on the bus: HEALTH, TELEMETRY, `get_status`, and `error` events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bus.base import Bus, Latest
from bus.codec import Message, Request
from bus.events import robot_event, utc_now
from bus.messages import Fault, Health, Heartbeat
from bus.runner import Context
from bus.topics import (
    COMMAND_TOPICS,
    DISPENSER_STATE,
    EVENTS,
    FAULTS,
    HEALTH,
    HEARTBEATS,
    PROCESSES,
    TELEMETRY,
)
from contract.models import ErrorEvent, Status, Telemetry, status_of
from processes.monitor.config import MonitorConfig
from processes.monitor.driver import LinuxMachine, Machine, Supervisord, SupervisorThread
from processes.monitor.logic import FaultBook, Program, Thermometer, Watchdog

TICK_S = 1.0


class MonitorService:
    """Wires the watchdog, the fault book and the machine's sensors to the bus."""

    def __init__(
        self, bus: Bus, config: MonitorConfig, machine: Machine, wall_clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._bus = bus
        self._config = config
        self._machine = machine
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._watchdog = Watchdog(config, PROCESSES, bus.name, bus.now())
        self._faults = FaultBook()
        self._thermometer = Thermometer(config.overheat_c)
        self._dispenser = Latest(bus, DISPENSER_STATE)
        for name in PROCESSES:
            bus.subscribe(HEARTBEATS[name], lambda message, name=name: self._heartbeat(name, message))  # type: ignore[misc]
            bus.subscribe(FAULTS[name], lambda message, name=name: self._fault(name, message.value))  # type: ignore[misc]
        bus.serve(COMMAND_TOPICS["get_status"], self._get_status)
        bus.every(TICK_S, self._tick)
        self._tick()

    def decide(self, programs: dict[str, Program]) -> list[str]:
        """Who hangs, by supervisord's word and the heartbeats. From any thread."""
        with self._lock:
            hung = self._watchdog.on_poll(programs, self._bus.now())
        self._bus.counters["monitor.restarts"] += len(hung)
        return hung if self._config.restart_hung else []

    def _heartbeat(self, name: str, message: Message[Heartbeat]) -> None:
        with self._lock:
            anew = self._watchdog.on_heartbeat(name, message.value, message.sent_ns / 1e9)
        if anew:
            self._faults.on_restart(name)

    def _fault(self, process: str, fault: Fault) -> None:
        self._tell(self._faults.on_fault(process, fault, self._bus.now()))
        self._bus.counters["monitor.faults_refused"] = self._faults.refused

    def _tell(self, event: ErrorEvent | None) -> None:
        if event is not None:
            self._bus.publish(EVENTS[self._bus.name], robot_event("error", event, self._wall_clock()))

    def _tick(self) -> None:
        now = self._bus.now()
        with self._lock:
            processes = self._watchdog.health(now)
        self._bus.publish(HEALTH, Health(processes))
        telemetry = self._telemetry()
        self._bus.publish(TELEMETRY, telemetry)
        overheat = self._thermometer.on_reading(telemetry.temperature)
        if overheat is not None:
            self._fault(self._bus.name, overheat)
        for event in self._faults.on_tick(now):
            self._tell(event)

    def _telemetry(self) -> Telemetry:
        """What is known; the rest is null until the process that knows it is part of the robot."""
        dispenser = self._dispenser.fresh(self._bus.now())
        return Telemetry(
            temperature=self._machine.temperature_c(),
            treats_remaining=dispenser.remaining if dispenser else None,
            last_treat_time=dispenser.last_treat_time if dispenser else None,
            wifi_strength=self._machine.wifi_dbm(),
            uptime_seconds=self._machine.uptime_s(),
        )

    def _get_status(self, request: Request[Any]) -> Status:
        return status_of(self._telemetry())


def build(context: Context) -> None:
    """Wire monitor to this machine and its supervisord."""
    config = context.section("monitor", MonitorConfig)
    service = MonitorService(context.bus, config, LinuxMachine())
    path = context.run_dir / "supervisor.sock"
    if path.exists():
        thread = SupervisorThread(Supervisord(path), service.decide)
        context.on_stop(thread.stop)
        thread.start()
