"""One datum at a time, by fastavro: for people and scripts, where the bulk decoder would not pay.

Nothing here loads numpy, Arrow or numba: a command that shows one alert starts at once.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import fastavro

from finkbridge.avro.rewrite import definitions
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import DecodeError

MOST_BYTES = 64 << 20
"""Of a datum that is decoded for a person: fastavro may make 200 bytes of one."""


def decode_one(schema: WriterSchema, datum: bytes) -> Any:
    """Return a datum decoded by its writer schema.

    Raises
    ------
    DecodeError
        The datum departs from the schema, or could make the decoder run for ever; says how, in a few words.
    """
    if not is_bounded(schema):
        raise DecodeError("the schema has a type inside itself, or items of no bytes: only drain takes it")
    if len(datum) > MOST_BYTES:
        raise DecodeError(f"{len(datum):,} bytes are more than one alert can have")
    stream = io.BytesIO(datum)
    value = _read(stream, schema.parsed)
    if left := len(datum) - stream.tell():
        raise DecodeError(f"{left:,} trailing bytes")
    return value


class Prefix:
    """Decodes the first fields of a record only, up to the last one that is wanted.

    What follows is not looked at: naming an LSST alert so takes 0.1 ms instead of 20.

    Parameters
    ----------
    schema
        Writer schema; a record.
    wanted
        Top-level fields; those that the schema does not have are left out.
    """

    def __init__(self, schema: WriterSchema, wanted: Collection[str]) -> None:
        fields = schema.parsed["fields"]
        last = max((i for i, field in enumerate(fields) if field["name"] in wanted), default=-1)
        # parsed once more, as the names that it defines are no longer those of the whole
        cut = {"type": "record", "name": schema.parsed["name"], "fields": fields[: last + 1]}
        self._parsed = fastavro.parse_schema(cut)
        self._is_safe = is_bounded(schema)

    def read(self, datum: bytes) -> dict[str, Any]:
        """Return the first fields of a datum.

        Raises
        ------
        DecodeError
            The datum departs from the schema in one of them.
        """
        if not self._is_safe:
            raise DecodeError("the schema has a type inside itself, or items of no bytes")
        found: dict[str, Any] = _read(io.BytesIO(datum), self._parsed)
        return found


def _read(stream: io.BytesIO, parsed: Any) -> Any:
    try:
        return fastavro.schemaless_reader(stream, parsed, None)
    except Exception as error:  # noqa: BLE001 - hostile bytes make it raise anything
        raise DecodeError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None


@lru_cache(maxsize=8)
def is_bounded(schema: WriterSchema) -> bool:
    """Tell whether fastavro's work on any bytes ends: its recursion knows no bound, nor do its loops."""
    return _Bounds(schema.simple).holds(schema.simple)


class _Bounds:
    """Looks for types inside themselves, and for arrays whose items may take no byte."""

    def __init__(self, simple: Any) -> None:
        self.named = definitions(simple)
        self.open: set[str] = set()
        self.done: set[str] = set()
        self.empty: dict[str, bool] = {}

    def holds(self, node: Any) -> bool:
        if isinstance(node, list):
            return all(map(self.holds, node))
        if isinstance(node, str):
            is_known = node not in self.named or node in self.done
            return is_known or (node not in self.open and self.holds(self.named[node]))
        if node["type"] == "array" and self.may_be_empty(node["items"]):
            return False
        name = node.get("name", "")
        self.open.add(name)
        children = [field["type"] for field in node.get("fields", ())]
        found = all(map(self.holds, children + [node[key] for key in ("items", "values") if key in node]))
        self.open.discard(name)
        self.done.add(name)
        return found

    def may_be_empty(self, node: Any) -> bool:
        """Whether a value may take no byte at all; a union and a map take at least one."""
        if isinstance(node, list):
            return False
        if isinstance(node, str):
            return node == "null" or (node in self.named and self._named_may_be_empty(node))
        if "fields" in node:
            return all(self.may_be_empty(field["type"]) for field in node["fields"])
        return bool(node["type"] == "null" or (node["type"] == "fixed" and node["size"] == 0))

    def _named_may_be_empty(self, name: str) -> bool:
        if name not in self.empty:
            self.empty[name] = True  # a record of nothing but itself: it takes no byte
            self.empty[name] = self.may_be_empty(self.named[name])
        return self.empty[name]
