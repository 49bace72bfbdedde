from __future__ import annotations

from bus.messages import Fault
from processes.monitor.faults import FaultBook


def fault(active: bool = True, code: str = "MOTOR_FAULT") -> Fault:
    return Fault(code, "The motors cannot be reached.", "error", active)


def test_a_fault_is_told_once_while_it_lasts() -> None:
    book = FaultBook()
    assert book.on_fault("motion", fault(), 0.0) is not None
    assert book.on_fault("motion", fault(), 30.0) is None
    assert book.on_tick(60.0) == []


def test_a_fault_that_comes_back_later_is_told_again() -> None:
    book = FaultBook()
    book.on_fault("motion", fault(), 0.0)
    assert book.on_fault("motion", fault(active=False), 5.0) is None
    event = book.on_fault("motion", fault(), 30.0)
    assert event is not None
    assert event.code == "MOTOR_FAULT"


def test_a_flickering_fault_is_no_flood_and_is_told_when_it_stays() -> None:
    book = FaultBook()
    told = []
    for tenth in range(100):
        told.append(book.on_fault("motion", fault(active=tenth % 2 == 0), tenth / 20))
    assert len([event for event in told if event]) == 1
    book.on_fault("motion", fault(), 6.0)
    assert book.on_tick(9.0) == []
    assert len(book.on_tick(10.5)) == 1
    assert book.on_tick(12.0) == []


def test_the_end_of_an_unknown_fault_is_nothing_to_tell() -> None:
    assert FaultBook().on_fault("motion", fault(active=False), 0.0) is None


def test_a_restarted_process_tells_its_fault_anew() -> None:
    book = FaultBook()
    book.on_fault("motion", fault(), 0.0)
    book.on_restart("motion")
    assert book.on_fault("motion", fault(), 20.0) is not None


def test_no_process_can_fill_the_book() -> None:
    book = FaultBook()
    for number in range(150):
        book.on_fault("motion", fault(code=f"F{number}"), 0.0)
    assert book.refused == 50
