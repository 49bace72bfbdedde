"""The light patterns of the contract, as pure functions of time.

`frame(pattern, t_s, n)` is what `n` pixels show `t_s` seconds after the pattern began; `tube(pattern, t_s)` is the
brightness of the blue tube, 0–1. Colours are 0–255 before the strip's own brightness. One pixel is enough for each of
them: an RGB LED shows it.

No pixel, and not all of them together, flash more than three times within any second, which people with
photosensitive epilepsy would suffer from (WCAG 2.2, success criterion 2.3.1).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

from contract.units import LedPattern
from hardware.ws2812 import Rgb

OFF: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)
WARM: Rgb = (255, 170, 90)
BLUE: Rgb = (0, 90, 255)
CYAN: Rgb = (0, 200, 255)
RED: Rgb = (255, 0, 0)
AMBER: Rgb = (255, 140, 0)
PURPLE: Rgb = (160, 0, 255)

Frame = list[Rgb]

STEADY: frozenset[str] = frozenset({"solid", "off"})
"""Patterns that do not change: one frame is enough."""


def frame(pattern: LedPattern, t_s: float, n: int) -> Frame:
    """The colours of `n` pixels. n may be 0."""
    return _PATTERNS[pattern](t_s, n)


def tube(pattern: LedPattern, t_s: float) -> float:
    """The brightness of the tube, 0–1."""
    return _TUBES[pattern](t_s)


def _dim(colour: Rgb, level: float) -> Rgb:
    level = min(max(level, 0.0), 1.0)
    return (round(colour[0] * level), round(colour[1] * level), round(colour[2] * level))


def _swell(t_s: float, period_s: float) -> float:
    """0 → 1 → 0, smoothly."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * t_s / period_s)


def _blink(t_s: float, period_s: float) -> float:
    return float(t_s % period_s < period_s / 2)


def _short_flashes(t_s: float) -> float:
    """Two of them at the beginning of every second."""
    at_s = t_s % 1.0
    return float(at_s < 0.08 or 0.16 <= at_s < 0.24)


def _noise(*seeds: int) -> float:
    """0–1, the same for the same seeds."""
    mixed = 0x9E3779B9
    for seed in seeds:
        mixed = (mixed ^ (seed & 0xFFFFFFFF)) * 0x85EBCA6B & 0xFFFFFFFF
        mixed ^= mixed >> 13
    return mixed / 0xFFFFFFFF


def _hue(hue: float) -> Rgb:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 1.0, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue))


def _breathing(t_s: float, n: int) -> Frame:
    return [_dim(WARM, 0.05 + 0.95 * _swell(t_s, 4.0))] * n


def _rainbow(t_s: float, n: int) -> Frame:
    return [_hue(pixel / n + t_s / 4.0) for pixel in range(n)]


SPARK_S = 0.6
"""How long a spark of the celebration glows; the next one of that pixel follows."""


def _celebration(t_s: float, n: int) -> Frame:
    """Sparks of all colours, each pixel's in a time of its own, so that the strip as a whole does not flash."""
    return [_spark(t_s / SPARK_S + _noise(pixel, 3), pixel) for pixel in range(n)]


def _spark(age: float, pixel: int) -> Rgb:
    """`age` counts the sparks of this pixel; its fraction is how far the present one has burnt down."""
    nth = math.floor(age)
    return _dim(_hue(_noise(nth, pixel, 1)), (1.0 - age % 1.0) ** 2)


def _searching(t_s: float, n: int) -> Frame:
    """A light that sweeps to and fro."""
    sweep = _swell(t_s, 2.4) * max(n - 1, 1)
    width = max(n / 16, 1.0)
    return [_dim(CYAN, 1.0 - abs(pixel - sweep) / width) for pixel in range(n)]


def _alert(t_s: float, n: int) -> Frame:
    return [_dim(RED, _blink(t_s, 0.4))] * n


def _idle(t_s: float, n: int) -> Frame:
    return [_dim(BLUE, 0.06 + 0.14 * _swell(t_s, 6.0))] * n


def _pulse(t_s: float, n: int) -> Frame:
    """A beat that fades away."""
    return [_dim(PURPLE, math.exp(-4.0 * (t_s % 1.0)))] * n


def _solid(t_s: float, n: int) -> Frame:
    return [WHITE] * n


def _chase(t_s: float, n: int) -> Frame:
    """Every eighth pixel, running, with a tail. The next rises as a tail fades: the strip stays as bright."""
    behind = [(t_s * 20.0 - pixel) % 8.0 for pixel in range(n)]
    return [_dim(WHITE, max(1.0 - pixels / 3.0, pixels - 7.0)) for pixels in behind]


def _fire(t_s: float, n: int) -> Frame:
    """Flames: every pixel glides from one heat to the next, five times a second."""
    flicker, glided = divmod(t_s * 5, 1.0)
    heats = [
        0.35 + 0.65 * ((1 - glided) * _noise(int(flicker), pixel) + glided * _noise(int(flicker) + 1, pixel))
        for pixel in range(n)
    ]
    return [_dim((255, round(130 * heat * heat), round(20 * heat**4)), heat) for heat in heats]


def _warning(t_s: float, n: int) -> Frame:
    """Amber, the two halves in turn."""
    first = _blink(t_s, 1.0)
    return [_dim(AMBER, first if 2 * pixel < n else 1.0 - first) for pixel in range(n)]


def _attention(t_s: float, n: int) -> Frame:
    """Two short flashes a second."""
    return [_dim(WHITE, _short_flashes(t_s))] * n


def _off(t_s: float, n: int) -> Frame:
    return [OFF] * n


_PATTERNS: dict[LedPattern, Callable[[float, int], Frame]] = {
    "breathing": _breathing,
    "rainbow": _rainbow,
    "celebration": _celebration,
    "searching": _searching,
    "alert": _alert,
    "idle": _idle,
    "pulse": _pulse,
    "solid": _solid,
    "chase": _chase,
    "fire": _fire,
    "warning": _warning,
    "attention": _attention,
    "off": _off,
}

_TUBES: dict[LedPattern, Callable[[float], float]] = {
    "breathing": lambda t_s: _swell(t_s, 4.0),
    "rainbow": lambda t_s: 0.5,
    "celebration": lambda t_s: _swell(t_s, 0.8),
    "searching": lambda t_s: 0.2 + 0.6 * _swell(t_s, 2.4),
    "alert": lambda t_s: 1.0 - _blink(t_s, 0.4),
    "idle": lambda t_s: 0.15,
    "pulse": lambda t_s: math.exp(-4.0 * (t_s % 1.0)),
    "solid": lambda t_s: 1.0,
    "chase": lambda t_s: 0.5,
    "fire": lambda t_s: 0.0,
    "warning": lambda t_s: _blink(t_s, 1.0),
    "attention": _short_flashes,
    "off": lambda t_s: 0.0,
}
