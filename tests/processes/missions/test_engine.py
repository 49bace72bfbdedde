"""A run rewards what was seen, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Sighting
from processes.missions.definition import Cue, Definition
from processes.missions.engine import (
    BLIND_S,
    Action,
    Dark,
    Phase,
    Reward,
    Run,
    Show,
    Told,
    is_rewarded,
)
from tests.processes.missions.traces import dog, mission, sighting

START_S = 1000.0
STEP_S = 0.2


class Bench:
    """Plays time into a run, 5 sightings and 5 ticks a second, and answers for the dispenser."""

    def __init__(self, definition: Definition | None = None, **known: int) -> None:
        self.now = START_S
        self.definition = definition or mission()
        before = {"rewards_today": 0, "successes_before": 0} | known
        self.run = Run("sit", self.definition, now=self.now, **before)
        self.actions: list[Action] = []
        self.dispenser: list[str | None] = []
        self.do(self.run.start())

    def do(self, actions: list[Action]) -> None:
        self.actions += actions
        for action in actions:
            if isinstance(action, Reward):
                self.do(self.run.on_reward(self.dispenser.pop(0) if self.dispenser else None, self.now))

    def see(self, seconds: float, *behaviors: Any, **more: Any) -> list[str]:
        """The dogs do this for so long. Returns what is told meanwhile."""
        return self.play(seconds, lambda at_s: sighting(at_s, *map(dog, behaviors, range(9)), **more))

    def blind(self, seconds: float) -> list[str]:
        return self.play(seconds, lambda at_s: None)

    def play(self, seconds: float, look: Any) -> list[str]:
        known = len(self.actions)
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            seen: Sighting | None = look(self.now)
            if seen is not None:
                self.do(self.run.on_sighting(seen, self.now))
            self.do(self.run.on_tick(self.now))
        return [action.status for action in self.actions[known:] if isinstance(action, Told)]

    def count(self, kind: type) -> int:
        return sum(isinstance(action, kind) for action in self.actions)


def test_a_run_begins_with_its_cue() -> None:
    bench = Bench()
    assert bench.actions == [Told("started"), Show(Cue("whistle.flac", "attention"))]


def test_a_behaviour_that_is_held_long_enough_is_rewarded_once() -> None:
    bench = Bench()
    assert bench.see(2.8, "sitting") == []
    assert bench.see(0.6, "sitting") == ["success", "rewarded"]
    assert bench.see(4, "sitting") == []
    assert bench.count(Reward) == 1
    assert (bench.run.rewards, bench.run.successes, bench.run.fails) == (1, 1, 0)


@pytest.mark.parametrize("interruption", ["standing", "moving", "lying"])
def test_a_break_begins_the_time_anew(interruption: str) -> None:
    bench = Bench()
    bench.see(2.4, "sitting")
    bench.see(0.2, interruption)
    assert bench.see(2.8, "sitting") == []
    assert bench.see(0.6, "sitting") == ["success", "rewarded"]


def test_a_dog_that_the_detector_lost_for_a_frame_is_still_the_same() -> None:
    bench = Bench()
    bench.see(1.6, "sitting")
    bench.see(0.4)
    assert bench.see(1.6, "sitting") == ["success", "rewarded"]


def test_what_was_not_seen_for_longer_is_no_behaviour() -> None:
    bench = Bench()
    bench.see(2.4, "sitting")
    bench.blind(1.4)
    assert bench.see(2.4, "sitting") == []


def test_two_dogs_do_not_add_up() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.see(1.0, "sitting", "standing") == []
        assert bench.see(1.0, "standing", "sitting") == []
    assert bench.count(Reward) == 0


def test_a_sighting_that_the_detector_is_not_sure_of_does_not_count() -> None:
    bench = Bench()
    bench.play(8, lambda at_s: sighting(at_s, dog("sitting", confidence=0.4)))
    assert bench.count(Reward) == 0


@pytest.mark.parametrize(
    "look",
    [
        lambda at_s: sighting(at_s - 2.5, dog("sitting")),
        lambda at_s: sighting(at_s + 1.0, dog("sitting")),
        lambda at_s: sighting(START_S + 0.2, dog("sitting")),
        lambda at_s: sighting(at_s, dog("sitting"), model=None),
    ],
    ids=["old frames", "frames of the future", "the same frame again", "no model"],
)
def test_sightings_that_tell_nothing_of_now_never_count(look: Any) -> None:
    bench = Bench()
    bench.play(30, look)
    assert bench.count(Reward) == 0
    assert bench.run.refused_sightings > 100


def test_what_the_dog_did_before_the_cue_does_not_count() -> None:
    bench = Bench()
    bench.do(bench.run.on_sighting(sighting(START_S - 1.0, dog("sitting")), START_S))
    assert bench.see(2.8, "sitting") == []


def test_a_try_that_takes_too_long_has_failed() -> None:
    bench = Bench()
    assert bench.see(10.2, "standing") == ["fail"]
    assert bench.run.fails == 1


def test_a_dog_that_sits_down_at_the_last_moment_may_finish() -> None:
    bench = Bench()
    bench.see(8.0, "standing")
    assert bench.see(4.0, "sitting") == ["success", "rewarded"]


def test_time_in_which_nothing_is_seen_is_nobodys_failure() -> None:
    bench = Bench()
    bench.see(5.0, "standing")
    assert bench.blind(30) == []
    assert bench.see(3.4, "sitting") == ["success", "rewarded"]
    assert bench.run.fails == 0


def test_a_mission_that_sees_nothing_for_long_ends() -> None:
    bench = Bench()
    assert bench.blind(BLIND_S + 2) == ["stopped"]
    assert bench.actions[-2] == Dark(silence=False)


def test_the_next_try_waits_for_the_cooldown_and_for_the_dog_to_get_up() -> None:
    bench = Bench()
    bench.see(3.4, "sitting")
    bench.see(20, "sitting")
    assert bench.run.phase.value == "resting"
    assert bench.see(0.4, "standing") == []
    assert bench.run.phase is Phase.TRYING
    assert bench.actions[-1] == Show(Cue("whistle.flac", "attention"))
    assert bench.see(4, "sitting") == ["success", "rewarded"]


def test_where_staying_on_is_right_the_dog_need_not_get_up() -> None:
    bench = Bench(mission(again_at_once="true"))
    assert bench.see(20, "sitting") == ["success", "rewarded", "success", "rewarded", "completed"]


def test_the_lights_go_out_after_each_cue_and_at_the_end() -> None:
    bench = Bench()
    bench.see(6, "sitting")
    assert bench.actions[-1] == Dark()
    bench.see(1, "standing")
    bench.see(10, "sitting")
    assert [type(action) for action in bench.actions[-2:]] == [Dark, Told]
    assert bench.run.phase is Phase.OVER


@pytest.mark.parametrize(
    ("end", "how", "reason"),
    [
        ("{after_rewards: 1}", "sitting", "1 treats were earned"),
        ("{after_fails: 1}", "standing", "1 tries failed"),
        ("{after_seconds: 8}", "standing", "time is over"),
    ],
)
def test_a_mission_ends(end: str, how: str, reason: str) -> None:
    bench = Bench(mission(end=end))
    assert bench.see(30, how)[-1] == "completed"
    last = bench.actions[-1]
    assert isinstance(last, Told)
    assert reason in last.reason


def test_the_days_limit_ends_it() -> None:
    bench = Bench(mission(daily_limit=3), rewards_today=2)
    assert bench.see(8, "sitting") == ["success", "rewarded", "completed"]


@pytest.mark.parametrize("code", ["EMPTY", "TREAT_JAM", "DAILY_LIMIT", "UNAVAILABLE", "INTERNAL_ERROR"])
def test_a_dispenser_that_gives_nothing_ends_it_without_another_try(code: str) -> None:
    bench = Bench()
    bench.dispenser = [code]
    assert bench.see(60, "sitting") == ["success", "unrewarded", "stopped"]
    assert bench.count(Reward) == 1
    assert bench.run.rewards == 0


@pytest.mark.parametrize("code", ["COOLDOWN", "BUSY"])
def test_a_dispenser_that_needs_a_moment_costs_one_reward(code: str) -> None:
    bench = Bench()
    bench.dispenser = [code]
    assert bench.see(6, "sitting") == ["success", "unrewarded"]
    bench.see(3, "standing")
    assert bench.see(4, "sitting") == ["success", "rewarded"]


def test_a_treat_that_may_have_fallen_counts_for_the_day() -> None:
    for code, counted in (("UNAVAILABLE", 1), ("EMPTY", 0)):
        bench = Bench()
        bench.dispenser = [code]
        bench.see(4, "sitting")
        assert bench.run.rewards_today == counted


def test_a_stop_is_clean_and_final() -> None:
    bench = Bench()
    bench.see(1, "sitting")
    bench.do(bench.run.on_stop("Stopped by lan.", bench.now))
    assert bench.actions[-2:] == [Dark(silence=True), Told("stopped", "Stopped by lan.")]
    assert bench.see(30, "sitting") == []
    assert bench.run.on_stop("again", bench.now) == []


def test_a_treat_under_way_when_it_is_stopped_is_counted() -> None:
    run = Run("sit", mission(), rewards_today=0, successes_before=0, now=START_S)
    run.start()
    for step in range(1, 20):
        actions = run.on_sighting(sighting(START_S + step * 0.2, dog("sitting")), START_S + step * 0.2)
        if Reward(1) in actions:
            break
    run.on_stop("enough", START_S + 5)
    assert run.on_reward(None, START_S + 6) == []
    assert run.rewards == 1


@pytest.mark.parametrize("ratio", [(1, 1), (1, 2), (2, 3), (3, 10)])
def test_of_so_many_successes_exactly_so_many_are_rewarded(ratio: tuple[int, int]) -> None:
    rewarded, of = ratio
    for block in range(20):
        numbers = range(block * of + 1, (block + 1) * of + 1)
        assert sum(is_rewarded("sit", ratio, number) for number in numbers) == rewarded


def test_which_successes_are_rewarded_is_the_same_everywhere_and_no_plain_pattern() -> None:
    sequence = [is_rewarded("stay", (1, 2), number) for number in range(1, 13)]
    assert sequence == [is_rewarded("stay", (1, 2), number) for number in range(1, 13)]
    pairs = list(zip(sequence[::2], sequence[1::2], strict=True))
    assert (True, False) in pairs
    assert (False, True) in pairs


def test_a_success_that_is_not_rewarded_asks_for_no_treat() -> None:
    first = next(number for number in range(1, 20) if not is_rewarded("sit", (1, 2), number))
    bench = Bench(mission(reward_ratio="1/2"), successes_before=first - 1)
    assert bench.see(4, "sitting") == ["success"]
    assert bench.count(Reward) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["sitting", "lying", "standing", "moving", "none", "blind", "stale", "unsure", "late"]),
        st.integers(1, 8) | st.integers(1, 30),
        st.sampled_from([None, None, None, "COOLDOWN", "BUSY", "EMPTY", "TREAT_JAM", "DAILY_LIMIT", "UNAVAILABLE"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=1000)
@given(
    steps=STEPS,
    hold_s=st.sampled_from([0.2, 1.0, 3.0]),
    limit=st.integers(1, 5),
    already=st.integers(0, 4),
    after_rewards=st.integers(1, 4),
    ratio=st.sampled_from(["1/1", "1/2", "2/3"]),
    at_once=st.booleans(),
)
def test_no_trace_makes_it_exceed_a_limit_or_reward_what_was_not_done(
    steps: Any, hold_s: float, limit: int, already: int, after_rewards: int, ratio: str, at_once: bool
) -> None:
    definition = mission(
        required_duration=hold_s,
        daily_limit=limit,
        reward_ratio=ratio,
        again_at_once=str(at_once).lower(),
        end=f"{{after_seconds: 100, after_rewards: {after_rewards}, after_fails: 2}}",
    )
    bench, again = Bench(definition, rewards_today=already), Bench(definition, rewards_today=already)
    frames: list[tuple[float, str]] = []
    for what, times, verdict, two in steps:
        for _ in range(times):
            for each in (bench, again):
                each.dispenser = [verdict]
                known = each.count(Reward)
                frame = _frame(what, each.now + STEP_S, two)
                each.play(STEP_S, lambda at_s, frame=frame: frame)
                if each is bench:
                    at_s = bench.now - (0.4 if what == "late" else 0.0)
                    if what not in ("blind", "stale", "none") and at_s > max((each for each, _ in frames), default=0.0):
                        frames.append((at_s, what))
                if each.count(Reward) > known:
                    assert _held(frames, hold_s), "rewarded, and it was not done"
    assert bench.actions == again.actions, "the same trace gives the same actions"
    assert bench.run.rewards <= min(after_rewards, max(0, limit - already))
    assert bench.run.fails <= 2
    assert {type(action) for action in bench.actions} <= {Show, Dark, Reward, Told}, "nothing that moves the robot"
    if bench.run.phase is Phase.OVER:
        shown = [action for action in bench.actions if isinstance(action, Show | Dark)]
        assert isinstance(shown[-1], Dark)


def _frame(what: str, at_s: float, two: bool) -> Sighting | None:
    if what == "blind":
        return None
    if what == "none":
        return sighting(at_s)
    if what == "stale":
        return sighting(at_s - 3.0, dog("sitting"))
    if what == "late":
        return sighting(at_s - 0.4, dog("sitting"))
    shown = dog("sitting", confidence=0.3) if what == "unsure" else dog(what)  # type: ignore[arg-type]
    return sighting(at_s, shown, *([dog("standing", 2)] if two else []))


def _held(frames: list[tuple[float, str]], hold_s: float) -> bool:
    """An independent look at the trace: it ends with an unbroken stretch of sitting that is long enough."""
    end_s = began_s = frames[-1][0]
    for at_s, what in reversed(frames):
        if what in ("standing", "moving", "lying", "unsure") or began_s - at_s > 1.0 + 1e-6:
            break
        if what in ("sitting", "late"):
            began_s = at_s
    return frames[-1][1] in ("sitting", "late") and end_s - began_s >= hold_s - 1e-6
