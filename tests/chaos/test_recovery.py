"""What one bad message, one impatient asker or a flood must not do: end a loop, hold it up, or make a reader deaf."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec import Struct

from bus.codec import MAX_MESSAGE_BYTES, Request
from bus.messages import Beat, RobotEvent
from bus.topics import COMMAND_TOPICS, EVENTS, MOTION_BEAT, Topic
from bus.zeromq import ZmqBus
from contract.commands import Driven, Motor, Nothing
from contract.errors import ContractError

EVENT, MOTOR, STOP = EVENTS["motion"], COMMAND_TOPICS["motor"], COMMAND_TOPICS["stop"]
PATIENCE_S = 20.0
OVERSIZED = bytes(MAX_MESSAGE_BYTES + 10_000)


@contextlib.contextmanager
def running(name: str, run_dir: Path, build: Callable[[ZmqBus], None] = lambda bus: None) -> Iterator[ZmqBus]:
    bus = ZmqBus(name, run_dir)
    build(bus)
    thread = bus.start()
    yield bus
    bus.stop()
    thread.join()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def answered(bus: ZmqBus) -> bool:
    try:
        bus.request(MOTOR, Motor(0.5, 0.5)).result(PATIENCE_S)
    except ContractError:
        return False
    return True


def drive(request: Request[Motor]) -> Driven:
    return Driven(request.body.left, request.body.right)


def test_a_subscriber_hears_the_owner_again_after_an_oversized_publication(short_dir: Path) -> None:
    seen: list[RobotEvent] = []
    listen = lambda bus: bus.subscribe(EVENT, lambda message: seen.append(message.value))  # noqa: E731
    with running("guard", short_dir, listen):
        with zmq.Context() as context, context.socket(zmq.XPUB) as hostile:
            hostile.bind(f"ipc://{short_dir}/motion.pub")
            hostile.recv()
            hostile.send(EVENT.name.encode() + b"\0" + OVERSIZED)
            hostile.send(EVENT.name.encode() + b"\0")
            hostile.poll(500)  # the subscriber leaves, or says nothing
        with running("motion", short_dir) as motion:

            def heard() -> bool:
                motion.publish(EVENT, RobotEvent("treat", {}, "", ""))
                return bool(seen)

            until(heard)


def test_a_publication_in_parts_ends_no_subscriber(short_dir: Path) -> None:
    seen: list[Beat] = []
    listen = lambda bus: bus.subscribe(MOTION_BEAT, lambda message: seen.append(message.value))  # noqa: E731
    with running("guard", short_dir, listen):
        with zmq.Context() as context, context.socket(zmq.XPUB) as hostile:
            hostile.bind(f"ipc://{short_dir}/motion.pub")
            hostile.recv()
            for _ in range(100):
                hostile.send_multipart([MOTION_BEAT.prefix, b"", b"x"])
        with running("motion", short_dir) as motion:
            motion.publish(MOTION_BEAT, Beat(7))
            until(lambda: seen == [Beat(7)])


def test_an_asker_is_answered_again_after_an_oversized_answer(short_dir: Path) -> None:
    with running("guard", short_dir) as guard:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as hostile:
            hostile.bind(f"ipc://{short_dir}/motion.req")
            first = guard.request(MOTOR, Motor(0.5, 0.5), timeout_s=1.0)
            peer, _ = hostile.recv_multipart()
            hostile.send_multipart([peer, OVERSIZED])
            assert isinstance(first.exception(PATIENCE_S), ContractError)
        with running("motion", short_dir, lambda bus: bus.serve(MOTOR, drive)):
            until(lambda: answered(guard))


@pytest.mark.parametrize("wait", [0.0, 1.0], ids=["deadline past", "deadline to come"])
def test_an_asker_who_gives_up_does_not_end_the_loop(short_dir: Path, wait: float) -> None:
    with running("guard", short_dir) as guard:
        with pytest.raises(TimeoutError):
            guard.request(MOTOR, Motor(0.5, 0.5), timeout_s=wait + 0.1).result(0)
        turned = threading.Event()
        guard.call_later(wait + 0.2, turned.set)
        assert turned.wait(PATIENCE_S), "the loop ended with the deadline of what was given up"
        with running("motion", short_dir, lambda bus: bus.serve(MOTOR, drive)):
            until(lambda: answered(guard))


def test_an_answer_too_long_to_send_does_not_end_the_loop(short_dir: Path) -> None:
    def build(bus: ZmqBus) -> None:
        bus.serve(STOP, lambda request: RobotEvent("x" * MAX_MESSAGE_BYTES, {}, "", ""))
        bus.serve(MOTOR, drive)

    with running("motion", short_dir, build), running("guard", short_dir) as guard:
        assert isinstance(guard.request(STOP, Nothing()).exception(PATIENCE_S), ContractError)
        until(lambda: answered(guard))


@pytest.mark.parametrize("topic", [MOTOR, STOP], ids=["requests", "stops"])
def test_no_flood_delays_a_timer(short_dir: Path, topic: Topic[Any]) -> None:
    """The beat and the dead-man are timers."""
    order: list[str] = []

    def build(bus: ZmqBus) -> None:
        def slow(request: Request[Any]) -> Struct | None:
            if not order:
                bus.call_later(0.05, lambda: order.append("timer"))
            order.append("request")
            time.sleep(0.02)
            return Driven(0.0, 0.0) if topic is MOTOR else None

        bus.serve(topic, slow)

    with running("motion", short_dir, build), running("guard", short_dir) as guard:
        body = Motor(0.5, 0.5) if topic is MOTOR else Nothing()
        asked = [guard.request(topic, body, timeout_s=PATIENCE_S) for _ in range(60)]
        for one in asked:
            one.result(PATIENCE_S)
    assert order.index("timer") < 20
