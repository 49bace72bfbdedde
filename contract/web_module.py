"""The web client's message table, `web/messages.js`."""

from __future__ import annotations

import json

import msgspec

from contract import frames, units
from contract.commands import COMMANDS
from contract.errors import STATUS_OF_CODE
from contract.jsonschema import CONTRACT_VERSION, Document
from contract.models import EVENT_DATA
from contract.validate import literal_values


def web_module() -> str:
    """The ES module `web/messages.js`: commands with their ranges, patterns, modes, error codes and event names."""
    tables = {
        "CONTRACT_VERSION": CONTRACT_VERSION,
        "COMMANDS": {name: _command_row(name) for name in COMMANDS},
        "LED_PATTERNS": literal_values(units.LedPattern),
        "MODES": literal_values(units.Mode),
        "MODE_ALIASES": units.MODE_ALIASES,
        "ROLES": literal_values(units.Role),
        "EVENTS": list(EVENT_DATA),
        "ERROR_STATUS": STATUS_OF_CODE,
        "CLOSE": {
            "AUTH_FAILED": frames.CLOSE_AUTH_FAILED,
            "HEARTBEAT_LOST": frames.CLOSE_HEARTBEAT_LOST,
            "SUPERSEDED": frames.CLOSE_SUPERSEDED,
            "TOO_SLOW": frames.CLOSE_TOO_SLOW,
            "TOO_LARGE": frames.CLOSE_TOO_LARGE,
            "RESTARTING": frames.CLOSE_RESTARTING,
        },
        "MAX_FRAME_BYTES": frames.MAX_FRAME_BYTES,
    }
    lines = ["// Generated from contract/ by `wimz schema web > web/messages.js`. Do not edit.", ""]
    for name, value in tables.items():
        lines += [f"export const {name} = {json.dumps(value, indent=2, ensure_ascii=False)};", ""]
    return "\n".join(lines)


def _command_row(name: str) -> Document:
    spec = COMMANDS[name]
    return {
        "timeout_s": spec.timeout_s,
        "rate_hz": spec.rate_hz,
        "motion": spec.motion,
        "urgent": spec.urgent,
        "role": spec.role,
        "fields": {field.encode_name: _limits(field) for field in msgspec.structs.fields(spec.body)},
    }


def _limits(field: msgspec.structs.FieldInfo) -> Document:
    """Range, unit, choices or lengths of one field, as JSON Schema words; null is left out: it means absent."""
    schema = msgspec.json.schema(field.type)
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    limits: Document = options[0] | {"required": field.required}
    return limits
