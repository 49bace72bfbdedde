"""The light patterns of the contract, as pure functions of time.

`frame(pattern, t_s, n)` is what `n` pixels show `t_s` seconds after the pattern began; `tube(pattern, t_s)` is the
brightness of the blue tube, 0–1. Colours are 0–255 before the strip's own brightness.
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


def _celebration(t_s: float, n: int) -> Frame:
    """Sparks of all colours, new ones twelve times a second."""
    beat = math.floor(t_s * 12)
    fade = 1.0 - t_s * 12 % 1.0 * 0.6
    return [_dim(_hue(_noise(beat, pixel, 1)), fade) if _noise(beat, pixel, 2) < 0.35 else OFF for pixel in range(n)]


def _searching(t_s: float, n: int) -> Frame:
    """A light that sweeps to and fro."""
    sweep = _swell(t_s, 2.4) * max(n - 1, 0)
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
    """Every eighth pixel, running, with a tail."""
    head = t_s * 20.0
    return [_dim(WHITE, 1.0 - ((head - pixel) % 8.0) / 3.0) for pixel in range(n)]


def _fire(t_s: float, n: int) -> Frame:
    """Flames, flickering fifteen times a second."""
    flicker = math.floor(t_s * 15)
    heats = [0.35 + 0.65 * _noise(flicker, pixel) for pixel in range(n)]
    return [_dim((255, round(130 * heat * heat), round(20 * heat**4)), heat) for heat in heats]


def _warning(t_s: float, n: int) -> Frame:
    """Amber, the two halves in turn."""
    first = _blink(t_s, 1.0)
    return [_dim(AMBER, first if 2 * pixel < n else 1.0 - first) for pixel in range(n)]


def _attention(t_s: float, n: int) -> Frame:
    """Two short flashes a second."""
    at_s = t_s % 1.0
    return [WHITE if at_s < 0.08 or 0.16 <= at_s < 0.24 else OFF] * n


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
    "celebration": lambda t_s: _blink(t_s, 0.25),
    "searching": lambda t_s: 0.2 + 0.6 * _swell(t_s, 2.4),
    "alert": lambda t_s: 1.0 - _blink(t_s, 0.4),
    "idle": lambda t_s: 0.15,
    "pulse": lambda t_s: math.exp(-4.0 * (t_s % 1.0)),
    "solid": lambda t_s: 1.0,
    "chase": lambda t_s: 0.5,
    "fire": lambda t_s: 0.0,
    "warning": lambda t_s: _blink(t_s, 1.0),
    "attention": lambda t_s: 1.0 if t_s % 1.0 < 0.08 or 0.16 <= t_s % 1.0 < 0.24 else 0.0,
    "off": lambda t_s: 0.0,
}
