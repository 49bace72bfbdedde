"""What can go wrong on the bus."""

from __future__ import annotations

from contract.errors import ContractError


class BusError(Exception):
    """Base of the bus's own errors: a fault of the set-up or the program, never of a peer."""


class SettingsError(BusError):
    """A setting is missing, misspelt or out of range; the message names the key, the value and what is accepted."""


class MalformedMessage(Exception):
    """A message that cannot be read: it is counted and dropped, and never kills its reader."""


class Unavailable(ContractError):
    """The process that should answer does not."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message)
