"""Holding devices open: in the background, with backoff, and never in the way of a process's loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hardware.errors import HardwareError
from hardware.pins import Factory, abandon_factory, connected, when_lost

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.2
AT_ONCE_S = 0.02
"""For motors: a daemon that hung up holds their last duty until the pins are opened anew."""
LONGEST_WAIT_S = 2.0


class Devices(Protocol):
    """All that one process holds of the machine, over one pin factory."""

    def check(self) -> None:
        """Raises:
        HardwareError: the pins no longer answer.
        """

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call, from any thread, when the way to the pins ends by itself; at once if it has."""

    def close(self) -> None:
        """Bring everything to rest and give it back.

        Raises:
            HardwareError: it could not be.
        """

    def abandon(self) -> None:
        """Let go of a connection that is dead; nothing is written."""


D = TypeVar("D", bound=Devices)


@dataclass
class OnPins:
    """What all `Devices` over a pin factory have in common."""

    factory: Factory

    def check(self) -> None:
        if not connected(self.factory):
            raise HardwareError("the pins no longer answer")

    def when_lost(self, call: Callable[[], None]) -> None:
        when_lost(self.factory, call)

    def abandon(self) -> None:
        abandon_factory(self.factory)


def in_thread(call: Callable[[], None]) -> None:
    """Run `call` beside the loop."""
    threading.Thread(target=call, name="link", daemon=True).start()


class Link(Generic[D]):
    """The devices of a process while they can be reached.

    Args:
        open_devices: opens them; may block. Raises HardwareError.
        call_soon: runs something on the process's loop, from any thread.
        call_later: the same, after some seconds.
        up: told, on the loop, about devices that were opened.
        down: told why there are none: they failed and are dropped already, or could not be opened.
        beside: runs what may block beside the loop.
        first_wait_s: before it is tried again for the first time; then twice as long each time.
    """

    def __init__(
        self,
        open_devices: Callable[[], D],
        call_soon: Callable[[Callable[[], None]], None],
        call_later: Callable[[float, Callable[[], None]], Any],
        up: Callable[[D], None],
        down: Callable[[HardwareError], None],
        beside: Callable[[Callable[[], None]], None] = in_thread,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self.devices: D | None = None
        self.trouble: str | None = "the pins were not reached yet"
        self._open_devices = open_devices
        self._call_soon = call_soon
        self._call_later = call_later
        self._up = up
        self._down = down
        self._beside = beside
        self._first_wait_s = self._wait_s = first_wait_s
        self._closed = False

    def open(self) -> None:
        """Begin to open the devices."""
        if not self._closed:
            self._beside(self._try)

    def lost(self, error: HardwareError) -> None:
        """They failed: what is left of them is dropped, and opening begins again. Once they are lost, no more."""
        devices, self.devices = self.devices, None
        if devices is None:
            return
        log.error("%s", error)
        devices.abandon()
        self.trouble = str(error)
        self._call_later(self._wait_s, self.open)
        self._down(error)

    def check(self) -> None:
        """Ask whether the devices still answer; when not, they are `lost`."""
        if self.devices is None:
            return
        try:
            self.devices.check()
        except HardwareError as error:
            self.lost(error)

    def close(self) -> None:
        """Give the devices back, for good."""
        self._closed = True
        devices, self.devices = self.devices, None
        if devices is None:
            return
        try:
            devices.close()
        except HardwareError as error:
            log.warning("%s", error)
            devices.abandon()

    def _try(self) -> None:
        try:
            devices = self._open_devices()
        except HardwareError as error:
            failure = error
            self._call_soon(lambda: self._failed(failure))
        except Exception as error:
            log.exception("opening the devices failed")
            bug = HardwareError(f"opening the devices failed: {error!r}")
            self._call_soon(lambda: self._failed(bug))
        else:
            self._call_soon(lambda: self._opened(devices))

    def _opened(self, devices: D) -> None:
        self.devices = devices
        if self._closed:
            self.close()
            return
        log.info("the pins are reached")
        self.trouble, self._wait_s = None, self._first_wait_s
        devices.when_lost(lambda: self._call_soon(self.check))
        self._up(devices)

    def _failed(self, error: HardwareError) -> None:
        if self.trouble != str(error):
            log.warning("%s; trying again", error)
        self.trouble = str(error)
        self._call_later(self._wait_s, self.open)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._down(error)
