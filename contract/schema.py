"""The documents generated from the contract: OpenAPI 3.1, AsyncAPI 3.0 and the web client's message table.

`wimz schema robot|relay|events|web` prints them. Nothing is declared twice: every fact comes from the tables of rows,
commands, frames and events.
"""

from __future__ import annotations

from contract.asyncapi import events_asyncapi
from contract.openapi import relay_openapi, robot_openapi
from contract.web_module import web_module

__all__ = ["events_asyncapi", "relay_openapi", "robot_openapi", "web_module"]
