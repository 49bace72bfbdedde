"""Guardian on the bus: alerts with a picture, taken beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from bus.base import Bus
from bus.events import robot_event
from bus.messages import Sighting
from bus.topics import EVENTS
from contract.models import AlertEvent
from processes.missions.config import GuardianConfig
from processes.missions.logic import Alert, Watch
from processes.missions.snapshots import SnapshotError, Snapshots

log = logging.getLogger(__name__)


class Guardian:
    """Args:
    beside: runs what may block beside the loop.
    """

    def __init__(
        self,
        bus: Bus,
        config: GuardianConfig,
        snapshots: Snapshots,
        wall_clock: Callable[[], datetime],
        beside: Callable[[Callable[[], None]], None],
    ) -> None:
        self._bus, self._config, self._snapshots = bus, config, snapshots
        self._wall_clock, self._beside = wall_clock, beside
        self._watch: Watch | None = None
        self._taking = False

    def set_on_watch(self, on_watch: bool) -> None:
        """Whether the mode is `guardian`. Each watch begins anew: a dog that is there already is told."""
        if on_watch and self._watch is None:
            self._watch = Watch(self._config, self._bus.now())
        elif not on_watch:
            self._watch = None

    def on_sighting(self, sighting: Sighting) -> None:
        if self._watch is not None:
            for alert in self._watch.on_sighting(sighting, self._bus.now()):
                self._raise_alert(alert)

    def _raise_alert(self, alert: Alert) -> None:
        at = self._wall_clock()
        if self._taking:  # the disk is slow: an alert without a picture is better than none
            self._bus.counters["missions.snapshots_missed"] += 1
            self._publish(alert, None, at)
            return
        self._taking = True
        self._beside(lambda: self._take(alert, at))

    def _take(self, alert: Alert, at: datetime) -> None:
        """Beside the loop."""
        name: str | None = None
        try:
            name = self._snapshots.take(alert.kind, at, int(self._bus.now() * 1e9))
        except SnapshotError as error:
            log.warning("an alert without a picture: %s", error)
        self._bus.call_soon(lambda: self._taken(alert, name, at))

    def _taken(self, alert: Alert, name: str | None, at: datetime) -> None:
        self._taking = False
        if name is None:
            self._bus.counters["missions.snapshots_missed"] += 1
        self._publish(alert, name, at)

    def _publish(self, alert: Alert, name: str | None, at: datetime) -> None:
        data = AlertEvent(kind=alert.kind, message=alert.message, snapshot=name)
        self._bus.publish(EVENTS["missions"], robot_event("alert", data, at))
