"""One run on the bus: the engine's actions become cues and treats, and what came of them is written down."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bus.base import Bus
from bus.messages import Origin, Sighting
from bus.promise import Promise
from bus.topics import COMMAND_TOPICS
from contract.commands import Audio, Led, Nothing
from contract.errors import ContractError
from processes.missions.definition import Cue, Definition
from processes.missions.engine import NOT_GIVEN, Action, Dark, Phase, Reward, Run, Show, Told
from processes.missions.store import MissionStore

log = logging.getLogger(__name__)

CUE_WITHIN_S = 1.0
DISK_TROUBLE = "What the dog earns cannot be written down, so nothing is given: the disk fails."


class Performer:
    """Carries out one run.

    Args:
        run_id: unguessable; the treats' request ids are made of it, so that none is ever asked for twice.
        today: the robot's local date, ISO.
        on_told: hears what people are told, the end included.
    """

    def __init__(
        self,
        bus: Bus,
        store: MissionStore,
        mission: str,
        definition: Definition,
        run_id: str,
        today: Callable[[], str],
        on_told: Callable[[Told], None],
    ) -> None:
        self.mission = mission
        self.definition = definition
        self._bus, self._store, self._today, self._on_told = bus, store, today, on_told
        self._run_id = run_id
        self._origin = Origin("mission", f"{mission}:{run_id}")
        self._day = today()
        tally = store.tally(mission, self._day)
        self.run = Run(
            mission,
            definition,
            rewards_today=tally.counted,
            successes_before=tally.all_successes,
            now=bus.now(),
        )
        self._dark: Future[None] = Future()
        self._darkening = 0

    @property
    def over(self) -> bool:
        return self.run.phase is Phase.OVER

    @property
    def progress(self) -> float:
        return self.run.progress(self._bus.now())

    def start(self) -> None:
        self._do(self.run.start())

    def on_sighting(self, sighting: Sighting) -> None:
        self._do(self.run.on_sighting(sighting, self._bus.now()))

    def on_tick(self) -> None:
        if self._today() != self._day:
            self._day = self._today()
            try:
                self.run.on_day(self._store.tally(self.mission, self._day).counted)
            except sqlite3.Error as error:
                self._disk_failed(error)
                return
        self._do(self.run.on_tick(self._bus.now()))

    def stop(self, reason: str) -> Future[None]:
        """End it now. The future ends when the lights are off, or cannot be reached. A treat that was asked for
        already falls, and is counted."""
        self._do(self.run.on_stop(reason, self._bus.now()))
        if not self._darkening and not self._dark.done():
            self._dark.set_result(None)
        return self._dark

    # -- actions ----------------------------------------------------------------------------------

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Show(cue):
                    self._show(cue)
                case Dark(silence):
                    self._darken(silence)
                case Reward(number):
                    self._reward(number)
                case Told():
                    self._tell(action)

    def _tell(self, told: Told) -> None:
        try:
            if told.status == "success":
                self._store.succeed(self.mission, self._day)
            elif told.status == "fail":
                self._store.fail(self.mission, self._day)
        except sqlite3.Error as error:
            self._on_told(told)
            self._disk_failed(error)
            return
        self._on_told(told)

    def _show(self, cue: Cue) -> None:
        if cue.led is not None:
            self._cue("led", Led(pattern=cue.led))
        if cue.sound is not None:
            self._cue("audio", Audio(cue.sound), timeout_s=None)

    def _darken(self, silence: bool) -> None:
        self._darkening += 1
        self._cue("led", Led(pattern="off")).add_done_callback(self._is_dark)
        if silence:
            self._cue("audio_stop", Nothing())

    def _is_dark(self, _: Promise) -> None:
        self._darkening -= 1
        if self.over and not self._darkening and not self._dark.done():
            self._dark.set_result(None)

    def _cue(self, command: str, body: Any, timeout_s: float | None = CUE_WITHIN_S) -> Promise:
        """A cue that cannot be given is no reason to end the mission: it is counted, and the log says why."""
        future = self._bus.request(COMMAND_TOPICS[command], body, origin=self._origin, timeout_s=timeout_s)

        def check(done: Promise) -> None:
            error = done.exception()
            if error is not None:
                self._bus.counters["missions.cues_failed"] += 1
                log.warning("%s: the cue %s could not be given: %s", self.mission, command, error)

        future.add_done_callback(check)
        return future

    def _reward(self, number: int) -> None:
        if self.over:
            return
        request_id = f"mission:{self._run_id}:{number}"
        try:
            self._store.ask(request_id, self.mission, self._day)
        except sqlite3.Error as error:
            self._disk_failed(error)
            return
        future = self._bus.request(COMMAND_TOPICS["treat"], Nothing(), origin=self._origin, id=request_id)
        future.add_done_callback(lambda done: self._rewarded(request_id, done.exception()))

    def _rewarded(self, request_id: str, error: BaseException | None) -> None:
        code = None if error is None else error.code if isinstance(error, ContractError) else "INTERNAL_ERROR"
        message = error.message if isinstance(error, ContractError) else str(error or "")
        try:
            if code is None:
                self._store.given(request_id)
            elif code in NOT_GIVEN:
                self._store.refused(request_id)
            else:
                self._store.unknown(request_id)
        except sqlite3.Error as failure:  # it stays on the disk as asked for, and counts
            self._bus.counters["missions.disk_errors"] += 1
            log.error("what came of a treat cannot be written: %s", failure)
        if code is not None:
            self._bus.counters[f"missions.unrewarded.{code}"] += 1
        self._do(self.run.on_reward(code, self._bus.now(), message))

    def _disk_failed(self, error: sqlite3.Error) -> None:
        self._bus.counters["missions.disk_errors"] += 1
        log.error("%s (%s)", DISK_TROUBLE, error)
        self.stop(DISK_TROUBLE)
