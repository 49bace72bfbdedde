"""The mode and the missions on the bus."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from bus import settings, snapshots
from bus.base import Bus
from bus.codec import Message, Request
from bus.errors import BusError
from bus.events import robot_event, timestamp, utc_now
from bus.frames import FrameReader
from bus.messages import Fault, Heartbeat, ModeState, MotionState, Sighting
from bus.promise import Promise
from bus.runner import Context
from bus.topics import (
    COMMAND_TOPICS,
    EVENTS,
    FAULTS,
    HEARTBEATS,
    MODE_STATE,
    MOTION_STATE,
    PROCESSES,
    SIGHTING,
)
from contract.commands import Led, Nothing
from contract.errors import ContractError
from contract.models import Mission, MissionEvent, MissionList, ModeEvent, ModeNow
from contract.units import Mode
from hardware.link import in_thread
from processes.missions import schedule
from processes.missions.config import MissionsConfig
from processes.missions.definition import Definition
from processes.missions.engine import Told
from processes.missions.guard import Guardian
from processes.missions.logic import Safety, after_mission, may_start_by_itself, resolve
from processes.missions.performer import Performer
from processes.missions.shelf import Shelf
from processes.missions.snapshots import Snapshots
from processes.missions.store import KeptMode, MissionStore, Tally
from processes.missions.troubles import MAX_TEXT, Troubles

log = logging.getLogger(__name__)

TICK_S = 0.1
STATE_S = 1.0
LOOK_S = 5.0
RELEASE_WITHIN_S = 1.5
"""Setting the mode is answered after 2 s at the latest (contract.commands)."""
OVER = frozenset({"completed", "stopped"})


class MissionsService:
    """The one owner of the mode; runs one mission at a time.

    A mission that runs while the process is stopped or killed is over: the next one finds it and puts out its lights.

    Args:
        wall_clock: what people read, and what schedules and days go by.
        zone: whose days.
    """

    def __init__(
        self,
        bus: Bus,
        config: MissionsConfig,
        store: MissionStore,
        shelf_of: Callable[[Callable[[list[str]], None]], Shelf],
        pictures: Snapshots,
        zone: ZoneInfo,
        wall_clock: Callable[[], datetime] = utc_now,
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._bus, self._config, self._store, self._zone = bus, config, store, zone
        self._wall_clock = wall_clock
        self._safety = Safety()
        self._guardian = Guardian(bus, config.guardian, pictures, wall_clock, beside)
        self._performer: Performer | None = None
        self._mode_before: Mode = "idle"
        self._troubles = Troubles(bus)
        self._mode = store.mode() or KeptMode("idle", "Nobody has set a mode yet.", "start", timestamp(wall_clock()))
        self._shelf = shelf_of(self._troubles.files)
        self._look()
        self._settle()
        self._guardian.set_on_watch(self._mode.mode == "guardian")
        for command, handler in (
            ("mode", self._set_mode),
            ("mode_get", lambda request: self._mode_now()),
            ("mission_list", lambda request: MissionList(self._missions())),
            ("mission_get", lambda request: self._mission(request.body.mission_id)),
            ("mission_start", self._start),
            ("mission_stop", self._stop),
        ):
            bus.serve(COMMAND_TOPICS[command], handler)
        bus.subscribe(SIGHTING, self._sighting)
        bus.subscribe(MOTION_STATE, self._motion)
        for name in PROCESSES:
            bus.subscribe(FAULTS[name], lambda message, name=name: self._fault(name, message.value))  # type: ignore[misc]
            bus.subscribe(HEARTBEATS[name], lambda message, name=name: self._heartbeat(name, message.value))  # type: ignore[misc]
        bus.every(TICK_S, self._tick)
        bus.every(STATE_S, self._each_second)
        bus.every(LOOK_S, self._look)
        self._publish_state()

    # -- the mode ---------------------------------------------------------------------------------

    def _set_mode(self, request: Request[Any]) -> Future[Any] | None:
        mode = resolve(request.body.mode)
        source = request.origin.source if request.origin else "console"
        if mode != "manual":
            return self._after(self._enter_asked(mode, source))
        since_s = self._safety.emergency_since_s
        if since_s is not None and since_s > request.sent_ns / 1e9:
            raise ContractError(
                "EMERGENCY_STOPPED", "The emergency stop was pressed after this was sent, so it is not released by it."
            )
        answer: Future[Any] = Future()
        release = self._bus.request(
            COMMAND_TOPICS["release"], Nothing(), origin=request.origin, timeout_s=RELEASE_WITHIN_S
        )
        release.add_done_callback(lambda done: self._released(done.exception(), source, answer))
        return answer

    def _released(self, error: BaseException | None, source: str, answer: Future[Any]) -> None:
        if error is not None:
            answer.set_exception(error)
            return
        self._safety.on_release(self._bus.now())
        try:
            entered = self._enter_asked("manual", source)
        except ContractError as refused:
            answer.set_exception(refused)
            return
        if entered is None:
            answer.set_result(Nothing())
        else:
            entered.add_done_callback(lambda _: answer.set_result(Nothing()))

    def _enter_asked(self, mode: Mode, source: str) -> Future[None] | None:
        """Somebody asked for this mode. The future, if any, ends when the mission that this ends has cleaned up.

        Raises:
            ContractError: INTERNAL_ERROR: it cannot be kept, and is not changed.
        """
        self._enter(mode, f"Asked for by {source}.", source, must_keep=True)
        self._mode_before = mode
        if self._performer is None or mode == "training":
            return None
        return self._performer.stop(f"The mode was set to {mode}.")

    def _enter(self, mode: Mode, reason: str, source: str, *, must_keep: bool = False) -> None:
        """Raises:
        ContractError: INTERNAL_ERROR: it has to be kept, and the disk fails.
        """
        before = self._mode
        if mode == before.mode and not must_keep:
            return
        kept = KeptMode(mode, reason[:MAX_TEXT], source, timestamp(self._wall_clock()))
        try:
            self._store.keep_mode(kept)
            self._troubles.disk_works()
        except sqlite3.Error as error:
            failed = self._troubles.disk_failed(error)
            if must_keep:
                raise failed from error
        self._mode = kept
        self._guardian.set_on_watch(mode == "guardian")
        if mode != before.mode:
            log.info("mode %s, before %s: %s (%s)", mode, before.mode, reason, source)
            data = ModeEvent(mode=mode, previous=cast(Mode, before.mode), reason=kept.reason, source=source)
            self._bus.publish(EVENTS["missions"], robot_event("mode", data, self._wall_clock()))
        self._publish_state()

    def _after(self, stopped: Future[None] | None) -> Future[Any] | None:
        """An answer after the deed."""
        if stopped is None or stopped.done():
            return None
        answer: Future[Any] = Future()
        stopped.add_done_callback(lambda _: answer.set_result(Nothing()))
        return answer

    # -- missions ---------------------------------------------------------------------------------

    def _start(self, request: Request[Any]) -> None:
        source = request.origin.source if request.origin else "console"
        self._begin(request.body.mission_id, f"started by {source}", source)

    def _stop(self, request: Request[Any]) -> Future[Any] | None:
        mission = request.body.mission_id
        source = request.origin.source if request.origin else "console"
        running = self._performer
        if running is None or running.mission != mission:
            self._defined(mission)
            return None  # it does not run, which is what was asked for
        return self._after(running.stop(f"Stopped by {source}."))

    def _defined(self, mission: str) -> Definition:
        definition = self._shelf.missions.get(mission)
        if definition is None:
            known = ", ".join(self._shelf.missions) or "none"
            raise ContractError("NOT_FOUND", f"There is no mission {mission[:64]!r}. Accepted: {known}.")
        return definition

    def _begin(self, mission: str, why: str, source: str) -> None:
        """Raises:
        ContractError: NOT_FOUND, CONFLICT, EMERGENCY_STOPPED, DAILY_LIMIT, or INTERNAL_ERROR.
        """
        definition = self._defined(mission)
        if self._performer is not None:
            raise ContractError("CONFLICT", f"The mission {self._performer.mission!r} is running; stop it first.")
        trouble = self._safety.trouble()
        if trouble is not None:
            raise trouble
        before = cast(Mode, self._mode.mode)
        try:
            performer = Performer(
                self._bus, self._store, mission, definition, uuid.uuid4().hex, self._today, self._told
            )
            if performer.run.rewards_today >= definition.daily_limit:
                raise ContractError(
                    "DAILY_LIMIT",
                    f"Today's {definition.daily_limit} treats of the mission {mission!r} are given. "
                    "It can be started again after midnight.",
                )
            self._store.begin(mission, before, timestamp(self._wall_clock()))
            self._troubles.disk_works()
        except sqlite3.Error as error:
            raise self._troubles.disk_failed(error) from error
        self._performer, self._mode_before = performer, before
        self._enter("training", f"The mission {mission!r} was {why}.", source)
        performer.start()
        self._publish_state()

    def _told(self, told: Told) -> None:
        running = self._performer
        assert running is not None
        if told.status in OVER:
            self._performer = None
            try:
                self._store.end()
            except sqlite3.Error as error:
                self._troubles.disk_failed(error)
        self._tell(running.mission, told.status, told.reason, running)
        if told.status not in OVER:
            self._publish_state()
            return
        trouble = self._safety.trouble()
        mode = after_mission(self._mode_before, trouble)
        source = "mission" if trouble is None else "safety"
        self._enter(mode, f"The mission {running.mission!r} is over: {told.reason}", source)
        self._publish_state()

    def _tell(self, mission: str, status: str, reason: str, running: Performer | None) -> None:
        tally = self._tally(mission)
        log.info("mission %s: %s %s", mission, status, reason)
        data = MissionEvent(
            id=mission,
            status=status,
            reason=reason[:MAX_TEXT],
            progress=running.progress if running else 0.0,
            rewards_given=tally.rewards,
            success_count=tally.successes,
            fail_count=tally.fails,
        )
        self._bus.publish(EVENTS["missions"], robot_event("mission", data, self._wall_clock()))

    def _settle(self) -> None:
        """After a restart: a run that was cut off is over, and a treat of it that nobody knows of is counted."""
        try:
            unknown = self._store.unknown()
            cut_off = self._store.cut_off()
            if cut_off is None:
                return
            mission, mode_before = cut_off
            if unknown:
                log.warning("nobody knows whether %d treat fell; it counts, and is not asked for again", unknown)
            self._store.end()
        except sqlite3.Error as error:
            self._troubles.disk_failed(error)
            return
        reason = "The robot's mission process was restarted."
        self._bus.request(COMMAND_TOPICS["led"], Led(pattern="off")).add_done_callback(self._lights_settled)
        self._bus.call_later(STATE_S, lambda: self._tell(mission, "interrupted", reason, None))
        self._enter(cast(Mode, mode_before), f"The mission {mission!r} is over: {reason}", "start")

    def _lights_settled(self, done: Promise) -> None:
        if done.exception() is not None:
            self._bus.counters["missions.cues_failed"] += 1
            log.warning("the lights of the mission that was cut off: %s", done.exception())

    # -- what is heard ----------------------------------------------------------------------------

    def _sighting(self, message: Message[Sighting]) -> None:
        if self._performer is not None:
            self._performer.on_sighting(message.value)
        self._guardian.on_sighting(message.value)

    def _motion(self, message: Message[MotionState]) -> None:
        self._safety.on_emergency(message.value.emergency, message.sent_ns / 1e9)
        self._park()

    def _fault(self, process: str, fault: Fault) -> None:
        self._safety.on_fault(process, fault)
        self._bus.counters["missions.faults_refused"] = self._safety.refused
        self._park()

    def _heartbeat(self, process: str, beat: Heartbeat) -> None:
        self._safety.on_heartbeat(process, beat.pid)

    def _park(self) -> None:
        """Safety comes first: what runs ends."""
        trouble = self._safety.trouble()
        if trouble is not None and self._performer is not None:
            self._performer.stop(trouble.message)

    def _tick(self) -> None:
        if self._performer is not None:
            self._performer.on_tick()

    def _each_second(self) -> None:
        for occurrence in schedule.due(self._shelf.missions, self._wall_clock(), self._zone, self._config.late_s):
            self._begin_planned(occurrence)
        self._publish_state()

    def _begin_planned(self, occurrence: schedule.Occurrence) -> None:
        try:
            if not self._store.claim(*occurrence.key):
                return
            if not may_start_by_itself(cast(Mode, self._mode.mode)):
                raise ContractError("CONFLICT", "Somebody drives the robot: its mode is manual.")
            self._begin(occurrence.mission, f"planned for {occurrence.at}", "mission")
        except sqlite3.Error as error:
            self._troubles.disk_failed(error)
        except ContractError as error:
            self._bus.counters["missions.skipped"] += 1
            self._tell(occurrence.mission, "skipped", f"Planned for {occurrence.at}: {error.message}", None)

    # -- telling ----------------------------------------------------------------------------------

    def _today(self) -> str:
        return schedule.local_date(self._wall_clock(), self._zone).isoformat()

    def _mode_now(self) -> ModeNow:
        kept = self._mode
        return ModeNow(mode=cast(Mode, kept.mode), reason=kept.reason, source=kept.source, since=kept.since)

    def _mission(self, mission: str) -> Mission:
        definition = self._defined(mission)
        tally = self._tally(mission)
        running = self._performer if self._performer and self._performer.mission == mission else None
        return Mission(
            id=mission,
            name=definition.name,
            description=definition.description,
            target_behavior=definition.target_behavior,
            required_duration=definition.required_duration,
            cooldown_seconds=definition.cooldown_seconds,
            daily_limit=definition.daily_limit,
            is_active=running is not None,
            rewards_given=tally.rewards,
            progress=running.progress if running else 0.0,
            success_count=tally.successes,
            fail_count=tally.fails,
            created_at=tally.created_at,
            last_run=tally.last_run,
        )

    def _missions(self) -> list[Mission]:
        return [self._mission(mission) for mission in sorted(self._shelf.missions)]

    def _tally(self, mission: str) -> Tally:
        try:
            return self._store.tally(mission, self._today())
        except sqlite3.Error as error:
            self._troubles.disk_failed(error)
            return Tally("", None, 0, 0, 0, 0, 0)

    def _publish_state(self) -> None:
        kept = self._mode
        state = ModeState(
            mode=cast(Mode, kept.mode),
            reason=kept.reason,
            source=cast(Any, kept.source),
            since=kept.since,
            missions=self._missions(),
        )
        self._bus.publish(MODE_STATE, state)

    # -- files ------------------------------------------------------------------------------------

    def _look(self) -> None:
        if not self._shelf.look():
            return
        try:
            for mission in self._shelf.missions:
                self._store.know(mission, timestamp(self._wall_clock()))
        except sqlite3.Error as error:
            self._troubles.disk_failed(error)


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    BusError: what is kept cannot be read or written.
    """
    config = context.section("missions", MissionsConfig)
    zone = schedule.open_zone(config.time_zone)
    path = context.data_dir / "missions.sqlite"
    guardian = config.guardian
    pictures = Snapshots(
        snapshots.folder(context.data_dir),
        FrameReader(context.run_dir, "main"),
        quality=guardian.jpeg_quality,
        most=guardian.snapshots,
        most_bytes=int(guardian.snapshots_mb * 1e6),
    )
    folder = settings.ROOT / config.folder
    try:
        store = MissionStore(path)
        context.on_stop(store.close)
        MissionsService(context.bus, config, store, lambda told: Shelf(folder, told), pictures, zone)
    except sqlite3.Error as error:
        raise BusError(
            f"The mode and the missions' counts in {path} cannot be opened: {error}. Make room on the disk, or make it "
            "writable; where the file is broken, move it away: mode and counts then begin anew."
        ) from error
