"""The proof at the end of a transfer: messages = rows in the files, or the difference, named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow.parquet as pq
from sqlalchemy import func, select

from finkbridge.broker import Watermarks
from finkbridge.frames import scan
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s

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


@dataclass(slots=True)
class Proof:
    """What was counted, and what does not agree."""

    topic: str
    account: Account
    found: int
    """Rows in the files, counted there."""
    files: int
    file_bytes: int
    waiting: int
    """Offsets at the broker that are not transferred."""
    before: int
    """Offsets that had left the broker before the transfer began."""
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


def prove(
    ledger: Ledger, key: Key, marks: Mapping[int, Watermarks], outdir: Path | None, limit: int | None
) -> Proof:
    """Count all anew: offsets at the broker, messages in the ledger, rows in the files.

    Parameters
    ----------
    ledger
        Of the transfer, or of the lake.
    key
        The topic.
    marks
        The topic's partitions as the broker shows them now.
    outdir
        The output folder; None: the lake.
    limit
        How many alerts were asked for; None: all.
    """
    account = account_of(ledger, key)
    generation = ledger.generations().get(key)
    parts = ledger.partitions(generation.row_id) if generation else {}
    waiting = sum(
        max(0, m.end - parts[p].next_offset) if p in parts else m.end - m.low for p, m in marks.items()
    )
    first = generation is not None and generation.source.generation == 1
    before = sum(p.first_offset for p in parts.values()) if first else 0
    if outdir is None:
        found, files, size = _in_lake(ledger, key)
        wrong: list[str] = []
    else:
        found, files, size, wrong = _in_folder(ledger, outdir)
    proof = Proof(key[1], account, found, files, size, waiting, before, limit, wrong)
    proof.problems += _differences(proof, "quarantine" if outdir is None else f"{ledger.lake}/quarantine")
    return proof


def _differences(proof: Proof, where: str) -> Iterator[str]:
    account, topic = proof.account, proof.topic
    if bad := account.quarantined:
        of = f"{bad:,} of {account.messages:,} messages"
        yield f"{of} cannot be decoded and are no rows; they are kept whole in {where}"
    if account.lost:
        yield f"{account.lost:,} messages or holes of {topic} left the broker before they could be fetched"
    if proof.found != account.rows:
        yield f"the files have {proof.found:,} rows, and {account.rows:,} were written"
    if proof.waiting and (proof.limit is None or account.messages < proof.limit):
        yield f"{proof.waiting:,} offsets of {topic} wait at the broker: run the same command again"


def _in_lake(ledger: Ledger, key: Key) -> tuple[int, int, int]:
    """Return the topic's rows in the lake's ``deliveries``, and the files and bytes of its archive."""
    url = None if ledger.is_sqlite else ledger.engine.url.render_as_string(hide_password=False)
    mine = scan("deliveries", ledger.lake, url).filter(cluster=key[0], topic=key[1])
    found = int(mine.select(pl.len()).collect().item())
    archive = [row for row in ledger.alive_files("archive") if row.path.split("/")[1] == key[1]]
    return found, len(archive), sum(row.bytes for row in archive)


def _in_folder(ledger: Ledger, outdir: Path) -> tuple[int, int, int, list[str]]:
    """Count the rows of the transfer's files; return rows, files, bytes, and what is wrong with them."""
    listed = ledger.alive_files("export")
    found, absent, odd = 0, [], []
    for row in listed:
        file = outdir / row.path
        if not file.is_file():
            absent.append(row.path)
        elif file.stat().st_size != row.bytes or (rows := rows_of(file)) is None:
            odd.append(row.path)
        else:
            found += rows
    wrong = [
        f"{len(paths):,} files {what}, such as {outdir / paths[0]}: put them back, or begin anew in an empty "
        "folder (--restart_from_beginning)"
        for paths, what in ((absent, "are gone"), (odd, "are not as they were written"))
        if paths
    ]
    return found, len(listed), sum(row.bytes for row in listed), wrong


def rows_of(file: Path) -> int | None:
    """Return the rows of a Parquet or Avro file, counted by what wrote neither; None if it is damaged."""
    try:
        if file.suffix == ".parquet":
            return int(pq.read_metadata(file).num_rows)
        with file.open("rb") as stream:
            return sum(int(block.num_records) for block in fastavro.block_reader(stream))
    except (OSError, ValueError, EOFError):
        return None
