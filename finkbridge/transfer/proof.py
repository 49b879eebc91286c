"""The proof at the end of a transfer: messages = rows in the files, or the difference, named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet as pq
from sqlalchemy import func, select

from finkbridge import later
from finkbridge.broker import Broker, Watermarks
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import NEVER_HAD, read_coverage
from finkbridge.values import OffsetRange, TopicGeneration

Key = tuple[str, str]
"""Cluster and topic."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger has of a topic, over all its lives."""

    messages: int = 0
    rows: int = 0
    quarantined: int = 0
    holes: int = 0
    lost: int = 0
    """Offsets that left the broker before they were fetched."""
    pending: int = 0
    """Offsets of plans that are not finished."""
    bytes: int = 0
    """Of the messages' values."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was found in the files, by looking there."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    wrong: tuple[str, ...] = ()
    """One line for what is gone, and one for what is not as it was written."""


@dataclass(slots=True)
class Proof:
    """What was counted, and what does not agree."""

    topic: str
    account: Account
    counted: Counted
    waiting: int
    """Offsets at the broker that are not transferred."""
    before: int
    """Offsets that had left the broker before the transfer began, or before the lake did with the topic."""
    skipped: int
    """Offsets at the broker that are before the lake's begin with the topic."""
    limit: int | None
    problems: list[str] = field(default_factory=list)
    """Each way in which rows and messages differ, one line each."""

    @property
    def holds(self) -> bool:
        """Whether each message is a row, and each row a message."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"holds": self.holds}


def account_of(ledger: Ledger, key: Key) -> Account:
    """Sum up what the ledger has of a topic."""
    g, t = s.generations.c, s.segments.c
    mine = select(g.id).where(g.cluster == key[0], g.topic == key[1])
    sums = (t.messages, t.rows, t.quarantined, t.holes)
    lost = s.gaps.c.end_offset - s.gaps.c.start_offset
    planned = s.plan_ranges.c.end_offset - s.plan_ranges.c.start_offset
    pending = s.plans.c.generation_id.in_(mine), s.plans.c.state == "pending"
    with ledger.reading() as connection:
        row = connection.execute(select(*map(func.sum, sums)).where(t.generation_id.in_(mine))).one()
        size = connection.scalar(select(func.sum(t.bytes)).where(t.generation_id.in_(mine)))
        gaps = connection.scalar(select(func.sum(lost)).where(s.gaps.c.generation_id.in_(mine)))
        left = connection.scalar(select(func.sum(planned)).join(s.plans).where(*pending))
    return Account(*(int(n or 0) for n in (*row, gaps, left, size)))


def fronts(ledger: Ledger, key: Key) -> Iterator[tuple[TopicGeneration, OffsetRange]]:
    """Yield what each life of a topic had before the ledger began with it; not what an older life has."""
    for lost in read_coverage(ledger).lost:
        if (lost.source.cluster, lost.source.topic) == key and lost.reason == NEVER_HAD:
            yield lost.source, lost.range


def marks_of(brokers: Mapping[str, Broker], key: Key) -> dict[int, Watermarks]:
    """Return the partitions of a topic as the broker shows them now."""
    return {partition: marks for (_, partition), marks in brokers[key[0]].watermarks([key[1]]).items()}


def prove(
    ledger: Ledger, key: Key, marks: Mapping[int, Watermarks], counted: Counted, limit: int | None
) -> Proof:
    """Hold offsets at the broker, messages in the ledger and rows in the files against each other.

    Parameters
    ----------
    ledger
        Of the transfer, or of the lake.
    key
        The topic.
    marks
        The topic's partitions as the broker shows them now.
    counted
        The files.
    limit
        How many alerts were asked for; None: all.
    """
    generation = ledger.generations().get(key)
    parts = ledger.partitions(generation.row_id) if generation else {}
    starts = {p: parts[p].next_offset if p in parts else m.low for p, m in marks.items()}
    waiting = sum(max(0, m.end - starts[p]) for p, m in marks.items())
    present = generation and generation.source
    before = sum(m.low for p, m in marks.items() if p not in parts)
    skipped = 0
    for life, front in fronts(ledger, key):
        low = marks[front.partition].low if life == present and front.partition in marks else front.end
        before += min(front.end, low)
        skipped += max(0, front.end - low)
    account = account_of(ledger, key)
    proof = Proof(key[1], account, counted, waiting, before, skipped, limit, list(counted.wrong))
    proof.problems += _differences(proof, ledger.lake)
    return proof


def _differences(proof: Proof, state: Path) -> Iterator[str]:
    account, topic = proof.account, proof.topic
    if bad := account.quarantined:
        of = f"{bad:,} of {account.messages:,} messages of {topic}"
        yield (
            f"{of} cannot be decoded and are no rows; they are kept whole in {state}/quarantine: where "
            "-schema was wrong, begin anew with --restart_from_beginning; in a lake: finkbridge quarantine"
        )
    if proof.before:
        yield (
            f"{proof.before:,} messages or holes at the beginning of {topic} had left the broker before this "
            "transfer began: if they are wanted, ask Fink for them anew"
        )
    if proof.skipped:
        yield (
            f"{proof.skipped:,} messages or holes at the beginning of {topic} are at the broker and not in "
            "the lake, which began with it behind them (drain.start): -outdir transfers all of them"
        )
    if account.lost:
        yield f"{account.lost:,} messages or holes of {topic} left the broker before they could be fetched"
    if proof.counted.rows != account.rows:
        yield f"the files have {proof.counted.rows:,} rows, and {account.rows:,} were written"
    if proof.waiting and (proof.limit is None or account.messages < proof.limit):
        yield f"{proof.waiting:,} offsets of {topic} wait at the broker: run the same command again"


def count_lake(ledger: Ledger, key: Key) -> Counted:
    """Count the topic's rows in the lake's ``deliveries``, and the files and bytes of its archive."""
    url = None if ledger.is_sqlite else ledger.engine.url.render_as_string(hide_password=False)
    mine = later.call("finkbridge.frames:scan", "deliveries", ledger.lake, url)
    found = mine.filter(cluster=key[0], topic=key[1]).select("kafka_offset").count().collect().item()
    archive = [row for row in ledger.alive_files("archive") if row.path.split("/")[1] == key[1]]
    return Counted(int(found), len(archive), sum(row.bytes for row in archive))


def count_folder(listed: Sequence[Any], outdir: Path) -> Counted:
    """Count the rows of a transfer's files.

    Parameters
    ----------
    listed
        Path in the folder (``path``) and bytes (``bytes``) of each.
    outdir
        The folder.
    """
    rows, absent, odd = 0, [], []
    for one in listed:
        file = outdir / one.path
        if not file.is_file():
            absent.append(one.path)
        elif file.stat().st_size != one.bytes or (found := rows_of(file)) is None:
            odd.append(one.path)
        else:
            rows += found
    wrong = tuple(
        f"{len(paths):,} files {what}, such as {outdir / paths[0]}: put them back, or begin anew in an empty "
        "folder (--restart_from_beginning)"
        for paths, what in ((absent, "are gone"), (odd, "are not as they were written"))
        if paths
    )
    return Counted(rows, len(listed), sum(one.bytes for one in listed), wrong)


def rows_of(file: Path) -> int | None:
    """Return the rows of a Parquet or Avro file, counted in the file; None if it is damaged."""
    try:
        if file.suffix == ".parquet":
            return int(pq.read_metadata(file).num_rows)
        with file.open("rb") as stream:
            return sum(int(block.num_records) for block in fastavro.block_reader(stream))
    except (OSError, ValueError, EOFError):
        return None
