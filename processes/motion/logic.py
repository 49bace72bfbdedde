"""Who drives, how fast, and when everything stops. Pure: `now` and `sent_s` are CLOCK_MONOTONIC in seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from bus.messages import Origin, Source
from contract.errors import ContractError
from processes.motion.config import MotionConfig

PRIORITY: dict[Source, int] = {"console": 4, "lan": 3, "datachannel": 2, "cloud": 1, "mission": 0}
"""Who may take the lease from whom: whoever is nearer to the robot."""

LONGEST_STEP_S = 0.1
"""Speed grows for at most this long in one step, however long ago the last one was."""

REMEMBERED_SESSIONS = 64


class Speeds(NamedTuple):
    """Left and right track, −1…1, forward positive."""

    left: float
    right: float


ZERO = Speeds(0.0, 0.0)


class Lease:
    """The right to drive. It is fresh for `fresh_s` after the holder's last command.

    A nearer source takes it at once. Another session of the same source, or a farther one, waits until it is stale:
    a second app must not snatch the wheel from the first.
    """

    def __init__(self, fresh_s: float) -> None:
        self._fresh_s = fresh_s
        self._holder: Origin | None = None
        self._last_s = float("-inf")

    def holder(self, now: float) -> Origin | None:
        """Who holds it, or None when nobody does, or it is stale."""
        return self._holder if now - self._last_s < self._fresh_s else None

    @property
    def fresh_until_s(self) -> float:
        return self._last_s + self._fresh_s

    def take(self, origin: Origin, sent_s: float, now: float) -> None:
        """Take or refresh it, as of when the command was sent.

        Raises:
            ContractError: BUSY.
        """
        holder = self.holder(now)
        if holder is None or PRIORITY[origin.source] > PRIORITY[holder.source]:
            self._last_s = sent_s
        elif same_session(holder, origin):
            self._last_s = max(self._last_s, sent_s)
        else:
            raise ContractError(
                "BUSY",
                f"Somebody else is driving (by {holder.source}); try again when they let go, or send `stop`.",
            )
        self._holder = origin

    def held_by(self, origin: Origin) -> bool:
        """Whether it was this session that took it last, fresh or not."""
        return self._holder is not None and same_session(self._holder, origin)

    def held_from(self, source: Source) -> bool:
        """The same for all sessions of a source."""
        return self._holder is not None and self._holder.source == source

    def end(self) -> None:
        self._holder = None
        self._last_s = float("-inf")


def same_session(one: Origin, other: Origin) -> bool:
    return one.source == other.source and one.session == other.session


class Arbiter:
    """The one place that decides what the motors do.

    `speeds` is what they have to hold now. Every method that can change it leaves it right for its own moment;
    between two moments only `on_tick` notices that time has passed.
    """

    def __init__(self, config: MotionConfig, *, emergency: bool = False) -> None:
        self.speeds = ZERO
        self.emergency = emergency
        self.battery_critical = False
        self._config = config
        self._lease = Lease(config.deadman_s)
        self._target = ZERO
        self._stepped_s = 0.0
        self._stopped_s = self._emergency_s = float("-inf")
        self._source_gone_s: dict[Source, float] = {}
        self._gone_s: OrderedDict[tuple[Source, str], float] = OrderedDict()
        self._guard_s = float("-inf")
        self._pins_trouble: str | None = "the pins were not reached yet"

    # -- what it may ask itself -------------------------------------------------------------------

    def fault(self, now: float) -> str | None:
        """Why the motors may not turn, whoever asks; None when they may."""
        if self._pins_trouble is not None:
            return f"The motors cannot be reached: {self._pins_trouble}."
        if now - self._guard_s >= self._config.guard_s:
            return "The guard process is silent, and without it the motors stay off; it is being restarted."
        return None

    def deadline(self, now: float) -> float | None:
        """When the motors have to stop unless a command and a beat of guard's come; None while nobody drives."""
        if self._lease.holder(now) is None:
            return None
        return min(self._lease.fresh_until_s, self._guard_s + self._config.guard_s)

    def driver(self, now: float) -> Origin | None:
        """Who drives."""
        return self._lease.holder(now)

    def refuse_when_stopped(self) -> None:
        """Raises:
        ContractError: EMERGENCY_STOPPED.
        """
        if self.emergency:
            raise ContractError(
                "EMERGENCY_STOPPED",
                "The emergency stop is on. Send `release` (POST /motor/release) when it is safe to move again.",
            )

    # -- what happens -----------------------------------------------------------------------------

    def on_motor(self, origin: Origin, left: float, right: float, sent_s: float, now: float) -> Speeds:
        """A driving command.

        Raises:
            ContractError: MOTOR_FAULT, EMERGENCY_STOPPED, LOW_BATTERY, STALE_COMMAND or BUSY; nothing changed by it.
        """
        sent_s = min(sent_s, now)
        self.on_tick(now)
        fault = self.fault(now)
        if fault is not None:
            raise ContractError("MOTOR_FAULT", fault)
        self.refuse_when_stopped()
        if self.battery_critical and (left, right) != ZERO:
            raise ContractError("LOW_BATTERY", "The battery is all but empty: charge it before the robot drives again.")
        if now - sent_s >= self._config.deadman_s or sent_s <= self._void_until(origin):
            raise ContractError("STALE_COMMAND", "A stop came after this command was sent, or it is too old to obey.")
        self._lease.take(origin, sent_s, now)
        self._target = Speeds(left, right)
        if self._target == ZERO:
            self._halt()
        self._step(now)
        return self.speeds

    def on_stop(self, sent_s: float) -> Speeds:
        """Stop, from anyone. What was sent before it is not obeyed any more, even when it arrives later."""
        self._stopped_s = max(self._stopped_s, sent_s)
        return self._halt()

    def on_emergency_stop(self, sent_s: float) -> Speeds:
        """Stop, and stay stopped until `on_release`."""
        self.emergency = True
        self._emergency_s = max(self._emergency_s, sent_s)
        return self.on_stop(sent_s)

    def on_release(self, sent_s: float) -> None:
        """The latch opens; nothing moves by it.

        Raises:
            ContractError: EMERGENCY_STOPPED: the stop was pressed after this was sent, and overtook it.
        """
        if sent_s <= self._emergency_s:
            raise ContractError(
                "EMERGENCY_STOPPED", "The emergency stop was pressed after this was sent, so it is not released by it."
            )
        self.emergency = False

    def on_source_gone(self, source: Source, now: float) -> Speeds:
        """The process has ended by which commands of this source come: all their senders are gone with it."""
        self._source_gone_s[source] = now
        return self._halt() if self._lease.held_from(source) else self.speeds

    def on_driver_gone(self, origin: Origin, sent_s: float) -> Speeds:
        """A session has ended: what it was driving stops, what others drive goes on."""
        key = (origin.source, origin.session)
        self._gone_s[key] = max(sent_s, self._gone_s.get(key, sent_s))
        self._gone_s.move_to_end(key)
        if len(self._gone_s) > REMEMBERED_SESSIONS:
            self._gone_s.popitem(last=False)
        return self._halt() if self._lease.held_by(origin) else self.speeds

    def on_guard_beat(self, sent_s: float) -> None:
        self._guard_s = max(self._guard_s, sent_s)

    def on_battery(self, critical: bool | None) -> Speeds:
        """What monitor says of the battery. None says nothing: what it said last holds, also when it is silent."""
        if critical is None:
            return self.speeds
        self.battery_critical = critical
        return self._halt() if critical else self.speeds

    def on_pins(self, trouble: str | None) -> Speeds:
        """The pins were reached (None) or lost; either way they begin at zero."""
        self._pins_trouble = trouble
        return self._halt()

    def on_tick(self, now: float) -> Speeds:
        """Time has passed: the dead-man, guard's silence, and the ramp."""
        if self._lease.holder(now) is None or self.fault(now) is not None:
            self._halt()
        self._step(now)
        return self.speeds

    # -- how --------------------------------------------------------------------------------------

    def _void_until(self, origin: Origin) -> float:
        never = float("-inf")
        return max(
            self._stopped_s,
            self._source_gone_s.get(origin.source, never),
            self._gone_s.get((origin.source, origin.session), never),
        )

    def _halt(self) -> Speeds:
        self._lease.end()
        self._target = self.speeds = ZERO
        return ZERO

    def _step(self, now: float) -> None:
        elapsed_s = min(max(now - self._stepped_s, 0.0), LONGEST_STEP_S)
        self._stepped_s = now
        grow = self._config.ramp_per_s * elapsed_s
        self.speeds = Speeds(
            ramp(self.speeds.left, self._target.left, grow, self._config.ramp_from),
            ramp(self.speeds.right, self._target.right, grow, self._config.ramp_from),
        )


def ramp(speed: float, target: float, grow: float, start: float) -> float:
    """The next speed on the way to `target`: grows by at most `grow`, from `start` on; falls at once; turns round
    by way of zero."""
    if speed * target < 0:
        return 0.0
    size = abs(target)
    if size > abs(speed):
        size = min(size, max(abs(speed) + grow, start) if speed else max(start, grow))
    return size if target > 0 else -size
