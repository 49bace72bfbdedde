"""Two DC motors behind an H-bridge."""

from __future__ import annotations

import math
from typing import Protocol

from gpiozero import DigitalOutputDevice, PWMOutputDevice

from hardware.config import MotorsConfig, WheelConfig, wheel_pins
from hardware.errors import hardware_errors
from hardware.pins import Factory, pull_low


class MotorDriver(Protocol):
    """Two motors. Speeds are −1…1 of full duty, positive forward."""

    def set(self, left: float, right: float) -> tuple[float, float]:
        """Drive, and return the duties really applied, after trim and clamp.

        Raises:
            ValueError: a speed is not a finite number; the motors were stopped.
            HardwareError: the pins could not be written; what they hold is unknown.
        """

    def stop(self) -> None:
        """Zero on both motors, written whatever was there before.

        Raises:
            HardwareError: the pins could not be written.
        """

    def close(self) -> None:
        """Stop, and give the pins back.

        Raises:
            HardwareError: the pins could not be written.
        """


_TRUNCATION_GUARD = 1e-9
"""gpiozero truncates a duty to its steps: 0.57 would come out as 0.5699, for want of a bit."""


def _set_share(device: PWMOutputDevice, duty: float) -> None:
    device.value = min(abs(duty) + _TRUNCATION_GUARD, 1.0) if duty else 0


class _Wheel(Protocol):
    def cut(self) -> None:
        """Take the power off, in as few writes as can be."""

    def drive(self, duty: float) -> None:
        """−1…1; a change of direction goes through zero."""

    def close(self) -> None: ...


class _InInEnableWheel:
    def __init__(self, wheel: WheelConfig, pwm_hz: int, factory: Factory) -> None:
        self._enable = PWMOutputDevice(wheel.enable, frequency=pwm_hz, pin_factory=factory)
        self._in1 = DigitalOutputDevice(wheel.in1, initial_value=False, pin_factory=factory)
        self._in2 = DigitalOutputDevice(wheel.in2, initial_value=False, pin_factory=factory)
        self._direction = 0

    def cut(self) -> None:
        self._enable.value = 0

    def drive(self, duty: float) -> None:
        direction = (duty > 0) - (duty < 0)
        if direction == 0 or direction != self._direction:
            self._direction = 0
            self.cut()
            self._in1.off()
            self._in2.off()  # both are low before either goes high
            if direction:
                (self._in1 if direction > 0 else self._in2).on()
            self._direction = direction
        _set_share(self._enable, duty)

    def close(self) -> None:
        for device in (self._enable, self._in1, self._in2):
            device.close()


class _DirPwmWheel:
    def __init__(self, wheel: WheelConfig, pwm_hz: int, factory: Factory) -> None:
        self._pwm = PWMOutputDevice(wheel.pwm, frequency=pwm_hz, pin_factory=factory)
        self._dir = DigitalOutputDevice(wheel.dir, initial_value=False, pin_factory=factory)
        self._forward: bool | None = None

    def cut(self) -> None:
        self._pwm.value = 0

    def drive(self, duty: float) -> None:
        forward = duty > 0
        if duty == 0 or forward != self._forward:
            self._forward = None
            self.cut()
            self._dir.value = forward
            self._forward = forward
        _set_share(self._pwm, duty)

    def close(self) -> None:
        for device in (self._pwm, self._dir):
            device.close()


class HBridgeMotors:
    """The `MotorDriver` on gpiozero's devices. The motors are at zero once it is constructed.

    Raises:
        HardwareError: the pins could not be taken.
    """

    def __init__(self, motors: MotorsConfig, factory: Factory) -> None:
        self._motors = motors
        kind = _InInEnableWheel if motors.driver == "in_in_enable" else _DirPwmWheel
        power = [wheel_pins(motors.driver, wheel)[-1] for wheel in (motors.left, motors.right)]
        with hardware_errors("take the motor pins"):
            pull_low(factory, power)  # whatever an earlier owner left running; taking the pins is some fifty writes
            self._left: _Wheel = kind(motors.left, motors.pwm_hz, factory)
            self._right: _Wheel = kind(motors.right, motors.pwm_hz, factory)

    def set(self, left: float, right: float) -> tuple[float, float]:
        if not (math.isfinite(left) and math.isfinite(right)):
            self.stop()
            raise ValueError(f"motor speeds are {left} and {right}: finite numbers from -1 to 1 are accepted")
        applied_left = self._applied(left, self._motors.left)
        applied_right = self._applied(right, self._motors.right)
        with hardware_errors("drive the motors"):
            self._left.drive(-applied_left if self._motors.left.inverted else applied_left)
            self._right.drive(-applied_right if self._motors.right.inverted else applied_right)
        return applied_left, applied_right

    def _applied(self, speed: float, wheel: WheelConfig) -> float:
        clamp = self._motors.clamp
        return min(max(speed * wheel.trim, -clamp), clamp)

    def stop(self) -> None:
        with hardware_errors("stop the motors"):
            self._left.cut()
            self._right.cut()
            self._left.drive(0.0)
            self._right.drive(0.0)

    def close(self) -> None:
        self.stop()
        with hardware_errors("give the motor pins back"):
            self._left.close()
            self._right.close()
