"""The quarantine file of a segment: each message that cannot be decoded, whole, with the reasons."""

from __future__ import annotations

import io
import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro

from finkbridge.avro.archive import FACTS, to_json
from finkbridge.avro.container import ContainerError, read_blocks
from finkbridge.avro.files import Written, hash_all, mapped, read_proven_header, write_container
from finkbridge.errors import DecodeError
from finkbridge.values import Message, Rejected

RECORDS_HASH = "finkbridge.records_xxh3_128"

DEFINITION = {
    "type": "record",
    "name": "Rejected",
    "namespace": "finkbridge",
    "fields": [
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
        {"name": "timestamp_ms", "type": ["null", "long"]},
        {"name": "timestamp_type", "type": "int"},
        {"name": "key", "type": ["null", "bytes"]},
        {"name": "value", "type": ["null", "bytes"]},
        {
            "name": "headers",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Header",
                    "fields": [
                        {"name": "name", "type": "string"},
                        {"name": "value", "type": ["null", "bytes"]},
                    ],
                },
            },
        },
        {"name": "reason", "type": "string"},
        {"name": "byte_position", "type": ["null", "long"]},
        {"name": "reference", "type": "string"},
    ],
}
"""Fixed: it only ever grows."""

SCHEMA: Any = fastavro.parse_schema(DEFINITION)
SCHEMA_JSON = json.dumps(DEFINITION, separators=(",", ":")).encode()


def write_quarantine(path: Path, rejected: Sequence[Rejected], facts: Mapping[str, Any]) -> Written:
    """Write rejected messages to a file; syncing it is the caller's."""
    records = [_encode(_to_record(message)) for message in rejected]
    metadata = {
        "avro.codec": b"null",
        "avro.schema": SCHEMA_JSON,
        FACTS: to_json(facts),
        RECORDS_HASH: hash_all(records),
    }
    return write_container(path, metadata, records)


def read_quarantine(path: Path) -> list[Rejected]:
    """Read a quarantine file back; see `read_places`."""
    return [rejected for rejected, _ in read_places(path)]


def read_places(path: Path) -> list[tuple[Rejected, tuple[int, int]]]:
    """Read a quarantine file back, and where each message's record begins and ends in it; see `record_of`.

    Raises
    ------
    DecodeError
        When any byte of the file is not as it was written.
    """
    try:
        with mapped(path) as data:
            return [(record_of(data[start:end]), (start, end)) for start, end in _spans(data)]
    except (ValueError, KeyError, EOFError) as error:
        raise DecodeError(
            f"{path}: the quarantine file is damaged: {error}; restore it from a copy"
        ) from error


def read_quarantine_facts(path: Path) -> dict[str, Any]:
    """Return what the header of a quarantine file says of its segment; raise DecodeError if it is damaged."""
    try:
        with mapped(path) as data:
            facts: dict[str, Any] = json.loads(read_proven_header(data).metadata[FACTS])
            return facts
    except (ValueError, KeyError) as error:
        raise DecodeError(
            f"{path}: the quarantine file is damaged: {error}; restore it from a copy"
        ) from error


def record_of(record: bytes) -> Rejected:
    """Return what a record of a quarantine file says."""
    return _from_record(_decode(record))


def _spans(data: mmap.mmap) -> list[tuple[int, int]]:
    header = read_proven_header(data)
    spans: list[tuple[int, int]] = [*read_blocks(data, header)]
    if hash_all(data[start:end] for start, end in spans) != header.metadata[RECORDS_HASH]:
        raise ContainerError("a record is not as it was written, noticed", len(data))
    return spans


def _to_record(rejected: Rejected) -> dict[str, Any]:
    headers = [{"name": name, "value": value} for name, value in rejected.message.headers]
    return rejected.message._asdict() | {
        "headers": headers,
        "reason": rejected.reason,
        "byte_position": rejected.byte_position,
        "reference": rejected.reference,
    }


def _from_record(record: dict[str, Any]) -> Rejected:
    headers = tuple((header["name"], header["value"]) for header in record["headers"])
    message = Message(
        **{name: record[name] for name in Message._fields if name != "headers"}, headers=headers
    )
    return Rejected(message, record["reason"], record["byte_position"], record["reference"])


def _encode(record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, record)
    return stream.getvalue()


def _decode(record: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(record), SCHEMA, None)
