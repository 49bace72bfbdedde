"""The one error of this package, and how the pin libraries' own errors become it."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pigpio
from gpiozero import GPIOZeroError


class HardwareError(Exception):
    """A device could not be reached, or refused what was asked.

    The connection behind it is not to be trusted any more: stop what moves, and start again with a new one.
    """


def _library_errors() -> tuple[type[BaseException], ...]:
    # pigpio's client unpacks whatever recv() gave it: a daemon that went away shows as struct.error.
    errors: tuple[type[BaseException], ...] = (GPIOZeroError, pigpio.error, struct.error, OSError)
    lgpio = sys.modules.get("lgpio")  # installed on a Pi only, loaded only when it is in use
    return errors if lgpio is None else (*errors, lgpio.error)


def _reason(error: BaseException) -> str:
    if isinstance(error, struct.error):
        return "the pigpio daemon closed the connection"
    if isinstance(error, TimeoutError):
        return "the pigpio daemon did not answer in time"
    return str(error) or type(error).__name__


@contextmanager
def hardware_errors(action: str) -> Iterator[None]:
    """Turn whatever gpiozero, pigpio or lgpio raise inside the block into a HardwareError.

    Args:
        action: what was being done, to complete "could not …".
    """
    try:
        yield
    except _library_errors() as error:
        raise HardwareError(f"could not {action}: {_reason(error)}") from error
