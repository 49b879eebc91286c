"""Finds the writer schema of each message, and the datum in its value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finkbridge.avro.container import MAGIC, ContainerError, Header, read_header, unwrap
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.errors import SchemaError
from finkbridge.values import Message

CACHED_SCHEMAS = 32
"""Distinct schema texts kept per resolver: a topic has one, seldom two."""


MAX_TEXT_BYTES = 16 << 20
"""Of the schemas' texts that are kept, and of all that are parsed of a batch: a byte makes some 50 parsed."""


class Framing(StrEnum):
    """How a message's value holds its datum."""

    BARE = "bare"
    """The value is the datum."""
    CONTAINER = "container"
    """The value is a whole Avro container file of one record, as in ZTF's own stream."""


class Resolved(NamedTuple):
    """A message's schema and datum."""

    schema: WriterSchema
    datum: bytes
    framing: Framing


@dataclass(frozen=True, slots=True)
class SchemaGroup:
    """The messages of a batch that share schema and framing, in their order."""

    schema: WriterSchema
    framing: Framing
    indices: npt.NDArray[np.int64]
    """Positions in the batch."""
    datums: list[bytes]
    """None of container files: `finkbridge.avro.portions` unwraps them, some at a time."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """A batch of messages by schema, in the order of first appearance, and those that have none."""

    groups: tuple[SchemaGroup, ...]
    rejected: tuple[tuple[int, str], ...]
    """Position in the batch, and the reason."""


class SchemaResolver:
    """Knows where the schema of a message is; keep one per drain, as it remembers what it parsed.

    The sources, in this order: the user's `override`; the header of a value that is itself a container file;
    the message key, where it is the schema's JSON; what `topic_schema` finds for the topic, asked
    until there is one.
    """

    def __init__(
        self,
        override: WriterSchema | None = None,
        topic_schema: Callable[[str], bytes | None] = lambda _: None,
        max_schemas: int | None = None,
    ) -> None:
        self._override = override
        self._topic_schema = topic_schema
        self._topics: dict[str, WriterSchema | str] = {}
        self._parsed: dict[bytes, WriterSchema | str] = {}
        self._max_schemas = max_schemas
        self._met: set[bytes] = set()
        """Texts of the schemas of the batch."""

    def resolve(self, topic: str, message: Message, *, unwrapping: bool = True) -> Resolved | str:
        """Return schema and datum of a message, or the reason why it has none.

        Without `unwrapping`, the datum of a container file is empty.
        """
        value = message.value
        if not value:
            return "null value" if value is None else "empty value"
        header = _container_header(value)
        if header is None:
            schema = self._override or self._by_key(topic, message.key)
            return schema if isinstance(schema, str) else Resolved(schema, value, Framing.BARE)
        schema = self._override or self._parse(header.metadata["avro.schema"])
        if isinstance(schema, str):
            return f"the container file in the value: {schema}"
        if not unwrapping:
            return Resolved(schema, b"", Framing.CONTAINER)
        try:
            return Resolved(schema, unwrap(value, header), Framing.CONTAINER)
        except ValueError as error:
            return f"the container file in the value: {error}"

    def group(self, topic: str, messages: Sequence[Message]) -> Grouped:
        """Part a batch of messages by writer schema and framing.

        A topic without a schema is looked at again each time: its schema topic may have come since.
        """
        self._met.clear()
        if isinstance(self._topics.get(topic), str):
            del self._topics[topic]
        groups: dict[tuple[WriterSchema, Framing], tuple[list[int], list[bytes]]] = {}
        rejected: list[tuple[int, str]] = []
        key: bytes | None = None
        indices: list[int] = []
        datums: list[bytes] = []
        for index, message in enumerate(messages):
            value = message.value
            if key is not None and message.key == key and value and value[:4] != MAGIC:
                indices.append(
                    index
                )  # as the message before: the common case, in 0.2 us where the key is shared
                datums.append(value)
                continue
            found = self.resolve(topic, message, unwrapping=False)
            if isinstance(found, str):
                rejected.append((index, found))
                continue
            indices, datums = groups.setdefault((found.schema, found.framing), ([], []))
            indices.append(index)
            if found.framing is not Framing.CONTAINER:
                datums.append(found.datum)
            key = message.key if found.framing is Framing.BARE else None
        made = (SchemaGroup(s, f, np.array(i, np.int64), d) for (s, f), (i, d) in groups.items())
        return Grouped(tuple(made), tuple(rejected))

    def _by_key(self, topic: str, key: bytes | None) -> WriterSchema | str:
        keyed = self._parse(key) if key is not None and key.lstrip()[:1] == b"{" else None
        if isinstance(keyed, WriterSchema):
            return keyed
        if topic not in self._topics:
            self._topics[topic] = self._by_topic(topic)
        found = self._topics[topic]
        return f"{found}; the key: {keyed}" if isinstance(found, str) and keyed else found

    def _by_topic(self, topic: str) -> WriterSchema | str:
        text = self._topic_schema(topic)
        if text is None:
            return f"no writer schema: neither in the key, nor in {topic}_schema, nor given with --schema"
        found = self._parse(text)
        return f"the schema of {topic}_schema: {found}" if isinstance(found, str) else found

    def _parse(self, text: bytes) -> WriterSchema | str:
        """Parse a text that was not seen lately; the oldest of those remembered makes room."""
        if text not in self._met and self._is_full(text):
            return (
                f"more than {self._max_schemas} writer schemas, or {MAX_TEXT_BYTES} bytes of them, in one "
                "segment: requeue the message if it is wanted"
            )
        found = self._parsed.pop(text, None)
        if found is None:
            try:
                found = parse_schema(text)
            except SchemaError as error:
                found = str(error)
        if isinstance(found, WriterSchema):
            self._met.add(text)
        self._parsed[text] = found
        while len(self._parsed) > CACHED_SCHEMAS or _size(self._parsed) > MAX_TEXT_BYTES:
            del self._parsed[next(iter(self._parsed))]
        return found

    def _is_full(self, text: bytes) -> bool:
        if self._max_schemas is None:
            return False
        return len(self._met) >= self._max_schemas or _size(self._met) + len(text) > MAX_TEXT_BYTES


def _size(texts: Iterable[bytes]) -> int:
    return sum(map(len, texts))


def _container_header(value: bytes) -> Header | None:
    """Return the header of a value that is a container file; a bare datum may start with the same bytes."""
    if value[: len(MAGIC)] != MAGIC:
        return None
    try:
        header = read_header(value)
    except ContainerError:
        return None
    return header if "avro.schema" in header.metadata else None
