"""What the lake kept of one offset: it tells whether a topic that shows no id still is the same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from finkbridge.avro.archive import read_archive
from finkbridge.avro.quarantine import read_quarantine
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.values import Message


def kept_message(ledger: Ledger, row_id: int, partition: int, offset: int) -> Message | None:
    """Return the message that archive or quarantine has of an offset; None where it was a hole or is a gap.

    Parameters
    ----------
    ledger
        Of the lake.
    row_id
        Of the generation.
    partition, offset
        Where the message was.

    Raises
    ------
    DecodeError
        A file that may have it is missing or damaged.
    """
    place = partition, offset
    return next((m for m in _messages(ledger, row_id, place) if (m.partition, m.offset) == place), None)


def _messages(ledger: Ledger, row_id: int, place: tuple[int, int]) -> Iterator[Message]:
    f, r = s.files.c, s.segment_ranges.c
    partition, offset = place
    query = (
        select(f.path, f.table)
        .join(s.segments, f.segment_id == s.segments.c.id)
        .join(s.segment_ranges, r.segment_id == s.segments.c.id)
        .where(s.segments.c.generation_id == row_id, r.partition == partition, f.removed.is_(None))
        .where(r.start_offset <= offset, r.end_offset > offset, f.table.in_(["archive", "quarantine"]))
        .distinct()
    )
    with ledger.reading() as connection:
        files = connection.execute(query).all()
    for path, table in files:
        yield from _read(ledger.lake / path, table)


def _read(path: Path, table: str) -> Iterator[Message]:
    try:
        if table == "archive":
            yield from read_archive(path).messages
        else:
            yield from (rejected.message for rejected in read_quarantine(path))
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror}: restore it from a copy") from None
