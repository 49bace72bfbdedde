from __future__ import annotations

import struct

import gpiozero
import pigpio
import pytest

from hardware.errors import HardwareError, hardware_errors


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (gpiozero.PinInvalidState("invalid state"), "invalid state"),
        (pigpio.error("GPIO is not in use for PWM"), "GPIO is not in use for PWM"),
        (struct.error("unpack requires a buffer of 16 bytes"), "the pigpio daemon closed the connection"),
        (TimeoutError("timed out"), "the pigpio daemon did not answer in time"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_the_libraries_errors_become_one(error: Exception, reason: str) -> None:
    with pytest.raises(HardwareError, match=f"could not drive the motors: .*{reason}") as caught:
        with hardware_errors("drive the motors"):
            raise error

    assert caught.value.__cause__ is error


def test_a_programming_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), hardware_errors("drive the motors"):
        _ = 1 / 0
