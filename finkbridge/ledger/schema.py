"""Tables of the ledger, for SQLite and PostgreSQL alike.

Grain and rule of each table stand in its comment. Times are Unix seconds UTC (float) where they are the
ledger's own, and Unix milliseconds (``*_ms``) where they are Kafka's.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    case,
    literal_column,
)

VERSION = 1
"""Of the tables below. A ledger with a larger one was made by a newer finkbridge and is left alone."""

MERGED_BYTES = 256_000_000
"""A file of this size is not merged again while its night is open."""

SIZE_CLASS_BYTES = (4_000_000, 16_000_000, 64_000_000)
"""Only files of one size class are merged: a row is rewritten once a class, however long its night grows."""

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only of an INTEGER primary key

# one row a fact: version, epoch
meta = Table(
    "meta", metadata, Column("key", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)

# last number given out, of plans and of commits: numbers only grow and are never used again
numbers = Table(
    "numbers", metadata, Column("name", Text, primary_key=True), Column("last", BigInteger, nullable=False)
)

# one row a commit: a set of added and removed files, or a gap
commits = Table(
    "commits",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("committed_at", Double, nullable=False),
)

# one row a life of a topic between two creations; messages and bytes are the sums of its segments
generations = Table(
    "generations",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("topic_id", Text),
    Column("first_seen", Double, nullable=False),
    Column("messages", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    UniqueConstraint("cluster", "topic", "generation"),
)

# one row a partition of a generation: next_offset is where the lake ends, compared and set by every commit;
# leader_epoch: Kafka's, at which the broker had all that was drained or seen of it; null: not known
partitions = Table(
    "partitions",
    metadata,
    Column("generation_id", ForeignKey("generations.id"), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger),
    Column("last_hash", Text),
    Column("leader_epoch", BigInteger),
)

# one row a night that was counted after it closed; the counts hold as long as the night has so many rows
night_counts = Table(
    "night_counts",
    metadata,
    Column("survey", Text, primary_key=True),
    Column("night", Integer, primary_key=True, autoincrement=False),
    Column("rows", BigInteger, nullable=False),
    Column("alerts", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("first_ms", BigInteger),
    Column("last_ms", BigInteger),
)

# one row a survey whose alerts a generation has delivered; by Kafka's times they came at least after_start_s
# after their night's begin, and at most after_end_s after its end; null: none has a night
generation_surveys = Table(
    "generation_surveys",
    metadata,
    Column("generation_id", ForeignKey("generations.id"), primary_key=True),
    Column("survey", Text, primary_key=True),
    Column("after_start_s", Double),
    Column("after_end_s", Double),
)

# one row a writer schema of the messages of a generation that are in the lake
generation_schemas = Table(
    "generation_schemas",
    metadata,
    Column("generation_id", ForeignKey("generations.id"), primary_key=True),
    Column("schema_id", Text, primary_key=True),
)

# one row a partition that a run looked at: the newest look saw it end at seen_end; reached_at is the newest
# look before, all of which is in the lake; gone_at: when the broker first said that there is no such topic;
# first_ms: Kafka's time of the first message that is in the lake
looks = Table(
    "looks",
    metadata,
    Column("generation_id", ForeignKey("generations.id"), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_at", Double, nullable=False),
    Column("first_ms", BigInteger),
    Column("seen_at", Double, nullable=False),
    Column("seen_end", BigInteger, nullable=False),
    Column("reached_at", Double),
    Column("gone_at", Double),
)

# one row a planned segment; state: pending, committed, abandoned, lost (abandoned, as the broker has its
# messages no more, and what it left is not set aside yet), left (a rebuild of the ledger found files of it,
# and could not take them)
plans = Table(
    "plans",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("byte_limit", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("planned_at", Double, nullable=False),
)
Index("plans_state", plans.c.state)

plan_ranges = Table(
    "plan_ranges",
    metadata,
    Column("plan", ForeignKey("plans.number"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("start_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
)

# one row a committed part of a plan
segments = Table(
    "segments",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("commit", ForeignKey("commits.number"), nullable=False),
    Column("plan", ForeignKey("plans.number"), nullable=False),
    Column("part", Integer, nullable=False),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("holes", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("first_timestamp_ms", BigInteger),
    Column("last_timestamp_ms", BigInteger),
    UniqueConstraint("plan", "part"),
)
Index("segments_commit", segments.c.commit)

# one row an offset range of a part; holes: JSON list of [start, end); times: of its first and last message;
# generation_id is the segment's, so that the neighbours of an offset are found by one index
segment_ranges = Table(
    "segment_ranges",
    metadata,
    Column("segment_id", ForeignKey("segments.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("start_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("holes", Text, nullable=False),
    Column("first_timestamp_ms", BigInteger),
    Column("last_timestamp_ms", BigInteger),
    Column("generation_id", BigInteger, nullable=False),
)
_r = segment_ranges.c
_COUNTS = (_r.end_offset, _r.rows, _r.quarantined)  # so that sums need not look at the table
Index("segment_ranges_in_order", _r.generation_id, _r.partition, _r.start_offset, *_COUNTS)

# one row a data file; alive while removed is null; segment_id is null for files that merging wrote
files = Table(
    "files",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("segment_id", ForeignKey("segments.id"), index=True),
    Column("table", Text, nullable=False),
    Column("survey", Text, nullable=False),
    Column("night", Integer),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("schema_id", Text, nullable=False),
    Column("mjd_min", Double),
    Column("mjd_max", Double),
    Column("healpix_min", BigInteger),
    Column("healpix_max", BigInteger),
    Column("added", ForeignKey("commits.number"), nullable=False),
    Column("removed", ForeignKey("commits.number")),
    Column("deleted_at", Double),
)
Index("files_alive", files.c.table, files.c.survey, files.c.night, files.c.removed)
LANDED_COLUMNS = (
    "segment_id", "table", "survey", "night", "rows", "bytes", "checksum", "schema_id",
    "mjd_min", "mjd_max", "healpix_min", "healpix_max",
)  # fmt: skip
"""What is known of a file besides its path before it is committed."""
SIZE_CLASS = case(
    *((files.c.bytes < literal_column(str(most)), number) for number, most in enumerate(SIZE_CLASS_BYTES)),
    else_=len(SIZE_CLASS_BYTES),
)
IS_SMALL = and_(
    files.c.removed.is_(None), files.c.night.is_not(None), files.c.bytes < literal_column(str(MERGED_BYTES))
)
IS_REPLACED = and_(files.c.removed.is_not(None), files.c.deleted_at.is_(None))
_SMALL = (files.c.table, files.c.survey, files.c.night, files.c.schema_id, files.c.bytes)
Index("files_small", *_SMALL, sqlite_where=IS_SMALL, postgresql_where=IS_SMALL)
Index("files_replaced", files.c.removed, sqlite_where=IS_REPLACED, postgresql_where=IS_REPLACED)

# one row a file that merging or requeueing is about to add; what is left when a coordinator starts was never
# committed
merging = Table("merging", metadata, Column("path", Text, primary_key=True))

# one row a table's file that a rebuild has made and not committed yet: from which archive file, and by which
# version of finkbridge
rebuilt = Table(
    "rebuilt",
    metadata,
    Column("path", Text, primary_key=True),
    Column("archive_id", ForeignKey("files.id"), nullable=False, index=True),
    Column("made_by", Text, nullable=False),
    *(Column(c.name, c.type, nullable=c.nullable) for c in files.c if c.name in LANDED_COLUMNS),
)

# one row a schema: Avro writer schemas as received, Arrow schemas of the tables' files
schemas = Table(
    "schemas",
    metadata,
    Column("schema_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("first_seen", Double, nullable=False),
)

# one row an Avro writer schema: the columns that it makes, nested ones counted
schema_columns = Table(
    "schema_columns",
    metadata,
    Column("schema_id", Text, primary_key=True),
    Column("columns", BigInteger, nullable=False),
)

# one row an offset range that was lost: expired or deleted at the broker before it was drained
gaps = Table(
    "gaps",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("commit", ForeignKey("commits.number"), nullable=False),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("start_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

# one row a message that could not be decoded; state: waiting, landed (requeued), accepted (seen by a person);
# settled: the commit that landed it, or noted that it was accepted
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("segment_id", ForeignKey("segments.id"), nullable=False, index=True),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger),
    Column("reason", Text, nullable=False),
    Column("byte_position", BigInteger),
    Column("reference", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("settled", ForeignKey("commits.number"), index=True),
    UniqueConstraint("generation_id", "partition", "offset"),
)

# one row a run of drain or follow; summary: JSON
runs = Table(
    "runs",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("state", Text, nullable=False),
    Column("summary", Text, nullable=False),
)
Index("runs_state", runs.c.state)
Index("runs_started_at", runs.c.started_at)
