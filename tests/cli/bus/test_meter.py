from __future__ import annotations

import pytest

from cli.bus.meter import Meter


def test_a_regular_publisher_has_its_rate_and_no_jitter() -> None:
    meter = Meter(100)
    for number in range(11):
        meter.add(1.0 + number / 20, 1.001 + number / 20, 50)
    rates = meter.rates()
    assert rates.messages == 11
    assert rates.rate_hz == pytest.approx(20.0)
    assert rates.interval_min_ms == pytest.approx(50.0)
    assert rates.interval_max_ms == pytest.approx(50.0)
    assert rates.interval_std_ms == pytest.approx(0.0, abs=1e-6)
    assert rates.jitter_ms == pytest.approx(0.0, abs=1e-6)
    assert rates.bytes_per_s == pytest.approx(1000.0)


def test_intervals_are_the_senders_and_jitter_is_that_of_the_way() -> None:
    meter = Meter(100)
    for sent_s, heard_s in ((0.0, 0.001), (0.1, 0.117), (0.4, 0.401)):
        meter.add(sent_s, heard_s, 1)
    rates = meter.rates()
    assert rates.interval_min_ms == pytest.approx(100.0)
    assert rates.interval_max_ms == pytest.approx(300.0)
    assert rates.interval_std_ms == pytest.approx(100.0)
    # RFC 3550: 16 ms/16, then another 16th of the way from there to 16 ms.
    assert rates.jitter_ms == pytest.approx(1.0 + 15.0 / 16)


def test_the_window_forgets_what_is_long_ago() -> None:
    meter = Meter(3)
    for sent_s in (0.0, 100.0, 100.1, 100.2):
        meter.add(sent_s, sent_s, 1)
    rates = meter.rates()
    assert rates.rate_hz == pytest.approx(10.0)
    assert rates.interval_max_ms == pytest.approx(100.0)
    assert rates.messages == 4


@pytest.mark.parametrize("heard", [0, 1])
def test_an_interval_needs_two_messages(heard: int) -> None:
    meter = Meter(2)
    for number in range(heard):
        meter.add(number, number, 1)
    assert (meter.rates().messages, meter.rates().rate_hz) == (heard, None)
    with pytest.raises(ValueError, match="needs two messages"):
        Meter(1)
