"""Motion on the bus."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bus.base import Bus
from bus.codec import Message, Request
from bus.messages import BatteryState, Beat, Fault, Heartbeat, MotionState, Origin, SessionEnd, Source
from bus.runner import Context
from bus.topics import (
    BATTERY_STATE,
    COMMAND_TOPICS,
    DRIVER_GONE,
    FAULTS,
    GUARD_BEAT,
    HEARTBEATS,
    MOTION_BEAT,
    MOTION_STATE,
)
from contract.commands import Driven, Motor, Pointed, Servo
from contract.errors import ContractError
from hardware.config import ServosConfig, hardware_config
from hardware.errors import HardwareError
from hardware.link import AT_ONCE_S, Link, in_thread
from hardware.priority import go_first
from hardware.servo import ServoDriver
from processes.motion.config import MotionConfig
from processes.motion.driver import Doors, Drive, Head, HeadFile, LatchFile, PidfdDoors, open_drive, open_head
from processes.motion.head import Axis, Release
from processes.motion.logic import ZERO, Arbiter, Lease, Speeds

log = logging.getLogger(__name__)

DOORS: Mapping[str, Source] = {"local_api": "lan", "webrtc": "datachannel", "cloudlink": "cloud"}
"""The processes by which commands come in, and what they say where those come from."""

BEAT_S = 0.05
STATE_AT_REST_S = 0.2
CHECK_PINS_S = 0.5
SHORTEST_WAIT_S = 0.001
TELL_FAULT_AFTER_S = 1.0
"""A fault that is over sooner, such as a restart of guard, is not worth an event."""


class MotionService:
    """Wires the arbiter and the head to the bus and the pins.

    Args:
        open_drive: opens the motors; may block.
        open_head: opens pan and tilt; may block.
        doors: knows when a process ends by which commands come in.
        latch: where the emergency stop is kept.
        head_file: where it is kept where the head looks.
        beside: runs what may block beside the loop.
    """

    def __init__(
        self,
        bus: Bus,
        config: MotionConfig,
        servos: ServosConfig,
        open_drive: Callable[[], Drive],
        open_head: Callable[[], Head],
        doors: Doors,
        latch: LatchFile,
        head_file: HeadFile,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus = bus
        self._latch = latch
        self._head_file = head_file
        self._beside = beside
        self.arbiter = Arbiter(config, emergency=latch.is_set())
        self._head_lease = Lease(config.deadman_s)
        head = config.head
        pan_deg, tilt_deg = self._kept_head()
        self.pan = Axis(servos.pan.limit_deg, head.pan_deg_per_s, head.ease_s, head.release_after_s, pan_deg)
        self.tilt = Axis(servos.tilt.limit_deg, head.tilt_deg_per_s, head.ease_s, head.release_after_s, tilt_deg)
        self._doors = doors
        self._link: Link[Drive] = Link(
            open_drive, bus.call_soon, bus.call_later, self._drive_up, self._drive_down, beside, AT_ONCE_S
        )
        self._head_link: Link[Head] = Link(
            open_head, bus.call_soon, bus.call_later, self._head_up, self._head_down, beside
        )
        self._asked = self._applied = ZERO
        self._deadline_watched = False
        self._beat_due_s = bus.now()
        self._state: MotionState | None = None
        self._state_s = float("-inf")
        self._fault_since_s: float | None = None
        self._fault_told: str | None = None
        for command, handler in (
            ("motor", self._motor),
            ("servo", self._servo),
            ("servo_center", self._servo_center),
            ("stop", self._stop),
            ("emergency_stop", self._emergency_stop),
            ("release", self._release),
        ):
            bus.serve(COMMAND_TOPICS[command], handler)
        bus.serve(DRIVER_GONE, self._driver_gone)
        bus.subscribe(GUARD_BEAT, self._guard_beat)
        bus.subscribe(BATTERY_STATE, self._battery)
        bus.every(1 / config.tick_hz, self._tick)
        for name in DOORS:
            bus.subscribe(HEARTBEATS[name], partial(self._door_beat, name))
        bus.every(CHECK_PINS_S, self._check_pins)
        self._link.open()
        self._head_link.open()

    def close(self) -> None:
        """The motors to zero, the pins given back."""
        self.arbiter.on_pins("motion is stopping")
        self._link.close()
        self._head_link.close()

    # -- commands ---------------------------------------------------------------------------------

    def _motor(self, request: Request[Any]) -> Driven:
        body: Motor = request.body
        now = self._bus.now()
        try:
            self.arbiter.on_motor(_origin(request), body.left, body.right, request.sent_ns / 1e9, now)
        finally:  # whoever is refused may have been the one who noticed that time is up
            self._apply(self.arbiter.speeds)
        self._refuse_without_pins()
        self._watch_deadline(now)
        return Driven(*self._applied)

    def _stop(self, request: Request[Any]) -> None:
        self.arbiter.on_stop(request.sent_ns / 1e9)
        self._cut()

    def _emergency_stop(self, request: Request[Any]) -> None:
        self.arbiter.on_emergency_stop(request.sent_ns / 1e9)
        self.pan.on_hold()
        self.tilt.on_hold()
        try:
            self._cut()
        finally:
            self._keep_latch()

    def _release(self, request: Request[Any]) -> None:
        self.arbiter.on_release(request.sent_ns / 1e9)
        self._keep_latch()

    def _driver_gone(self, request: Request[SessionEnd]) -> None:
        self.arbiter.on_driver_gone(request.body.origin, request.sent_ns / 1e9)
        self._apply(self.arbiter.speeds)

    def _servo(self, request: Request[Any]) -> Pointed:
        body: Servo = request.body
        return self._point(request, body.pan, body.tilt)

    def _servo_center(self, request: Request[Any]) -> Pointed:
        return self._point(request, 0.0, 0.0)

    def _point(self, request: Request[Any], pan: float | None, tilt: float | None) -> Pointed:
        now = self._bus.now()
        self.arbiter.refuse_when_stopped()
        self._refuse_without_head()
        self._head_lease.take(_origin(request), request.sent_ns / 1e9, now)
        if pan is not None:
            self.pan.on_target(pan, now)
        if tilt is not None:
            self.tilt.on_target(tilt, now)
        self._turn_head(now)
        self._refuse_without_head()
        return Pointed(self.pan.target_deg, self.tilt.target_deg)

    def _refuse_without_pins(self) -> None:
        if self._link.devices is None:
            raise ContractError("MOTOR_FAULT", f"The motors cannot be reached: {self._link.trouble}.")

    def _refuse_without_head(self) -> None:
        if self._head_link.devices is None:
            raise ContractError("MOTOR_FAULT", f"Pan and tilt cannot be reached: {self._head_link.trouble}.")

    # -- the loop ---------------------------------------------------------------------------------

    def _guard_beat(self, message: Message[Beat]) -> None:
        self.arbiter.on_guard_beat(message.sent_ns / 1e9)

    def _door_beat(self, name: str, message: Message[Heartbeat]) -> None:
        self._doors.follow(name, message.value.pid)

    def _battery(self, message: Message[BatteryState]) -> None:
        self.arbiter.on_battery(message.value.critical)
        self._apply(self.arbiter.speeds)

    def _tick(self) -> None:
        now = self._bus.now()
        for name in self._doors.ended():
            log.warning("%s has ended: whoever drove by it is gone", name)
            self.arbiter.on_source_gone(DOORS[name], now)
        self._apply(self.arbiter.on_tick(now))
        self._turn_head(now)
        if now >= self._beat_due_s:  # last, so that a loop which fails above is a silent one to guard
            self._beat_due_s = max(self._beat_due_s + BEAT_S, now)
            self._bus.publish(MOTION_BEAT, Beat(os.getpid()))
            self._publish_state(now)
            self._tell_fault(now)

    def _watch_deadline(self, now: float) -> None:
        """Wake up when the driver's time is over, not only with the next tick."""
        due_s = self.arbiter.deadline(now)
        if due_s is not None and not self._deadline_watched:
            self._deadline_watched = True
            self._bus.call_later(max(due_s - now, SHORTEST_WAIT_S), self._deadline_reached)

    def _deadline_reached(self) -> None:
        now = self._bus.now()
        self._deadline_watched = False
        self._apply(self.arbiter.on_tick(now))
        self._watch_deadline(now)

    def _apply(self, speeds: Speeds) -> None:
        """Write the pins, if they do not hold these speeds already."""
        if speeds != self._asked:
            self._write(speeds)

    def _cut(self) -> None:
        """Zero, written whatever is there.

        Raises:
            ContractError: MOTOR_FAULT: it could not be written.
        """
        self._write(ZERO)
        self._refuse_without_pins()

    def _write(self, speeds: Speeds) -> None:
        drive = self._link.devices
        if drive is None:
            self._asked = self._applied = ZERO
            return
        try:
            if speeds == ZERO:
                drive.motors.stop()
                self._applied = ZERO
            else:
                self._applied = Speeds(*drive.motors.set(*speeds))
            self._asked = speeds
        except HardwareError as error:
            self._link.lost(error)

    def _turn_head(self, now: float) -> None:
        head = self._head_link.devices
        if head is None:
            return
        before = (self.pan.position_deg, self.tilt.position_deg)
        try:
            _turn(head.pan, self.pan.on_tick(now))
            _turn(head.tilt, self.tilt.on_tick(now))
        except HardwareError as error:
            self._head_link.lost(error)
        if before != (self.pan.position_deg, self.tilt.position_deg):
            self._keep_head()

    def _kept_head(self) -> tuple[float, float]:
        try:
            return self._head_file.read()
        except OSError as error:
            self._head_not_kept(error)
            return (0.0, 0.0)

    def _keep_head(self) -> None:
        try:
            self._head_file.write(self.pan.position_deg, self.tilt.position_deg)
        except OSError as error:
            self._head_not_kept(error)

    def _head_not_kept(self, error: OSError) -> None:
        if not self._bus.counters["motion.head_not_kept"]:  # said once, not fifty times a second
            log.error("where the head looks is not kept on disk, and it may jump after a restart: %s", error)
        self._bus.counters["motion.head_not_kept"] += 1

    # -- the pins ---------------------------------------------------------------------------------

    def _check_pins(self) -> None:
        self._link.check()
        self._head_link.check()

    def _head_up(self, _: Head) -> None:
        """The head gets its pulses with the next tick, from where it was left."""

    def _head_down(self, _: HardwareError) -> None:
        """Nothing turns it meanwhile; it is told with the motors' faults."""

    def _drive_up(self, _: Drive) -> None:
        self.arbiter.on_pins(None)
        self._write(ZERO)

    def _drive_down(self, error: HardwareError) -> None:
        self.arbiter.on_pins(str(error))
        self._asked = self._applied = ZERO

    # -- telling ----------------------------------------------------------------------------------

    def _publish_state(self, now: float) -> None:
        state = MotionState(
            left=self._applied.left,
            right=self._applied.right,
            pan_deg=self.pan.position_deg,
            tilt_deg=self.tilt.position_deg,
            emergency=self.arbiter.emergency,
            driver=self.arbiter.driver(now),
            fault=self.arbiter.fault(now),
        )
        if state != self._state or now - self._state_s >= STATE_AT_REST_S - BEAT_S / 2:
            self._state, self._state_s = state, now
            self._bus.publish(MOTION_STATE, state)

    def _tell_fault(self, now: float) -> None:
        fault = self.arbiter.fault(now)
        if fault is None and self._head_link.trouble is not None:
            fault = f"Pan and tilt cannot be reached: {self._head_link.trouble}."
        if fault is None:
            self._fault_since_s = None
            if self._fault_told is not None:
                self._bus.publish(
                    FAULTS["motion"], Fault("MOTOR_FAULT", "Motors and head can be moved.", "info", False)
                )
            self._fault_told = None
            return
        if self._fault_since_s is None:
            self._fault_since_s = now
        if fault != self._fault_told and now - self._fault_since_s >= TELL_FAULT_AFTER_S:
            self._bus.publish(FAULTS["motion"], Fault("MOTOR_FAULT", fault, "error"))
            self._fault_told = fault

    def _keep_latch(self) -> None:
        """Keep the latch, once the pins are at zero. Only the syncing may take long, so that goes beside the loop."""
        if self.arbiter.emergency == self._latch.is_set():
            return
        self._on_disk(lambda: self._latch.put(self.arbiter.emergency))
        self._beside(lambda: self._on_disk(self._latch.sync))

    def _on_disk(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            self._bus.counters["motion.latch_not_kept"] += 1
            log.error("the emergency stop could not be kept on disk: %s", error)


def _turn(servo: ServoDriver, step: float | Release | None) -> None:
    if isinstance(step, Release):
        servo.release()
    elif step is not None:
        servo.set_deg(step)


def _origin(request: Request[Any]) -> Origin:
    """Who sent it; what comes from inside the robot ranks with missions."""
    return request.origin or Origin("mission", request.sender)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    """
    go_first()
    hardware = hardware_config(context.config)
    service = MotionService(
        context.bus,
        context.section("motion", MotionConfig),
        hardware.servos,
        lambda: open_drive(hardware),
        lambda: open_head(hardware),
        PidfdDoors(),
        LatchFile(context.data_dir / "emergency_stop"),
        HeadFile(context.data_dir / "head"),
    )
    context.on_stop(service.close)
