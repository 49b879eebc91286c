"""What the topics hold against what the lake holds: message by message, by readers of other code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import xxhash
from confluent_kafka import Consumer, KafkaError, TopicPartition

from finkbridge import layout
from finkbridge.avro.archive import read_archive
from finkbridge.avro.quarantine import read_quarantine, read_quarantine_facts
from finkbridge.ledger import Ledger
from finkbridge.values import Message

Address = tuple[str, int, int, int]
"""Topic, generation (a topic of ours has one life, the first), partition, offset."""
ADDRESS = ("topic", "generation", "kafka_partition", "kafka_offset")
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a lake compares with its topics."""

    messages: int
    """In the topics."""
    lost: int
    doubled: int
    wrong: int
    """In the lake, but other than in the topic, or never there."""
    quarantined: int
    rows: int
    """Of the view `deliveries`."""
    problems: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether everything is there once, as it was."""
        return not (self.lost or self.doubled or self.wrong or self.problems)


def compare(bootstrap: str, topics: Sequence[str], lake: Path) -> Verdict:
    """Compare topics that nobody writes to any more with a lake that nobody drains into."""
    sent = dict(topic_messages(bootstrap, topics))
    archived, quarantined = Counter(archive_messages(lake)), Counter(quarantined_messages(lake))
    found = archived + quarantined
    known = set(sent.items())
    counted = Counter(address for address, _ in found.elements())
    rows, problems = _tables(lake, {address for address, _ in archived})
    return Verdict(
        messages=len(sent),
        lost=len(sent.keys() - counted.keys()),
        doubled=sum(n - 1 for n in counted.values()),
        wrong=len(set(found) - known),
        quarantined=quarantined.total(),
        rows=rows,
        problems=tuple(problems),
    )


def _hash(
    key: bytes | None, value: bytes | None, stamp: int | None, headers: Sequence[tuple[str, bytes | None]]
) -> str:
    return xxhash.xxh3_128(repr((key, value, stamp, list(headers))).encode()).hexdigest()


def topic_messages(bootstrap: str, topics: Sequence[str]) -> Iterator[tuple[Address, str]]:
    """Yield every committed message that topics hold, with a hash of all that it is."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "torture-truth",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    listed = consumer.list_topics(timeout=ANSWER_S).topics
    everything = [TopicPartition(t, p, 0) for t in topics for p in listed[t].partitions]
    consumer.assign(everything)
    left = len(everything)
    while left:
        for got in consumer.consume(1000, timeout=ANSWER_S):
            if (error := got.error()) is None:
                stamp = got.timestamp()[1]
                hashed = _hash(got.key(), got.value(), stamp, got.headers() or [])
                yield (got.topic(), 1, got.partition(), got.offset()), hashed
            elif error.code() == KafkaError._PARTITION_EOF:
                left -= 1
    consumer.close()


def _of_lake(topic: str, generation: int, message: Message) -> tuple[Address, str]:
    hashed = _hash(message.key, message.value, message.timestamp_ms, message.headers)
    return (topic, generation, message.partition, message.offset), hashed


def archive_messages(lake: Path) -> Iterator[tuple[Address, str]]:
    """Yield every message of the archive files that the ledger lists."""
    for path in _listed(lake, "archive"):
        archive = read_archive(path)
        for message in archive.messages:
            yield _of_lake(archive.facts["topic"], archive.facts["generation"], message)


def quarantined_messages(lake: Path) -> Iterator[tuple[Address, str]]:
    """Yield every message of the quarantine files that the ledger lists."""
    for path in _listed(lake, "quarantine"):
        facts = read_quarantine_facts(path)
        for rejected in read_quarantine(path):
            yield _of_lake(facts["topic"], facts["generation"], rejected.message)


def _listed(lake: Path, table: str) -> list[Path]:
    with Ledger(lake) as ledger:
        return [lake / row.path for row in ledger.alive_files(table)]


def _tables(lake: Path, archived: set[Address]) -> tuple[int, list[str]]:
    """Return the rows of `deliveries`, and what is wrong with the tables as the catalog shows them."""
    problems = []
    counts = {}
    with duckdb.connect(str(lake / layout.CATALOG), read_only=True) as connection:
        views = [name for (name,) in connection.sql("SELECT view_name FROM duckdb_views()").fetchall()]
        packets = [(view, "_") for view in views if view.startswith("packets_")]
        for view, mark in [("deliveries", ""), *packets]:
            columns = ", ".join(f"{mark}{name}" for name in ADDRESS)
            counts[view] = Counter(connection.sql(f"SELECT {columns} FROM {view}").fetchall())
    deliveries = counts.pop("deliveries")
    for name, table in (("deliveries", deliveries), ("packets", sum(counts.values(), Counter()))):
        if doubled := table.total() - len(table):
            problems.append(f"{name}: {doubled} rows are there twice")
        if missing := len(archived - table.keys()):
            problems.append(f"{name}: {missing} archived messages have no row")
        if more := len(table.keys() - archived):
            problems.append(f"{name}: {more} rows have no archived message")
    return deliveries.total(), problems
