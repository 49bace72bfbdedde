"""The generated documents are valid, complete, and the web client's table is up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from cli.schema import DOCUMENTS, render
from contract import commands, frames, schema
from contract.asyncapi import CHANNELS
from contract.commands import COMMANDS
from contract.errors import STATUS_OF_CODE
from contract.jsonschema import Document
from contract.models import EVENT_DATA
from contract.openapi import error_codes
from contract.rest import RELAY_ROWS, ROBOT_ROWS, Row

ROOT = Path(__file__).parents[2]
OPENAPI = {"robot": (schema.robot_openapi, ROBOT_ROWS), "relay": (schema.relay_openapi, RELAY_ROWS)}
FRAME_TABLES = (
    frames.APP_TO_RELAY,
    frames.RELAY_TO_APP,
    frames.ROBOT_TO_RELAY,
    frames.RELAY_TO_ROBOT,
    frames.APP_TO_ROBOT,
    frames.ROBOT_TO_APP,
)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Document, reference: str) -> Any:
    assert reference.startswith("#/")
    node: Any = document
    for step in reference[2:].split("/"):
        node = node[step]
    return node


@pytest.mark.parametrize("name", OPENAPI)
def test_openapi_is_valid(name: str) -> None:
    document, _ = OPENAPI[name]
    OpenAPIV31SpecValidator(json.loads(render(name))).validate()
    assert document()["openapi"].startswith("3.1")


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, (_, rows) in OPENAPI.items() for row in rows])
def test_every_row_is_in_its_document(name: str, row: Row) -> None:
    document = OPENAPI[name][0]()
    operation = document["paths"][row.path][row.method.lower()]
    assert ("requestBody" in operation) == (row.body is not None)
    assert row.media in operation["responses"]["200"]["content"]
    assert {str(STATUS_OF_CODE[code]) for code in error_codes(row)} == set(operation["responses"]) - {"200"}
    assert bool(operation["security"]) == (row.auth or row.path == "/api/device/register")
    in_path = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", row.path))


def test_operation_ids_are_unique() -> None:
    for document, rows in OPENAPI.values():
        ids = [operation["operationId"] for path in document()["paths"].values() for operation in path.values()]
        assert len(set(ids)) == len(ids) == len(rows)


@pytest.mark.parametrize("name", ["robot", "relay", "events"])
def test_every_reference_resolves(name: str) -> None:
    document = DOCUMENTS[name]()
    assert not isinstance(document, str)
    for reference in set(references(document)):
        assert isinstance(resolve(document, reference), dict), reference


def test_asyncapi_has_what_asyncapi_3_requires() -> None:
    document = schema.events_asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    for channel in document["channels"].values():
        assert channel["address"]
        assert channel["messages"]
        assert all(resolve(document, server["$ref"])["protocol"] for server in channel["servers"])
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = resolve(document, operation["channel"]["$ref"])
        prefix = operation["channel"]["$ref"] + "/messages/"
        assert operation["messages"]
        for message in operation["messages"]:
            assert message["$ref"].removeprefix(prefix) in channel["messages"]
    for message in document["components"]["messages"].values():
        assert message["name"]
        assert message["payload"]


def test_asyncapi_covers_every_socket_and_data_channel() -> None:
    addresses = [(channel.server, channel.address) for channel in CHANNELS.values()]
    assert addresses == [
        ("relay", "/ws/device"),
        ("relay", "/ws/app"),
        ("relay", "/ws"),
        ("robot", "/ws"),
        ("peer", "control"),
        ("peer", "events"),
    ]


def test_every_frame_command_and_event_is_in_asyncapi() -> None:
    messages = schema.events_asyncapi()["components"]["messages"]
    for name, spec in COMMANDS.items():
        command = json.dumps(messages[f"command.{name}"])
        assert all(f'"{word}"' in command for word in (name, *spec.aliases))
        assert f"result.{name}" in messages
    for frame in {frame for table in FRAME_TABLES for frame in table}:
        assert messages[f"frame.{frame.__name__}"]["name"] == frame.__struct_config__.tag
    for name in EVENT_DATA:
        assert f"event.{name}" in messages


def test_every_struct_of_the_frame_module_is_in_asyncapi() -> None:
    schemas = schema.events_asyncapi()["components"]["schemas"]
    defined = {
        value.__name__
        for value in vars(frames).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == frames.__name__
    }
    assert defined - {"Frame"} <= schemas.keys()
    assert commands.CommandResult.__name__ in schemas


def test_the_web_clients_table_is_up_to_date() -> None:
    written = (ROOT / "web" / "messages.js").read_text(encoding="utf-8")
    assert written == render("web"), "run: wimz schema web > web/messages.js"


def test_the_web_clients_table_names_every_command_with_its_ranges() -> None:
    module = schema.web_module()
    tables = dict(re.findall(r"^export const (\w+) = (.*?);$", module, flags=re.MULTILINE | re.DOTALL))
    table = json.loads(tables["COMMANDS"])
    assert list(table) == list(COMMANDS)
    assert table["motor"]["fields"]["left"] == {
        "type": "number",
        "minimum": -1.0,
        "maximum": 1.0,
        "description": "fraction of full speed, forward is positive",
        "required": True,
    }
    assert len(json.loads(tables["LED_PATTERNS"])) == 13
    assert json.loads(tables["ERROR_STATUS"]) == STATUS_OF_CODE
