"""OpenAPI 3.1 of the robot's and the relay's REST APIs, from the tables in `contract.rest`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from contract import units
from contract.errors import STATUS_OF_CODE, ErrorReply
from contract.jsonschema import CONTRACT_VERSION, Document, Schemas
from contract.rest import RELAY_ROWS, ROBOT_ROWS, Row

_BODY_CODES = ("INVALID_JSON", "INVALID_PARAMETER", "MESSAGE_TOO_LARGE")
_PATH_PARAMETERS: dict[str, Any] = {
    "id": units.Identifier,
    "device_id": units.DeviceId,
    "name": units.SnapshotName,
    "user_id": units.Identifier,
}
_BEARER = {"type": "http", "scheme": "bearer"}
_SIGNATURE_HEADERS = {"deviceId": "X-Device-ID", "timestamp": "X-Timestamp", "signature": "X-Signature"}
_SIGNED_PATHS = ("/api/device/register",)


def robot_openapi() -> Document:
    """OpenAPI 3.1 of the robot's REST API on the LAN."""
    return _openapi(
        title="WIM-Z robot",
        description="The robot's own API on the local network. Every error has the one shape, ErrorReply.",
        server="http://{host}:8000",
        default_host="robot.local",
        rows=ROBOT_ROWS,
        schemes={
            "robotToken": _BEARER | {"description": "The robot's token; not needed from the robot itself."},
            "robotCookie": {
                "type": "apiKey",
                "in": "cookie",
                "name": "wimz_session",
                "description": "Set by /session.",
            },
        },
        security=[{"robotToken": []}, {"robotCookie": []}],
    )


def relay_openapi() -> Document:
    """OpenAPI 3.1 of the cloud relay's REST API."""
    signature = {
        name: {"type": "apiKey", "in": "header", "name": header} for name, header in _SIGNATURE_HEADERS.items()
    }
    return _openapi(
        title="WIM-Z relay",
        description="Accounts, robots and their history. Every error has the one shape, ErrorReply.",
        server="https://{host}",
        default_host="relay.example.org",
        rows=RELAY_ROWS,
        schemes={"accountToken": _BEARER | {"bearerFormat": "JWT"}} | signature,
        security=[{"accountToken": []}],
    )


def _openapi(
    *,
    title: str,
    description: str,
    server: str,
    default_host: str,
    rows: Sequence[Row],
    schemes: Document,
    security: list[Document],
) -> Document:
    types: list[Any] = [ErrorReply]
    for row in rows:
        types += [type_ for type_ in (row.body, row.reply) if type_ is not None]
    schemas = Schemas(types)
    paths: Document = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas, security)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": CONTRACT_VERSION, "description": description},
        "servers": [{"url": server, "variables": {"host": {"default": default_host}}}],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": schemes},
    }


def _operation(row: Row, schemas: Schemas, security: list[Document]) -> Document:
    operation: Document = {
        "operationId": _operation_id(row),
        "summary": row.summary,
        "responses": {"200": _success(row, schemas)} | _errors(row, schemas),
        "security": security if row.auth else [],
    }
    if row.path in _SIGNED_PATHS:
        operation["security"] = [{name: [] for name in _SIGNATURE_HEADERS}]
    if row.command is not None:
        operation["description"] = f"Carries out the command `{row.command.name}`."
    if parameters := _parameters(row):
        operation["parameters"] = parameters
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[row.body]}}}
    return operation


def _operation_id(row: Row) -> str:
    words = re.findall(r"[A-Za-z0-9]+", row.path)
    return row.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _parameters(row: Row) -> list[Document]:
    found: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(_PATH_PARAMETERS[name])}
        for name in re.findall(r"{(\w+)}", row.path)
    ]
    if row.query is not None:
        for field in msgspec.structs.fields(row.query):
            schema = msgspec.json.schema(field.type)
            if field.default is not msgspec.NODEFAULT and field.default is not None:
                schema["default"] = field.default
            found.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    return found


def _success(row: Row, schemas: Schemas) -> Document:
    schema = {"type": "string"} if row.reply is None else schemas[row.reply]
    return {"description": row.summary, "content": {row.media: {"schema": schema}}}


def error_codes(row: Row) -> tuple[str, ...]:
    """Every code the row may answer with: its own, and those that follow from its token, body and parameters."""
    codes = [*row.codes, "INTERNAL_ERROR"]
    if row.auth or row.body is not None:
        codes.append("AUTH_FAILED")
    if row.body is not None:
        codes += _BODY_CODES
    if row.query is not None or "{" in row.path:
        codes.append("INVALID_PARAMETER")
    return tuple(dict.fromkeys(codes))


def _errors(row: Row, schemas: Schemas) -> Document:
    by_status: dict[int, list[str]] = {}
    for code in error_codes(row):
        by_status.setdefault(STATUS_OF_CODE[code], []).append(code)
    return {
        str(status): {
            "description": ", ".join(codes),
            "content": {
                "application/json": {
                    "schema": {
                        "allOf": [
                            schemas[ErrorReply],
                            {"properties": {"error": {"properties": {"code": {"enum": codes}}}}},
                        ]
                    }
                }
            },
        }
        for status, codes in sorted(by_status.items())
    }
