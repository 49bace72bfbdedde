"""Monitor on the bus: HEALTH, TELEMETRY, `get_status`, and `error` events; and whom supervisord is to restart."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from bus.base import Bus
from bus.codec import Message, Request
from bus.events import robot_event, utc_now
from bus.messages import Fault, Health, Heartbeat
from bus.runner import Context
from bus.topics import (
    BATTERY_STATE,
    COMMAND_TOPICS,
    EVENTS,
    FAULTS,
    HEALTH,
    HEARTBEATS,
    PROCESSES,
    TELEMETRY,
    TELEMETRY_HISTORY,
)
from contract.errors import ContractError
from contract.models import ErrorEvent, HistoryQuery, Status, Telemetry, TelemetryHistory, status_of
from hardware.config import BatteryConfig, PinsConfig
from hardware.errors import HardwareError
from processes.monitor.battery import Gauge
from processes.monitor.config import MonitorConfig
from processes.monitor.deadman import Deadman
from processes.monitor.driver import Supervisord, SupervisorThread
from processes.monitor.faults import FaultBook
from processes.monitor.history import STEP_S, History, Row, row_of
from processes.monitor.limits import Limits
from processes.monitor.logic import Action, Program, Record, Usage, Watchdog
from processes.monitor.machine import LinuxMachine, Machine, UsageMeter
from processes.monitor.sensors import AdcSensor, SensorThread, open_sensor
from processes.monitor.store import Store
from processes.monitor.telemetry import Surroundings

log = logging.getLogger(__name__)

TICK_S = 1.0
WATCH_S = 0.25
MEASURE_S = 2.0
OWN_LIMIT_S = 1.5
"""Monitor's own loop may stand still for so long. supervisord then needs up to a second to start another one, since
nobody wakes it: within 3 s altogether."""


class Meter(Protocol):
    """See `UsageMeter`."""

    def read(self, pids: Mapping[str, int]) -> dict[str, Usage]: ...


class Keeper(Protocol):
    """See `SupervisorThread`."""

    def poke(self) -> None: ...

    def works(self) -> bool: ...


class Records(Protocol):
    """See `Store`."""

    def load(self) -> dict[str, Record]: ...

    def save(self, records: Mapping[str, Record]) -> None: ...


class Minutes(Protocol):
    """See `History`."""

    def append(self, row: Row) -> None: ...

    def latest(self, minutes: int) -> TelemetryHistory: ...


class MonitorService:
    """Wires the watchdog, the fault book and the machine's sensors to the bus.

    Args:
        history: None where the disk has no room for it.
    """

    def __init__(
        self,
        bus: Bus,
        config: MonitorConfig,
        machine: Machine,
        meter: Meter,
        store: Records,
        battery: BatteryConfig,
        history: Minutes | None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._bus = bus
        self._machine = machine
        self._meter = meter
        self._store = store
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._watchdog = Watchdog(config, PROCESSES, bus.name, bus.now(), store.load())
        self._usages: dict[str, Usage] = {}
        self._measure_at = float("-inf")
        self._faults = FaultBook()
        self._limits = Limits(config)
        self._gauge = Gauge(battery)
        self._battery_fitted = battery.fitted
        self._surroundings = Surroundings(bus)
        self._history = history
        self._keeper: Keeper | None = None
        self._wind: Callable[[], None] = lambda: None
        for name in PROCESSES:
            bus.subscribe(HEARTBEATS[name], lambda message, name=name: self._heartbeat(name, message))  # type: ignore[misc]
            bus.subscribe(FAULTS[name], lambda message, name=name: self._fault(name, message.value))  # type: ignore[misc]
        bus.serve(COMMAND_TOPICS["get_status"], self._get_status)
        bus.serve(TELEMETRY_HISTORY, self._get_history)
        bus.every(STEP_S, self._keep_minute)
        bus.every(WATCH_S, self._watch)
        bus.every(TICK_S, self._tick)
        self._tick()

    def kept_by(self, keeper: Keeper, wind: Callable[[], None]) -> None:
        """Poke `keeper` when it should ask supervisord, and call `wind` for as long as it and the loop work."""
        self._keeper, self._wind = keeper, wind

    def on_battery(self, measured: float | HardwareError) -> None:
        """The battery's voltage, or why it is not known. On the bus's loop."""
        if isinstance(measured, HardwareError):
            self._bus.counters["monitor.battery_errors"] += 1
            return
        self._gauge.on_voltage(measured, self._surroundings.load(), self._bus.now())

    def decide(self, programs: dict[str, Program]) -> list[Action]:
        """What supervisord is to do, by its own word and the heartbeats. For one thread, which may be another one."""
        now = self._bus.now()
        if now >= self._measure_at:
            self._measure_at = now + MEASURE_S
            self._usages = self._meter.read({name: program.pid for name, program in programs.items() if program.pid})
        with self._lock:
            verdict = self._watchdog.on_programs(programs, now)
            records = self._watchdog.records()
        if verdict.faults:
            self._bus.call_soon(lambda: self._tell_all(verdict.faults))
        self._bus.counters["monitor.actions"] += len(verdict.actions)
        kept = self._keep(records)
        return [action for action in verdict.actions if kept or action.kind != "stop"]

    def _keep(self, records: dict[str, Record]) -> bool:
        """Whether the next monitor will know. Otherwise nothing may be stopped: it might stay so for ever."""
        try:
            self._store.save(records)
        except OSError as error:
            self._bus.counters["monitor.save_errors"] += 1
            log.error("what is held cannot be kept, so nothing is: %s", error)
            return False
        return True

    def _watch(self) -> None:
        with self._lock:
            ask = self._watchdog.on_tick(self._bus.now())
        if self._keeper is None:
            return
        if ask:
            self._keeper.poke()
        if self._keeper.works():
            self._wind()

    def _heartbeat(self, name: str, message: Message[Heartbeat]) -> None:
        with self._lock:
            anew = self._watchdog.on_heartbeat(name, message.value)
        if anew:
            self._faults.on_restart(name)

    def _fault(self, process: str, fault: Fault) -> None:
        if fault.active:
            with self._lock:
                self._watchdog.on_error(process, fault.message)
        self._tell(self._faults.on_fault(process, fault, self._bus.now()))
        self._bus.counters["monitor.faults_refused"] = self._faults.refused

    def _tell_all(self, faults: list[tuple[str, Fault]]) -> None:
        """What monitor found out about a process outlives that one's restart, and has a name of its own in the book."""
        for process, fault in faults:
            self._tell(self._faults.on_fault(f"{self._bus.name}:{process}", fault, self._bus.now()))

    def _tell(self, event: ErrorEvent | None) -> None:
        if event is not None:
            self._bus.publish(EVENTS[self._bus.name], robot_event("error", event, self._wall_clock()))

    def _tick(self) -> None:
        now = self._bus.now()
        with self._lock:
            processes = self._watchdog.health(now, self._usages)
        self._bus.publish(HEALTH, Health(processes))
        self._look_after(now)
        for event in self._faults.on_tick(now):
            self._tell(event)

    def _look_after(self, now: float) -> None:
        """Read the computer and the battery, say how they are, and what is wrong with them."""
        self._condition = self._machine.read()
        battery = self._gauge.reading(now)
        for fault in self._limits.on_battery(battery, now, fitted=self._battery_fitted):
            self._fault(self._bus.name, fault)
        self._bus.publish(BATTERY_STATE, self._limits.battery_state(battery))  # after it was judged
        for fault in self._limits.on_condition(self._condition, now):
            self._fault(self._bus.name, fault)
        self._bus.publish(TELEMETRY, self._telemetry())

    def _telemetry(self) -> Telemetry:
        """The computer as of the last tick, everything else as of now."""
        return self._surroundings.telemetry(self._condition, self._gauge.reading(self._bus.now()))

    def _get_status(self, request: Request[Any]) -> Status:
        return status_of(self._telemetry())

    def _get_history(self, request: Request[HistoryQuery]) -> TelemetryHistory:
        if self._history is None:
            raise ContractError("UNAVAILABLE", "No history is kept: the robot's disk has no room, as its log says.")
        return self._history.latest(request.body.minutes)

    def _keep_minute(self) -> None:
        if self._history is None:
            return
        try:
            self._history.append(row_of(self._telemetry(), self._wall_clock()))
        except OSError as error:
            self._bus.counters["monitor.history_errors"] += 1
            log.error("a minute of the history is not kept on disk: %s", error)


def build(context: Context) -> None:
    """Wire monitor to this machine and its supervisord."""
    config = context.section("monitor", MonitorConfig)
    battery, pins = context.section("battery", BatteryConfig), context.section("pins", PinsConfig)
    # Whatever started us is supervisord, or there is none, and then no records are made.
    store = Store(context.run_dir / "monitor.json", os.getppid())
    machine = LinuxMachine(context.data_dir)
    service = MonitorService(context.bus, config, machine, UsageMeter(), store, battery, _history(context))
    if battery.fitted:
        _measure(context, lambda: open_sensor(pins, battery), service)
    path = context.run_dir / "supervisor.sock"
    if not path.exists():
        log.info("there is no supervisord: nothing that hangs or crashes is restarted")
        return
    thread = SupervisorThread(Supervisord(path), service.decide)
    context.on_stop(thread.stop)
    thread.start()
    service.kept_by(thread, _deadman(context) if config.restart_hung else lambda: None)


def _history(context: Context) -> History | None:
    try:
        history = History(context.data_dir / "telemetry.ring")
    except OSError as error:
        log.error("no history of the telemetry is kept: %s", error)
        return None
    context.on_stop(history.close)
    return history


def _measure(context: Context, open_it: Callable[[], AdcSensor], service: MonitorService) -> None:
    """Have the battery read, in a thread, for as long as the process runs."""
    bus = context.bus
    sensor = SensorThread(open_it, lambda measured: bus.call_soon(lambda: service.on_battery(measured)))
    context.on_stop(sensor.stop)
    sensor.start()


def _deadman(context: Context) -> Callable[[], None]:
    """What winds up the deadman of this process, until the process stops."""
    try:
        deadman = Deadman(OWN_LIMIT_S)
    except OSError as error:
        log.warning("should monitor itself hang, nobody restarts it: %s", error)
        return lambda: None
    context.on_stop(deadman.disarm)
    return deadman.wind
