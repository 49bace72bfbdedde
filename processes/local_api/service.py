"""Local_api's side of the bus: what the REST rows and the sockets need of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bus import snapshots
from bus.base import Bus, Latest
from bus.errors import Unavailable
from bus.events import utc_now
from bus.frames import FrameError
from bus.gateway import Gateway, Session
from bus.messages import Origin
from bus.topics import CAMERA_STATE, LINK_STATE, PAIRING_CODE, TELEMETRY, TELEMETRY_HISTORY
from contract.commands import Command, Nothing
from contract.errors import ContractError
from contract.frames import CLOSE_RESTARTING
from contract.models import HistoryQuery, SnapshotList, Telemetry, TelemetryHistory
from contract.rest import PairingState
from processes.local_api.access import Door
from processes.local_api.config import LocalApiConfig
from processes.local_api.pictures import Jpeg, Pictures
from processes.local_api.sockets import Sockets

log = logging.getLogger(__name__)

MAX_PEERS = 64
MAX_WAITING = 8
"""Requests that may wait for another process or the camera at once; with the streams that leaves threads for stops."""
WAIT_FOR_A_PLACE_S = 0.25
FRESH_PICTURE_S = 1.0
PICTURE_WITHIN_S = 2.0
CODE_WITHIN_S = 2.0
REPLY_MARGIN_S = 1.0


@dataclass
class _Peer:
    session: Session
    lock: threading.Lock = field(default_factory=threading.Lock)


class Places:
    """How many streams and sockets may be open at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Raises:
        ContractError: UNAVAILABLE: all are taken. Else `give` it back, once.
        """
        with self._lock:
            if self._taken >= self._most:
                raise Unavailable(
                    f"All {self._most} places for streams and sockets are taken; close one, then try again."
                )
            self._taken += 1

    def give(self) -> None:
        with self._lock:
            self._taken -= 1


class LocalApi:
    """Thread-safe, but for the bus's own handlers."""

    def __init__(
        self,
        bus: Bus,
        config: LocalApiConfig,
        door: Door,
        pictures: Pictures,
        device_id: str | None = None,
        data_dir: Path | None = None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.bus = bus
        self.config = config
        self.door = door
        self.pictures = pictures
        self._snapshots = None if data_dir is None else snapshots.folder(data_dir)
        self.places = Places(config.max_streams)
        self.stopping = threading.Event()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._gateway = Gateway(bus)
        self._code_asker = self._gateway.open(Origin("lan", "pairing"))
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._peers_lock = threading.Lock()
        self._telemetry = Latest(bus, TELEMETRY)
        self._link = Latest(bus, LINK_STATE)
        self._camera = Latest(bus, CAMERA_STATE)
        self.sockets = Sockets(bus, door.check_token, device_id, wall_clock)

    def stop(self) -> None:
        """The server is stopping: streams end, and every client is told to come back. On the bus's loop."""
        if not self.stopping.is_set():
            self.stopping.set()
            self.sockets.close_all(CLOSE_RESTARTING, "restarting")

    # -- commands ---------------------------------------------------------------------------------

    def carry_out(self, peer: str, command: Command, received: float) -> Any:
        """Send a command and wait for what came of it.

        Args:
            received: CLOCK_MONOTONIC in s when it came in, which is before it was this thread's turn.

        Raises:
            ContractError: it was refused, or failed.
        """
        if command.spec.urgent:
            return self._carry_out(peer, command, received)
        with self.waiting():
            return self._carry_out(peer, command, received)

    def _carry_out(self, peer: str, command: Command, received: float) -> Any:
        entry = self._peer(peer)
        with entry.lock:
            future = entry.session.carry_out(command, received)
        try:
            return future.result(command.spec.timeout_s + REPLY_MARGIN_S)
        except TimeoutError as error:
            raise Unavailable("The robot's own bus does not answer; its log says why.") from error

    def _peer(self, peer: str) -> _Peer:
        """The gateway session of a REST client: its address."""
        with self._peers_lock:
            entry = self._peers.get(peer)
            if entry is None:
                entry = self._peers[peer] = _Peer(self._gateway.open(Origin("lan", f"rest:{peer}")))
            self._peers.move_to_end(peer)
            if len(self._peers) > MAX_PEERS:
                _, oldest = self._peers.popitem(last=False)
                oldest.session.close()
            return entry

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Hold one of the few places for what waits."""
        if not self._waiting.acquire(timeout=WAIT_FOR_A_PLACE_S):
            self.bus.counters["local_api.too_many_waiting"] += 1
            raise Unavailable(f"{MAX_WAITING} requests are waiting for the robot already; try again.")
        try:
            yield
        finally:
            self._waiting.release()

    # -- states -----------------------------------------------------------------------------------

    def telemetry(self) -> Telemetry:
        telemetry = self._telemetry.fresh(self.bus.now())
        if telemetry is None:
            raise Unavailable("The monitor process says nothing; it is being restarted.")
        return telemetry

    def history(self, query: HistoryQuery) -> TelemetryHistory:
        """Readings of the latest day.

        Raises:
            ContractError: monitor does not answer, or keeps none.
        """
        with self.waiting():
            history: TelemetryHistory = self.bus.request(TELEMETRY_HISTORY, query).result()
        return history

    def pairing(self) -> PairingState:
        """Whether the robot has an owner; without one, a code is asked for and waited for."""
        state = self._pairing()
        if state.paired is not False or state.code is not None:
            return state
        with self.waiting():
            try:
                asked = self._code_asker.ask(PAIRING_CODE, Nothing(), self.bus.now())
                asked.result(CODE_WITHIN_S + REPLY_MARGIN_S)
            except ContractError as error:
                log.info("no pairing code: %s", error)
                return state
            end = time.monotonic() + CODE_WITHIN_S
            while state.code is None and state.paired is False and time.monotonic() < end:
                time.sleep(0.05)
                state = self._pairing()
        return state

    def _pairing(self) -> PairingState:
        link = self._link.fresh(self.bus.now())
        if link is None:
            raise Unavailable("The cloudlink process says nothing; it is being restarted.")
        code = link.code
        if code is None:
            return PairingState(link.paired, None, None, link.state)
        return PairingState(link.paired, code.code, code.expires_in_s, link.state)

    # -- guardian's pictures ------------------------------------------------------------------------

    def snapshots(self) -> SnapshotList:
        """Raises:
        ContractError: UNAVAILABLE: the disk fails.
        """
        try:
            return SnapshotList([] if self._snapshots is None else snapshots.names(self._snapshots))
        except OSError as error:
            raise self._unreadable(error) from error

    def snapshot(self, name: str) -> bytes:
        """Raises:
        ContractError: NOT_FOUND, or UNAVAILABLE: the disk fails.
        """
        try:
            data = None if self._snapshots is None else snapshots.read(self._snapshots, name)
        except OSError as error:
            raise self._unreadable(error) from error
        if data is None:
            raise ContractError("NOT_FOUND", "There is no picture of that name. GET /snapshots lists those there are.")
        return data

    def _unreadable(self, error: OSError) -> Unavailable:
        self.bus.counters["local_api.snapshot_errors"] += 1
        log.error("the snapshots cannot be read: %s", error)
        return Unavailable(f"The pictures cannot be read: {error.strerror}.")

    # -- pictures ---------------------------------------------------------------------------------

    def picture(self) -> Jpeg:
        """A picture of now.

        Raises:
            ContractError: UNAVAILABLE or CAMERA_FAULT.
        """
        age_s = self.bus.now() - self.pictures.captured_ns / 1e9
        other_than = 0 if age_s <= FRESH_PICTURE_S else self.pictures.number
        with self.waiting():
            jpeg = self.next_picture(other_than, PICTURE_WITHIN_S)
        if jpeg is not None:
            return jpeg
        camera = self._camera.fresh(self.bus.now())
        if camera is not None and not camera.healthy:
            raise ContractError(
                "CAMERA_FAULT", f"The camera ({camera.source}) gives no pictures; it is being restarted."
            )
        raise Unavailable("The camera process gives no pictures; it is being restarted.")

    def next_picture(self, other_than: int, timeout_s: float) -> Jpeg | None:
        """The newest picture once it is another than number `other_than`."""
        try:
            return self.pictures.next(other_than, timeout_s)
        except FrameError as error:
            log.error("%s", error)
            raise Unavailable("The camera's frames cannot be read; the log says why.") from error
