"""JSON Schemas of the contract's structs, for the generated documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

CONTRACT_VERSION = "1.1"

Document = dict[str, Any]


class Schemas:
    """JSON Schemas of many types, each struct once under `components/schemas`.

    Attributes:
        components: schema of every struct, by name; for the document's `components/schemas`.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        unique = list(dict.fromkeys(types))
        refs, self.components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
        self._refs = dict(zip(unique, refs, strict=True))

    def __getitem__(self, type_: Any) -> Document:
        """The schema of a type, with references into `components`. KeyError for a type that was not given."""
        schema: Document = self._refs[type_]
        return schema
