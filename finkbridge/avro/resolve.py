"""Finds the writer schema of each message, and the datum in its value."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from finkbridge import later
from finkbridge.avro.container import MAGIC, ContainerError, Header, read_header, unwrap
from finkbridge.avro.parser import CACHED_SCHEMAS, Budget, Parser
from finkbridge.avro.predictions import (
    PredictionError,
    encode_prediction,
    holds_predictions,
    read_prediction,
    writer_schema,
)
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.single import decode_one
from finkbridge.avro.versions import SchemaFolder, is_version_key
from finkbridge.errors import DecodeError, ForbiddenError, NotAskedError, SchemaError
from finkbridge.values import Message, TopicGeneration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ASK_AGAIN_S = 1.0
"""How long `SchemaResolver.resolve` takes it that a topic has no schema."""


class Framing(StrEnum):
    """How a message's value holds its datum."""

    BARE = "bare"
    """The value is the datum."""
    CONTAINER = "container"
    """The value is a whole Avro container file of one record, as in ZTF's own stream."""
    REGISTRY = "registry"
    """A zero byte and the schema's id in four bytes precede the datum, as in Rubin's own stream."""
    PREDICTION = "prediction"
    """The value is JSON of an AI; its datum is made of it, see `finkbridge.avro.predictions`."""


REGISTRY_HEADER_BYTES = 5
LARGEST_ID = 2**31 - 1
"""Of a schema in a registry, whose identifiers are 32 bits with a sign."""


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
    """At first only of values that are datums: `finkbridge.avro.portions` unwraps others, some at a time."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """A batch of messages by schema, in the order of first appearance, and those that have none."""

    groups: tuple[SchemaGroup, ...]
    rejected: tuple[tuple[int, str], ...]
    """Position in the batch, and the reason."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Where schemas are that messages only name."""

    versions: SchemaFolder | None = None
    """By the key."""
    registry: Callable[[int], bytes | None] | None = None
    """By the id at the begin of the value: gives the schema's text, or None where there is none."""


class SchemaResolver:
    """Knows where the schema of a message is; keep one per drain, as it remembers what it parsed.

    A value that is itself a container file tells its schema, and an AI's predictions have one of our own.
    Else the sources are, in this order: the user's `override`; the message key, where it is the schema's
    JSON; the file that the key names in the `lookups`' folder of `versions`; what `topic_schema` finds for
    the topic, asked until there is one; what the registry has for the id that the value begins with. That is
    the last, as any datum may begin like such an id.
    """

    def __init__(
        self,
        override: WriterSchema | None = None,
        topic_schema: Callable[[str], bytes | None] = lambda _: None,
        budget: Budget = Budget(),  # noqa: B008 - it is a value
        lookups: Lookups | None = None,
    ) -> None:
        self._override = override
        self._topic_schema = topic_schema
        self._topics: dict[str, WriterSchema | str] = {}
        self._lives: dict[str, TopicGeneration] = {}
        self._again_at: dict[str, float] = {}
        self._parser = Parser(budget)
        self._versions = None if lookups is None else lookups.versions
        self._registry = None if lookups is None else lookups.registry
        self._numbered: dict[int, bytes | str] = {}
        self._unknown: set[int] = set()
        """Ids that the registry does not have, as of a moment ago."""
        self._framings: dict[str, Framing] = {}
        """By topic, what a value that fitted has shown; of a framed one nobody waits for a schema topic."""
        self._forbidden: dict[str, ForbiddenError] = {}
        """Topics whose schema topics may not be read."""
        self._named: dict[tuple[bytes, str], list[bytes]] = {}

    def begin(self, life: TopicGeneration, known: Mapping[str, int]) -> None:
        """Begin to count new schemas: those whose fingerprints are not among the known ones.

        What was found for the topic in another life of it holds no more: its messages may be other ones.
        """
        self._parser.begin_life(known)
        if self._lives.setdefault(life.topic, life) != life:
            self._lives[life.topic] = life
            self.forget(life.topic)

    def forget(self, topic: str) -> None:
        """Look for the schema of a topic anew: it may have been made anew, with other messages."""
        self._topics.pop(topic, None)
        self._again_at.pop(topic, None)
        self._framings.pop(topic, None)
        self._forbidden.pop(topic, None)

    def resolve(self, topic: str, message: Message) -> Resolved | str:
        """Return schema and datum of a message, or the reason why it has none.

        A topic without a schema is looked at again each second: its schema topic may have come since.
        """
        if not self._is_framed(topic) and time.monotonic() > self._again_at.get(topic, math.inf):
            self.forget(topic)
            self._unknown.clear()
        found = self._find(topic, message)
        if isinstance(found, str):
            self._refuse_in_the_dark(topic, is_known=self._is_framed(topic))
            return found
        schema, framing = found
        try:
            return Resolved(schema, datum_of(message.value or b"", framing), framing)
        except ValueError as error:
            return str(error)

    def _is_framed(self, topic: str) -> bool:
        return self._framings.get(topic) is Framing.REGISTRY

    def _refuse_in_the_dark(self, topic: str, *, is_known: bool) -> None:
        """Raise that a schema topic may not be read, unless others of the topic are read without it.

        Then it is not needed, and a message without a schema is a bad one.
        """
        if topic in self._forbidden and not is_known:
            raise self._forbidden[topic].with_traceback(None)

    def _by_registry(self, topic: str, message: Message, value: bytes) -> WriterSchema | str | None:
        """Return what the registry has for the id that a value begins with; None where there is neither.

        A key that is the schema tells more.
        """
        if self._registry is None or _is_json(message.key) or (number := _number_of(value)) is None:
            return None
        text = self._numbered.get(number)
        # a topic of bare datums would have it asked for each of them
        is_asked = number not in self._unknown and (
            self._is_framed(topic) or len(self._unknown) < CACHED_SCHEMAS
        )
        if text is None and is_asked:
            try:
                text = self._registry(number)
            except SchemaError as error:
                text = str(error)
            if text is None:
                self._unknown.add(number)
        if text is None:
            return None
        if len(self._numbered) < CACHED_SCHEMAS:
            self._numbered[number] = text
        found = text if isinstance(text, str) else self._parser.parse(text)
        if isinstance(found, str):
            return f"the registry's schema {number}: {found}"
        if topic not in self._framings and _fits(found, value[REGISTRY_HEADER_BYTES:]):
            self._framings[topic] = Framing.REGISTRY
        return found

    def group(self, topic: str, messages: Sequence[Message]) -> Grouped:
        """Part a batch of messages by writer schema and framing.

        A topic without a schema is looked at again each time: its schema topic may have come since.
        """
        self._parser.begin_batch()
        self._named.clear()
        self._unknown.clear()
        if not self._is_framed(topic) and isinstance(self._topics.get(topic), str):
            del self._topics[topic]
        groups: dict[tuple[WriterSchema, Framing], tuple[list[int], list[bytes]]] = {}
        rejected: list[tuple[int, str]] = []
        key: bytes | None = None
        indices: list[int] = []
        datums: list[bytes] = []
        for index, message in enumerate(messages):
            value = message.value
            if key is not None and message.key == key and value and value[:4] != MAGIC:
                # as the message before: the common case, in 0.2 us where the key is shared
                indices.append(index)
                datums.append(value)
                continue
            found = self._find(topic, message)
            if isinstance(found, str):
                rejected.append((index, found))
                continue
            indices, datums = groups.setdefault(found, ([], []))
            indices.append(index)
            is_bare = found[1] is Framing.BARE
            # a key that is the schema says the same of every message, others must be looked at
            key = message.key if is_bare and self._is_final(topic, message.key) else None
            if is_bare and value:
                datums.append(value)
        if rejected:
            self._refuse_in_the_dark(topic, is_known=bool(groups))
        made = (
            SchemaGroup(s, f, later.call("numpy:array", i, "int64"), d) for (s, f), (i, d) in groups.items()
        )
        return Grouped(tuple(made), tuple(rejected))

    def _find(self, topic: str, message: Message) -> tuple[WriterSchema, Framing] | str:
        """Return the schema of a message, and how its value holds the datum, or the reason why not."""
        value = message.value
        if not value:
            return "null value" if value is None else "empty value"
        header = _container_header(value)
        if header is not None:
            return self._contained(header)
        if not holds_predictions(topic):
            return self._named_schema(topic, message, value)
        try:
            read_prediction(value)
        except PredictionError as error:
            found = self._named_schema(topic, message, value)
            if isinstance(found, str):
                return str(error) if _is_json(value) else f"{error}; nor an alert: {found}"
            return found
        return writer_schema(), Framing.PREDICTION

    def _named_schema(self, topic: str, message: Message, value: bytes) -> tuple[WriterSchema, Framing] | str:
        if self._override is not None:
            return self._override, self._framing(topic, message, value)
        schema = self._by_key(topic, message.key, value)
        if isinstance(schema, WriterSchema):
            return schema, Framing.BARE
        registered = self._by_registry(topic, message, value)
        if isinstance(registered, WriterSchema):
            return registered, Framing.REGISTRY
        if topic not in self._forbidden:
            self._framings.pop(topic, None)  # so that its schema topic is looked for again
        return registered or schema + self._hint(message.key, value)

    def _contained(self, header: Header) -> tuple[WriterSchema, Framing] | str:
        """Return the schema of a value that is a container file."""
        schema = self._override or self._parser.parse(header.metadata["avro.schema"])
        if isinstance(schema, str):
            return f"the container file in the value: {schema}"
        return schema, Framing.CONTAINER

    def _framing(self, topic: str, message: Message, value: bytes) -> Framing:
        """Return how a value holds a datum of the user's schema, which the registry need not know.

        A value that fits tells of its topic; none is asked twice.
        """
        is_telling = self._registry is not None and not _is_json(message.key)
        if self._override is None or not is_telling or _number_of(value) is None:
            return Framing.BARE
        if topic not in self._framings:
            if _fits(self._override, value):
                self._framings[topic] = Framing.BARE
            elif _fits(self._override, value[REGISTRY_HEADER_BYTES:]):
                self._framings[topic] = Framing.REGISTRY
        return self._framings.get(topic, Framing.BARE)

    def _hint(self, key: bytes | None, value: bytes) -> str:
        """Return what else may name a schema, as an addition to a reason."""
        if _is_json(key):
            return ""
        if key is not None and is_version_key(key):
            return f"; the key {key.decode()} names one: {self._folder_hint(key)}"
        if (number := _number_of(value)) is None:
            return ""
        if number in self._unknown:
            return f"; the registry has none of the id {number}"
        if self._registry is not None:
            return f"; the registry was not asked for the id {number}, after many that it does not have"
        return f"; a schema registry may have it (id {number}): set clusters.<name>.schema_registry"

    def _folder_hint(self, key: bytes) -> str:
        if self._versions is None:
            return "put its file in a folder and set decode.schema_folder"
        return f"no *_{key.decode()}.avsc in decode.schema_folder fits"

    def _is_final(self, topic: str, key: bytes | None) -> bool:
        """Whether all messages of a key are of one schema, whatever their values are."""
        is_named = _is_json(key) or (self._versions is None and self._registry is None)
        return is_named and not holds_predictions(topic)

    def _by_key(self, topic: str, key: bytes | None, value: bytes) -> WriterSchema | str:
        keyed = self._parser.parse(key) if key is not None and _is_json(key) else None
        if isinstance(keyed, WriterSchema):
            return keyed
        if key is not None and (named := self._by_version(topic, key, value)) is not None:
            return named
        if topic not in self._topics:
            self._topics[topic] = self._by_topic(topic)
            if isinstance(self._topics[topic], str):
                self._again_at[topic] = time.monotonic() + ASK_AGAIN_S
        found = self._topics[topic]
        if isinstance(found, str):
            return found + (f"; the key: {keyed}" if keyed else "")
        return found

    def _by_version(self, topic: str, key: bytes, value: bytes) -> WriterSchema | str | None:
        """Return the schema that a key names: the replayed one where the first does not fit the message."""
        if self._versions is None or not is_version_key(key):
            return None
        if (key, topic) not in self._named:
            if len(self._named) >= CACHED_SCHEMAS:
                self._named.clear()
            self._named[key, topic] = self._versions.texts(key, topic)
        texts = self._named[key, topic]
        found = [self._parser.parse(text) for text in texts]
        fitting = [s for s in found if isinstance(s, WriterSchema) and (len(found) == 1 or _fits(s, value))]
        return next(iter([*fitting, *found]), None)

    def _by_topic(self, topic: str) -> WriterSchema | str:
        self._forbidden.pop(topic, None)
        try:
            text = self._topic_schema(topic)
        except ForbiddenError as error:  # as clusters with rights say of any topic that is not there
            if self._registry is None:
                raise
            text, self._forbidden[topic] = None, error
        except NotAskedError as error:
            return f"no writer schema: neither in the key, nor given with --schema; {error}"
        if topic in self._forbidden:
            where = f"{topic}_schema may not be read"
            return f"no writer schema: neither in the key, nor given with --schema, and {where}"
        if text is None:
            return f"no writer schema: neither in the key, nor in {topic}_schema, nor given with --schema"
        found = self._parser.parse(text)
        return f"the schema of {topic}_schema: {found}" if isinstance(found, str) else found


def datum_of(value: bytes, framing: Framing) -> bytes:
    """Return the datum in a message's value; raise ValueError, which says of what, where there is none."""
    if framing is Framing.CONTAINER:
        try:
            return unwrap(value, read_header(value))
        except ValueError as error:
            raise ValueError(f"the container file in the value: {error}") from None
    if framing is Framing.PREDICTION:
        return encode_prediction(value)
    return value[REGISTRY_HEADER_BYTES:] if framing is Framing.REGISTRY else value


def _is_json(text: bytes | None) -> bool:
    return text is not None and text.lstrip()[:1] == b"{"


def _fits(schema: WriterSchema, datum: bytes) -> bool:
    try:
        decode_one(schema, datum)
    except DecodeError:
        return False
    return True


def _number_of(value: bytes) -> int | None:
    """Return the identifier of a schema in a registry that a value begins with; None where it has none."""
    if value[0] != 0 or len(value) <= REGISTRY_HEADER_BYTES:
        return None
    number = int.from_bytes(value[1:REGISTRY_HEADER_BYTES])
    return number if number <= LARGEST_ID else None


def _container_header(value: bytes) -> Header | None:
    """Return the header of a value that is a container file; a bare datum may start with the same bytes."""
    if value[: len(MAGIC)] != MAGIC:
        return None
    try:
        header = read_header(value)
    except ContainerError:
        return None
    return header if "avro.schema" in header.metadata else None
