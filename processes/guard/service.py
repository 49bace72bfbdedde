"""Guard on the bus."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from bus.base import Bus
from bus.codec import Message
from bus.messages import Beat
from bus.runner import Context
from bus.topics import GUARD_BEAT, MOTION_BEAT
from hardware.config import hardware_config
from hardware.errors import HardwareError
from hardware.link import AT_ONCE_S, Link, in_thread
from hardware.priority import go_first
from processes.guard.config import GuardConfig
from processes.guard.driver import HeldConnection, MotionsPlace, MotorPins, Victim, victim
from processes.guard.logic import Watch

log = logging.getLogger(__name__)

BEAT_S = 0.05
CHECK_PINS_S = 0.5
MOTION_PROGRAM = "processes.motion"


class Place(Protocol):
    """Motion's place: see `MotionsPlace`."""

    def held(self) -> AbstractContextManager[bool]: ...


class GuardService:
    """Wires the watch to the bus, to motion's process and to the motor pins.

    Guard beats only while it could act: without its own way to the pins it is silent, and motion stops.

    Args:
        open_pins: opens guard's own way to the pins; may block.
        hold: a hold on the process of a pid, None when it is not motion.
        place: motion's place, taken while guard writes.
        beside: runs what may block beside the loop.
    """

    def __init__(
        self,
        bus: Bus,
        config: GuardConfig,
        open_pins: Callable[[], MotorPins],
        hold: Callable[[int], Victim | None],
        place: Place,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus = bus
        self._watch = Watch(config)
        self._hold = hold
        self._place = place
        self._victim: Victim | None = None
        self._link: Link[MotorPins] = Link(
            open_pins, bus.call_soon, bus.call_later, self._pins_up, self._pins_down, beside, AT_ONCE_S
        )
        self._beat_due_s = bus.now()
        bus.subscribe(MOTION_BEAT, self._motion_beat)
        bus.every(config.check_s, self._check)
        bus.every(CHECK_PINS_S, self._link.check)
        self._link.open()

    def close(self) -> None:
        self._link.close()

    def _motion_beat(self, message: Message[Beat]) -> None:
        if self._watch.on_beat(message.value.pid, message.sent_ns / 1e9, self._bus.now()):
            self._let_go()
            self._victim = self._hold(message.value.pid)
            if self._victim is None:
                self._bus.counters["guard.unknown_motion"] += 1
            log.info("following motion, pid %d", message.value.pid)

    def _check(self) -> None:
        now = self._bus.now()
        pid = self._watch.on_check(now, ended=self._victim is not None and self._victim.ended())
        if pid is not None:
            self._put_down(pid)
        if now >= self._beat_due_s and self._link.devices is not None:
            self._beat_due_s = max(self._beat_due_s + BEAT_S, now)
            self._bus.publish(GUARD_BEAT, Beat(os.getpid()))

    def _put_down(self, pid: int) -> None:
        if self._victim is not None:
            self._victim.kill()
        ended = self._victim is not None and self._victim.ended()
        self._zero(even_beside_motion=not ended)
        self._bus.counters["guard.takeovers"] += 1
        log.warning("motion (pid %d) ended or hung: the motors were brought to zero", pid)
        self._let_go()

    def _let_go(self) -> None:
        if self._victim is not None:
            self._victim.close()
            self._victim = None

    def _pins_up(self, _: MotorPins) -> None:
        """What an earlier owner left running ends here, unless a motion is there to see to it."""
        self._zero()

    def _pins_down(self, _: HardwareError) -> None:
        """Without pins guard does not beat, and so motion stops by itself."""

    def _zero(self, *, even_beside_motion: bool = False) -> None:
        """Zero the motors in motion's place; beside it only when it hangs and cannot be ended."""
        pins = self._link.devices
        if pins is None:
            log.error("guard cannot reach the pins (%s); it will zero them as soon as it can", self._link.trouble)
            return
        with self._place.held() as free:
            if not free and not even_beside_motion:
                log.info("a motion holds the motor pins: they began at zero with it")
                return
            try:
                pins.zero()
            except HardwareError as error:
                self._link.lost(error)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    """
    go_first()
    hardware = hardware_config(context.config)
    service = GuardService(
        context.bus,
        context.section("guard", GuardConfig),
        lambda: HeldConnection(hardware),
        lambda pid: victim(pid, MOTION_PROGRAM),
        MotionsPlace(context.run_dir),
    )
    context.on_stop(service.close)
