"""The WebSocket endpoints: Flask-Sock does routing and handshake, then the socket goes to the gevent hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from flask import Flask, request
from gevent.event import AsyncResult

from contract import frames, validate
from contract.errors import ContractError
from contract.frames import CLOSE_AUTH_FAILED
from contract.units import Role
from relay import handshake, routing
from relay.apps import AppSession
from relay.auth import DeviceProof, refused_token
from relay.connection import Connection
from relay.robots import RobotLink
from relay.routing import AppSender
from relay.services import Services, bearer, header_proof, services

FIRST_FRAME_S = 10.0
ADMISSION_WAIT_S = 20.0
CLOSE_TRY_LATER = 1013


def register(app: Flask) -> None:
    """Add the endpoints to the application."""
    app.before_request(_check_admitting)
    handshake.register(app, {"/ws/app": _app, "/ws/device": _device, "/ws": _either})


def _check_admitting() -> None:
    """Refuse before the handshake (503) whom this worker lets in no more: nginx then asks another relay."""
    if request.url_rule is None or not request.url_rule.websocket:
        return
    if services().node.draining:
        raise ContractError("UNAVAILABLE", "This relay is about to restart. Connect again.")


def _take(ws: Any, relay: Services, kind: str) -> Connection:
    return relay.node.connection(handshake.take(ws), kind)


# -- endpoints ------------------------------------------------------------------------------------


def _app(ws: Any) -> None:
    relay = services()
    connection = _take(ws, relay, "app")
    token = bearer() or request.args.get("token")
    _admit(relay, connection, lambda: _let_app_in(relay, connection, token))


def _device(ws: Any) -> None:
    relay = services()
    connection = _take(ws, relay, "robot")
    _admit(relay, connection, lambda: _let_robot_in(relay, connection, _request_proof()))


def _either(ws: Any) -> None:
    relay = services()
    connection = _take(ws, relay, "new")

    def let_in() -> None:
        auth = _first_frame(connection)
        if auth.token is not None:
            relay.node.become(connection, "app")
            _let_app_in(relay, connection, auth.token)
        elif auth.device_id is not None and auth.signature is not None:
            relay.node.become(connection, "robot")
            timestamp = None if auth.timestamp is None else str(auth.timestamp)
            _let_robot_in(relay, connection, DeviceProof(auth.device_id, auth.signature, timestamp), tell=True)
        else:
            raise _no_credentials()

    _admit(relay, connection, let_in)


def _admit(relay: Services, connection: Connection, let_in: Callable[[], None]) -> None:
    """Let somebody in, or say readably why not, and close."""
    began_s = time.monotonic()
    try:
        let_in()
        relay.node.metrics.histogram("wimz_relay_admission_seconds").observe(time.monotonic() - began_s)
    except ContractError as error:
        relay.node.metrics.count("wimz_relay_refused_total", f'code="{error.code}"')
        connection.send(routing.error_frame(error))
        unavailable = error.code == "UNAVAILABLE"
        connection.close(CLOSE_TRY_LATER if unavailable else CLOSE_AUTH_FAILED, error.code)
        relay.node.forget(connection)
    except Exception:
        # The boundary of a connection: the socket is ours and has to be closed whatever happened.
        connection.abort()
        relay.node.forget(connection)
        raise


def _let_app_in(relay: Services, connection: Connection, token: str | None) -> None:
    if not token:
        raise _no_credentials()
    with _turn(relay):
        session = _app_session(relay, connection, token)
    connection.resume(session)


def _app_session(relay: Services, connection: Connection, token: str) -> AppSession:
    claims = relay.tokens.verify(token)
    sender = AppSender(relay.node.session_id(), claims.user_id, {})
    session = AppSession(relay.node, connection, sender, claims.expires_at, claims.token_version)

    def roles() -> dict[str, Role]:
        account = relay.node.lookups.accounts.get(claims.user_id)
        if account is None or account.token_version != claims.token_version:
            raise refused_token()
        return account.roles

    relay.node.add_app(session, roles)
    return session


def _let_robot_in(relay: Services, connection: Connection, proof: DeviceProof, *, tell: bool = False) -> None:
    with _turn(relay):
        _let_robot_in_now(relay, connection, proof, tell)


def _let_robot_in_now(relay: Services, connection: Connection, proof: DeviceProof, tell: bool) -> None:
    relay.check_device(proof)
    device_id = proof.device_id
    members = relay.node.lookups.members.get(device_id) or {}
    bare = proof.timestamp is None
    link = RobotLink(relay.node, connection, device_id, relay.node.next_claim(), members, bare=bare)
    if tell:
        link.tell(frames.AuthResult(success=True, device_id=device_id))
    relay.node.add_robot(link)
    link.show_code()
    relay.node.last_seen.note(device_id)
    relay.node.spawn(relay.node.access.device_changed, device_id)  # what changed while it was being let in
    connection.resume(link)


@contextmanager
def _turn(relay: Services) -> Iterator[None]:
    """A few are let in at a time, so that thousands who come at once wait here and not at the database."""
    if not relay.node.admissions.acquire(timeout=ADMISSION_WAIT_S):
        raise ContractError("UNAVAILABLE", "Too many are connecting just now. Try again soon.")
    try:
        yield
    finally:
        relay.node.admissions.release()


# -- credentials ----------------------------------------------------------------------------------


def _request_proof() -> DeviceProof:
    proof = header_proof()
    if proof is None and "device_id" in request.args and "sig" in request.args:
        proof = DeviceProof(request.args["device_id"], request.args["sig"])
    if proof is None:
        raise _no_credentials()
    return proof


class _FirstFrame:
    """Takes one message, then pauses the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.message: AsyncResult[bytes | None] = AsyncResult()

    def received(self, data: bytes) -> None:
        self._connection.pause()
        self.message.set(data)

    def gone(self, code: int) -> None:
        self.message.set(None)


def _first_frame(connection: Connection) -> frames.Auth:
    first = _FirstFrame(connection)
    connection.listen(first)
    with gevent.Timeout(FIRST_FRAME_S, False):
        data = first.message.get()
        if data is None:
            raise ContractError("AUTH_FAILED", "The connection ended before the first message.")
        try:
            return validate.decode(frames.Auth, data)
        except ContractError as error:
            raise ContractError("AUTH_FAILED", f"The first message has to be auth. {error.message}") from error
    raise ContractError("AUTH_FAILED", f"No auth message came within {FIRST_FRAME_S:g} s.")


def _no_credentials() -> ContractError:
    return ContractError(
        "AUTH_FAILED",
        "No credentials. Apps: a token, as `Authorization: Bearer`, as ?token= or in the first message "
        '{"type":"auth","token":…} on /ws. Robots: the headers X-Device-ID, X-Timestamp and X-Signature.',
    )
