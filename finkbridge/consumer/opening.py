"""From a message to the alert in it: which writer schema, whether it holds, and what the alert says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from finkbridge.avro.bounds import is_bounded
from finkbridge.avro.resolve import Framing, Resolved, SchemaResolver
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.single import Prefix, decode_one
from finkbridge.broker.assignment import Received
from finkbridge.consumer.names import FIELDS, FIRST_FIELDS, file_name, is_moving
from finkbridge.errors import DecodeError

KEPT_PREFIXES = 16
"""Writer schemas whose name readers are kept: a cluster's topics have a handful."""


class Opened(NamedTuple):
    """A message that was decoded."""

    received: Received
    schema: WriterSchema
    datum: bytes
    framing: Framing
    alert: dict[str, Any]


class Opener:
    """Opens messages; keeps what is costly to make.

    Parameters
    ----------
    resolver
        Knows where the schema of a message is.
    advice
        What a user can do about a message that cannot be opened; empty to say nothing of it.
    on_schema
        Is given each writer schema once, before anything is decoded by it.
    """

    def __init__(
        self,
        resolver: SchemaResolver,
        advice: str,
        on_schema: Callable[[WriterSchema], object] | None = None,
    ) -> None:
        self._resolver = resolver
        self._advice = advice
        self._on_schema = on_schema
        self._told: set[str] = set()
        self._last: dict[tuple[str, int], int] = {}
        """Newest offset by topic and partition."""
        self._prefixes: dict[str, tuple[Prefix, Prefix]] = {}

    def resolve(self, received: Received) -> Resolved:
        """Return a message's schema and datum.

        Raises
        ------
        DecodeError
            There is no schema for it.
        """
        place, offset = (received.topic, received.message.partition), received.message.offset
        if offset <= self._last.get(place, -1):
            self._resolver.forget(received.topic)  # it may have been made anew
        self._last[place] = offset
        found = self._resolver.resolve(received.topic, received.message)
        if isinstance(found, str):
            raise self.refusal(received, found)
        if self._on_schema is not None and found.schema.fingerprint not in self._told:
            self._told.add(found.schema.fingerprint)
            self._on_schema(found.schema)
        return found

    def open(self, received: Received) -> Opened:
        """Decode a message.

        Raises
        ------
        DecodeError
            There is no schema for it, or it departs from its schema.
        """
        found = self.resolve(received)
        try:
            alert = decode_one(found.schema, found.datum)
        except DecodeError as error:
            raise self.refusal(received, f"it does not match its writer schema ({error})") from None
        if not isinstance(alert, dict):
            raise self.refusal(received, "its writer schema is no record")
        return Opened(received, found.schema, found.datum, found.framing, alert)

    def name(self, received: Received, schema: WriterSchema, datum: bytes) -> str:
        """Return the file name of an alert, from its first fields where they tell enough.

        Raises
        ------
        DecodeError
            They depart from the schema.
        """
        place = place_of(received)
        if not (is_bounded(schema) and isinstance(schema.parsed, dict) and "fields" in schema.parsed):
            return file_name({}, place)
        first, all_ = self._name_readers(schema)
        alert = first.read(datum)
        if is_moving(alert):
            alert = all_.read(datum)
        return file_name(alert, place)

    def _name_readers(self, schema: WriterSchema) -> tuple[Prefix, Prefix]:
        made = self._prefixes.pop(schema.fingerprint, None)
        self._prefixes[schema.fingerprint] = made or (Prefix(schema, FIRST_FIELDS), Prefix(schema, FIELDS))
        while len(self._prefixes) > KEPT_PREFIXES:
            del self._prefixes[next(iter(self._prefixes))]
        return self._prefixes[schema.fingerprint]

    def refusal(self, received: Received, reason: str) -> DecodeError:
        """Return the error for a message that cannot be opened, as one line with the remedy."""
        m = received.message
        where = f"{received.topic} partition {m.partition} offset {m.offset}"
        return DecodeError(": ".join(filter(None, (where, reason, self._advice))))


def place_of(received: Received) -> str:
    """Return where a message is, as a text that no other message of the cluster has."""
    return f"{received.topic}-{received.message.partition}-{received.message.offset}"
