"""`wimz schema robot|relay|events|web`: print a document generated from the contract."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from contract import schema

DOCUMENTS: dict[str, Callable[[], dict[str, Any] | str]] = {
    "robot": schema.robot_openapi,
    "relay": schema.relay_openapi,
    "events": schema.events_asyncapi,
    "web": schema.web_module,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz schema`."""
    parser.add_argument(
        "document",
        choices=sorted(DOCUMENTS),
        help="robot, relay: OpenAPI 3.1 of the REST API; events: AsyncAPI 3.0; web: the web client's messages.js",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the document and return the exit status."""
    sys.stdout.write(render(arguments.document))
    return 0


def render(document: str) -> str:
    """The text of a document: JSON, or an ES module for `web`."""
    content = DOCUMENTS[document]()
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False) + "\n"
