"""Hostile frames at every socket of the bus, and what the processes behind them look like afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psutil

from bench import bus_mutations as mutations
from bench.bus_crew import Crew
from bench.bus_hostile import Hostile, anything
from bench.demo_driver import free_port, until
from bench.report import Row
from bus import codec, settings
from bus.codec import Message
from bus.errors import MalformedMessage
from bus.messages import Heartbeat, MachineState
from bus.topics import COMMAND_TOPICS, EVENTS, HEARTBEATS, SIMULATED_MACHINE, SIMULATOR_READ
from bus.zeromq import ZmqBus
from contract.commands import Motor, Nothing
from contract.errors import ContractError
from contract.validate import refuse_non_finite

SERVER, LISTENER, CLIENT = "motion", "monitor", "webrtc"
ROBOT = ("simulator", "guard", "motion", "dispenser")
MAX_GROWTH_PCT = 5.0
MAX_LOG_KIB = 64.0
"""An attack of a few minutes by one sender is some dozens of lines: each kind of complaint once a minute."""
WARM_UP_SHARE = 0.1
RAW_SHARE = 0.02
OWNER_S = 600.0
PATIENCE_S = 30.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""


def fuzz_codec(frames: int, seed: int) -> list[Row]:
    """Spoilt messages to the codec alone: it reads them, or refuses them with the errors it promises."""
    random, outcomes = Random(seed), Counter[str]()
    for number in range(frames):
        try:
            _decode_one(number, random)
            outcomes["read"] += 1
        except (MalformedMessage, ContractError):
            outcomes["refused"] += 1
        except Exception as error:  # noqa: BLE001 - which one it is, is the finding
            outcomes[f"{type(error).__name__}: {error}"] += 1
    unexpected = sum(outcomes.values()) - outcomes["read"] - outcomes["refused"]
    names = ", ".join(sorted(set(outcomes) - {"read", "refused"})[:3])
    return [
        Row("codec: spoilt messages refused", {"count": outcomes["refused"]}, met=outcomes["refused"] > frames // 2),
        Row("codec: still valid", {"count": outcomes["read"]}),
        Row(f"codec: other errors {names}".strip(), {"count": unexpected}, 0, unexpected == 0),
    ]


def _decode_one(number: int, random: Random) -> None:
    """Raises ValueError where a NaN, an infinity or too deep a tree was let through."""
    topic = random.choice(mutations.PUBLISHED if number % 3 == 0 else mutations.ASKED)
    value: Any
    if number % 3 == 0:
        raw = mutations.mutate(mutations.publication(topic, random, 1, 1), random)
        value = codec.publication_decoder(topic)(raw).value
    elif number % 3 == 1:
        raw = mutations.mutate(mutations.request(topic, random, 1), random)
        value = codec.decode_request(*codec.request_envelope(raw)).body
    else:
        reply = codec.decode_reply(mutations.mutate(mutations.reply(topic, 1, random), random))
        value = reply.error.retry_after_s if reply.error else codec.decode_payload(topic.reply, reply.payload)
    refuse_non_finite(msgspec.to_builtins(value))


class Watch:
    """Listens to heartbeats, and weighs the processes before and after."""

    def __init__(self, bus: ZmqBus, processes: dict[str, psutil.Process], logs: dict[str, Path]) -> None:
        self._bus = bus
        self._processes = processes
        self._logs = logs
        self.counters: dict[str, dict[str, int]] = {}
        self._beats: Counter[str] = Counter()
        self._before: dict[str, tuple[float, int]] = {}
        for name in processes:
            bus.subscribe(HEARTBEATS[name], lambda message, name=name: self._hear(name, message))  # type: ignore[misc]

    def _hear(self, name: str, message: Message[Heartbeat]) -> None:
        if message.value.pid == self._processes[name].pid:  # and not a hostile one in its place
            self.counters[name] = message.value.counters
            self._beats[name] += 1

    def beats_again(self, *names: str) -> None:
        """Wait for another two heartbeats of each. Raises TimeoutError: a loop is stuck, or the process is gone."""
        for name in names:
            wanted = self._beats[name] + 2
            until(lambda name=name, wanted=wanted: self._beats[name] >= wanted, PATIENCE_S, f"{name} beats")  # type: ignore[misc]

    def counter(self, name: str, *counters: str) -> int:
        return sum(self.counters.get(name, {}).get(counter, 0) for counter in counters)

    def weigh_before(self) -> None:
        self._before = {name: self._weigh(name) for name in self._processes}

    def _weigh(self, name: str) -> tuple[float, int]:
        process = self._processes[name]
        return process.memory_info().rss / 2**20, process.num_fds()

    def rows(self, what: str) -> list[Row]:
        """Alive, flat in memory and descriptors, quiet in the log: the worst of the processes, by name."""
        gone = [name for name, process in self._processes.items() if not _lives(process)]
        rows = [Row(f"{what}: processes that ended {' '.join(gone)}".rstrip(), {"count": len(gone)}, 0, not gone)]
        there = [name for name in self._processes if name not in gone]
        after = {name: self._weigh(name) for name in there}
        growth_pct = {name: (after[name][0] / self._before[name][0] - 1) * 100 for name in there}
        descriptors = {name: after[name][1] - self._before[name][1] for name in there}
        log_kib = {name: self._logs[name].stat().st_size / 1024 for name in self._processes}
        errors = {name: self.counter(name, "bus.handler_errors") for name in there}
        for subject, unit, values, aim in (
            ("memory", "growth_pct", growth_pct, MAX_GROWTH_PCT),
            ("descriptors", "growth", descriptors, 0),
            ("log", "kib", log_kib, MAX_LOG_KIB),
            ("handlers that failed", "count", errors, 0),
        ):
            worst = max(values, key=lambda name: values[name], default="")
            figure = values.get(worst, 0)
            rows.append(Row(f"{what}: {subject}, most in {worst}", {unit: figure}, aim, figure <= aim))
        return rows

    def settled(self) -> None:
        """Wait until no connection of the hostile is left open on the victims' side (they end a moment later)."""
        with contextlib.suppress(TimeoutError, psutil.NoSuchProcess):  # then the rows say what was left open
            until(lambda: all(self._weigh(name)[1] <= fds for name, (_, fds) in self._before.items()), 10.0, "settled")


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextlib.contextmanager
def _hostile(run_dir: Path, seed: int) -> Iterator[Hostile]:
    hostile = Hostile(run_dir, seed)
    try:
        yield hostile
    finally:
        hostile.close()


@contextlib.contextmanager
def _crew(directory: Path) -> Iterator[tuple[Crew, Watch]]:
    """A publishing server, a listener and a client, and somebody who watches over them."""
    crew = Crew(directory, journal=False)
    bus = ZmqBus("drill", crew.run_dir)
    try:
        crew.start(SERVER, events_hz=200.0)
        crew.start(LISTENER, hears=(SERVER,))
        crew.start(CLIENT, hears=(SERVER,), asks_hz=50.0, ids_hz=5.0, stops_hz=5.0)
        crew.wait_bound(SERVER, LISTENER, CLIENT)
        names = (SERVER, LISTENER, CLIENT)
        watch = Watch(bus, {name: crew.stats(name) for name in names}, {name: crew.log(name) for name in names})
        bus.start()
        watch.beats_again(*names)
        yield crew, watch
    finally:
        bus.stop()
        crew.close()


def _attack(hostile: Hostile, owner: str, frames: int, harmless: Callable[[bytes], bool] = anything) -> None:
    """At each socket of a process: `frames` at the three of them, and connections below ZeroMQ beside that."""
    hostile.requests(owner, "req", frames, harmless)
    hostile.requests(owner, "stop", frames, harmless)
    hostile.subscriptions(owner, frames)
    hostile.raw_connections(owner, int(frames * RAW_SHARE))


def fuzz_server(directory: Path, frames: int, seed: int) -> list[Row]:
    """`frames` at each socket of a server whose other clients go on undisturbed."""
    what = "hostile clients"
    with _crew(directory) as (_, watch), _hostile(directory / "run", seed) as hostile:
        _attack(hostile, SERVER, max(1, int(frames * WARM_UP_SHARE)))
        watch.beats_again(SERVER, LISTENER, CLIENT)
        watch.weigh_before()
        _attack(hostile, SERVER, frames)
        hostile.close()
        flows = _flows_again(watch, what)
        watch.settled()
        dropped = watch.counter(SERVER, "bus.malformed", "bus.refused")
        return [
            *_sent(what, hostile),
            Row(f"{what}: drops counted", {"count": dropped}, met=dropped > frames // 2),
            *flows,
            *watch.rows(what),
        ]


def fuzz_client(directory: Path, frames: int, seed: int) -> list[Row]:
    """A hostile program in the place of a server and publisher, `frames` at those who listen and ask; then the real one
    comes back.
    """
    what = "hostile owner"
    with _crew(directory) as (crew, _), _hostile(directory / "run", seed) as hostile:
        victims = (LISTENER, CLIENT)
        bus = ZmqBus("drill", crew.run_dir)
        watch = Watch(bus, {name: crew.stats(name) for name in victims}, {name: crew.log(name) for name in victims})
        bus.start()
        try:
            _take_its_place(crew, hostile, max(1, int(frames * WARM_UP_SHARE)))
            _flows_again(watch, what)
            watch.weigh_before()
            hostile.sent.clear()
            _take_its_place(crew, hostile, frames)
            flows = _flows_again(watch, what)
            watch.settled()
            dropped = {name: watch.counter(name, "bus.malformed") for name in victims}
        finally:
            bus.stop()
        return [
            *_sent(what, hostile),
            *(
                Row(f"{what}: drops counted by {name}", {"count": count}, met=count > frames // 10)
                for name, count in dropped.items()
            ),
            *flows,
            *watch.rows(what),
        ]


def _take_its_place(crew: Crew, hostile: Hostile, frames: int) -> None:
    """A hostile program where the server was, and then the server again."""
    crew.end(SERVER, signal.SIGTERM)
    hostile.owner(SERVER, frames, OWNER_S)
    crew.start(SERVER)


def _sent(what: str, hostile: Hostile) -> list[Row]:
    return [Row(f"{what}: {kind}", {"count": count}) for kind, count in hostile.sent.items()]


def _flows_again(watch: Watch, what: str) -> list[Row]:
    """Publications and answers arrive after all that. Raises nothing: what does not come is a missed aim."""
    rows = []
    for name, counter in ((LISTENER, "peer.heard"), (CLIENT, "peer.heard"), (CLIENT, "peer.answered")):
        before = watch.counter(name, counter)
        try:
            until(lambda n=name, c=counter, b=before: watch.counter(n, c) > b + 20, PATIENCE_S, "flow")  # type: ignore[misc]
            flows = True
        except TimeoutError:
            flows = False
        rows.append(Row(f"{what}: afterwards {counter.partition('.')[2]} by {name}", {"count": flows}, 1, flows))
    return rows


# -- a robot's own processes --------------------------------------------------------------------------


@contextlib.contextmanager
def _robot(directory: Path) -> Iterator[tuple[Path, dict[str, subprocess.Popen[bytes]], dict[str, Path]]]:
    """Simulator, guard, motion and dispenser, with nobody who would bring them back."""
    data = directory / "data"
    data.mkdir()
    config = data / "robot_config.yaml"
    config.write_text(f"pins: {{port: {free_port()}}}\n")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    logs = {name: data / f"{name}.log" for name in ROBOT}
    try:
        for name in ROBOT:
            with logs[name].open("wb") as log:
                command = [sys.executable, "-m", f"processes.{name}", "--config", str(config)]
                env = os.environ | {"WIMZ_DATA": str(data)}
                processes[name] = subprocess.Popen(command, cwd=settings.ROOT, env=env, stderr=log)
        yield settings.make_run_dir(data), processes, logs
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(settings.run_dir(data), ignore_errors=True)


def only_garbage(raw: bytes) -> bool:
    """A robot obeys what is valid, whoever sent it: to it, only what is not valid is sent."""
    return not mutations.is_valid_request(raw)


def fuzz_robot(directory: Path, frames: int, seed: int) -> list[Row]:
    """`frames` at each socket of each process of a robot: nobody restarts, nothing turns, no treat falls."""
    what = "robot"
    with _robot(directory) as (run_dir, processes, logs), _hostile(run_dir, seed) as hostile:
        bus = ZmqBus("drill", run_dir)
        eye = Eye(bus)
        watch = Watch(bus, {name: psutil.Process(p.pid) for name, p in processes.items()}, logs)
        bus.start()
        try:
            watch.beats_again(*ROBOT)
            for name in ROBOT:
                _attack(hostile, name, max(1, int(frames * WARM_UP_SHARE)), only_garbage)
            watch.beats_again(*ROBOT)
            _drives(bus)  # makes the connections of this drill itself, which are then no growth
            until(lambda: _read(bus).motors.left.duty == 0, PATIENCE_S, "the dead-man stops the motors")
            eye.begin(_read(bus))
            watch.weigh_before()
            for name in ROBOT:
                _attack(hostile, name, frames, only_garbage)
            hostile.close()
            watch.beats_again(*ROBOT)
            watch.settled()
            rows = [*_sent(what, hostile), *eye.rows(_read(bus)), *watch.rows(what)]
            drives = _drives(bus)
            return [*rows, Row(f"{what}: drives when it is told to, and is seen to", {"duty": drives}, met=drives > 0)]
        finally:
            bus.stop()


def _read(bus: ZmqBus) -> MachineState:
    state: MachineState = bus.request(SIMULATOR_READ, Nothing(), timeout_s=PATIENCE_S).result()
    return state


def _drives(bus: ZmqBus) -> float:
    """Tell the robot to drive until the machine is seen to; the duty. Raises TimeoutError."""

    def duty() -> float:
        with contextlib.suppress(ContractError):  # it has just started, or is refusing: then nothing turns yet
            bus.request(COMMAND_TOPICS["motor"], Motor(0.5, 0.5)).result(PATIENCE_S)
        return _read(bus).motors.left.duty

    turning: float = until(duty, PATIENCE_S, "the motors turn")
    return turning


class Eye:
    """Looks at the simulated machine as often as it says how it is."""

    def __init__(self, bus: ZmqBus) -> None:
        self._looks = 0
        self._duty = 0.0
        self._events = 0
        self._dropped = 0
        bus.subscribe(SIMULATED_MACHINE, self._look, every_value=True)
        bus.subscribe(EVENTS["dispenser"], self._event)

    def _look(self, message: Message[MachineState]) -> None:
        motors = message.value.motors
        self._looks += 1
        self._duty = max(self._duty, *(abs(side.duty) for side in (motors.left, motors.right)))

    def _event(self, _: Message[Any]) -> None:
        self._events += 1

    def begin(self, machine: MachineState) -> None:
        """What was before this does not count."""
        self._looks, self._duty, self._events, self._dropped = 0, 0.0, 0, machine.carousel.dropped

    def rows(self, machine: MachineState) -> list[Row]:
        dropped = machine.carousel.dropped - self._dropped
        return [
            Row("robot: looks at the machine", {"count": self._looks}, met=self._looks > 0),
            Row("robot: largest duty of a motor", {"duty": self._duty}, 0, self._duty == 0),
            Row("robot: treats that fell", {"count": dropped}, 0, dropped == 0),
            Row("robot: events of the dispenser", {"count": self._events}, 0, self._events == 0),
        ]
