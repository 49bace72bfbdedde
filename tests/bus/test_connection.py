"""A subscriber hears the owner of a topic, whoever sat in the owner's place before."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from bus.messages import RobotEvent
from bus.topics import EVENTS
from bus.zeromq import ZmqBus

EVENT = EVENTS["motion"]
PATIENCE_S = 20.0
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL" + bytes(16) + b"\0" + bytes(31)
"""ZMTP 3.0, as a NULL peer sends it (rfc.zeromq.org/spec/23)."""


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, GREETING + b"\x07garbage" * 9])
def test_a_subscriber_hears_the_owner_after_an_impostor_that_spoke_another_language(
    short_dir: Path, said: bytes
) -> None:
    heard: list[RobotEvent] = []
    guard = ZmqBus("guard", short_dir)
    guard.subscribe(EVENT, lambda message: heard.append(message.value))
    place = short_dir / "motion.pub"
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(place))
        impostor.listen()
        thread = guard.start()
        connection, _ = impostor.accept()
        connection.sendall(said)
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while connection.recv(4096):
                pass  # until the subscriber hangs up, or waits for the rest
        connection.close()
    place.unlink()
    motion = ZmqBus("motion", short_dir)
    owner = motion.start()
    end = time.monotonic() + PATIENCE_S
    while not heard:
        assert time.monotonic() < end, "deaf"
        motion.publish(EVENT, RobotEvent("treat", {}, "", ""))
        time.sleep(0.02)
    for bus, running in ((guard, thread), (motion, owner)):
        bus.stop()
        running.join()
