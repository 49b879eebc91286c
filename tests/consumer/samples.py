"""Messages as Fink sends them: real alerts, and what its other topics hold."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro

from finkbridge.simulator.stream import alerts
from tests.support.kafka import Kafka, Record

MULTI_MESSENGER = {
    "type": "record",
    "name": "topLevelRecord",
    "fields": [
        {"name": "objectId", "type": ["string", "null"]},
        {"name": "candid", "type": ["long", "null"]},
        {"name": "fink_class", "type": ["string", "null"]},
        {"name": "rate", "type": ["double", "null"]},
        {"name": "observatory", "type": ["string", "null"]},
        {"name": "triggerId", "type": ["string", "null"]},
    ],
}
ELASTICC = {
    "type": "record",
    "name": "alert",
    "namespace": "elasticc.v0_9",
    "fields": [
        {"name": "alertId", "type": "long"},
        {
            "name": "diaSource",
            "type": {
                "type": "record",
                "name": "diaSource",
                "fields": [
                    {"name": "diaSourceId", "type": "long"},
                    {"name": "diaObjectId", "type": ["null", "long"], "default": None},
                    {"name": "midPointTai", "type": "double"},
                    {"name": "filterName", "type": "string"},
                    {"name": "psFlux", "type": "float"},
                ],
            },
        },
    ],
}
COUNTING = {"type": "record", "name": "row", "fields": [{"name": "objectId", "type": ["string", "null"]}]}


def encode(schema: Any, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def record(schema: Any, value: Any) -> Record:
    """A message whose key is the writer schema, as Fink sends them."""
    return json.dumps(schema).encode(), encode(schema, value)


def simulated(survey: str, count: int) -> list[Record]:
    return [(a.key, a.value) for a in alerts(survey, size="small", n=count)]


def real(shared_data: Path, survey: str) -> list[Record]:
    """The real alerts, each with the schema of their file as its key."""
    (file,) = (shared_data / survey).glob("*.avro")
    with file.open("rb") as stream:
        reader = fastavro.reader(stream)
        schema = reader.metadata["avro.schema"]
        key = schema.encode() if isinstance(schema, str) else schema
        return [(key, encode(json.loads(key), alert)) for alert in reader]


def values_of(file: Path) -> list[Any]:
    with file.open("rb") as stream:
        return list(fastavro.reader(stream))


def offsets_read(kafka: Kafka, group: str, topic: str, partitions: int = 1) -> list[int]:
    """The group's committed offsets, -1001 where there is none."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "log_level": 0})
    try:
        asked = [TopicPartition(topic, p) for p in range(partitions)]
        return [place.offset for place in consumer.committed(asked, timeout=20)]
    finally:
        consumer.close()
