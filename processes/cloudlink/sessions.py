"""The app sessions behind the relay: each has its own place at the robot's one door."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from bus.base import Bus
from bus.gateway import Gateway, Session
from bus.messages import Origin
from contract.commands import Relayed
from contract.units import Role

MAX_SESSIONS = 64
"""Gateway sessions kept; beyond that the one that was silent longest is closed."""
MAX_WATCHERS = 64


class Sessions:
    """Gateway sessions by the relay's `session`, and who asked for which video session."""

    def __init__(self, bus: Bus) -> None:
        self._gateway = Gateway(bus)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._watchers: OrderedDict[str, Session] = OrderedDict()

    def of(self, sender: Relayed) -> Session:
        """The session of a command's sender. A relay that names no session is itself one."""
        key = sender.session or sender.user_id or "relay"
        origin = Origin("cloud", key, sender.user_id, sender.role or "owner")
        session = self._sessions.get(key)
        if session is None or session.origin != origin:  # a role may have been taken away
            if session is not None:
                session.close()
            session = self._sessions[key] = self._gateway.open(origin)
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._close([next(iter(self._sessions))])
        return session

    def end(self, key: str) -> None:
        """The app's socket is gone: what it drove stops at once."""
        self._close([key] if key in self._sessions else [])

    def end_user(self, user_id: str, role: Role | None = None) -> None:
        """End what an account has, except what it has in this role."""
        self._close([key for key, session in self._sessions.items() if _of(session, user_id, role)])

    def end_all(self) -> None:
        """The link is lost, and with it everybody behind it."""
        self._close(list(self._sessions))

    def watch(self, session_id: str, user_id: str | None, role: Role | None) -> Session:
        """Note who asked for a video session: its frames come in by the session that is returned."""
        session = self._gateway.open(Origin("cloud", session_id, user_id, role or "owner"))
        self._watchers[session_id] = session
        self._watchers.move_to_end(session_id)
        if len(self._watchers) > MAX_WATCHERS:
            self._watchers.popitem(last=False)
        return session

    def watcher(self, session_id: str) -> Session:
        """Who a later frame of a video session comes from."""
        session = self._watchers.get(session_id)
        return session or self._gateway.open(Origin("cloud", session_id, role="viewer"))

    def unwatch(self, session_id: str) -> None:
        self._watchers.pop(session_id, None)

    def unwatch_all(self) -> list[Origin]:
        """Forget every video session; returns who watched."""
        watched = [session.origin for session in self._watchers.values()]
        self._watchers.clear()
        return watched

    def unwatch_user(self, user_id: str, role: Role | None = None) -> list[Origin]:
        """Forget an account's video sessions, except those in this role; returns who watched."""
        ended = [key for key, session in self._watchers.items() if _of(session, user_id, role)]
        return [self._watchers.pop(key).origin for key in ended]

    def _close(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._sessions.pop(key).close()


def _of(session: Session, user_id: str, but_as: Role | None) -> bool:
    return session.origin.user_id == user_id and (but_as is None or session.origin.role != but_as)
