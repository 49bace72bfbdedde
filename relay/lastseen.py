"""When each robot was last there, and what it told about itself: gathered, and written in batches off the hub."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from contract.errors import ContractError

BATCH = 1000


class Sighting(NamedTuple):
    """A robot was there. What it did not tell is None."""

    device_id: str
    version: str | None = None
    local_ip: str | None = None


class SightingStore(Protocol):
    """The part of the store that is used."""

    def devices_seen(self, sightings: list[Sighting]) -> None: ...


class LastSeen:
    """One sighting per robot waits at most, so this is bounded by the robots there are.

    Args:
        store: where they go; blocks.
    """

    def __init__(self, store: SightingStore) -> None:
        self._store = store
        self._waiting: dict[str, Sighting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, device_id: str, version: str | None = None, local_ip: str | None = None) -> None:
        """Remember a sighting for the next `write`."""
        before = self._waiting.get(device_id, Sighting(device_id))
        self._waiting[device_id] = Sighting(device_id, version or before.version, local_ip or before.local_ip)

    def write(self) -> None:
        """Write what has been noted. Blocks. While the database is away it stays noted."""
        while self._waiting:
            batch = list(self._waiting.values())[:BATCH]
            for sighting in batch:
                del self._waiting[sighting.device_id]
            try:
                self._store.devices_seen(batch)
            except ContractError:
                for sighting in batch:
                    self.note(*sighting)
                raise
