"""Writer schemas that were parsed, as many as fit: the texts are strangers'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from finkbridge.avro.schemas import WriterSchema, fingerprint_of, parse_schema
from finkbridge.avro.unfold import columns_of
from finkbridge.errors import SchemaError

CACHED_SCHEMAS = 32
"""Distinct schema texts kept per resolver: a topic has one, seldom two."""

MAX_TEXT_BYTES = 16 << 20
"""Of the schemas' texts that are kept, and of all that are parsed of a batch: a byte makes some 50 parsed."""

_REQUEUE = "requeue the message by its number if it is wanted"

MOST_OF_BUDGET = 0.25
"""Share of a topic's columns that one schema may have: no single message takes them from all that follow."""


class Budget(NamedTuple):
    """How much a topic's life may bring."""

    schemas: int | None = None
    """Writer schemas; None: as many as it likes, and their texts are not bounded either."""
    columns: int | None = None
    """Columns of these together, nested ones counted."""


class Parser:
    """Parses the texts of writer schemas, remembers some, and counts those of a topic's life.

    Parameters
    ----------
    budget
        What a topic's life may bring.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._parsed: dict[bytes, WriterSchema | str] = {}
        self._used: dict[str, int] = {}
        """Columns of the schemas that are known or new in the plan, by fingerprint."""
        self._met: set[bytes] = set()
        """Texts of the schemas of the batch."""

    def begin_life(self, known: Mapping[str, int]) -> None:
        """Count new schemas from here: those whose fingerprints are not among the known ones."""
        self._used = dict(known)

    def begin_batch(self) -> None:
        """Bound the texts of a further batch."""
        self._met.clear()

    def parse(self, text: bytes) -> WriterSchema | str:
        """Parse a text that was not seen lately; the oldest of those remembered makes room."""
        if text not in self._met and (refusal := self._refusal(text)):
            return refusal
        found = self._parsed.pop(text, None)
        if found is None:
            try:
                found = parse_schema(text)
            except SchemaError as error:
                found = str(error)
        self._parsed[text] = found
        while len(self._parsed) > CACHED_SCHEMAS or _size(self._parsed) > MAX_TEXT_BYTES:
            del self._parsed[next(iter(self._parsed))]
        return self._spend(found) if isinstance(found, WriterSchema) else found

    def _spend(self, schema: WriterSchema) -> WriterSchema | str:
        """Take a schema from the budget, or return why there is too little left."""
        if self._budget.schemas is None:
            return schema
        self._met.add(schema.text)
        if schema.fingerprint not in self._used:
            columns, most = columns_of(schema.simple), self._budget.columns
            if most is not None and columns > most * MOST_OF_BUDGET:
                return f"{columns} columns, more than one schema may have (decode.max_columns): {_REQUEUE}"
            if most is not None and sum(self._used.values()) + columns > most:
                return (
                    f"more than {most} columns of writer schemas in one topic: {_REQUEUE}, or all with a "
                    "higher decode.max_columns"
                )
            self._used[schema.fingerprint] = columns
        return schema

    def _refusal(self, text: bytes) -> str:
        """Return why a schema that the batch has not had yet is not even parsed; empty if it is."""
        most = self._budget.schemas
        if most is None:
            return ""
        if _size(self._met) + len(text) > MAX_TEXT_BYTES:
            return f"more than {MAX_TEXT_BYTES} bytes of writer schemas in one segment: {_REQUEUE}"
        if len(self._used) >= most and fingerprint_of(text) not in self._used:
            return (
                f"more than {most} writer schemas in one topic: {_REQUEUE}, or all with a higher "
                "decode.max_schemas"
            )
        return ""


def _size(texts: Iterable[bytes]) -> int:
    return sum(map(len, texts))
