"""The bus's promises, kept by both transports."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from bus import topics
from bus.base import Bus, Latest
from bus.codec import Request
from bus.errors import BusError
from bus.memory import MemoryHub
from bus.messages import Beat, Origin, RobotEvent
from bus.promise import Promise
from bus.zeromq import ZmqBus
from contract import commands
from contract.errors import ContractError

MOTOR = topics.COMMAND_TOPICS["motor"]
STOP = topics.COMMAND_TOPICS["stop"]
TREAT = topics.COMMAND_TOPICS["treat"]
EVENT = topics.EVENTS["motion"]
PATIENCE_S = 10.0


class MemoryWorld:
    """Buses in memory, on a fake clock."""

    def __init__(self) -> None:
        self.hub = MemoryHub()

    def bus(self, name: str) -> Bus:
        return self.hub.bus(name)

    def start(self, bus: Bus) -> None:
        self.settle()

    def kill(self, bus: Bus) -> None:
        self.hub.kill(bus.name)

    def settle(self) -> None:
        self.hub.run()

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            self.hub.advance(0.01)
        pytest.fail("it did not come about")

    def close(self) -> None:
        pass


class ZmqWorld:
    """Buses over ZeroMQ, each with its loop in a thread."""

    def __init__(self) -> None:
        self.run_dir = Path(tempfile.mkdtemp(prefix="wz-", dir="/dev/shm"))
        self._running: dict[Bus, threading.Thread] = {}

    def bus(self, name: str) -> Bus:
        return ZmqBus(name, self.run_dir)

    def start(self, bus: Bus) -> None:
        assert isinstance(bus, ZmqBus)
        self._running[bus] = bus.start()

    def kill(self, bus: Bus) -> None:
        assert isinstance(bus, ZmqBus)
        bus.stop()
        self._running.pop(bus).join()

    def settle(self) -> None:
        """Nothing to push: the loops run by themselves."""

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.002)

    def close(self) -> None:
        for bus in list(self._running):
            self.kill(bus)
        shutil.rmtree(self.run_dir)


World = MemoryWorld | ZmqWorld


@pytest.fixture(params=[MemoryWorld, ZmqWorld], ids=["memory", "zeromq"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: World = request.param()
    yield made
    made.close()


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {"n": number}, str(number), "2026-01-01T00:00:00.000Z")


def ask(bus: Bus, left: float = 0.5, **options: Any) -> Promise:
    return bus.request(MOTOR, commands.Motor(left, left), **options)


def test_a_late_subscriber_gets_the_last_state_at_once(world: World) -> None:
    motion, guard = world.bus("motion"), world.bus("guard")
    motion.publish(topics.MOTION_BEAT, Beat(7))
    world.start(motion)
    beat = Latest(guard, topics.MOTION_BEAT)
    world.start(guard)
    world.until(lambda: beat.message is not None)
    assert beat.message is not None
    assert beat.message.value == Beat(7)


def test_every_late_subscriber_gets_the_last_state(world: World) -> None:
    motion = world.bus("motion")
    motion.publish(topics.MOTION_BEAT, Beat(7))
    world.start(motion)
    for name in ("guard", "monitor", "webrtc"):
        late = world.bus(name)
        beat = Latest(late, topics.MOTION_BEAT)
        world.start(late)
        world.until(lambda beat=beat: beat.message is not None)  # type: ignore[misc]


def test_a_state_is_fresh_only_for_its_age() -> None:
    hub = MemoryHub()
    motion, guard = hub.bus("motion"), hub.bus("guard")
    beat = Latest(guard, topics.MOTION_BEAT)
    assert beat.fresh(guard.now()) is None
    motion.publish(topics.MOTION_BEAT, Beat(7))
    hub.advance(0.19)
    assert beat.fresh(guard.now()) == Beat(7)
    hub.advance(0.02)
    assert beat.fresh(guard.now()) is None


def test_events_come_in_order_and_once(world: World) -> None:
    motion, monitor = world.bus("motion"), world.bus("monitor")
    seen: list[str] = []
    monitor.subscribe(EVENT, lambda message: seen.append(message.value.id))
    ready = Latest(monitor, topics.MOTION_BEAT)
    world.start(monitor)
    motion.publish(topics.MOTION_BEAT, Beat(1))
    world.start(motion)
    world.until(lambda: ready.message is not None)
    for number in range(300):
        motion.publish(EVENT, event(number))
    world.until(lambda: len(seen) >= 300)
    assert seen == [str(number) for number in range(300)]
    assert monitor.counters["bus.missed"] == 0


def test_an_old_event_is_not_told_to_a_new_subscriber(world: World) -> None:
    motion, monitor = world.bus("motion"), world.bus("monitor")
    motion.publish(EVENT, event(1))
    motion.publish(topics.MOTION_BEAT, Beat(1))
    world.start(motion)
    seen: list[str] = []
    monitor.subscribe(EVENT, lambda message: seen.append(message.value.id))
    ready = Latest(monitor, topics.MOTION_BEAT)
    world.start(monitor)
    world.until(lambda: ready.message is not None)
    motion.publish(EVENT, event(2))
    world.until(lambda: bool(seen))
    assert seen == ["2"]


def test_a_restarted_publisher_is_heard_again(world: World) -> None:
    guard = world.bus("guard")
    beat = Latest(guard, topics.MOTION_BEAT)
    world.start(guard)
    for pid in (1, 2):
        motion = world.bus("motion")
        motion.publish(topics.MOTION_BEAT, Beat(pid))
        world.start(motion)
        world.until(lambda pid=pid: beat.message is not None and beat.message.value.pid == pid)  # type: ignore[misc]
        world.kill(motion)


def test_a_request_is_answered_with_the_reply(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    origins: list[Origin | None] = []

    def drive(request: Request[commands.Motor]) -> commands.Driven:
        origins.append(request.origin)
        return commands.Driven(request.body.left, request.body.right)

    motion.serve(MOTOR, drive)  # type: ignore[arg-type]
    world.start(motion)
    world.start(lan)
    origin = Origin("lan", "s1", role="driver")
    future = ask(lan, 0.25, origin=origin, timeout_s=PATIENCE_S)
    world.until(future.done)
    assert future.result() == commands.Driven(0.25, 0.25)
    assert origins == [origin]


def test_a_request_may_say_that_it_is_older_than_its_sending_but_not_younger(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    sent: list[int] = []

    def drive(request: Request[commands.Motor]) -> commands.Driven:
        sent.append(request.sent_ns)
        return commands.Driven(0.0, 0.0)

    motion.serve(MOTOR, drive)  # type: ignore[arg-type]
    world.start(motion)
    world.start(lan)
    began = lan.now()
    for sent_s in (began - 0.25, began + 3600.0):
        future = lan.request(MOTOR, commands.Motor(0.0, 0.0), sent_s=sent_s, timeout_s=PATIENCE_S)
        world.until(future.done)
        assert future.result() == commands.Driven(0.0, 0.0)
    assert sent[0] / 1e9 == pytest.approx(began - 0.25)
    assert began <= sent[1] / 1e9 + 1e-6 <= lan.now() + 1e-6


def test_a_request_may_be_answered_later(world: World) -> None:
    dispenser, lan = world.bus("dispenser"), world.bus("local_api")
    deed: Future[Any] = Future()
    dispenser.serve(TREAT, lambda request: deed)
    world.start(dispenser)
    world.start(lan)
    future = lan.request(TREAT, commands.Nothing())
    world.settle()
    assert not future.done()
    deed.set_result(commands.Dispensed(3, True))
    world.until(future.done)
    assert future.result() == commands.Dispensed(3, True)


@pytest.mark.parametrize("later", [False, True])
def test_a_refusal_reaches_the_asker(world: World, later: bool) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")

    def refuse(request: Request[Any]) -> Future[Any]:
        error = ContractError("RATE_LIMITED", "Too soon.", retry_after_s=1.5)
        if not later:
            raise error
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed

    motion.serve(MOTOR, refuse)
    world.start(motion)
    world.start(lan)
    future = ask(lan, timeout_s=PATIENCE_S)
    world.until(future.done)
    error = future.exception()
    assert isinstance(error, ContractError)
    assert (error.code, error.message, error.retry_after_s) == ("RATE_LIMITED", "Too soon.", 1.5)


def test_a_bug_in_a_server_is_told_and_does_not_end_it(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    motion.serve(MOTOR, lambda request: commands.Driven(1 / request.body.left, 0))  # type: ignore[attr-defined]
    world.start(motion)
    world.start(lan)
    broken, fine = ask(lan, 0.0, timeout_s=PATIENCE_S), ask(lan, 1.0, timeout_s=PATIENCE_S)
    world.until(lambda: broken.done() and fine.done())
    error = broken.exception()
    assert isinstance(error, ContractError)
    assert error.code == "INTERNAL_ERROR"
    assert fine.result() == commands.Driven(1.0, 0.0)
    assert motion.counters["bus.handler_errors"] == 1


def test_an_absent_server_is_unavailable_by_the_deadline(world: World) -> None:
    lan = world.bus("local_api")
    world.start(lan)
    future = ask(lan, timeout_s=0.1)
    world.until(future.done)
    error = future.exception()
    assert isinstance(error, ContractError)
    assert error.code == "UNAVAILABLE"


def test_what_was_asked_of_an_absent_server_is_not_carried_out_when_it_comes(world: World) -> None:
    lan = world.bus("local_api")
    world.start(lan)
    late = ask(lan, timeout_s=0.1)
    world.until(late.done)
    done: list[float] = []
    motion = world.bus("motion")

    def drive(request: Request[Any]) -> commands.Driven:
        done.append(request.body.left)
        return commands.Driven(0, 0)

    motion.serve(MOTOR, drive)
    world.start(motion)
    now = ask(lan, 0.75, timeout_s=PATIENCE_S)
    world.until(now.done)
    assert done == [0.75]


def test_what_a_server_had_not_answered_when_it_ended_is_unavailable_at_once(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    begun: list[Future[Any]] = []

    def drive(request: Request[Any]) -> Future[Any]:
        begun.append(Future())
        return begun[-1]

    motion.serve(MOTOR, drive)
    world.start(motion)
    world.start(lan)
    asked = [ask(lan, timeout_s=3600.0) for _ in range(3)]
    world.until(lambda: len(begun) == 3)
    world.kill(motion)
    world.until(lambda: all(future.done() for future in asked))
    for future in asked:
        with pytest.raises(ContractError, match=r"motion ended before it answered motion/motor"):
            future.result()
    assert lan.counters["bus.unanswered"] == 3


def test_what_waits_for_a_server_that_ended_is_carried_out_by_its_successor(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    motion.serve(MOTOR, lambda request: commands.Driven(0, 0))
    world.start(motion)
    world.start(lan)
    first = ask(lan)
    world.until(first.done)
    world.kill(motion)
    successor = world.bus("motion")
    successor.serve(MOTOR, lambda request: commands.Driven(1, 1))
    world.start(successor)
    later = ask(lan, timeout_s=PATIENCE_S)
    world.until(later.done)
    assert later.result() == commands.Driven(1, 1)


def test_a_repeated_id_is_answered_from_memory(world: World) -> None:
    dispenser, lan = world.bus("dispenser"), world.bus("local_api")
    given: list[str | None] = []

    def give(request: Request[Any]) -> commands.Dispensed:
        given.append(request.id)
        return commands.Dispensed(10 - len(given), True)

    dispenser.serve(TREAT, give)
    world.start(dispenser)
    world.start(lan)
    asked = [lan.request(TREAT, commands.Nothing(), id=id_) for id_ in ("a", "a", "b", "a")]
    world.until(lambda: all(future.done() for future in asked))
    assert [future.result().remaining for future in asked] == [9, 9, 8, 9]
    assert given == ["a", "b"]


def test_a_repeat_while_the_first_is_under_way_waits_for_it(world: World) -> None:
    dispenser, lan = world.bus("dispenser"), world.bus("local_api")
    deeds: list[Future[Any]] = []

    def give(request: Request[Any]) -> Future[Any]:
        deeds.append(Future())
        return deeds[-1]

    dispenser.serve(TREAT, give)
    world.start(dispenser)
    world.start(lan)
    first, again = (lan.request(TREAT, commands.Nothing(), id="a") for _ in range(2))
    world.until(lambda: dispenser.counters["bus.answered_from_memory"] == 1)
    deeds[0].set_result(commands.Dispensed(5, True))
    world.until(lambda: first.done() and again.done())
    assert first.result() == again.result() == commands.Dispensed(5, True)
    assert len(deeds) == 1


def test_stop_overtakes_what_waits(world: World) -> None:
    motion, lan = world.bus("motion"), world.bus("local_api")
    order: list[str] = []
    busy = threading.Event()

    def drive(request: Request[Any]) -> commands.Driven:
        order.append("motor")
        if len(order) == 1 and isinstance(world, ZmqWorld):
            busy.wait(PATIENCE_S)
        return commands.Driven(0, 0)

    def halt(request: Request[Any]) -> None:
        order.append("stop")

    motion.serve(MOTOR, drive)
    motion.serve(STOP, halt)
    world.start(motion)
    world.start(lan)
    drives = [ask(lan, timeout_s=PATIENCE_S) for _ in range(50)]
    if isinstance(world, ZmqWorld):
        world.until(lambda: order == ["motor"])
    stop = lan.request(STOP, commands.Nothing(), timeout_s=PATIENCE_S)
    if isinstance(world, ZmqWorld):
        lane = world.run_dir / "motion.stop"
        assert lane.exists()
        threading.Timer(0.2, busy.set).start()  # let the stop arrive while the first drive is being handled
    world.until(lambda: stop.done() and all(future.done() for future in drives))
    assert order.index("stop") <= 1


def test_only_the_owner_speaks_and_answers(world: World) -> None:
    guard = world.bus("guard")
    world.start(guard)
    with pytest.raises(ValueError, match="belongs to motion"):
        guard.publish(topics.MOTION_BEAT, Beat(1))
    with pytest.raises(ValueError, match="belongs to motion"):
        guard.serve(MOTOR, lambda request: None)
    with pytest.raises(ValueError, match="only requests"):
        guard.request(topics.MOTION_BEAT, Beat(1))


def test_timers_repeat_and_can_be_cancelled(world: World) -> None:
    motion = world.bus("motion")
    ticks: list[float] = []
    once: list[float] = []
    cancelled: list[float] = []
    timer = motion.every(0.02, lambda: ticks.append(motion.now()))
    motion.call_later(0.01, lambda: once.append(motion.now()))
    motion.call_later(0.01, lambda: cancelled.append(1)).cancel()
    world.start(motion)
    world.until(lambda: len(ticks) >= 3)
    timer.cancel()
    assert len(once) == 1
    assert not cancelled


def test_a_second_process_of_one_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.lock.PATIENCE_S", 0.05)
    world = ZmqWorld()
    try:
        first = world.bus("motion")
        world.start(first)
        with pytest.raises(BusError, match="motion already runs"):
            world.bus("motion")
        world.kill(first)
        world.start(world.bus("motion"))
    finally:
        world.close()


def test_a_tool_asks_and_listens_and_leaves_nothing_behind() -> None:
    world = ZmqWorld()
    try:
        motion = world.bus("motion")
        motion.serve(MOTOR, lambda request: commands.Driven(0, 0))
        motion.publish(topics.MOTION_BEAT, Beat(3))
        world.start(motion)
        before = set(world.run_dir.iterdir())
        tool = world.bus("some-tool")
        beat = Latest(tool, topics.MOTION_BEAT)
        world.start(tool)
        future = ask(tool, timeout_s=PATIENCE_S)
        world.until(lambda: future.done() and beat.message is not None)
        assert future.result() == commands.Driven(0, 0)
        world.kill(tool)
        assert set(world.run_dir.iterdir()) == before
    finally:
        world.close()


def test_ends_leave_no_future_open() -> None:
    world = ZmqWorld()
    try:
        lan = world.bus("local_api")
        world.start(lan)
        future = ask(lan, timeout_s=60)
        world.kill(lan)
        assert isinstance(future.exception(timeout=PATIENCE_S), ContractError)
    finally:
        world.close()


def test_what_is_asked_after_the_end_is_refused_and_a_second_stop_is_harmless() -> None:
    world = ZmqWorld()
    try:
        lan = world.bus("local_api")
        world.start(lan)
        world.kill(lan)
        for topic, body in ((MOTOR, commands.Motor(0, 0)), (STOP, commands.Nothing())):
            error = lan.request(topic, body, timeout_s=60).exception(timeout=PATIENCE_S)
            assert isinstance(error, ContractError)
            assert error.code == "UNAVAILABLE"
        assert isinstance(lan, ZmqBus)
        lan.stop()
    finally:
        world.close()


def test_garbage_at_every_socket_kills_nobody() -> None:
    import zmq

    world = ZmqWorld()
    context = zmq.Context()
    try:
        motion, lan = world.bus("motion"), world.bus("local_api")
        motion.serve(MOTOR, lambda request: commands.Driven(0, 0))
        world.start(motion)
        world.start(lan)
        for lane in ("motion.req", "motion.stop", "motion.pub"):
            socket = context.socket(zmq.SUB if lane.endswith("pub") else zmq.DEALER)
            socket.connect(f"ipc://{world.run_dir / lane}")
            for size in (0, 1, 10, 1000):
                if lane.endswith("pub"):
                    socket.setsockopt(zmq.SUBSCRIBE, os.urandom(size))
                else:
                    socket.send_multipart([os.urandom(size)] * (1 + size % 3))
        future = ask(lan, timeout_s=PATIENCE_S)
        world.until(future.done)
        assert future.result() == commands.Driven(0, 0)
        world.until(lambda: motion.counters["bus.malformed"] >= 8)
    finally:
        context.destroy(linger=0)
        world.close()
