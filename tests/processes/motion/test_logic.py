"""The arbiter: who drives, how fast, and what stops everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.messages import Origin, Source
from contract.errors import ContractError
from processes.motion.config import MotionConfig
from processes.motion.logic import PRIORITY, ZERO, Arbiter, Speeds, ramp

CONFIG = MotionConfig()
TICK_S = 1 / CONFIG.tick_hz
LAN = Origin("lan", "tablet")
APP = Origin("datachannel", "phone")
OTHER_APP = Origin("datachannel", "another phone")
CLOUD = Origin("cloud", "web")


class Driving:
    """An arbiter with a clock, a living guard and pins."""

    def __init__(self, *, emergency: bool = False) -> None:
        self.now = 100.0
        self.arbiter = Arbiter(CONFIG, emergency=emergency)
        self.arbiter.on_pins(None)
        self.arbiter.on_guard_beat(self.now)

    def motor(self, origin: Origin, left: float = 1.0, right: float = 1.0, *, age_s: float = 0.0) -> Speeds:
        return self.arbiter.on_motor(origin, left, right, self.now - age_s, self.now)

    def wait(self, seconds: float, *, guard: bool = True) -> None:
        """Let time pass in ticks, to the exact end."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + TICK_S, end)
            if guard:
                self.arbiter.on_guard_beat(self.now)
            self.arbiter.on_tick(self.now)

    def hold(self, origin: Origin, seconds: float, left: float = 1.0, right: float = 1.0) -> None:
        """Keep driving at 20 Hz."""
        for _ in range(round(seconds / 0.05)):
            self.motor(origin, left, right)
            self.wait(0.05)

    def refused(self, origin: Origin, left: float = 1.0, *, age_s: float = 0.0) -> ContractError:
        before = self.arbiter.speeds
        with pytest.raises(ContractError) as refusal:
            self.motor(origin, left, age_s=age_s)
        assert self.arbiter.speeds in (before, ZERO)
        return refusal.value


@pytest.fixture
def driving() -> Driving:
    return Driving()


def test_a_critical_battery_stops_whoever_drives_and_refuses_until_it_is_charged(driving: Driving) -> None:
    driving.hold(APP, 1.0)
    assert driving.arbiter.on_battery(critical=True) == ZERO
    assert driving.refused(APP).code == "LOW_BATTERY"
    assert driving.refused(LAN).code == "LOW_BATTERY"
    driving.arbiter.on_battery(critical=None)
    assert driving.refused(APP).code == "LOW_BATTERY"
    assert driving.motor(APP, 0.0, 0.0) == ZERO
    driving.arbiter.on_battery(critical=False)
    assert driving.motor(APP) != ZERO


def test_a_release_does_not_charge_the_battery(driving: Driving) -> None:
    driving.arbiter.on_battery(critical=True)
    driving.arbiter.on_emergency_stop(driving.now)
    driving.wait(0.1)
    driving.arbiter.on_release(driving.now)
    assert driving.refused(APP).code == "LOW_BATTERY"


def test_a_command_moves_the_motors_at_once(driving: Driving) -> None:
    assert driving.motor(APP, 1.0, -1.0) == Speeds(CONFIG.ramp_from, -CONFIG.ramp_from)


def test_speed_grows_with_the_ramp_until_it_is_what_was_asked(driving: Driving) -> None:
    driving.motor(APP, 0.8, 0.1)
    driving.wait(0.1)
    assert driving.arbiter.speeds.left == pytest.approx(CONFIG.ramp_from + 0.1 * CONFIG.ramp_per_s)
    assert driving.arbiter.speeds.right == 0.1
    driving.hold(APP, 0.3, 0.8, 0.1)
    assert driving.arbiter.speeds == Speeds(0.8, 0.1)


def test_speed_falls_at_once(driving: Driving) -> None:
    driving.hold(APP, 0.5)
    assert driving.motor(APP, 0.3, 0.0) == Speeds(0.3, 0.0)


def test_turning_round_passes_through_zero(driving: Driving) -> None:
    driving.hold(APP, 0.5)
    assert driving.motor(APP, -1.0, -1.0) == ZERO
    driving.wait(TICK_S)
    assert driving.arbiter.speeds.left == pytest.approx(-CONFIG.ramp_from)


def test_the_deadman_stops_400_ms_after_the_last_command(driving: Driving) -> None:
    driving.hold(APP, 0.5)
    driving.motor(APP)
    driving.wait(0.399)
    assert driving.arbiter.speeds != ZERO
    driving.wait(0.001)
    assert driving.arbiter.speeds == ZERO
    assert driving.arbiter.driver(driving.now) is None


def test_the_deadman_counts_from_when_the_command_was_sent(driving: Driving) -> None:
    driving.motor(APP, age_s=0.3)
    driving.wait(0.101)
    assert driving.arbiter.speeds == ZERO


def test_a_command_that_is_too_old_moves_nothing(driving: Driving) -> None:
    assert driving.refused(APP, age_s=0.4).code == "STALE_COMMAND"
    assert driving.arbiter.speeds == ZERO


def test_a_farther_source_is_refused_while_a_nearer_one_drives(driving: Driving) -> None:
    driving.hold(LAN, 0.1)
    for farther in (APP, CLOUD, Origin("mission", "patrol")):
        assert driving.refused(farther).code == "BUSY"
    assert driving.arbiter.driver(driving.now) == LAN


def test_a_nearer_source_takes_over_at_once(driving: Driving) -> None:
    driving.hold(CLOUD, 0.3)
    driving.motor(LAN, 0.2, 0.2)
    assert driving.arbiter.speeds == Speeds(0.2, 0.2)
    assert driving.refused(CLOUD).code == "BUSY"


def test_a_second_session_of_the_same_source_waits_until_the_first_is_stale(driving: Driving) -> None:
    driving.hold(APP, 0.1)
    assert driving.refused(OTHER_APP).code == "BUSY"
    driving.wait(0.4)
    driving.motor(OTHER_APP)
    assert driving.arbiter.driver(driving.now) == OTHER_APP


def test_letting_go_frees_the_lease_at_once(driving: Driving) -> None:
    driving.hold(LAN, 0.3)
    assert driving.motor(LAN, 0.0, 0.0) == ZERO
    driving.motor(CLOUD)
    assert driving.arbiter.driver(driving.now) == CLOUD


def test_a_bystanders_zero_does_not_stop_the_driver(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    with pytest.raises(ContractError, match="BUSY"):
        driving.motor(CLOUD, 0.0, 0.0)
    assert driving.arbiter.speeds == Speeds(1.0, 1.0)


def test_stop_stops_and_frees_the_lease(driving: Driving) -> None:
    driving.hold(LAN, 0.3)
    assert driving.arbiter.on_stop(driving.now) == ZERO
    driving.wait(0.01)
    assert driving.motor(CLOUD) != ZERO


def test_a_command_sent_before_the_stop_that_overtook_it_is_not_obeyed(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    driving.arbiter.on_stop(driving.now)
    assert driving.refused(APP, age_s=0.01).code == "STALE_COMMAND"
    assert driving.arbiter.speeds == ZERO


def test_a_process_that_ends_takes_its_drivers_with_it_and_what_they_sent(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    assert driving.arbiter.on_source_gone("cloud", driving.now) != ZERO
    assert driving.arbiter.on_source_gone("datachannel", driving.now) == ZERO
    assert driving.refused(OTHER_APP, age_s=0.01).code == "STALE_COMMAND"
    driving.wait(0.01)
    assert driving.motor(OTHER_APP) != ZERO


def test_the_emergency_stop_latches_until_it_is_released(driving: Driving) -> None:
    driving.hold(LAN, 0.3)
    assert driving.arbiter.on_emergency_stop(driving.now) == ZERO
    driving.wait(1.0)
    refusal = driving.refused(LAN)
    assert (refusal.code, refusal.status) == ("EMERGENCY_STOPPED", 409)
    assert "release" in refusal.message
    driving.arbiter.on_release(driving.now)
    driving.wait(0.1)
    assert driving.arbiter.speeds == ZERO
    assert driving.motor(LAN) != ZERO


def test_an_emergency_stop_that_was_kept_holds_after_a_restart() -> None:
    assert Driving(emergency=True).refused(LAN).code == "EMERGENCY_STOPPED"


def test_a_driver_that_is_gone_stops_what_it_drove(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    assert driving.arbiter.on_driver_gone(APP, driving.now) == ZERO
    assert driving.refused(APP, age_s=0.01).code == "STALE_COMMAND"


def test_a_driver_that_is_gone_does_not_stop_what_others_drive(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    for bystander in (OTHER_APP, Origin("cloud", APP.session)):
        assert driving.arbiter.on_driver_gone(bystander, driving.now) == Speeds(1.0, 1.0)


def test_a_session_may_come_back_after_it_was_gone(driving: Driving) -> None:
    driving.arbiter.on_driver_gone(APP, driving.now)
    driving.wait(0.02)
    assert driving.motor(APP) != ZERO


def test_sessions_that_are_gone_are_remembered_within_bounds(driving: Driving) -> None:
    for number in range(1000):
        driving.arbiter.on_driver_gone(Origin("cloud", str(number)), driving.now)
    assert len(driving.arbiter._gone_s) <= 64


def test_the_motors_stop_when_guard_falls_silent(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    driving.motor(APP)
    driving.wait(0.199, guard=False)
    assert driving.arbiter.speeds != ZERO
    driving.wait(0.001, guard=False)
    assert driving.arbiter.speeds == ZERO
    refusal = driving.refused(APP)
    assert (refusal.code, refusal.status) == ("MOTOR_FAULT", 503)
    assert "guard" in refusal.message
    driving.arbiter.on_guard_beat(driving.now)
    assert driving.motor(APP) != ZERO


def test_lost_pins_stop_and_refuse_until_they_are_back(driving: Driving) -> None:
    driving.hold(APP, 0.3)
    assert driving.arbiter.on_pins("the daemon hung up") == ZERO
    refusal = driving.refused(APP)
    assert (refusal.code, refusal.status) == ("MOTOR_FAULT", 503)
    assert "the daemon hung up" in refusal.message
    driving.arbiter.on_pins(None)
    assert driving.arbiter.speeds == ZERO
    assert driving.motor(APP) != ZERO


def test_a_stalled_loop_does_not_make_the_speed_leap(driving: Driving) -> None:
    driving.motor(APP)
    driving.now += 0.15
    driving.arbiter.on_guard_beat(driving.now)
    driving.arbiter.on_tick(driving.now)
    assert driving.arbiter.speeds.left <= CONFIG.ramp_from + 0.1 * CONFIG.ramp_per_s + 1e-9


@pytest.mark.parametrize(
    ("speed", "target", "expected"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 0.1, 0.1),
        (0.0, -1.0, -0.15),
        (0.5, 1.0, 0.6),
        (0.95, 1.0, 1.0),
        (-0.5, -1.0, -0.6),
        (0.5, 0.2, 0.2),
        (0.5, 0.0, 0.0),
        (0.5, -0.5, 0.0),
        (0.05, 1.0, 0.15),
    ],
)
def test_ramp(speed: float, target: float, expected: float) -> None:
    assert ramp(speed, target, 0.1, 0.15) == pytest.approx(expected)


SPEED = st.floats(-1.0, 1.0)
SOURCE = st.sampled_from(sorted(PRIORITY))
ORIGIN = st.builds(Origin, SOURCE, st.sampled_from(["a", "b"]))


class ArbiterMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, the three rules of stopping hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.arbiter = Arbiter(CONFIG)
        self.accepted_s = float("-inf")
        self.guard_s = float("-inf")
        self.pins = False
        self.emergency, self.pressed_s = False, 0.0

    @rule(origin=ORIGIN, left=SPEED, right=SPEED, age_s=st.floats(0.0, 0.6))
    def motor(self, origin: Origin, left: float, right: float, age_s: float) -> None:
        before = self.arbiter.speeds
        holder = self.arbiter.driver(self.now)
        try:
            speeds = self.arbiter.on_motor(origin, left, right, self.now - age_s, self.now)
        except ContractError:
            return
        assert self.pins
        assert not self.emergency
        assert holder is None or PRIORITY[origin.source] >= PRIORITY[holder.source]
        self.accepted_s = max(self.accepted_s if holder == origin else self.now - age_s, self.now - age_s)
        for was, asked, became in zip(before, (left, right), speeds, strict=True):
            assert abs(became) <= abs(asked)
            assert was * became >= 0

    @rule(age_s=st.floats(0.0, 0.1))
    def stop(self, age_s: float) -> None:
        assert self.arbiter.on_stop(self.now - age_s) == ZERO

    @rule()
    def emergency_stop(self) -> None:
        assert self.arbiter.on_emergency_stop(self.now) == ZERO
        self.emergency, self.pressed_s = True, self.now

    @precondition(lambda self: self.emergency)
    @rule(age_s=st.floats(0.0, 0.3))
    def release(self, age_s: float) -> None:
        sent_s = self.now - age_s
        if sent_s > self.pressed_s:
            self.arbiter.on_release(sent_s)
            self.emergency = False
        else:
            with pytest.raises(ContractError, match="EMERGENCY_STOPPED"):
                self.arbiter.on_release(sent_s)

    @rule(source=SOURCE)
    def source_gone(self, source: Source) -> None:
        driver = self.arbiter.driver(self.now)
        speeds = self.arbiter.on_source_gone(source, self.now)
        assert speeds == ZERO or driver is None or driver.source != source

    @rule(origin=ORIGIN)
    def driver_gone(self, origin: Origin) -> None:
        drove = self.arbiter.driver(self.now) == origin
        speeds = self.arbiter.on_driver_gone(origin, self.now)
        assert speeds == ZERO or not drove

    @rule(seconds=st.floats(0.001, 0.6))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.arbiter.on_tick(self.now)

    @rule()
    def guard_beats(self) -> None:
        self.guard_s = self.now
        self.arbiter.on_guard_beat(self.now)

    @rule(up=st.booleans())
    def pins_change(self, up: bool) -> None:
        self.pins = up
        assert self.arbiter.on_pins(None if up else "gone") == ZERO

    @invariant()
    def stop_means_stop(self) -> None:
        if self.arbiter.speeds != ZERO:
            assert self.now - self.accepted_s < CONFIG.deadman_s
            assert self.now - self.guard_s < CONFIG.guard_s
            assert self.pins
            assert not self.emergency

    @invariant()
    def in_range(self) -> None:
        assert all(-1.0 <= speed <= 1.0 for speed in self.arbiter.speeds)


ArbiterMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestArbiterMachine = ArbiterMachine.TestCase


def test_every_source_has_a_rank() -> None:
    assert set(PRIORITY) == set(Source.__args__)  # type: ignore[attr-defined]
    assert len(set(PRIORITY.values())) == len(PRIORITY)
