"""What Kafka had, held against what the lake has, message by message and byte by byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, TopicPartition
from sqlalchemy import select

from finkbridge.avro.archive import read_archive
from finkbridge.avro.quarantine import read_quarantine, read_quarantine_facts
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.values import Message

ANSWER_S = 30


class Place(NamedTuple):
    """One message."""

    topic: str
    generation: int
    partition: int
    offset: int


class Content(NamedTuple):
    """What a message says."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int | None
    headers: tuple[tuple[str, bytes | None], ...]


class Difference(NamedTuple):
    """How a lake differs from what it should have."""

    lost: int
    """Messages that are in neither archive nor quarantine, and rows that are not in a table."""
    doubled: int
    wrong: int
    """Messages with another content, and rows of no message."""


def read_topic(bootstrap: str, topic: str, generation: int = 1) -> dict[Place, Content]:
    """Read all that a topic has, by a consumer that knows nothing of finkbridge."""
    config = {
        "bootstrap.servers": bootstrap,
        "group.id": "judge",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "log_level": 0,
    }
    consumer = Consumer(config)
    try:
        partitions = set(consumer.list_topics(topic, timeout=ANSWER_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        found: dict[Place, Content] = {}
        while partitions:
            message = consumer.poll(ANSWER_S)
            assert message is not None, f"{topic} cannot be read to its end"
            if message.error() is None:
                place = Place(topic, generation, message.partition(), message.offset())
                _, stamp = message.timestamp()
                found[place] = Content(message.key(), message.value(), stamp, tuple(message.headers() or ()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                partitions.remove(message.partition())
        return found
    finally:
        consumer.close()


def compare(
    lake: Path, url: str | None, expected: Mapping[Place, Content], gone: Collection[Place] = ()
) -> Difference:
    """Compare a lake with what it should have.

    Parameters
    ----------
    lake, url
        The lake, and the URL of its ledger if that is in PostgreSQL.
    expected
        Everything that must be in archive or quarantine, and nothing else.
    gone
        What must be in a gap.
    """
    with Ledger(lake, url) as ledger:
        files = {f.path: f.table for f in ledger.alive_files()}
        gaps = set(_gaps(ledger))
    good = list(_archived(lake, files))
    kept = good + list(_quarantined(lake, files))
    has = dict(kept)
    archived = {place for place, _ in good}
    missing = sum(place not in has for place in expected) + sum(place not in gaps for place in gone)
    wrong = sum(expected.get(place) != content for place, content in kept)
    doubled = len(kept) - len(has)
    for table in ("deliveries", "packets"):
        found = Counter(_rows(lake, files, table))
        missing += sum(place not in found for place in archived)
        wrong += sum(place not in archived for place in found)
        doubled += found.total() - len(found)
    return Difference(missing, doubled, wrong)


def _content(message: Message) -> Content:
    return Content(message.key, message.value, message.timestamp_ms, message.headers)


def _archived(lake: Path, files: Mapping[str, str]) -> Iterator[tuple[Place, Content]]:
    for path in (p for p, table in files.items() if table == "archive"):
        archive = read_archive(lake / path)
        source = archive.facts["topic"], archive.facts["generation"]
        for message in archive.messages:
            yield Place(*source, message.partition, message.offset), _content(message)


def _quarantined(lake: Path, files: Mapping[str, str]) -> Iterator[tuple[Place, Content]]:
    for path in (p for p, table in files.items() if table == "quarantine"):
        facts = read_quarantine_facts(lake / path)
        for rejected in read_quarantine(lake / path):
            message = rejected.message
            place = Place(facts["topic"], facts["generation"], message.partition, message.offset)
            yield place, _content(message)


def _rows(lake: Path, files: Mapping[str, str], table: str) -> Iterator[Place]:
    prefix = "_" if table == "packets" else ""
    names = [f"{prefix}{name}" for name in ("topic", "generation", "kafka_partition", "kafka_offset")]
    for path in (p for p, of in files.items() if of == table):
        columns = pq.ParquetFile(lake / path).read(columns=names).to_pydict()
        yield from map(Place, *(columns[name] for name in names))


def _gaps(ledger: Ledger) -> Iterator[Place]:
    g, of = s.gaps.c, s.generations.c
    query = select(of.topic, of.generation, g.partition, g.start_offset, g.end_offset).join(s.generations)
    with ledger.reading() as connection:
        for topic, generation, partition, start, end in connection.execute(query.select_from(s.gaps)):
            yield from (Place(topic, generation, partition, offset) for offset in range(start, end))
