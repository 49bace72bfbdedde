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
from bus.errors import BusError, Unavailable
from bus.events import robot_event, utc_now
from bus.messages import DispenserState, Fault
from bus.runner import Context
from bus.topics import COMMAND_TOPICS, DISPENSER_STATE, EVENTS, FAULTS
from contract.commands import Dispensed, Led, Nothing, Refilled
from contract.errors import ContractError
from contract.models import TreatEvent
from hardware.config import CarouselConfig, HardwareConfig, hardware_config
from hardware.errors import HardwareError
from hardware.link import Link, in_thread
from processes.dispenser.book import TreatBook, dispensed
from processes.dispenser.config import DispenserConfig, LedConfig
from processes.dispenser.driver import Hopper, NoWatcher, Watcher, open_hopper, outlives_its_process
from processes.dispenser.lights import Lights
from processes.dispenser.limits import Moment
from processes.dispenser.logic import JAM_MESSAGE, Action, Carousel, Count, Finish, Kind, Phase, Stock, Turn
from processes.dispenser.store import Deed, TreatStore, boot_id
from processes.dispenser.witness import Witness, lock_count, store_path

log = logging.getLogger(__name__)

TICK_S = 0.01
STATE_S = 1.0
CHECK_PINS_S = 0.5
TELL_RECOVERED_S = 2.0
"""Those who want to hear of a treat that a killed predecessor gave have to be there first."""

STOCK_FAULTS: tuple[tuple[str, tuple[Stock, ...], str], ...] = (
    ("TREATS_LOW", ("low", "empty"), "{remaining} treats are left: refill the carousel soon."),
    ("TREATS_EMPTY", ("empty",), "There are no treats left: refill the carousel."),
)
"""What is told of the stock, and while it is how; each begins with the first."""


class DispenserService:
    """Wires the carousel's logic and the lights to the bus, the pins and the disk.

    Args:
        open_devices: opens the `Hopper`; may block. Its beam calls `on_break`.
        wall_clock: what people read, and whose midnight ends a day of treats.
        boot: which boot of the machine it is; `bus.now` counts from its beginning.
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
        boot: str | None = None,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus = bus
        self._wall_clock = wall_clock
        self._boot = boot_id() if boot is None else boot
        self._daily_limit = config.daily_limit
        self._book = TreatBook(store, config, self._moment, beam_fitted=hardware.beam.fitted)
        self._servo: CarouselConfig = hardware.carousel
        self._carousel = Carousel(config, beam_fitted=hardware.beam.fitted)
        self._deed: Deed | None = None
        self._answer: Future[Any] = Future()
        self._ticks: Timer | None = None
        self._moved = False
        self._jam_told = self._heard = False
        self._disk_trouble: str | None = None
        self._link: Link[Hopper] = Link(
            lambda: open_devices(self._on_break), bus.call_soon, bus.call_later, self._pins_up, self._pins_down, beside
        )
        self._lights = Lights(bus, hardware.leds.pixels, led.frame_hz, self._link.lost)
        self._lights.show(Led(pattern=led.start))
        self._settle()
        bus.serve(COMMAND_TOPICS["treat"], self._treat)
        bus.serve(COMMAND_TOPICS["carousel_rotate"], self._rotate)
        bus.serve(COMMAND_TOPICS["treat_refill"], self._refill)
        bus.serve(COMMAND_TOPICS["led"], self._led)
        bus.every(STATE_S, self._each_second)
        bus.every(CHECK_PINS_S, self._check)
        bus.call_later(TELL_RECOVERED_S, self._listened_to)
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
        done = self._done(request.id, "treat")
        return self._start("treat", request.id) if done is None else dispensed(done)

    def _rotate(self, request: Request[Any]) -> Future[Any] | None:
        return self._start("rotate", request.id) if self._done(request.id, "rotate") is None else None

    def _refill(self, request: Request[Any]) -> Refilled:
        done = self._done(request.id, "refill")
        if done is not None and done.remaining is not None:
            return Refilled(done.remaining)
        if self._deed is not None:
            raise ContractError("BUSY", "The carousel is turning; tell how many there are when it has come to rest.")
        try:
            remaining = self._book.refill(request.id, request.body.count)
        except sqlite3.Error as error:
            raise self._disk_failed(error) from error
        self._publish_state()
        return Refilled(remaining)

    def _done(self, request_id: str | None, kind: str) -> Deed | None:
        """What came of that request; first the accounts are settled, where a disk that failed left some open."""
        if self._deed is None:
            self._settle()
            if self._disk_trouble is not None:
                raise ContractError("INTERNAL_ERROR", self._disk_trouble)
        try:
            return self._book.done(request_id, kind)
        except sqlite3.Error as error:
            raise self._disk_failed(error) from error

    def _led(self, request: Request[Any]) -> None:
        self._devices()
        self._lights.show(request.body)
        self._devices()
        self._publish_state()

    def _start(self, kind: Kind, request_id: str | None) -> Future[Any]:
        if kind == "treat" and self._deed is None and self._book.remaining > 0:
            self._book.check_limits()
        actions = self._carousel.on_start(
            kind, self._bus.now(), remaining=self._book.remaining, beam_broken=self._is_beam_broken()
        )
        answer: Future[Any] = Future()
        self._answer, self._moved = answer, False
        try:
            self._deed = self._book.begin(request_id, kind)
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
        waiting = list(actions)
        try:
            while waiting:
                self._do_one(waiting.pop(0), at_us)
        except (sqlite3.Error, HardwareError) as error:
            if Count(seen=True) in waiting:
                self._count(at_us)  # it fell, whatever else went wrong
            self._broken(error)

    def _do_one(self, action: Action, at_us: int) -> None:
        match action:
            case Turn.FORWARD:
                self._moved = True
                self._devices().carousel.set_us(self._servo.turn_us)
            case Turn.BACK:
                self._devices().carousel.set_us(self._servo.reverse_us)
            case Turn.STOP:
                self._devices().carousel.release()
            case Count():
                self._count(at_us)
            case Finish(given):
                self._finish(given)

    def _count(self, at_us: int) -> None:
        assert self._deed is not None
        try:
            self._book.count(self._deed, at_us)
        except sqlite3.Error as error:
            self._disk_failed(error)  # the deed goes on: the carousel has to stop, and more may be falling

    def _finish(self, given: bool) -> None:
        deed = self._deed
        assert deed is not None
        deed = self._book.finish(deed, given=given)
        self._rest()
        if deed.drops:
            self._tell_treat(deed)
        if deed.kind == "treat":
            self._tell_jam(self._carousel.jammed)
        self._publish_state()
        if not given:
            self._answer.set_exception(ContractError("TREAT_JAM", JAM_MESSAGE))
        elif deed.kind == "treat":
            self._answer.set_result(dispensed(deed))
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
            self._fail(self._disk_failed(error))

    def _fail(self, error: ContractError) -> None:
        self._carousel.on_failure()
        deed = self._deed
        self._rest()
        if not self._answer.done():
            self._answer.set_exception(error)
        if self._link.devices is not None:
            try:
                self._link.devices.carousel.release()
            except HardwareError as again:
                self._link.lost(again)
        self._settle(deed if not self._moved else None)
        self._publish_state()

    def _settle(self, never_moved: Deed | None = None) -> None:
        """Bring the book in order after a crash or a failure; a disk that fails is tried again each second."""
        try:
            if self._disk_trouble is not None:
                self._book.try_disk()
            if never_moved is not None:
                self._book.finish(never_moved, given=False)
            gave = self._book.settle()
        except sqlite3.Error as error:
            self._disk_failed(error)
            return  # the witness stays on watch: were this process killed, it would write down what it saw
        self._tell_disk(None)
        if self._link.devices is not None:
            try:
                self._link.devices.witness.turning(False)
            except HardwareError as error:
                self._link.lost(error)
        for deed in gave:
            self._bus.call_later(TELL_RECOVERED_S, lambda deed=deed: self._tell_treat(deed))  # type: ignore[misc]

    def _disk_failed(self, error: sqlite3.Error) -> ContractError:
        """Count, log and tell it, and return what to answer."""
        self._bus.counters["dispenser.disk_errors"] += 1
        message = f"The count of treats cannot be written: {error}. No treat is given until it can be."
        self._tell_disk(message)
        return ContractError("INTERNAL_ERROR", message)

    def _each_second(self) -> None:
        if self._deed is None:
            if self._disk_trouble is not None:
                self._settle()
            try:
                self._book.mind_the_clock()
            except sqlite3.Error as error:
                self._disk_failed(error)
        self._publish_state()

    # -- the pins ---------------------------------------------------------------------------------

    def _check(self) -> None:
        """Whether the pins answer and the witness lives; one that dies in a deed is replaced when that is over."""
        self._link.check()
        if self._deed is None and self._link.devices is not None:
            try:
                self._link.devices.witness.check()
            except HardwareError as error:
                self._link.lost(error)

    def _pins_up(self, hopper: Hopper) -> None:
        self._lights.attach(hopper.pixels, hopper.tube)

    def _pins_down(self, error: HardwareError) -> None:
        self._lights.attach(None, None)
        if self._deed is not None:
            self._fail(Unavailable(f"The dispenser failed in the middle of it: {error}."))

    # -- telling ----------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return Moment(self._boot, self._bus.now(), self._wall_clock().timestamp())

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

    def _tell_disk(self, message: str | None) -> None:
        before, self._disk_trouble = self._disk_trouble, message
        if message is not None and before is None:
            log.error("%s", message)
            self._bus.publish(FAULTS["dispenser"], Fault("TREAT_COUNT_FAULT", message, "error"))
        elif message is None and before is not None:
            text = "The count of treats is written again."
            self._bus.publish(FAULTS["dispenser"], Fault("TREAT_COUNT_FAULT", text, "info", active=False))

    def _listened_to(self) -> None:
        self._heard = True
        self._tell_stock()

    def _tell_stock(self) -> None:
        """Tell when the treats become few or none, once each, also over restarts."""
        change = self._book.stock_change() if self._heard and self._disk_trouble is None else None
        if change is None:
            return
        before, after = change
        for code, stocks, text in STOCK_FAULTS:
            ends, begins = before in stocks and after not in stocks, before not in stocks and after == stocks[0]
            if ends or begins:
                message = text.format(remaining=self._book.remaining)
                self._bus.publish(FAULTS["dispenser"], Fault(code, message, "warning", active=begins))
        try:
            self._book.stock_told(after)  # after it was told: twice is better than never
        except sqlite3.Error as error:
            self._disk_failed(error)

    def _publish_state(self) -> None:
        self._tell_stock()
        phase: Literal["idle", "turning", "jammed"] = "turning"
        if self._carousel.phase is Phase.IDLE:
            phase = "jammed" if self._carousel.jammed else "idle"
        state = DispenserState(
            remaining=self._book.remaining,
            phase=phase,
            last_treat_time=self._book.last_treat_time,
            led=self._lights.shown,
            treats_today=self._book.today(),
            daily_limit=self._daily_limit,
            cooldown_left_s=round(self._book.cooldown_left_s(), 3),
        )
        self._bus.publish(DISPENSER_STATE, state)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    BusError: another dispenser counts in the same data directory, or the count cannot be read or written.
    """
    hardware = hardware_config(context.config)
    config = context.section("dispenser", DispenserConfig)
    lock = lock_count(context.data_dir)
    context.on_stop(lock.close)
    path = store_path(context.data_dir)
    try:
        store = TreatStore(path, config.capacity, config.same_treat_ms)
    except sqlite3.Error as error:
        raise BusError(
            f"The count of treats in {path} cannot be opened: {error}. Make room on the disk, or make it writable; "
            "where the file is broken, move it away: the count then begins anew."
        ) from error
    context.on_stop(store.close)

    def start_witness() -> Watcher:
        return Witness(context.config, context.data_dir, lock) if outlives_its_process(hardware) else NoWatcher()

    service = DispenserService(
        context.bus,
        config,
        context.section("led", LedConfig),
        hardware,
        store,
        lambda on_break: open_hopper(hardware, on_break, start_witness),
    )
    context.on_stop(service.close)
