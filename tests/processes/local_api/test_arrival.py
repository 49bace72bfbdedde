"""When a request came in, as the thread knows it that serves it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from processes.local_api import arrival


def test_it_is_what_was_marked_in_the_same_thread() -> None:
    heard: list[float] = []

    def serve(at_s: float) -> None:
        arrival.mark(at_s)
        heard.append(arrival.arrived_s())

    for at_s in (1.0, 2.0):
        thread = threading.Thread(target=serve, args=(at_s,))
        thread.start()
        thread.join()
    assert heard == [1.0, 2.0]


def test_unmarked_it_is_now() -> None:
    before = time.monotonic()
    heard: list[float] = []
    thread = threading.Thread(target=lambda: heard.append(arrival.arrived_s()))
    thread.start()
    thread.join()
    assert before <= heard[0] <= time.monotonic()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and the accepted end whose receipts are stamped."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, arrival.SO_TIMESTAMPNS, 1)
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                stamped = False
                while not stamped:  # the kernel begins with it a moment after the first socket has asked
                    client.sendall(b"x")
                    stamped = bool(accepted.recvmsg(1, 64)[1])
                yield client, accepted


Connection = tuple[socket.socket, socket.socket]


def test_what_has_waited_is_as_old_as_the_kernel_says_and_still_there(connection: Connection) -> None:
    client, accepted = connection
    before_s = time.monotonic()
    client.sendall(b"stop")
    sent_s = time.monotonic()
    time.sleep(0.1)  # what is tried is how old it is then
    assert before_s - 0.01 <= arrival.waiting_since_s(accepted, 0.0) <= sent_s + 0.05
    assert accepted.recv(10) == b"stop"


def test_a_jump_of_the_wall_clock_makes_nothing_older_than_it_can_be_nor_younger_than_now(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, accepted = connection
    idle_since_s = time.monotonic()
    client.sendall(b"stop")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    assert arrival.waiting_since_s(accepted, idle_since_s) == pytest.approx(idle_since_s)
    monkeypatch.setattr(time, "time", lambda: real() - 3600.0)
    before_s = time.monotonic()
    assert before_s <= arrival.waiting_since_s(accepted, idle_since_s) <= time.monotonic()


def test_where_nothing_waits_or_nothing_is_stamped_it_is_now(connection: Connection) -> None:
    client, accepted = connection
    for waiting in (b"", b"x"):
        client.sendall(waiting)
        accepted.setsockopt(socket.SOL_SOCKET, arrival.SO_TIMESTAMPNS, 0)
        before_s = time.monotonic()
        assert before_s <= arrival.waiting_since_s(accepted, 0.0) <= time.monotonic()
