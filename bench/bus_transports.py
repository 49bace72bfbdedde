"""Our bus and its peers, each behind the same four verbs, for `bench/bus.py`.

`Transport` sends in the process that measures, and receives or answers in a child. Each peer is used as its own
documentation has it; whatever makes it safe in ours (types, deadlines, sequence numbers) is not asked of the peers.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import paho.mqtt.client as mqtt
import redis
import zmq
from paho.mqtt.enums import CallbackAPIVersion

from bench.demo_driver import free_port, until
from bus.codec import Message, Request
from bus.messages import RobotEvent
from bus.topics import COMMAND_TOPICS, EVENTS
from bus.zeromq import ZmqBus
from cli.embedded import EmbeddedValkey
from contract import commands

PAYLOAD_BYTES = 100
TIMEOUT_MS = 2000
SETTLE_S = 0.2
"""Until a subscription has come to the publisher."""

Received = Callable[[int], None]
"""Called with the CLOCK_MONOTONIC at which the message was sent, in ns."""


def payload(now_ns: int) -> bytes:
    """100 bytes that carry the time at which they were sent."""
    return now_ns.to_bytes(8, "little").ljust(PAYLOAD_BYTES, b"x")


def sent_ns(raw: bytes) -> int:
    """The time in a payload."""
    return int.from_bytes(raw[:8], "little")


class Transport(ABC):
    """One way to get bytes from one process to another. `prepare` and `close` run where it is measured."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:  # noqa: B027
        """Start what stands between the two processes, if anything does."""

    def close(self) -> None:  # noqa: B027
        """Stop it."""

    def renew(self) -> None:  # noqa: B027
        """Another child will be there for the next task."""

    def broker_pid(self) -> int | None:
        """The process in the middle, whose work counts too."""
        return None

    @abstractmethod
    def send_paced(self, count: int, period_s: float) -> None:
        """Send one message each period."""

    @abstractmethod
    def send_flood(self, seconds: float) -> int:
        """Send as fast as it goes; returns how many."""

    @abstractmethod
    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        """In the child: receive until killed."""

    @abstractmethod
    def ask_paced(self, count: int, period_s: float) -> list[int]:
        """Ask once each period; returns each round trip in ns."""

    @abstractmethod
    def answer(self, ready: Callable[[], None]) -> None:
        """In the child: answer until killed."""


class Blocking(Transport):
    """What is sent and asked by plain blocking calls."""

    def send_paced(self, count: int, period_s: float) -> None:
        send = self.sender()
        for _ in range(count):
            send(payload(time.monotonic_ns()))
            time.sleep(period_s)

    def send_flood(self, seconds: float) -> int:
        send, sent = self.sender(), 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(100):
                send(payload(time.monotonic_ns()))
            sent += 100
        return sent

    def ask_paced(self, count: int, period_s: float) -> list[int]:
        ask, took = self.asker(), []
        for _ in range(count):
            begun = time.monotonic_ns()
            ask(payload(begun))
            took.append(time.monotonic_ns() - begun)
            time.sleep(period_s)
        return took

    @abstractmethod
    def sender(self) -> Callable[[bytes], Any]: ...

    @abstractmethod
    def asker(self) -> Callable[[bytes], Any]: ...


class WimzBus(Transport):
    """Our bus: EVENT for one way, REQUEST for there and back, typed and validated on both sides."""

    name = "WIM-Z bus"
    event = EVENTS["motion"]
    request = COMMAND_TOPICS["motor"]
    filler = "x" * 20
    """Makes the whole message about `PAYLOAD_BYTES` long."""

    def send_paced(self, count: int, period_s: float) -> None:
        bus = ZmqBus("motion", self.directory)
        left = count

        def send() -> None:
            nonlocal left
            left -= 1
            bus.publish(self.event, self._event())
            if left == 0:
                bus.stop()

        def start() -> None:
            bus.every(period_s, send)

        bus.call_later(SETTLE_S, start)
        bus.run()

    def send_flood(self, seconds: float) -> int:
        bus, sent = ZmqBus("motion", self.directory), 0
        end = time.monotonic() + seconds + SETTLE_S

        def send() -> None:
            nonlocal sent
            for _ in range(100):
                bus.publish(self.event, self._event())
            sent += 100
            if time.monotonic() < end:
                bus.call_soon(send)
            else:
                bus.call_later(0.1, bus.stop)  # the queue drains

        bus.call_later(SETTLE_S, send)
        bus.run()
        return sent

    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        def heard(message: Message[RobotEvent]) -> None:
            received(message.value.data["t"])

        bus = ZmqBus("monitor", self.directory)
        bus.subscribe(self.event, heard)
        bus.call_soon(ready)
        bus.run()

    def ask_paced(self, count: int, period_s: float) -> list[int]:
        bus, took = ZmqBus("local_api", self.directory), list[int]()

        def ask() -> None:
            begun = time.monotonic_ns()
            future = bus.request(self.request, commands.Motor(0.5, 0.5))
            future.add_done_callback(lambda done: note(begun, done.exception()))

        def note(begun: int, error: BaseException | None) -> None:
            if error is None:
                took.append(time.monotonic_ns() - begun)
            if len(took) == count:
                bus.stop()

        def start() -> None:
            bus.every(period_s, ask)

        bus.call_later(SETTLE_S, start)
        bus.run()
        return took

    def answer(self, ready: Callable[[], None]) -> None:
        def drive(request: Request[commands.Motor]) -> commands.Driven:
            return commands.Driven(request.body.left, request.body.right)

        bus = ZmqBus("motion", self.directory)
        bus.serve(self.request, drive)
        bus.call_soon(ready)
        bus.run()

    def _event(self) -> RobotEvent:
        return RobotEvent("treat", {"t": time.monotonic_ns()}, self.filler, "")


class RawZeroMq(Blocking):
    """pyzmq by itself: PUB/SUB and DEALER/ROUTER on ipc, one socket, blocking, bytes."""

    name = "raw pyzmq ipc"

    def sender(self) -> Callable[[bytes], Any]:
        socket: Any = zmq.Context.instance().socket(zmq.PUB)
        socket.connect(self._address("one-way"))
        time.sleep(SETTLE_S)  # a PUB says nothing of its subscribers
        send: Callable[[bytes], Any] = socket.send
        return send

    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        socket: Any = zmq.Context.instance().socket(zmq.SUB)
        socket.bind(self._address("one-way"))
        socket.subscribe(b"")
        ready()
        while True:
            received(sent_ns(socket.recv()))

    def asker(self) -> Callable[[bytes], Any]:
        socket: Any = zmq.Context.instance().socket(zmq.DEALER)
        socket.connect(self._address("ask"))

        def ask(raw: bytes) -> bytes:
            socket.send(raw)
            if not socket.poll(TIMEOUT_MS):
                raise TimeoutError
            answer: bytes = socket.recv()
            return answer

        return ask

    def answer(self, ready: Callable[[], None]) -> None:
        socket: Any = zmq.Context.instance().socket(zmq.ROUTER)
        socket.bind(self._address("ask"))
        ready()
        while True:
            peer, raw = socket.recv_multipart()
            socket.send_multipart([peer, raw])

    def _address(self, what: str) -> str:
        return f"ipc://{self.directory / what}"


class RedisOnUnixSocket(Blocking):
    """redis-py: PUBLISH and a subscription; two channels for there and back."""

    name = "Redis pub/sub, unix socket"
    _server: EmbeddedValkey | None = None

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    def prepare(self) -> None:
        listen = {"port": str(self.port), "bind": "127.0.0.1"}
        self._server = EmbeddedValkey(self.directory / "redis", settings=listen)
        self._server.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()

    def broker_pid(self) -> int | None:
        return None if self._server is None else self._server.child.pid

    def sender(self) -> Callable[[bytes], Any]:
        client = self._client()
        return lambda raw: client.publish("one-way", raw)

    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        subscription = self._subscribe("one-way")
        ready()
        for message in subscription.listen():
            received(sent_ns(message["data"]))

    def asker(self) -> Callable[[bytes], Any]:
        client, answers = self._client(), self._subscribe("answers")

        def ask(raw: bytes) -> bytes:
            client.publish("questions", raw)
            message = answers.get_message(timeout=TIMEOUT_MS / 1000)
            if message is None:
                raise TimeoutError
            data: bytes = message["data"]
            return data

        return ask

    def answer(self, ready: Callable[[], None]) -> None:
        client, questions = self._client(), self._subscribe("questions")
        ready()
        for message in questions.listen():
            client.publish("answers", message["data"])

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.directory / "redis" / "valkey.sock"))

    def _subscribe(self, channel: str) -> Any:
        subscription: Any = self._client().pubsub()  # type: ignore[no-untyped-call]
        subscription.subscribe(channel)
        confirmed = subscription.get_message(timeout=TIMEOUT_MS / 1000)
        assert confirmed is not None
        assert confirmed["type"] == "subscribe"
        return subscription


class Redis(RedisOnUnixSocket):
    """The same over TCP, as Redis and redis-py do it unless they are told otherwise."""

    name = "Redis pub/sub"

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


class Queue(Blocking):
    """multiprocessing.Queue, one for each direction."""

    name = "multiprocessing.Queue"

    _there: Any
    _back: Any

    def renew(self) -> None:
        context = multiprocessing.get_context("spawn")  # a reader that was killed has left the old ones locked
        self._there, self._back = context.Queue(10_000), context.Queue(10_000)

    def sender(self) -> Callable[[bytes], Any]:
        return self._there.put  # type: ignore[no-any-return]

    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        ready()
        while True:
            received(sent_ns(self._there.get()))

    def asker(self) -> Callable[[bytes], Any]:
        def ask(raw: bytes) -> bytes:
            self._there.put(raw)
            answer: bytes = self._back.get(timeout=TIMEOUT_MS / 1000)
            return answer

        return ask

    def answer(self, ready: Callable[[], None]) -> None:
        ready()
        while True:
            self._back.put(self._there.get())


class Mosquitto(Blocking):
    """Mosquitto on a loopback port and paho-mqtt, QoS 0."""

    name = "Mosquitto"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._port = free_port()
        self._broker: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "mosquitto is not installed"
        self._broker = subprocess.Popen([program, "-p", str(self._port)], stderr=subprocess.DEVNULL)
        until(self._answers, TIMEOUT_MS / 1000, "Mosquitto is up")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def close(self) -> None:
        if self._broker is not None:
            self._broker.terminate()
            self._broker.wait()

    def broker_pid(self) -> int | None:
        return self._broker.pid if self._broker else None

    def sender(self) -> Callable[[bytes], Any]:
        client = self._client()
        client.loop_start()
        return lambda raw: client.publish("one-way", raw)

    def receive(self, received: Received, ready: Callable[[], None]) -> None:
        self._listen("one-way", lambda client, raw: received(sent_ns(raw)), ready)

    def asker(self) -> Callable[[bytes], Any]:
        answers: SimpleQueue[bytes] = SimpleQueue()
        client, subscribed = self._client(), threading.Event()
        client.on_message = lambda _client, _data, message: answers.put(bytes(message.payload))
        client.on_subscribe = lambda *_: subscribed.set()
        client.subscribe("answers")
        client.loop_start()
        assert subscribed.wait(TIMEOUT_MS / 1000)

        def ask(raw: bytes) -> bytes:
            client.publish("questions", raw)
            return answers.get(timeout=TIMEOUT_MS / 1000)

        return ask

    def answer(self, ready: Callable[[], None]) -> None:
        self._listen("questions", lambda client, raw: client.publish("answers", raw), ready)

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self._port)
        connection: Any = client.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def _listen(self, topic: str, heard: Callable[[mqtt.Client, bytes], Any], ready: Callable[[], None]) -> None:
        client = self._client()
        client.on_message = lambda _client, _data, message: heard(client, bytes(message.payload))
        client.on_subscribe = lambda *_: ready()
        client.subscribe(topic)
        client.loop_forever()


TRANSPORTS: tuple[type[Transport], ...] = (WimzBus, RawZeroMq, Redis, RedisOnUnixSocket, Queue, Mosquitto)
