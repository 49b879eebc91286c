"""Every path and file name of the lake, built and parsed in one place; touches no disk.

A segment's files are named after what they hold and never after when or by whom they were written::

    <topic>-g<generation>-p<partition>-o<start offset>-n<plan>-<part>-<schema ordinal>

so that a retry of the same plan writes the same names, and no other plan can.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from finkbridge.values import TopicGeneration

LEDGER = "ledger.db"
LOCK = "ledger.lock"
LAKE_ID = "lake.id"
"""File by which a ledger in PostgreSQL knows its lake."""
CATALOG = "catalog.duckdb"
BOT = "bot.db"
"""What `finkbridge bot` has posted, and up to which commit it has looked."""
SCRATCH = ".scratch"
"""Folder of files that are not committed yet: whatever is in it when a coordinator starts is rubbish."""

NEW_LEDGER = f"{SCRATCH}/ledger"
"""Folder in which a ledger is made that is to replace another one."""

UNFINISHED = "unfinished"
"""Folder of files that plans left which were given up, and which may be the only copy of messages: nobody but
the user reads or deletes them."""

TOPIC_CHARACTERS = 100
"""Longest topic in a file name: Kafka allows 249, file systems 255 for the whole name."""

_STEM = re.compile(
    r"(?P<topic>[A-Za-z0-9._~-]+)-g(?P<generation>\d+)-p(?P<partition>\d+)-o(?P<start>\d+)"
    r"-n(?P<plan>\d+)-(?P<part>\d+)-(?P<ordinal>\d+)"
)
_MERGED = re.compile(r"merged-n(\d+)-\d+\.parquet")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}|undated")
SCRATCH_NAME = re.compile(r"[0-9a-f]{32}\..*")
"""Names of the files in `SCRATCH`."""
LANDED = "landed"
"""Folder of a transfer's files that are not in the output folder yet, in the folder of its state."""
DATA_FOLDERS = ("archive", "deliveries", "packets", "quarantine")
"""They hold data files only, and exactly those that the ledger lists."""

_BESIDE = (LEDGER, LOCK, LAKE_ID, CATALOG, BOT)
_SYSTEM = re.compile(
    r"lost\+found|\.snapshots?|\.Trash.*|\.Spotlight-.*|\.fseventsd|\.DS_Store|\.nfs.*|\.fuse_hidden.*"
)
"""A file system's own: a lake may be all of a disk, or on one that keeps open files by such names."""
_FOLDERS = re.compile(
    r"archive(/[^/]+(/(\d{4}-\d{2}-\d{2}|undated))?)?|quarantine(/[^/]+)?"
    r"|(deliveries|packets)(/[^/]+)?(/night=\d{8})?|packets/other/[^/]+(/night=\d{8})?|\.scratch"
)


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What a segment's file name says."""

    topic: str
    generation: int
    partition: int
    start: int
    plan: int
    part: int
    ordinal: int = 0
    """Which of the part's writer schemas, in order of first appearance."""

    @property
    def stem(self) -> str:
        """File name without its suffix."""
        return (
            f"{short_topic(self.topic)}-g{self.generation}-p{self.partition:05d}-o{self.start:019d}"
            f"-n{self.plan:08d}-{self.part:04d}-{self.ordinal:03d}"
        )

    def with_ordinal(self, ordinal: int) -> SegmentName:
        """Return the same name for another writer schema."""
        return replace(self, ordinal=ordinal)

    @classmethod
    def parse(cls, file_name: str) -> SegmentName:
        """Parse a file name; a name that is not a segment's raises ValueError."""
        match = _STEM.fullmatch(file_name.rpartition(".")[0])
        if match is None:
            raise ValueError(f"not the name of a segment's file: {file_name!r}")
        topic = match["topic"]
        return cls(
            topic, *(int(match[g]) for g in ("generation", "partition", "start", "plan", "part", "ordinal"))
        )


def short_topic(topic: str) -> str:
    """Topic as part of a file name: cut, with a hash in its place, where it is too long."""
    if len(topic) <= TOPIC_CHARACTERS:
        return topic
    digest = hashlib.sha256(topic.encode()).hexdigest()[:12]
    return f"{topic[: TOPIC_CHARACTERS - 13]}~{digest}"


def archive_path(name: SegmentName, first_timestamp_ms: int | None) -> str:
    """Path of an archive file, by the UTC day of the first message's Kafka timestamp."""
    return f"archive/{name.topic}/{_day(first_timestamp_ms)}/{name.stem}.avro"


def quarantine_path(name: SegmentName) -> str:
    """Path of a segment's quarantine file."""
    return f"quarantine/{name.topic}/{name.stem}.avro"


def deliveries_path(name: SegmentName, survey: str, night: int) -> str:
    """Path of a segment's file of thin rows for one night."""
    return f"{table_folder('deliveries', survey, name.topic)}/{night_folder(night)}/{name.stem}.parquet"


def packets_path(name: SegmentName, survey: str, night: int) -> str:
    """Path of a segment's file of whole alerts for one night."""
    return f"{table_folder('packets', survey, name.topic)}/{night_folder(night)}/{name.stem}.parquet"


def plan_folders(topic: str) -> tuple[str, ...]:
    """Glob patterns of all folders where a topic's plans can have left files."""
    return (
        f"archive/{topic}/*",
        f"quarantine/{topic}",
        "deliveries/*/*",
        "packets/*/*",
        f"packets/other/{topic}/*",
        LANDED,
    )


def plan_of(file_name: str) -> int | None:
    """Return the number of the plan that a file is of; None for a merged or foreign one."""
    try:
        return SegmentName.parse(file_name).plan
    except ValueError:
        return None


def merged_path(folder: str, plan: int, ordinal: int) -> str:
    """Path of a file that replaces others of `folder` (all but the last component of their paths)."""
    return f"{folder}/merged-n{plan:08d}-{ordinal:03d}.parquet"


def is_beside(name: str) -> bool:
    """Whether a name in the lake's root is of what lies beside its data folders, or a file system's own.

    A database has its log and what was set aside of it beside it: ``ledger.db-wal``, ``ledger.db.2026...``.
    """
    known = any(name == own or name.startswith((f"{own}-", f"{own}.")) for own in _BESIDE)
    return known or _SYSTEM.fullmatch(name) is not None


def is_data_folder(path: str) -> bool:
    """Whether a folder, relative to the lake, can be one of data files."""
    return _FOLDERS.fullmatch(path) is not None


def table_folder(table: str, survey: str, topic: str) -> str:
    """Folder of a table: packets of other surveys differ from topic to topic, all else does not."""
    return f"{table}/{survey}/{topic}" if (table, survey) == ("packets", "other") else f"{table}/{survey}"


def night_folder(night: int) -> str:
    """Hive partition of a night."""
    return f"night={night:08d}"


def parse_night(path: str) -> int:
    """Night that a table file's path names; a path without one raises ValueError."""
    match = re.search(r"(?:^|/)night=(\d{8})/", path)
    if match is None:
        raise ValueError(f"no night in the path {path!r}")
    return int(match[1])


@dataclass(frozen=True, slots=True)
class DataPath:
    """What the whole path of a data file says."""

    table: str
    """``archive``, ``deliveries``, ``packets`` or ``quarantine``."""
    survey: str
    """Empty for archive and quarantine, which are not by survey."""
    topic: str | None
    """None where the folders name no topic."""
    night: int | None
    segment: SegmentName | None
    """None for a file that merging wrote."""
    merged: int | None
    """Number of the merge; None for a segment's file."""

    @classmethod
    def parse(cls, path: str) -> DataPath:
        """Parse a path relative to the lake; one that finkbridge does not write raises ValueError."""
        match path.split("/"):
            case ["archive", topic, day, file] if file.endswith(".avro") and _DAY.fullmatch(day):
                found = cls("archive", "", topic, None, SegmentName.parse(file), None)
            case ["quarantine", topic, file] if file.endswith(".avro"):
                found = cls("quarantine", "", topic, None, SegmentName.parse(file), None)
            case [("deliveries" | "packets") as table, survey, *topics, night, file] if file.endswith(
                ".parquet"
            ) and len(topics) == ((table, survey) == ("packets", "other")):
                merged = _MERGED.fullmatch(file)
                segment = None if merged else SegmentName.parse(file)
                number = int(merged[1]) if merged else None
                named = topics[0] if topics else None
                found = cls(table, survey, named, parse_night(f"{night}/"), segment, number)
            case _:
                raise ValueError(f"not the path of a data file: {path!r}")
        if found.topic and found.segment and found.segment.topic != short_topic(found.topic):
            raise ValueError(f"a file of another topic than its folder: {path!r}")
        return found


def landed_path(file: str) -> str:
    """Path of a transfer's file before it is in the output folder, by its name or its path there."""
    return f"{LANDED}/{file.rpartition('/')[2]}"


def message_stem(source: TopicGeneration, partition: int, offset: int) -> str:
    """Name of a file outside of the lake that has one message, without its suffix.

    The cluster is in it, as two clusters may have a topic of one name; no cluster's name has a dot.
    """
    safe = re.sub(r"[^A-Za-z0-9._~-]", "_", f"{source.cluster}.{short_topic(source.topic)}")
    return f"{safe}-g{source.generation}-p{partition:05d}-o{offset:019d}"


def scratch_path(random: str, suffix: str) -> str:
    """Path of a file before it has its final name."""
    return f"{SCRATCH}/{random}{suffix}"


def _day(timestamp_ms: int | None) -> str:
    if timestamp_ms is None or not 0 <= timestamp_ms < 253402300800000:  # the year 10000
        return "undated"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d")
