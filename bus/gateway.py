"""What may come in from outside (LAN, data channel, relay): one door, the same rules for all.

The rules are the table's: `Topic.outside` says by which paths, for whom and how often.

session = Gateway(bus).open(origin)
session.submit(message, now, answer)      # a JSON object of an app
session.carry_out(command, now)           # a command already parsed, as REST has it
session.ask(SIGNAL, signal, now)          # what is no command: video signalling, pairing
session.close()                           # the driver is gone: what it drove stops
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from bus.base import Bus
from bus.errors import Unavailable
from bus.messages import Origin, SessionEnd
from bus.promise import Promise
from bus.topics import COMMAND_TOPICS, DRIVER_GONE, Outside, Topic, outside_of
from contract import commands
from contract.commands import Command, CommandResult
from contract.errors import ContractError
from contract.frames import Error
from contract.units import Role

MAX_MOTION_AGE_S = 0.5
"""Motion that is older than this when it arrives does not move anything (contract)."""

RANK: Mapping[Role, int] = {"viewer": 0, "driver": 1, "owner": 2}
"""Each role may do what the lower ones may."""

Answer = Callable[[CommandResult | Error], None]


class TokenBucket:
    """Lets `rate_hz` through on average, and `burst` at once."""

    def __init__(self, rate_hz: float, burst: float, now: float) -> None:
        self._rate_hz = rate_hz
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """0 when there is a token for it, else the seconds until there is."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_hz)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate_hz


class Staleness:
    """How old a message is, without comparing two machines' clocks (contract: the sender's monotonic `t`).

    The smallest difference between receipt and `t` seen in a session is a message that was not held up; a message is
    older by as much as its own difference is larger.
    """

    def __init__(self) -> None:
        self._least_s: float | None = None

    def age_s(self, t_ms: float, received: float) -> float:
        difference_s = received - t_ms / 1000
        self._least_s = difference_s if self._least_s is None else min(self._least_s, difference_s)
        return difference_s - self._least_s


class Gateway:
    """Opens sessions for whoever speaks to the robot from outside."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def open(self, origin: Origin) -> Session:
        return Session(self._bus, origin)


class Session:
    """One app's session on one path. Its methods may be called from any one thread at a time."""

    def __init__(self, bus: Bus, origin: Origin) -> None:
        self._bus = bus
        self.origin = origin
        self._staleness = Staleness()
        self._buckets: dict[str, TokenBucket] = {}
        self._drives = False

    def submit(self, message: Mapping[str, Any], received: float, answer: Answer, *, link_fresh: bool = True) -> None:
        """Carry out a command as apps send it.

        A command with an `id` gets exactly one `command_result`, after the deed; one without gets an `error` frame
        when it is refused, and nothing when it is done. `answer` is called from the bus's loop or from here.

        Args:
            received: CLOCK_MONOTONIC in s when the message came in.
            link_fresh: False while the path's own ping has been unanswered for over 500 ms.
        """
        try:
            command = commands.parse(message)
        except ContractError as error:
            answer(refusal(message, error))
            return
        future = self.carry_out(command, received, link_fresh=link_fresh)
        future.add_done_callback(lambda done: _answer(command, done, answer))

    def carry_out(self, command: Command, received: float, *, link_fresh: bool = True) -> Promise:
        """Send the command to the process that carries it out.

        Returns:
            A promise of the command's result struct, or of ContractError: NOT_AUTHORIZED, RATE_LIMITED, STALE_COMMAND,
            UNAVAILABLE, or what the process says.
        """
        spec = command.spec
        what, outside = f"`{spec.name}`", outside_of(spec)
        try:
            self._admit(outside, what)
            if spec.motion:
                self._refuse_stale(command.t_ms, received, link_fresh)
            self._limit(outside, what, received)
            topic = COMMAND_TOPICS.get(spec.name)
            if topic is None:
                raise Unavailable(f"{what} needs the {spec.service} process, which this robot does not have.")
        except ContractError as error:
            return self._refused(error)
        self._drives = self._drives or spec.motion
        return self._bus.request(topic, command.body, origin=self.origin, id=self._scoped(command.id), sent_s=received)

    def ask(self, topic: Topic[Any], body: Struct, received: float) -> Promise:
        """Ask something that is no command, where the table lets this session ask it.

        Returns:
            A promise of the reply, or of ContractError: NOT_AUTHORIZED, RATE_LIMITED, UNAVAILABLE, or what the process
            says.
        """
        try:
            if topic.outside is None:
                raise ContractError("NOT_AUTHORIZED", f"{topic.name} is inside the robot only.")
            self._admit(topic.outside, topic.name)
            self._limit(topic.outside, topic.name, received)
        except ContractError as error:
            return self._refused(error)
        return self._bus.request(topic, body, origin=self.origin)

    def close(self) -> Promise | None:
        """The session is over: whatever it was driving stops now, not at the dead-man's time."""
        if not self._drives:
            return None
        self._drives = False
        return self._bus.request(DRIVER_GONE, SessionEnd(self.origin), origin=self.origin)

    def _admit(self, outside: Outside, what: str) -> None:
        """Raise ContractError unless the table lets this session send it."""
        if self.origin.source not in outside.paths:
            raise ContractError("NOT_AUTHORIZED", f"{what} cannot be sent by the path {self.origin.source}.")
        if RANK[self.origin.role] < RANK[outside.role]:
            raise ContractError(
                "NOT_AUTHORIZED", f"A {self.origin.role} may not send {what}: it takes at least a {outside.role}."
            )

    def _limit(self, outside: Outside, what: str, received: float) -> None:
        """Raise ContractError when this session sends it too often."""
        rate_hz = outside.rate_hz
        if rate_hz is None:
            return
        bucket = self._buckets.get(what)
        if bucket is None:
            bucket = self._buckets[what] = TokenBucket(rate_hz, max(2.0, rate_hz / 2), received)
        wait_s = bucket.take(received)
        if wait_s > 0:
            raise ContractError(
                "RATE_LIMITED",
                f"{what} is accepted {rate_hz:g} times a second; wait {wait_s:.2f} s.",
                retry_after_s=round(wait_s, 3),
            )

    def _refused(self, error: ContractError) -> Promise:
        self._bus.counters[f"gateway.refused.{error.code}"] += 1
        failed = Promise()
        failed.set_exception(error)
        return failed

    def _refuse_stale(self, t_ms: float | None, received: float, link_fresh: bool) -> None:
        age_s = 0.0 if t_ms is None else self._staleness.age_s(t_ms, received)
        if age_s > MAX_MOTION_AGE_S or (t_ms is None and not link_fresh):
            raise ContractError(
                "STALE_COMMAND", f"Motion is carried out within {MAX_MOTION_AGE_S * 1000:.0f} ms or not at all."
            )

    def _scoped(self, id_: str | int | None) -> str | None:
        """The sender's id, made unique among senders: a repeat after a reconnect is still a repeat."""
        if id_ is None:
            return None
        who = self.origin.user_id or self.origin.session
        return f"{self.origin.source}:{who}:{id_}"


def refusal(message: Mapping[str, Any], error: ContractError) -> CommandResult | Error:
    """The answer to a command that could not even be parsed."""
    id_, name = message.get("id"), message.get("command")
    name = name if isinstance(name, str) else None
    if isinstance(id_, str | int) and not isinstance(id_, bool):
        return CommandResult(id=id_, command=name or "", success=False, error=error.body)
    return error_frame(error, name)


def error_frame(error: ContractError, command: str | None = None) -> Error:
    return Error(code=error.code, message=error.message, command=command, retry_after_s=error.retry_after_s)


def _answer(command: Command, done: Promise, answer: Answer) -> None:
    error = done.exception()
    if error is not None and not isinstance(error, ContractError):
        error = ContractError("INTERNAL_ERROR", f"`{command.spec.name}` failed inside the robot; its log says why.")
    outcome = error if isinstance(error, ContractError) else done.result()
    result = command.result(None if isinstance(outcome, commands.Nothing) else outcome)
    if result is not None:
        answer(result)
    elif isinstance(outcome, ContractError) and outcome.code != "STALE_COMMAND":
        answer(error_frame(outcome, command.spec.name))
