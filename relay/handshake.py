"""The opening handshake: Flask-Sock routes and answers it, then the socket is taken out of Flask-Sock's hands."""

from __future__ import annotations

import base64
import binascii
import os
import socket
from collections.abc import Callable
from typing import Any

from flask import Flask, request
from flask_sock import Sock
from gevent import monkey

from contract.errors import ContractError

_native_socket: type[socket.socket] = monkey.get_original("socket", "socket")


class NoReader:
    """Takes the place of simple-websocket's reading thread, which must not begin: the hub reads this socket."""

    name = ""

    def __init__(self, target: Callable[[], None]) -> None:
        del target

    def start(self) -> None:
        return


def register(app: Flask, endpoints: dict[str, Callable[[Any], None]]) -> None:
    """Add WebSocket endpoints to the application: path -> what is called with Flask-Sock's socket."""
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": NoReader}
    sock = Sock()
    for path, endpoint in endpoints.items():
        sock.route(path)(endpoint)
    sock.init_app(app)
    app.before_request(_check_upgrade)


def _check_upgrade() -> None:
    """Refuse what is no WebSocket handshake (RFC 6455, 4.2.1), and decline all extensions."""
    if request.url_rule is None or not request.url_rule.websocket:
        return
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    if request.headers.get("Sec-WebSocket-Version") != "13":
        raise ContractError("INVALID_PARAMETER", "Sec-WebSocket-Version has to be 13.")
    try:
        key = base64.b64decode(request.headers.get("Sec-WebSocket-Key", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContractError("INVALID_PARAMETER", "Sec-WebSocket-Key has to be base64.") from error
    if len(key) != 16:
        raise ContractError("INVALID_PARAMETER", "Sec-WebSocket-Key has to be 16 bytes in base64.")


def take(ws: Any) -> socket.socket:
    """The socket of a finished handshake, for the hub. Flask-Sock then closes its own descriptor of it."""
    ws.connected = False
    return _native_socket(fileno=os.dup(ws.sock.fileno()))
