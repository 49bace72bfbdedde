"""Spoilt and hostile frames crash nobody, turn nothing and are counted. `make drill-fuzz` sends 100 000 to each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import bus_mutations as mutations
from bench.bus_fuzz import fuzz_client, fuzz_codec, fuzz_robot, fuzz_server
from bench.report import Row
from bus import codec
from bus.errors import MalformedMessage
from bus.topics import TOPICS
from contract.errors import ContractError

FRAMES = 600


def missed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.met]


def test_every_topic_has_valid_samples_to_start_from() -> None:
    random = Random(1)
    for topic in mutations.PUBLISHED:
        codec.publication_decoder(topic)(mutations.publication(topic, random, 1, 1))
    for topic in mutations.ASKED:
        assert mutations.is_valid_request(mutations.request(topic, random, 1))
        assert codec.decode_reply(mutations.reply(topic, 7, random)).nonce == 7


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_the_codec_reads_spoilt_messages_or_refuses_them(seed: int) -> None:
    assert missed(fuzz_codec(100, seed)) == []


@given(raw=st.binary(max_size=400))
@settings(max_examples=500)
def test_the_codec_refuses_noise(raw: bytes) -> None:
    for topic in list(TOPICS.values())[:3]:
        with pytest.raises(MalformedMessage):
            codec.publication_decoder(topic)(raw)
    for decode in (codec.request_envelope, codec.decode_reply):
        with pytest.raises((MalformedMessage, ContractError)):
            decode(raw)


@pytest.mark.parametrize("fuzz", [fuzz_server, fuzz_client, fuzz_robot])
def test_hostile_frames_at_every_socket(fuzz: Callable[[Path, int, int], list[Row]], short_dir: Path) -> None:
    assert missed(fuzz(short_dir, FRAMES, 1)) == []
