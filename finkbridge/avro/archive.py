"""The archive file of a segment: a standard Avro container file whose datums are the messages, byte for byte.

Beside what Avro asks for, its header has all that the messages have besides their values, so that each can
be given back exactly. The sync marker is a hash of that header, and the header has a hash of the values: so
a retry writes the same bytes, and a file that is not what was written never reads as if it were.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from finkbridge.avro.container import (
    SYNC_BYTES,
    ContainerError,
    Header,
    block_prefix,
    encode_long,
    read_blocks,
    read_long,
)
from finkbridge.avro.envelope import open_envelopes, pack_envelopes
from finkbridge.avro.files import Written, hash_all, mapped, read_proven_header, write_container
from finkbridge.avro.resolve import Framing
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.errors import DecodeError, SchemaError
from finkbridge.values import Message

SCHEMA = "finkbridge.schema"
FRAMING = "finkbridge.framing"
FACTS = "finkbridge.facts"
MESSAGES = "finkbridge.messages"
VALUES_HASH = "finkbridge.values_xxh3_128"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive file, read back and proven whole."""

    schema: WriterSchema
    framing: Framing
    facts: dict[str, Any]
    messages: tuple[Message, ...]
    spans: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    """Where in the file each message's value is: its first byte, and the one behind it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What the header of an archive file says, proven: all but the values."""

    schema_text: bytes
    """The writer schema as received."""
    facts: dict[str, Any]
    messages: tuple[Message, ...]
    """Each with an empty value."""


def write_archive(
    path: Path, schema: WriterSchema, framing: Framing, messages: Sequence[Message], facts: Mapping[str, Any]
) -> Written:
    """Write messages of one schema to an archive file; syncing it is the caller's.

    Parameters
    ----------
    path
        The file; one that is there is overwritten.
    schema, framing
        What all messages share; see `finkbridge.avro.resolve`.
    messages
        Checked; each with a value.
    facts
        What the caller wants to find in the header again, as JSON: cluster, topic, generation, ranges ...

    Returns
    -------
    Written
        Its positions and lengths are those of the messages' values, whatever the framing.
    """
    values = [_value(message) for message in messages]
    bare = framing is Framing.BARE
    metadata = {
        "avro.codec": b"null",
        "avro.schema": schema.simplified if bare else b'"bytes"',
        SCHEMA: schema.text,
        FRAMING: framing.encode(),
        FACTS: to_json(facts),
        MESSAGES: to_json(pack_envelopes(messages, schema.text)),
        VALUES_HASH: hash_all(values),
    }
    return write_container(path, metadata, values, block_prefix if bare else _bytes_prefix)


def read_archive(path: Path) -> Archive:
    """Read an archive file back, each message exactly as it was.

    Raises
    ------
    DecodeError
        When any byte of the file is not as it was written; says at which byte that was noticed.
    """
    try:
        with mapped(path) as data:
            return _read(data)
    except (ValueError, KeyError, TypeError, SchemaError) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def read_outline(path: Path) -> Outline:
    """Read no more of an archive file than its header; raise DecodeError if that is damaged."""
    try:
        with mapped(path) as data:
            return _outline(read_proven_header(data).metadata)
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def read_places(path: Path) -> Archive:
    """Return what an archive file has and where, its messages without values; these prove nothing, then.

    For who has proven the file by its checksum: it takes a third of the time of `read_archive`.
    """
    try:
        with mapped(path) as data:
            header = read_proven_header(data)
            spans = tuple(_spans(data, header))
        outline, framing = _outline(header.metadata), Framing(header.metadata[FRAMING].decode())
        messages = tuple(m for m, _ in zip(outline.messages, spans, strict=True))
        return Archive(_parse(outline.schema_text), framing, outline.facts, messages, spans)
    except (ValueError, KeyError, TypeError, SchemaError) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def value_of(path: Path, number: int) -> bytes:
    """Return the value of one message of an archive file, by its place among them; nothing proves it."""
    try:
        with mapped(path) as data:
            header = read_proven_header(data)
            start, end = next(islice(_spans(data, header), number, None))
            return data[start:end]
    except (ValueError, KeyError, StopIteration) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def read_value(path: Path, position: int, length: int) -> tuple[bytes, Framing, bytes]:
    """Return one message of an archive file: its writer schema as received, its framing, and its value.

    Parameters
    ----------
    path
        The file; no more of it is read than its header and the message.
    position, length
        As ``archive_pos`` and ``archive_len`` of a delivery say.

    Raises
    ------
    DecodeError
        No message of that length is there, or the file's header is not as it was written.
    """
    try:
        with mapped(path) as data:
            header = read_proven_header(data)
            framing = Framing(header.metadata[FRAMING].decode())
            lead = (block_prefix if framing is Framing.BARE else _bytes_prefix)(length)
            begin, end = position - len(lead), position + length
            if (
                begin < header.end
                or data[begin:position] != lead
                or data[end : end + SYNC_BYTES] != header.sync
            ):
                raise ContainerError(f"there is no message of {length} bytes", position)
            return header.metadata[SCHEMA], framing, data[position:end]
    except (ValueError, KeyError) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def read_schema_text(path: Path) -> bytes:
    """Return the writer schema of an archive file as it was received; raise DecodeError if it is damaged."""
    try:
        with mapped(path) as data:
            return read_proven_header(data).metadata[SCHEMA]
    except (ValueError, KeyError) as error:
        raise DecodeError(f"{path}: the archive file is damaged: {error}; restore it from a copy") from error


def to_json(value: Any) -> bytes:
    """Return compact JSON in ASCII, with the order of the keys kept."""
    return json.dumps(value, separators=(",", ":")).encode()


_parse = lru_cache(maxsize=8)(parse_schema)
"""Of who reads file after file: a survey's schema takes 10 ms."""


def _outline(metadata: Mapping[str, bytes]) -> Outline:
    packed = json.loads(metadata[MESSAGES])
    messages = open_envelopes(packed, [b""] * packed["count"], metadata[SCHEMA])
    return Outline(metadata[SCHEMA], json.loads(metadata[FACTS]), messages)


def _read(data: mmap.mmap) -> Archive:
    header = read_proven_header(data)
    metadata = header.metadata
    schema, framing = parse_schema(metadata[SCHEMA]), Framing(metadata[FRAMING].decode())
    spans = tuple(_spans(data, header))
    values = [data[start:end] for start, end in spans]
    if hash_all(values) != metadata[VALUES_HASH]:
        raise ContainerError("a value is not as it was written, noticed", len(data))
    messages = open_envelopes(json.loads(metadata[MESSAGES]), values, schema.text)
    return Archive(schema, framing, json.loads(metadata[FACTS]), messages, spans)


def _spans(data: mmap.mmap, header: Header) -> Iterator[tuple[int, int]]:
    """Yield the first byte of each value, and the one behind it."""
    framing = Framing(header.metadata[FRAMING].decode())
    prefix = block_prefix if framing is Framing.BARE else _bytes_prefix
    for start, end in read_blocks(data, header):
        first = start if framing is Framing.BARE else read_long(data, start)[1]
        lead = prefix(end - first)
        if data[first - len(lead) : first] != lead:
            raise ContainerError("a block is not as it was written", start)
        yield first, end


def _value(message: Message) -> bytes:
    if not message.value:
        raise ValueError(f"the message at {message.partition}:{message.offset} has no value to archive")
    return message.value


def _bytes_prefix(size: int) -> bytes:
    """Return what precedes a value that is a datum of the Avro type ``bytes``."""
    length = encode_long(size)
    return block_prefix(len(length) + size) + length
