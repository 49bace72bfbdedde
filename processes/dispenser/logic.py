"""One deed of the carousel at a time: IDLE → TURNING → CONFIRMED | JAMMED. Pure; `now` in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from contract.errors import ContractError
from processes.dispenser.config import DispenserConfig

Kind = Literal["treat", "rotate"]


class Phase(Enum):
    """What the carousel is doing. SETTLING: it stands, and what is still falling is watched for."""

    IDLE = "idle"
    TURNING = "turning"
    BACKING = "backing"
    SETTLING = "settling"


class Turn(Enum):
    """What the servo has to do."""

    FORWARD = 1
    STOP = 0
    BACK = -1


@dataclass(frozen=True)
class Count:
    """A treat fell: write it down. `seen`: the beam saw it; else it is only taken to have fallen."""

    seen: bool


@dataclass(frozen=True)
class Finish:
    """The deed is over. `given`: a treat fell, or nothing was to fall; else the carousel is jammed."""

    given: bool


Action = Turn | Count | Finish

Stock = Literal["ok", "low", "empty"]

LOW_HYSTERESIS = 3
"""So many treats above `low_from` the stock is well again, so that one refilled by a handful is not told of twice."""

JAM_MESSAGE = "No treat fell: the carousel is jammed or empty, or the beam does not see. Clear it, then try again."


def stock_of(remaining: int, before: Stock, config: DispenserConfig) -> Stock:
    """How the stock stands, given how it stood `before`."""
    if remaining == 0:
        return "empty"
    well_at = config.low_from + 1 if before == "ok" else min(config.low_from + LOW_HYSTERESIS, config.capacity)
    return "ok" if remaining >= well_at else "low"


class Carousel:
    """Turns until the beam sees a treat; without a beam for as long as one slot takes.

    `jammed` is what came of the last treat. A next one may be asked for: it tries again.
    """

    def __init__(self, config: DispenserConfig, *, beam_fitted: bool) -> None:
        self.phase = Phase.IDLE
        self.jammed = False
        self._config = config
        self._beam_fitted = beam_fitted
        self._kind: Kind = "treat"
        self._until_s = 0.0
        self._tries = 0
        self._seen = 0

    def on_start(self, kind: Kind, now: float, *, remaining: int, beam_broken: bool) -> list[Action]:
        """Begin a deed.

        Args:
            remaining: treats left.
            beam_broken: something is in the beam right now.

        Raises:
            ContractError: BUSY, EMPTY, or TREAT_JAM when the beam could not see the treat fall.
        """
        if self.phase is not Phase.IDLE:
            raise ContractError("BUSY", "The carousel is turning already; try again when it has come to rest.")
        if kind == "treat" and remaining == 0:
            raise ContractError("EMPTY", "There are no treats left: refill the carousel.")
        if kind == "treat" and self._beam_fitted and beam_broken:
            raise ContractError("TREAT_JAM", "Something blocks the treat beam: clear the chute and clean the sensor.")
        self._kind = kind
        self._tries = 1
        self._seen = 0
        return self._turn(now)

    def on_beam(self, now: float) -> list[Action]:
        """The beam was broken. Nothing to do means that no treat can have been the cause."""
        if self.phase is Phase.IDLE:
            return []
        self._seen += 1
        if self._kind == "treat" and self.phase is not Phase.SETTLING:
            return [*self._settle(now), Count(seen=True)]
        return [Count(seen=True)]

    def on_tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self.phase is Phase.IDLE or now < self._until_s:
            return []
        match self.phase:
            case Phase.TURNING if self._kind == "treat" and self._beam_fitted and self._tries < self._config.tries:
                return self._back(now)
            case Phase.TURNING if self._kind == "treat" and not self._beam_fitted:
                self._seen += 1
                return [*self._settle(now), Count(seen=False)]
            case Phase.TURNING:
                return self._settle(now)
            case Phase.BACKING:
                self._tries += 1
                return self._turn(now)
            case _:
                return self._finish()

    def on_failure(self) -> None:
        """The pins or the disk failed: the deed is over, and what came of it is not known."""
        self.phase = Phase.IDLE

    def _turn(self, now: float) -> list[Action]:
        self.phase = Phase.TURNING
        by_time = self._kind == "rotate" or not self._beam_fitted
        self._until_s = now + (self._config.slot_s if by_time else self._config.wait_s)
        return [Turn.FORWARD]

    def _back(self, now: float) -> list[Action]:
        self.phase = Phase.BACKING
        self._until_s = now + self._config.unjam_s
        return [Turn.BACK]

    def _settle(self, now: float) -> list[Action]:
        self.phase = Phase.SETTLING
        self._until_s = now + self._config.settle_s
        return [Turn.STOP]

    def _finish(self) -> list[Action]:
        self.phase = Phase.IDLE
        if self._kind == "treat":
            self.jammed = self._seen == 0
        return [Finish(given=self._kind == "rotate" or not self.jammed)]
