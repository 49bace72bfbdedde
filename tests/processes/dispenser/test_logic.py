"""The carousel's states, without a servo, a beam or a clock."""

from __future__ import annotations

import pytest

from contract.errors import ContractError
from processes.dispenser.config import DispenserConfig
from processes.dispenser.logic import Action, Carousel, Count, Finish, Kind, Phase, Turn

CONFIG = DispenserConfig(wait_s=2.0, tries=2, unjam_s=0.5, settle_s=0.2, slot_s=0.3)


class Deed:
    """A carousel with a clock."""

    def __init__(self, *, beam_fitted: bool = True) -> None:
        self.now = 10.0
        self.carousel = Carousel(CONFIG, beam_fitted=beam_fitted)

    def start(self, kind: Kind = "treat", *, remaining: int = 5, beam_broken: bool = False) -> list[Action]:
        return self.carousel.on_start(kind, self.now, remaining=remaining, beam_broken=beam_broken)

    def beam(self) -> list[Action]:
        return self.carousel.on_beam(self.now)

    def wait(self, seconds: float) -> list[Action]:
        said: list[Action] = []
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            said += self.carousel.on_tick(self.now)
        return said


@pytest.fixture
def deed() -> Deed:
    return Deed()


def test_a_treat_turns_until_the_beam_sees_it_and_ends_when_nothing_more_falls(deed: Deed) -> None:
    assert deed.start() == [Turn.FORWARD]
    assert deed.wait(0.3) == []
    assert deed.beam() == [Turn.STOP, Count(seen=True)]
    assert deed.wait(0.19) == []
    assert deed.wait(0.02) == [Finish(given=True)]
    assert deed.carousel.phase is Phase.IDLE
    assert not deed.carousel.jammed


def test_a_second_treat_that_falls_with_it_is_counted_too(deed: Deed) -> None:
    deed.start()
    deed.beam()
    assert deed.beam() == [Count(seen=True)]


def test_no_treat_in_time_means_backwards_and_once_more(deed: Deed) -> None:
    deed.start()
    assert deed.wait(2.01) == [Turn.BACK]
    assert deed.wait(0.51) == [Turn.FORWARD]
    assert deed.beam() == [Turn.STOP, Count(seen=True)]
    assert deed.wait(0.3) == [Finish(given=True)]


def test_a_treat_that_comes_loose_backwards_counts(deed: Deed) -> None:
    deed.start()
    deed.wait(2.01)
    assert deed.beam() == [Turn.STOP, Count(seen=True)]


def test_after_the_last_try_it_is_jammed_and_stands(deed: Deed) -> None:
    deed.start()
    said = deed.wait(10.0)
    assert said == [Turn.BACK, Turn.FORWARD, Turn.STOP, Finish(given=False)]
    assert deed.carousel.jammed


def test_a_treat_that_falls_after_the_last_try_counts_all_the_same(deed: Deed) -> None:
    deed.start()
    while deed.carousel.phase is not Phase.SETTLING:
        deed.wait(0.01)
    assert deed.beam() == [Count(seen=True)]
    assert deed.wait(0.3) == [Finish(given=True)]


def test_a_jammed_carousel_may_be_tried_again_and_is_then_well(deed: Deed) -> None:
    deed.start()
    deed.wait(10.0)
    deed.start()
    deed.beam()
    deed.wait(1.0)
    assert not deed.carousel.jammed


def test_one_deed_at_a_time(deed: Deed) -> None:
    deed.start()
    for kind in ("treat", "rotate"):
        with pytest.raises(ContractError, match="BUSY") as refusal:
            deed.start(kind)
        assert refusal.value.status == 409


def test_an_empty_carousel_gives_nothing_but_may_be_turned(deed: Deed) -> None:
    with pytest.raises(ContractError, match="EMPTY") as refusal:
        deed.start(remaining=0)
    assert refusal.value.status == 409
    assert deed.start("rotate", remaining=0) == [Turn.FORWARD]


def test_a_blocked_beam_is_told_before_anything_turns(deed: Deed) -> None:
    with pytest.raises(ContractError, match="TREAT_JAM"):
        deed.start(beam_broken=True)
    assert deed.carousel.phase is Phase.IDLE


def test_without_a_beam_one_slot_is_turned_and_the_treat_taken_to_have_fallen() -> None:
    deed = Deed(beam_fitted=False)
    assert deed.start() == [Turn.FORWARD]
    assert deed.wait(0.31) == [Turn.STOP, Count(seen=False)]
    assert deed.wait(0.3) == [Finish(given=True)]


def test_a_rotation_turns_one_slot_and_counts_what_falls(deed: Deed) -> None:
    deed.start("rotate")
    deed.wait(0.2)
    assert deed.beam() == [Count(seen=True)]
    assert deed.wait(0.11) == [Turn.STOP]
    assert deed.wait(0.3) == [Finish(given=True)]
    assert not deed.carousel.jammed


def test_a_beam_that_is_broken_at_rest_counts_nothing(deed: Deed) -> None:
    assert deed.beam() == []


def test_a_failure_ends_the_deed(deed: Deed) -> None:
    deed.start()
    deed.carousel.on_failure()
    assert deed.wait(5.0) == []
    assert deed.start() == [Turn.FORWARD]


def test_a_deed_that_could_not_end_in_time_is_refused_by_the_settings() -> None:
    with pytest.raises(ValueError, match="at most 13 s"):
        DispenserConfig(tries=10, wait_s=2.0)
