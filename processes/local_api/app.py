"""The Flask application: every row of `contract.rest.ROBOT_ROWS`, `/ws`, and the web client's files."""

from __future__ import annotations

import logging
import math
import mimetypes
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Response, g, request, send_file
from flask_sock import Sock
from msgspec import Struct
from simple_websocket import Server
from simple_websocket.errors import SimpleWebsocketError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from wsproto.utilities import ProtocolError

from bus.errors import Unavailable
from contract.commands import Command, Nothing
from contract.errors import ContractError
from contract.frames import MAX_FRAME_BYTES
from contract.rest import ROBOT_ROWS, Health, Row, Success, TokenBody
from contract.validate import convert, decode, encode, explain
from processes.local_api import arrival, websocket
from processes.local_api.access import COOKIE, Caller
from processes.local_api.pictures import Jpeg
from processes.local_api.service import LocalApi

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 65_536
COOKIE_S = 30 * 24 * 3600
SILENT_CAMERA_S = 30.0
"""How long an MJPEG stream waits for a camera that restarts."""

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Handler = Callable[[Any, dict[str, str]], Any]


def create_app(api: LocalApi, web: Path) -> Flask:
    """The application.

    Args:
        web: the web client's files.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": MAX_FRAME_BYTES}
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    @app.before_request
    def check_origin() -> None:
        api.door.check_origin(_caller())

    handlers = _handlers(api)
    for row in ROBOT_ROWS:
        rule = re.sub(r"{(\w+)}", r"<\1>", row.path)
        key = f"{row.method} {row.path}"
        view = _view(api, row, _carry_out(api, row) if row.command else handlers[key])
        app.add_url_rule(rule, key, view, methods=[row.method], provide_automatic_options=False)
    _add_files(app, web)
    _add_socket(app, api)
    _add_errors(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app


def _caller() -> Caller:
    authorization = request.headers.get("Authorization", "")
    scheme, _, token = authorization.partition(" ")
    return Caller(
        peer=request.remote_addr or "",
        host=request.headers.get("Host", ""),
        origin=request.headers.get("Origin"),
        bearer=token.strip() if scheme.lower() == "bearer" else None,
        cookie=request.cookies.get(COOKIE),
    )


# -- rows -----------------------------------------------------------------------------------------


def _view(api: LocalApi, row: Row, handle: Handler) -> Callable[..., Response]:
    def view(**params: str) -> Response:
        if row.auth:
            api.door.admit(_caller(), time.monotonic())
        body = decode(row.body, request.get_data(cache=False)) if row.body is not None else None
        if row.query is not None:
            body = _query(row.query)
        reply = handle(body, params)
        return reply if isinstance(reply, Response) else _json(reply)

    return view


def _query(type_: type[Struct]) -> Struct:
    """The query parameters, which are text, as the row's type."""
    try:
        return msgspec.convert(request.args.to_dict(), type_, strict=False)
    except msgspec.ValidationError as error:
        raise ContractError("INVALID_PARAMETER", explain(type_, str(error))) from error


def _json(reply: Any, status: int = 200) -> Response:
    return Response(encode(reply), status, mimetype="application/json")


def _carry_out(api: LocalApi, row: Row) -> Handler:
    """A row that is a command: its result, in the row's own reply."""
    spec, make = row.command, row.make
    assert spec is not None
    assert make is not None

    def handle(body: Any, params: dict[str, str]) -> Any:
        fields = convert(spec.body, msgspec.to_builtins(make(body, params)))
        result = api.carry_out(request.remote_addr or "", Command(spec, fields), arrival.arrived_s())
        picked = {} if isinstance(result, Nothing) else row.pick(result) if row.pick else result
        return convert(row.reply, msgspec.to_builtins(picked))

    return handle


def _handlers(api: LocalApi) -> dict[str, Handler]:
    """What answers the rows that are no commands."""
    handlers: dict[str, Handler] = {
        "GET /health": lambda body, params: Health(),
        "GET /telemetry": lambda body, params: api.telemetry(),
        "GET /telemetry/history": lambda query, params: api.history(query),
        "GET /camera/snapshot": lambda body, params: Response(api.picture().data, mimetype="image/jpeg"),
        "GET /camera/stream": lambda body, params: _stream(api),
        "GET /snapshots": lambda body, params: api.snapshots(),
        "GET /snapshots/{name}": lambda body, params: Response(api.snapshot(params["name"]), mimetype="image/jpeg"),
        "GET /pairing": lambda body, params: api.pairing(),
        "POST /session": lambda body, params: _open_session(api, body),
        "DELETE /session": lambda body, params: _close_session(),
    }
    return handlers


def _open_session(api: LocalApi, body: TokenBody) -> Response:
    api.door.check_token(body.token, request.remote_addr or "", time.monotonic())
    response = _json(Success())
    response.set_cookie(COOKIE, api.door.cookie, max_age=COOKIE_S, httponly=True, samesite="Strict")
    return response


def _close_session() -> Response:
    response = _json(Success())
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return response


def _stream(api: LocalApi) -> Response:
    """MJPEG. The first picture is waited for, so that a camera that is away is a 503 and no endless page."""
    api.places.take()
    try:
        first = api.picture()
    except ContractError:
        api.places.give()
        raise
    response = Response(_parts(api, first), mimetype="multipart/x-mixed-replace; boundary=frame")
    response.call_on_close(api.places.give)
    return response


def _parts(api: LocalApi, jpeg: Jpeg) -> Iterator[bytes]:
    seen = time.monotonic()
    yield _part(jpeg)
    while not api.stopping.is_set() and time.monotonic() - seen < SILENT_CAMERA_S:
        following = api.next_picture(jpeg.number, 1.0)
        if following is not None and following.number != jpeg.number:
            jpeg, seen = following, time.monotonic()
            yield _part(jpeg)


def _part(jpeg: Jpeg) -> bytes:
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg.data)}\r\n\r\n"
    return head.encode() + jpeg.data + b"\r\n"


# -- files and the socket ---------------------------------------------------------------------------


def _add_files(app: Flask, web: Path) -> None:
    """One route for each file there is: no path from outside ever reaches the disk."""
    mimetypes.add_type("application/manifest+json", ".webmanifest")
    mimetypes.add_type("text/javascript", ".js")
    for path in sorted(web.rglob("*")):
        name = path.relative_to(web)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            _add_file(app, f"/{name.as_posix()}", path)
    if (web / "index.html").is_file():
        _add_file(app, "/", web / "index.html")

    def client_config() -> Response:
        return _json({"served_by": "robot"})

    app.add_url_rule("/client-config.json", "client-config", client_config, provide_automatic_options=False)


def _add_file(app: Flask, rule: str, path: Path) -> None:
    def view() -> Response:
        response = send_file(path, conditional=True)
        response.headers["Cache-Control"] = "no-cache"
        return response

    app.add_url_rule(rule, f"file {rule}", view, provide_automatic_options=False)


def _add_socket(app: Flask, api: LocalApi) -> None:
    sock = Sock(app)

    @app.before_request
    def prepare_socket() -> None:
        if request.url_rule is not None and request.url_rule.websocket:
            if api.stopping.is_set():
                raise Unavailable("The robot's server is restarting.")
            api.places.take()
            g.place = True
            websocket.prepare(request.environ)

    @app.teardown_request
    def give_place(error: BaseException | None) -> None:
        if g.pop("place", False):
            api.places.give()

    @sock.route("/ws")  # type: ignore[untyped-decorator]
    def ws(ws: Server) -> None:
        caller = _caller()
        authenticated = api.door.admits(caller, time.monotonic())
        websocket.serve(ws, api.bus, api.sockets, caller.peer, authenticated=authenticated)


# -- errors -----------------------------------------------------------------------------------------


def _add_errors(app: Flask) -> None:
    """Everything that goes wrong has the one error shape."""

    @app.errorhandler(ContractError)
    def refused(error: ContractError) -> Response:
        response = _json(error.reply(), error.status)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        if error.code == "AUTH_FAILED":
            response.headers["WWW-Authenticate"] = 'Bearer realm="wimz"'
        return response

    @app.errorhandler(HTTPException)
    def wrong_http(error: HTTPException) -> Response:
        response = refused(_as_contract_error(error))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    @app.errorhandler(ProtocolError)
    @app.errorhandler(SimpleWebsocketError)
    def no_websocket(error: Exception) -> Response:
        return refused(ContractError("INVALID_PARAMETER", f"That is no WebSocket handshake: {error}."))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path)
        return refused(ContractError("INTERNAL_ERROR", "The robot's server failed; its log says why."))


def _as_contract_error(error: HTTPException) -> ContractError:
    if error.code == 404:
        return ContractError("NOT_FOUND", f"There is nothing at {request.path[:100]}.")
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or []))
        return ContractError("METHOD_NOT_ALLOWED", f"{request.path[:100]} takes {methods}, not {request.method}.")
    if isinstance(error, RequestEntityTooLarge):
        return ContractError("MESSAGE_TOO_LARGE", f"A body may hold {MAX_BODY_BYTES} bytes.")
    if error.code is not None and error.code >= 500:
        return ContractError("INTERNAL_ERROR", error.description or error.name)
    return ContractError("INVALID_PARAMETER", f"The request cannot be read: {error.description or error.name}")
