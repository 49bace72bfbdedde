"""Peers that talk at 2 000 events/s, of which some are killed, stopped and restarted. `make drill-bus` is the long
form, and judges times; here only what must hold on any machine is asserted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bench.bus_fire import FAULTS, Verdict, hurt, start_crew
from bench.bus_growth import growth

VICTIMS = ("motion", "guard", "webrtc")
"""The server, a publisher, and one that listens and asks."""
MESSAGES = 30_000
MAX_GROWTH_PCT = 10.0
"""So few messages weigh less than what an allocator rounds up to."""


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    """What the survivors saw of each fault to each victim."""
    with tempfile.TemporaryDirectory(prefix="wz-") as directory:
        crew = start_crew(Path(directory))
        try:
            faults = [hurt(crew, victim, what) for victim in VICTIMS for what in FAULTS]
            assert crew.ended() == {}, "somebody died who was not killed"
        finally:
            crew.close()
        return Verdict(crew.journals, faults)


def test_a_stopped_peer_is_seen_to_stand_still(verdict: Verdict) -> None:
    assert verdict.stopped_ms() > 900, "or else no other stall would be seen either"


def test_what_survivors_say_arrives_once_and_in_order(verdict: Verdict) -> None:
    assert verdict.heard() > 0
    assert verdict.twice_heard() == 0
    assert verdict.out_of_order() == 0


def test_a_restarted_publisher_is_heard_by_every_listener(verdict: Verdict) -> None:
    waits = verdict.unheard_ms()
    assert waits
    assert max(waits) < float("inf")


def test_no_request_is_carried_out_after_its_deadline(verdict: Verdict) -> None:
    assert verdict.deeds() > 0
    assert verdict.late_deeds() == 0


def test_no_request_is_carried_out_twice_though_ids_are_sent_twice(verdict: Verdict) -> None:
    assert verdict.resent_and_answered() > 0
    assert verdict.twice_carried_out() == 0


def test_memory_and_descriptors_do_not_grow_with_messages(short_dir: Path) -> None:
    for row in growth(short_dir, MESSAGES):
        assert row.figures.get("growth", 0) <= 0, row
        assert row.figures.get("growth_pct", 0) <= MAX_GROWTH_PCT, row
