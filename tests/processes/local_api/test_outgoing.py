from __future__ import annotations

import threading

from processes.local_api.outgoing import MAX_QUEUED, Outgoing

WAIT_S = 10.0


class Wire:
    """Keeps what is sent; blocks while `blocked`; fails when told to."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.open = threading.Event()
        self.open.set()
        self.broken = False

    def send(self, text: str) -> None:
        self._write(text)

    def ping(self) -> None:
        self._write("ping")

    def close(self, code: int, reason: str) -> None:
        self._write((code, reason))

    def _write(self, what: object) -> None:
        assert self.open.wait(WAIT_S)
        if self.broken:
            raise BrokenPipeError
        self.sent.append(what)


def test_frames_go_out_in_order_and_the_close_after_them() -> None:
    outgoing, wire = Outgoing(), Wire()
    for text in ("a", "b"):
        assert outgoing.send(text)
    outgoing.ping()
    outgoing.close(1000, "done")
    outgoing.send("too late")
    outgoing.run(wire)
    assert wire.sent == ["a", "b", "ping", (1000, "done")]
    assert outgoing.ended.is_set()


def test_a_full_queue_says_so_and_a_drop_closes_at_once() -> None:
    outgoing, wire = Outgoing(), Wire()
    assert all(outgoing.send("x") for _ in range(MAX_QUEUED))
    assert not outgoing.send("one too many")
    outgoing.close(4008, "too slow", drop=True)
    outgoing.run(wire)
    assert wire.sent == [(4008, "too slow")]


def test_a_peer_that_is_gone_ends_it() -> None:
    outgoing, wire = Outgoing(), Wire()
    wire.broken = True
    outgoing.send("x")
    outgoing.run(wire)
    assert outgoing.ended.is_set()


def test_abandoning_ends_a_waiting_writer() -> None:
    outgoing, wire = Outgoing(), Wire()
    thread = threading.Thread(target=outgoing.run, args=(wire,))
    thread.start()
    outgoing.abandon()
    thread.join(WAIT_S)
    assert not thread.is_alive()
