"""A first look at a topic and its schema: nothing is made for one that cannot be had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from finkbridge import later
from finkbridge.avro.arrow import arrow_schema
from finkbridge.avro.resolve import Lookups, SchemaResolver
from finkbridge.avro.schemas import WriterSchema, parse_schema, read_schema
from finkbridge.broker import Broker
from finkbridge.errors import LakeAccessError, SchemaError, SettingsError
from finkbridge.values import OffsetRange


@dataclass(frozen=True, slots=True)
class Sample:
    """The writer schema of a topic's first message."""

    avro: WriterSchema
    arrow: pa.Schema


def look(
    broker: Broker, topic: str, schema_file: Path | None = None, lookups: Lookups | None = None
) -> Sample | None:
    """Return what a topic's first message is written with; None where the topic is empty.

    Raises
    ------
    UnknownTopicError
        There is no such topic.
    SchemaError
        No writer schema is to be had: all messages would wait in quarantine.
    """
    broker.match([topic])
    override = parse_schema(read_schema(schema_file)) if schema_file else None
    resolver = SchemaResolver(override, broker.schema_key, lookups=lookups)
    for (_, part), marks in sorted(broker.watermarks([topic]).items()):
        message = broker.first_message(topic, OffsetRange(part, marks.low, marks.end))
        if message is None:
            continue
        found = resolver.resolve(topic, message)
        if not isinstance(found, str):
            return Sample(found.schema, arrow_schema(found.schema.simple))
        if "no writer schema" in found:
            raise SchemaError(
                f"{topic}: {found}; where the transfer was submitted just now, wait and run again"
            )
        return None  # a message of its own kind: the drain tells of it
    return None


def refuse_partition(sample: Sample, topic: str, by: str) -> None:
    """Raise SettingsError if the topic's alerts cannot be parted so."""
    if reason := later.call("finkbridge.export.partition:why_not", sample.arrow, by):
        raise SettingsError(f"{topic} cannot be partitioned by {by}: {reason}")


def dump_schemas(sample: Sample, topic: str, folder: Path) -> tuple[Path, Path]:
    """Write a topic's Avro schema (JSON) and Arrow schema (Parquet metadata), under fink-client's names.

    Raises
    ------
    LakeAccessError
        Another file of such a name is there.
    """
    avro = folder / f"avro_schema_{topic}.json"
    arrow = folder / f"arrow_schema_{topic}.metadata"
    text = json.dumps(json.loads(sample.avro.text), indent=4, sort_keys=True) + "\n"
    sink = pa.BufferOutputStream()
    pq.write_metadata(sample.arrow, sink)
    for file, content in ((avro, text.encode()), (arrow, sink.getvalue().to_pybytes())):
        _write_new(file, content)
    return avro, arrow


def _write_new(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        if file.read_bytes() != content:
            raise LakeAccessError(
                f"{file} is there already and differs: move it away; it is not touched"
            ) from None
