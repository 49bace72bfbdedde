"""Every refusal and failure over HTTP, in the contract's one shape."""

from __future__ import annotations

import logging

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from wsproto.utilities import RemoteProtocolError

from contract import validate
from contract.errors import ContractError

log = logging.getLogger(__name__)

CODE_OF_STATUS = {400: "INVALID_PARAMETER", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "MESSAGE_TOO_LARGE"}


def register(app: Flask) -> None:
    """Have the application answer errors in that shape."""
    app.register_error_handler(ContractError, error_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(RemoteProtocolError, _bad_handshake)
    app.register_error_handler(Exception, _failed)


def error_response(error: ContractError) -> Response:
    """The error as an answer."""
    response = Response(validate.encode(error.reply()), status=error.status, mimetype="application/json")
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.code == "AUTH_FAILED":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if error.response is not None or status < 400:
        return Response(response=error.get_response().response, status=status, headers=error.get_response().headers)
    code = CODE_OF_STATUS.get(status, "INVALID_PARAMETER" if status < 500 else "INTERNAL_ERROR")
    response = error_response(ContractError(code, error.description or error.name))
    if status == 405:
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    return response


def _bad_handshake(error: RemoteProtocolError) -> Response:
    return error_response(ContractError("INVALID_PARAMETER", f"This is no WebSocket handshake: {error}."))


def _failed(error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return error_response(ContractError("INTERNAL_ERROR", "Something went wrong here. It has been noted."))
