"""The battery's converter, behind a narrow Protocol, and the thread that asks it.

Monitor's own loop must not wait for a chip, nor for a pigpiod that hangs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hardware.ads1115 import Ads1115, battery_adc
from hardware.config import BatteryConfig, PinsConfig
from hardware.errors import HardwareError
from hardware.pins import Factory, abandon_factory, close_factory, pin_factory

log = logging.getLogger(__name__)

PERIOD_S = 0.5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0


class BatterySensor(Protocol):
    """What measures the battery."""

    def volts(self) -> float:
        """Between its poles. Raises HardwareError: it does not answer."""

    def close(self) -> None:
        """Raises HardwareError: it could not be given back."""

    def abandon(self) -> None:
        """Let go of a connection that may be dead; nothing is written."""


@dataclass
class AdcSensor:
    """The `BatterySensor` on I²C."""

    adc: Ads1115
    factor: float
    factory: Factory

    def volts(self) -> float:
        return self.adc.volts() * self.factor

    def close(self) -> None:
        self.adc.close()
        close_factory(self.factory)

    def abandon(self) -> None:
        abandon_factory(self.factory)


def open_sensor(pins: PinsConfig, config: BatteryConfig) -> AdcSensor:
    """Raises:
    HardwareError: the way to the chip is not there. Whether the chip is shows when it is asked.
    """
    factory = pin_factory(pins)
    try:
        return AdcSensor(battery_adc(config, factory), config.factor, factory)
    except HardwareError:
        abandon_factory(factory)
        raise


class SensorThread:
    """Reads the battery twice a second, and opens the sensor anew when it fails.

    Args:
        open_sensor: opens it; may block. Raises HardwareError.
        hear: told each reading in volts, or why there is none; in this thread.
    """

    def __init__(
        self,
        open_sensor: Callable[[], BatterySensor],
        hear: Callable[[float | HardwareError], None],
        period_s: float = PERIOD_S,
    ) -> None:
        self._open_sensor = open_sensor
        self._hear = hear
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="battery", daemon=True)
        self._trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and wait a moment for it: a sensor that hangs is not waited for."""
        self._stopping.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stopping.is_set():
            try:
                sensor = self._open_sensor()
            except HardwareError as error:
                self._failed(error)
            else:
                if self._read(sensor):
                    wait_s = FIRST_WAIT_S
            self._stopping.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _read(self, sensor: BatterySensor) -> bool:
        """Read it until it fails, or the thread is to end. Whether it ever answered."""
        answered = False
        try:
            while not self._stopping.is_set():
                volts = sensor.volts()
                if self._trouble is not None or not answered:
                    log.info("the battery is measured: %.2f V", volts)
                self._trouble, answered = None, True
                self._hear(volts)
                self._stopping.wait(self._period_s)
        except HardwareError as error:
            self._failed(error)
        self._give_back(sensor)
        return answered

    def _give_back(self, sensor: BatterySensor) -> None:
        try:
            sensor.close()
        except HardwareError as error:
            log.debug("the battery's sensor could not be given back: %s", error)
            sensor.abandon()

    def _failed(self, error: HardwareError) -> None:
        if self._trouble != str(error):
            log.warning("the battery is not measured: %s", error)
        self._trouble = str(error)
        self._hear(error)
