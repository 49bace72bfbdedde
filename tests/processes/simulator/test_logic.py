"""The physics, by a clock of the test's own."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from bus.messages import SimulatedFault
from hardware.config import HardwareConfig, MotorsConfig, hardware_config
from hardware.ws2812 import encode
from processes.simulator.config import SimulatorConfig
from processes.simulator.gpio import Mode
from processes.simulator.logic import MAX_EDGES, Machine

START = 100.0
FORWARD_US, STILL_US, BACKWARD_US = 1650, 1500, 1350
DEG_PER_S = 108.0  # 150 µs off the middle
FIRST_FALL_S = 15 / DEG_PER_S  # half a slot of 30°
PITCH_S = 30 / DEG_PER_S
FALL_S, BEAM_S = 0.03, 0.04
BEAM = 1 << 7


class Bench:
    """A machine on the test's bench: pins are set at `now`, then time passes."""

    def __init__(self, config: dict[str, Any] | None = None, **world: Any) -> None:
        self.now = START
        self.machine = Machine(hardware_config(config or {}), SimulatorConfig(**world), START)
        self.bank = self.machine.bank

    def after(self, seconds: float) -> Machine:
        self.now += seconds
        self.machine.advance(self.now)
        return self.machine

    def pwm(self, gpio: int, duty: float) -> None:
        self.bank.set_frequency(gpio, 1000)
        self.bank.set_range(gpio, 200)
        self.bank.set_pwm(gpio, round(duty * 200))

    def falls_seen(self) -> list[float]:
        """When the beam was broken, in seconds since the start."""
        edges = self.machine.take_edges()
        return [round(edge.at_s - START, 6) for edge in edges if not edge.levels & BEAM]


@pytest.mark.parametrize(
    ("in1", "in2", "duty"), [(1, 0, 0.5), (0, 1, -0.5), (0, 0, 0.0), (1, 1, 0.0)], ids=["fwd", "back", "coast", "brake"]
)
def test_the_h_bridge_makes_the_inputs_and_the_enable_a_signed_duty(in1: int, in2: int, duty: float) -> None:
    bench = Bench()
    bench.bank.write(17, in1)
    bench.bank.write(18, in2)
    bench.pwm(13, 0.5)

    assert bench.machine.snapshot().motors.left.duty == duty
    assert bench.machine.snapshot().motors.right.duty == 0.0


@pytest.mark.parametrize(("direction", "duty"), [(1, 0.25), (0, -0.25)])
def test_the_second_generations_bridge_has_a_direction_and_a_pwm(direction: int, duty: float) -> None:
    bench = Bench({"motors": {"driver": "dir_pwm"}})
    bench.bank.write(27, direction)
    bench.pwm(19, 0.25)

    assert bench.machine.snapshot().motors.right.duty == duty


def test_a_wheel_follows_its_duty_with_a_lag() -> None:
    bench = Bench(wheel_lag_s=0.1)
    bench.bank.write(17, 1)
    bench.pwm(13, 0.6)

    assert bench.after(0.1).snapshot().motors.left.speed == pytest.approx(0.6 * (1 - math.exp(-1)), abs=1e-3)
    assert bench.after(2.0).snapshot().motors.left.speed == 0.6
    bench.bank.write(13, 0)
    assert bench.after(0.1).snapshot().motors.left.speed == pytest.approx(0.6 * math.exp(-1), abs=1e-3)


def test_how_often_time_is_advanced_changes_nothing() -> None:
    coarse, fine = Bench(), Bench()
    for bench in (coarse, fine):
        bench.bank.write(17, 1)
        bench.pwm(13, 0.6)
        bench.bank.set_servo(5, 2000)
        bench.bank.set_servo(12, FORWARD_US)
    coarse.after(1.0)
    for _ in range(1000):
        fine.after(0.001)

    assert fine.machine.snapshot() == coarse.machine.snapshot()
    assert fine.falls_seen() == pytest.approx(coarse.falls_seen(), abs=1e-5)


def test_a_clock_that_stands_still_or_goes_back_moves_nothing() -> None:
    bench = Bench()
    bench.bank.set_servo(5, 2000)
    bench.after(0.05)
    before = bench.machine.snapshot()

    bench.machine.advance(bench.now)
    bench.machine.advance(bench.now - 10)

    assert bench.machine.snapshot() == before


def test_a_servo_slews_to_its_pulse_and_stays_without_one() -> None:
    bench = Bench(servo_slew_deg_per_s=300.0)
    bench.bank.set_servo(5, 2000)

    assert bench.after(0.1).snapshot().servos.pan_deg == 30.0
    assert bench.after(1.0).snapshot().servos.pan_deg == 45.0
    bench.bank.set_servo(5, 0)
    servos = bench.after(1.0).snapshot().servos
    assert (servos.pan_deg, servos.pan_us) == (45.0, None)


def test_a_servo_takes_no_notice_of_what_is_no_servo_pulse() -> None:
    bench = Bench()
    bench.pwm(5, 0.5)  # 500 µs wide, but 1000 times a second
    bench.bank.write(6, 1)

    servos = bench.after(1.0).snapshot().servos

    assert (servos.pan_deg, servos.tilt_deg) == (0.0, 0.0)
    assert (servos.pan_us, servos.tilt_us) == (None, None)


def test_an_offset_and_inverted_servo_shows_the_heads_angle() -> None:
    bench = Bench({"servos": {"tilt": {"gpio": 6, "centre_deg": 9, "inverted": True}}})
    bench.bank.set_servo(6, 1500)

    assert bench.after(1.0).snapshot().servos.tilt_deg == 9.0


def test_the_carousel_turns_as_its_pulse_says() -> None:
    bench = Bench()
    bench.bank.set_servo(12, STILL_US + 5)
    assert bench.after(1.0).snapshot().carousel.angle_deg == 0.0, "within the servo's dead band"

    bench.bank.set_servo(12, FORWARD_US)
    assert bench.after(1.0).snapshot().carousel.angle_deg == DEG_PER_S
    assert bench.after(3.0).snapshot().carousel.angle_deg == (4 * DEG_PER_S) % 360

    bench.bank.set_servo(12, BACKWARD_US)
    assert bench.machine.snapshot().carousel.deg_per_s == -DEG_PER_S


def test_a_carousel_that_is_mounted_the_other_way_round_turns_forwards_on_shorter_pulses() -> None:
    bench = Bench({"carousel": {"turn_us": 1350}})
    bench.bank.set_servo(12, 1350)

    assert bench.after(FIRST_FALL_S + 0.001).snapshot().carousel.dropped == 1


def test_a_treat_falls_as_its_slot_passes_the_chute_and_breaks_the_beam() -> None:
    bench = Bench()
    bench.bank.set_servo(12, FORWARD_US)
    assert bench.machine.next_event_s() == pytest.approx(START + FIRST_FALL_S + FALL_S)

    carousel = bench.after(FIRST_FALL_S + 0.001).snapshot().carousel
    assert (carousel.dropped, carousel.treats_left) == (1, 59)
    assert not bench.machine.snapshot().beam.broken, "it is still falling"

    bench.after(FALL_S)
    assert bench.machine.snapshot().beam.broken
    assert bench.bank.read(7, bench.now) == 0
    assert bench.machine.next_event_s() == pytest.approx(START + FIRST_FALL_S + FALL_S + BEAM_S)

    bench.after(BEAM_S)
    assert not bench.machine.snapshot().beam.broken
    assert bench.bank.read(7, bench.now) == 1


def test_events_inside_one_long_step_come_out_with_their_exact_times() -> None:
    bench = Bench()
    bench.bank.set_servo(12, FORWARD_US)
    bench.after(1.0)

    edges = bench.machine.take_edges()

    fell = [FIRST_FALL_S + n * PITCH_S + FALL_S for n in range(3)]
    broken = [edge.at_s - START for edge in edges if not edge.levels & BEAM]
    clear = [edge.at_s - START for edge in edges if edge.levels & BEAM]
    assert broken == pytest.approx(fell)
    assert clear == pytest.approx([moment + BEAM_S for moment in fell])
    assert bench.machine.take_edges() == []


def test_an_empty_slot_drops_nothing() -> None:
    bench = Bench(treats=1)
    bench.bank.set_servo(12, FORWARD_US)

    carousel = bench.after(5.0).snapshot().carousel

    assert (carousel.dropped, carousel.treats_left) == (1, 0)
    assert len(bench.falls_seen()) == 1
    assert bench.machine.next_event_s() is None


def test_backwards_nothing_falls() -> None:
    bench = Bench()
    bench.bank.set_servo(12, BACKWARD_US)

    assert bench.after(5.0).snapshot().carousel.dropped == 0
    assert bench.machine.next_event_s() is None


def test_a_refill_is_spread_over_the_slots() -> None:
    bench = Bench(treats=0)
    bench.machine.apply(SimulatedFault(refill=14))
    bench.bank.set_servo(12, FORWARD_US)

    assert bench.machine.snapshot().carousel.treats_left == 14
    assert bench.after(360 / DEG_PER_S).snapshot().carousel.treats_left == 2


def test_a_jammed_carousel_stands_until_it_is_turned_backwards_for_a_moment() -> None:
    bench = Bench(unjam_s=0.15)
    bench.machine.apply(SimulatedFault(jam=True))
    bench.bank.set_servo(12, FORWARD_US)

    carousel = bench.after(2.0).snapshot().carousel
    assert (carousel.jammed, carousel.angle_deg, carousel.dropped, carousel.deg_per_s) == (True, 0.0, 0, 0.0)
    assert bench.machine.next_event_s() is None

    bench.bank.set_servo(12, BACKWARD_US)
    assert bench.after(0.1).snapshot().carousel.jammed
    bench.bank.set_servo(12, FORWARD_US)
    assert bench.after(0.1).snapshot().carousel.jammed, "a moment too short"

    bench.bank.set_servo(12, BACKWARD_US)
    bench.after(0.1)
    assert not bench.after(0.1).snapshot().carousel.jammed
    assert bench.machine.snapshot().carousel.angle_deg == pytest.approx(360 - 0.05 * DEG_PER_S)

    bench.bank.set_servo(12, FORWARD_US)
    assert bench.after(0.5).snapshot().carousel.dropped > 0


def test_a_blocked_beam_stays_broken_and_a_dead_one_never_breaks() -> None:
    bench = Bench()
    bench.machine.apply(SimulatedFault(beam_blocked=True))
    assert bench.machine.snapshot().beam.broken
    assert bench.bank.read(7, bench.now) == 0

    bench.machine.apply(SimulatedFault(beam_blocked=False, beam_dead=True))
    bench.machine.take_edges()
    bench.bank.set_servo(12, FORWARD_US)
    assert bench.after(1.0).snapshot().carousel.dropped == 4
    assert bench.falls_seen() == []
    assert bench.bank.read(7, bench.now) == 1

    bench.machine.apply(SimulatedFault(beam_dead=False))
    bench.after(1.0)
    assert len(bench.falls_seen()) > 0


def test_a_fault_leaves_alone_what_it_does_not_name() -> None:
    bench = Bench()
    bench.machine.apply(SimulatedFault(jam=True, beam_blocked=True, refill=5))

    bench.machine.apply(SimulatedFault())

    state = bench.machine.snapshot()
    assert (state.carousel.jammed, state.beam.broken, state.carousel.treats_left) == (True, True, 5)


def test_without_a_beam_the_pin_is_nobodys() -> None:
    bench = Bench({"beam": {"fitted": False}})
    bench.bank.set_servo(12, FORWARD_US)
    bench.bank.set_pull(7, 1)

    assert bench.after(1.0).snapshot().carousel.dropped == 4
    assert bench.bank.read(7, bench.now) == 0
    assert bench.falls_seen() == []


def test_spi_takes_its_pins_and_gives_them_back() -> None:
    bench = Bench()
    bench.bank.write(11, 1)

    bench.machine.spi_begin(leave_chip_selects=0b00)
    assert {bench.bank.get_mode(gpio) for gpio in (7, 8, 9, 10, 11)} == {Mode.ALT0}
    bench.machine.apply(SimulatedFault(beam_blocked=True))
    assert bench.bank.read(7, bench.now) == 1, "the beam's pin is a chip select now"

    bench.machine.spi_end()
    assert [bench.bank.get_mode(gpio) for gpio in (7, 8, 9, 10, 11)] == [0, 0, 0, 0, 1]
    assert bench.bank.read(7, bench.now) == 0


def test_pixels_keep_their_colours_until_they_are_told_others() -> None:
    bench = Bench({"leds": {"pixels": 4}})
    bench.machine.spi_write(encode([(1, 2, 3)] * 4))
    bench.machine.spi_write(encode([(9, 9, 9)]))

    leds = bench.machine.snapshot().leds
    assert leds.pixels == [(9, 9, 9), (1, 2, 3), (1, 2, 3), (1, 2, 3)]
    assert leds.lit == 4

    bench.machine.spi_write(encode([(0, 0, 0)] * 9))
    assert bench.machine.snapshot().leds.lit == 0


def test_noise_on_the_data_line_is_counted_and_shows_nothing() -> None:
    bench = Bench()
    bench.machine.spi_write(b"\xff" * 90)

    assert bench.machine.garbled_frames == 1
    assert bench.machine.snapshot().leds.lit == 0


def test_the_tube_glows_with_its_pins_duty() -> None:
    bench = Bench()
    bench.pwm(25, 0.4)

    assert bench.machine.snapshot().leds.tube == 0.4


def test_the_snapshot_tells_every_pin_of_the_header() -> None:
    bench = Bench()
    bench.pwm(13, 0.5)

    pins = bench.machine.snapshot().pins

    assert list(pins) == [str(gpio) for gpio in range(2, 28)]
    assert msgspec.to_builtins(pins["13"]) == {"mode": "output", "level": 1, "duty": 0.5, "frequency_hz": 1000.0}
    assert msgspec.to_builtins(pins["26"]) == {"mode": "input", "level": 0, "duty": 0.0, "frequency_hz": 0.0}


def test_edges_that_nobody_takes_are_bounded_and_counted() -> None:
    bench = Bench()
    for n in range(MAX_EDGES + 10):
        bench.bank.write(17, (n + 1) % 2)
        bench.machine.note_edge(bench.now)

    assert bench.machine.edges_dropped == 10
    assert len(bench.machine.take_edges()) == MAX_EDGES


def test_the_default_machine_is_wired_like_the_robot() -> None:
    machine = Machine(HardwareConfig(motors=MotorsConfig()), SimulatorConfig(), 0.0)

    state = machine.snapshot(clients=2)

    assert state.clients == 2
    assert (state.carousel.slots, state.carousel.treats_left, len(state.leds.pixels)) == (12, 60, 160)
