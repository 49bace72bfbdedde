"""The dispenser on the bus."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Literal

from bus.base import Bus, Timer
from bus.codec import Request
from bus.errors import Unavailable
from bus.events import robot_event, timestamp, utc_now
from bus.messages import DispenserState, Fault
from bus.runner import Context
from bus.topics import COMMAND_TOPICS, DISPENSER_STATE, EVENTS, FAULTS
from contract.commands import Dispensed, Led, Nothing
from contract.errors import ContractError
from contract.models import TreatEvent
from hardware.config import CarouselConfig, HardwareConfig, hardware_config
from hardware.errors import HardwareError
from hardware.link import Link, in_thread
from processes.dispenser.config import DispenserConfig, LedConfig
from processes.dispenser.driver import Hopper, NoWatcher, Watcher, open_hopper
from processes.dispenser.lights import Lights
from processes.dispenser.logic import JAM_MESSAGE, Action, Carousel, Count, Finish, Kind, Phase, Turn
from processes.dispenser.store import Deed, TreatStore
from processes.dispenser.witness import Witness, lock_count, store_path

log = logging.getLogger(__name__)

TICK_S = 0.01
STATE_S = 1.0
CHECK_PINS_S = 0.5
TELL_RECOVERED_S = 2.0
"""Those who want to hear of a treat that a killed predecessor gave have to be there first."""


class DispenserService:
    """Wires the carousel's logic and the lights to the bus, the pins and the disk.

    Args:
        open_devices: opens the `Hopper`; may block. Its beam calls `on_break`.
        wall_clock: what people read.
        beside: runs what may block beside the loop.
    """

    def __init__(
        self,
        bus: Bus,
        config: DispenserConfig,
        led: LedConfig,
        hardware: HardwareConfig,
        store: TreatStore,
        open_devices: Callable[[Callable[[int], None]], Hopper],
        wall_clock: Callable[[], datetime] = utc_now,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus = bus
        self._store = store
        self._wall_clock = wall_clock
        self._beam_fitted = hardware.beam.fitted
        self._servo: CarouselConfig = hardware.carousel
        self._carousel = Carousel(config, beam_fitted=hardware.beam.fitted)
        self._deed: Deed | None = None
        self._answer: Future[Any] = Future()
        self._ticks: Timer | None = None
        self._jam_told = False
        self._link: Link[Hopper] = Link(
            lambda: open_devices(self._on_break), bus.call_soon, bus.call_later, self._pins_up, self._pins_down, beside
        )
        self._lights = Lights(bus, hardware.leds.pixels, led.frame_hz, self._link.lost)
        self._lights.show(Led(pattern=led.start))
        self._recover()
        bus.serve(COMMAND_TOPICS["treat"], self._treat)
        bus.serve(COMMAND_TOPICS["carousel_rotate"], self._rotate)
        bus.serve(COMMAND_TOPICS["led"], self._led)
        bus.every(STATE_S, self._publish_state)
        bus.every(CHECK_PINS_S, self._link.check)
        self._publish_state()
        self._link.open()

    def close(self) -> None:
        """The carousel stopped, the pixels dark, the pins given back. A deed under way is left to the witness."""
        if self._deed is not None:
            self._rest()
            self._answer.set_exception(Unavailable("The dispenser is stopping."))
        self._lights.attach(None, None)
        self._link.close()

    # -- commands ---------------------------------------------------------------------------------

    def _treat(self, request: Request[Any]) -> Future[Any] | Dispensed:
        done = self._store.find(request.id)
        if done is not None and done.confirmed is not None and done.remaining is not None:
            return Dispensed(done.remaining, done.confirmed)
        return self._start("treat", request.id)

    def _rotate(self, request: Request[Any]) -> Future[Any] | None:
        done = self._store.find(request.id)
        if done is not None and done.confirmed is not None:
            return None
        return self._start("rotate", request.id)

    def _led(self, request: Request[Any]) -> None:
        self._devices()
        self._lights.show(request.body)
        self._devices()
        self._publish_state()

    def _start(self, kind: Kind, request_id: str | None) -> Future[Any]:
        actions = self._carousel.on_start(
            kind, self._bus.now(), remaining=self._store.remaining, beam_broken=self._is_beam_broken()
        )
        answer: Future[Any] = Future()
        self._answer = answer
        try:
            self._deed = self._store.begin(request_id, kind, self._timestamp())
            self._devices().witness.turning(True)
        except (sqlite3.Error, HardwareError) as error:
            self._broken(error)
            return answer
        self._ticks = self._bus.every(TICK_S, self._tick)
        self._do(actions)
        self._publish_state()
        return answer

    def _is_beam_broken(self) -> bool:
        try:
            return self._devices().beam.broken()
        except HardwareError as error:
            self._link.lost(error)
            raise Unavailable(f"The dispenser cannot be reached: {error}.") from error

    def _devices(self) -> Hopper:
        if self._link.devices is None:
            raise Unavailable(f"The dispenser cannot be reached: {self._link.trouble}.")
        return self._link.devices

    # -- a deed -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._do(self._carousel.on_tick(self._bus.now()))

    def _on_break(self, at_us: int) -> None:
        """From the pins' thread."""
        self._bus.call_soon(lambda: self._beam_broken(at_us))

    def _beam_broken(self, at_us: int) -> None:
        actions = self._carousel.on_beam(self._bus.now())
        if not actions:
            self._bus.counters["dispenser.beam_broken_at_rest"] += 1
        self._do(actions, at_us)

    def _do(self, actions: list[Action], at_us: int = 0) -> None:
        try:
            for action in actions:
                self._do_one(action, at_us)
        except (sqlite3.Error, HardwareError) as error:
            self._broken(error)

    def _do_one(self, action: Action, at_us: int) -> None:
        match action:
            case Turn.FORWARD:
                self._devices().carousel.set_us(self._servo.turn_us)
            case Turn.BACK:
                self._devices().carousel.set_us(self._servo.reverse_us)
            case Turn.STOP:
                self._devices().carousel.release()
            case Count():
                assert self._deed is not None
                self._store.count(self._deed, at_us, self._timestamp())
            case Finish(given):
                self._finish(given)

    def _finish(self, given: bool) -> None:
        deed = self._deed
        assert deed is not None
        if given:
            deed = self._store.finish(deed, confirmed=self._beam_fitted)
        else:
            self._store.forget(deed)
        self._rest()
        if deed.drops:
            self._tell_treat(deed)
        if deed.kind == "treat":
            self._tell_jam(self._carousel.jammed)
        self._publish_state()
        if not given:
            self._answer.set_exception(ContractError("TREAT_JAM", JAM_MESSAGE))
        elif deed.kind == "treat":
            self._answer.set_result(Dispensed(self._store.remaining, bool(deed.confirmed)))
        else:
            self._answer.set_result(Nothing())
        self._devices().witness.turning(False)  # last: it may fail, and the deed is done

    def _rest(self) -> None:
        self._deed = None
        if self._ticks is not None:
            self._ticks.cancel()
            self._ticks = None

    def _broken(self, error: sqlite3.Error | HardwareError) -> None:
        """A deed cannot go on."""
        if isinstance(error, HardwareError):
            self._link.lost(error)
        else:
            self._bus.counters["dispenser.disk_errors"] += 1
            log.error("the count cannot be written: %s", error)
            self._fail(ContractError("INTERNAL_ERROR", f"The count of treats cannot be written: {error}."))

    def _fail(self, error: ContractError) -> None:
        self._carousel.on_failure()
        self._rest()
        if not self._answer.done():
            self._answer.set_exception(error)
        if self._link.devices is not None:
            try:
                self._link.devices.carousel.release()
                self._link.devices.witness.turning(False)
            except HardwareError as again:
                self._link.lost(again)
        self._recover()
        self._publish_state()

    def _recover(self) -> None:
        """Close the accounts of deeds that were cut off, by a crash or a failure, as far as is known of them."""
        try:
            while (deed := self._store.unfinished()) is not None:
                self._settle_cut_off(deed)
        except sqlite3.Error as error:
            self._bus.counters["dispenser.disk_errors"] += 1
            log.error("the count cannot be read or written: %s", error)

    def _settle_cut_off(self, deed: Deed) -> None:
        if deed.kind == "treat" and not self._beam_fitted and not deed.drops:
            self._store.count(deed, 0, self._timestamp())  # it may have fallen: better one less than one twice
        elif not deed.drops:
            self._store.forget(deed)
            log.warning("a turn of the carousel was cut off; nothing had fallen")
            return
        finished = self._store.finish(deed, confirmed=self._beam_fitted)
        log.warning("a turn of the carousel was cut off; it gave %d", finished.drops)
        self._bus.call_later(TELL_RECOVERED_S, lambda: self._tell_treat(finished))

    # -- the pins ---------------------------------------------------------------------------------

    def _pins_up(self, hopper: Hopper) -> None:
        self._lights.attach(hopper.pixels, hopper.tube)

    def _pins_down(self, error: HardwareError) -> None:
        self._lights.attach(None, None)
        if self._deed is not None:
            self._fail(Unavailable(f"The dispenser failed in the middle of it: {error}."))

    # -- telling ----------------------------------------------------------------------------------

    def _timestamp(self) -> str:
        return timestamp(self._wall_clock())

    def _tell_treat(self, deed: Deed) -> None:
        assert deed.remaining is not None
        data = TreatEvent(dispensed=True, remaining=deed.remaining, confirmed=bool(deed.confirmed))
        self._bus.publish(EVENTS["dispenser"], robot_event("treat", data, self._wall_clock()))

    def _tell_jam(self, jammed: bool) -> None:
        if jammed != self._jam_told:
            message = JAM_MESSAGE if jammed else "The carousel gives treats again."
            fault = Fault("TREAT_JAM", message, "error" if jammed else "info", jammed)
            self._bus.publish(FAULTS["dispenser"], fault)
        self._jam_told = jammed

    def _publish_state(self) -> None:
        phase: Literal["idle", "turning", "jammed"] = "turning"
        if self._carousel.phase is Phase.IDLE:
            phase = "jammed" if self._carousel.jammed else "idle"
        state = DispenserState(self._store.remaining, phase, self._store.last_treat_time, self._lights.shown)
        self._bus.publish(DISPENSER_STATE, state)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    BusError: another dispenser counts in the same data directory.
    """
    hardware = hardware_config(context.config)
    config = context.section("dispenser", DispenserConfig)
    lock = lock_count(context.data_dir)
    context.on_stop(lock.close)
    store = TreatStore(store_path(context.data_dir), config.capacity, config.same_treat_ms)
    context.on_stop(store.close)

    def start_witness() -> Watcher:
        # With lgpio the beam's line has one owner only, and no pulse outlives its process.
        return NoWatcher() if hardware.pins.factory == "lgpio" else Witness(context.config, context.data_dir, lock)

    service = DispenserService(
        context.bus,
        config,
        context.section("led", LedConfig),
        hardware,
        store,
        lambda on_break: open_hopper(hardware, on_break, start_witness),
    )
    context.on_stop(service.close)
