"""What a request will come to, from whichever thread it is looked at."""

from __future__ import annotations

import sys
import threading

import pytest

from bus.promise import Promise
from contract.errors import ContractError


def test_whoever_waits_is_woken_by_the_reply() -> None:
    promise, heard = Promise(), list[object]()
    waiter = threading.Thread(target=lambda: heard.append(promise.result(30)))
    waiter.start()
    promise.set_result("reply")
    waiter.join()
    assert heard == ["reply"]
    assert promise.done()
    assert promise.exception() is None


def test_an_error_is_raised_to_whoever_asks_for_the_reply() -> None:
    promise = Promise()
    promise.set_exception(ContractError("UNAVAILABLE", "gone"))
    assert isinstance(promise.exception(), ContractError)
    with pytest.raises(ContractError, match="gone"):
        promise.result()


def test_it_can_be_waited_for_in_vain_and_then_again() -> None:
    promise = Promise()
    with pytest.raises(TimeoutError):
        promise.result(0)
    promise.set_result(1)
    assert promise.result(0) == 1


def test_it_ends_once() -> None:
    promise = Promise()
    promise.set_result(1)
    with pytest.raises(RuntimeError):
        promise.set_exception(ValueError())
    assert promise.result() == 1


def test_callbacks_are_called_in_their_order_and_a_failing_one_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    promise, called = Promise(), list[str]()
    promise.add_done_callback(lambda _: called.append("first"))
    promise.add_done_callback(lambda _: 1 / 0)
    promise.add_done_callback(lambda _: called.append("last"))
    promise.set_result(None)
    promise.add_done_callback(lambda done: called.append(f"late {done.result()}"))
    assert called == ["first", "last", "late None"]
    assert "a callback of a request failed" in caplog.text


def test_each_callback_is_called_once_however_threads_meet() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            promise, called = Promise(), list[int]()

            def add(promise: Promise = promise, called: list[int] = called) -> None:
                for number in range(20):
                    promise.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]

            adder = threading.Thread(target=add)
            adder.start()
            promise.set_result(None)
            adder.join()
            assert sorted(called) == list(range(20))
    finally:
        sys.setswitchinterval(interval)
