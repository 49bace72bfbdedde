from __future__ import annotations

import pytest

from bus.topics import TOPICS, Kind
from cli.bus import choice
from cli.errors import CommandError


def test_a_pattern_means_every_topic_it_matches_in_the_order_of_the_table() -> None:
    assert choice.matching(["*/beat"], TOPICS) == ["motion/beat", "guard/beat"]
    assert choice.matching([], TOPICS) == list(TOPICS)


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(CommandError, match=r"there is no topic 'moton/state'\. Near it: motion/state"):
        choice.topics(["moton/state"])
    with pytest.raises(CommandError, match=r"no topic 'telemetry'\. Near it: monitor/telemetry"):
        choice.topics(["telemetry"])
    with pytest.raises(CommandError, match=r"no topic 'xyzzy\*'\. `wimz bus list` shows all"):
        choice.topics(["motion/state", "xyzzy*"])


def test_a_glob_listens_to_what_can_be_heard_and_passes_over_the_rest() -> None:
    chosen = choice.heard_topics(["motion/*"])
    assert {topic.kind for topic in chosen} == {Kind.STATE, Kind.EVENT}
    assert "motion/state" in {topic.name for topic in chosen}


@pytest.mark.parametrize("pattern", ["motion/motor", "motion/stop", "motion/mot*"])
def test_a_request_is_not_heard_but_called(pattern: str) -> None:
    with pytest.raises(CommandError, match="asked and not heard: `wimz bus call`"):
        choice.heard_topics([pattern])


def test_each_tool_refuses_the_wrong_kind_and_names_the_right_tool() -> None:
    with pytest.raises(CommandError, match=r"motion/state is a state.*`wimz bus echo`"):
        choice.asked_topic("motion/state")
    with pytest.raises(CommandError, match=r"motion/stop is a stop.*`wimz bus call`"):
        choice.said_topic("motion/stop")
    with pytest.raises(CommandError, match="means 2 topics, and one is accepted here: motion/beat, guard/beat"):
        choice.one_heard_topic("*/beat")
    assert choice.one_heard_topic("guard/b*").name == "guard/beat"
