"""The small frozen values that pass between the modules: offset ranges, messages, plans, landed files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from finkbridge.text import storable

Headers = tuple[tuple[str, bytes | None], ...]
TableName = Literal["deliveries", "packets"]

UNDATED_NIGHT = 0
"""Night of a message that has no time at all: neither an observation time nor a Kafka timestamp."""

MESSAGE_BYTES = 250
"""Memory of a message beside its value, key and headers: 213 of Python's objects, and its places in lists."""
HEADER_BYTES = 150
"""Memory of a header beside its name and value."""

REASON_CHARACTERS = 1_000
"""Of a reason for the quarantine: names that it quotes may have megabytes."""

STATES = ("waiting", "landed", "accepted")
"""Of a quarantined message: nothing is known to be done, its rows are in the lake, a user has seen it."""


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Half-open range ``[start, end)`` of the offsets of one partition.

    Offsets have holes, so ``end - start`` is a number of offsets, never of messages.
    """

    partition: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"not an offset range: partition {self.partition} [{self.start}, {self.end})")

    @property
    def offsets(self) -> int:
        """Number of offsets in the range."""
        return self.end - self.start

    def missing(self, present: Sequence[int]) -> tuple[OffsetRange, ...]:
        """Ranges of this range that none of the ascending offsets `present` falls in."""
        holes, at = [], self.start
        for offset in present:
            if offset > at:
                holes.append(OffsetRange(self.partition, at, offset))
            at = offset + 1
        if at < self.end:
            holes.append(OffsetRange(self.partition, at, self.end))
        return tuple(holes)


class Message(NamedTuple):
    """One Kafka message, whole: what must be archived to give it back byte for byte."""

    partition: int
    offset: int
    timestamp_ms: int | None
    """Unix milliseconds UTC; None when the broker has none."""
    timestamp_type: int
    """Kafka's: 0 not available, 1 set by the producer, 2 set by the broker on append."""
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def size(self) -> int:
        """Bytes of the value: what reports and the ledger count."""
        return len(self.value or b"")

    def memory(self, key_before: bytes | None) -> int:
        """Bytes that the message takes of a segment's limit, behind one with another key or the same.

        Equal keys in a row are one object, as they mostly are one schema of many kB.
        """
        key = 0 if self.key is None or self.key == key_before else len(self.key)
        headers = sum(HEADER_BYTES + len(name) + len(value or b"") for name, value in self.headers)
        return MESSAGE_BYTES + self.size + key + headers


@dataclass(frozen=True, slots=True, order=True)
class TopicGeneration:
    """The life of a topic between two creations."""

    cluster: str
    topic: str
    generation: int
    """1 for the first one that this lake has seen."""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Offset ranges of one topic generation that are fetched and land together."""

    number: int
    """Plan number: unique in a lake, never used again."""
    source: TopicGeneration
    ranges: tuple[OffsetRange, ...]
    byte_limit: int
    """A range that proves larger is cut into parts at the first message that reaches this."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where the partitions of a topic go on that is there still, and of which messages may be no more."""

    starts: Mapping[int, int]
    """The first offset of each of which the lake does not have the broker's message."""
    epochs: Mapping[int, int] = field(default_factory=dict)
    """Of leaders, at which they were found to have what is before it, and all else that was seen of them."""
    cut: Mapping[int, int] = field(default_factory=dict)
    """The first offset that was lost, of those of which messages were lost."""


@dataclass(frozen=True, slots=True)
class Export:
    """How messages are written into a plain folder, in place of a lake's archive and tables."""

    format: Literal["parquet", "avro", "predictions"]
    """``predictions``: JSON messages of an AI topic, as a small Parquet table."""
    partition: str | None = None
    """``time`` (the observing night), the name of a column, or None."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that goes to quarantine, with the reason.

    What it says may quote strangers: it is made storable here, so that file and ledger say the same.
    """

    message: Message
    reason: str
    byte_position: int | None = None
    """Byte of the value at which the check stopped, where it was the check that refused."""
    reference: str = ""
    """What fastavro says about the same bytes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", storable(self.reason, REASON_CHARACTERS))
        object.__setattr__(self, "reference", storable(self.reference, REASON_CHARACTERS))


@dataclass(frozen=True, slots=True)
class LandedFile:
    """A file of the lake that a commit adds."""

    path: str
    """Relative to the lake, with forward slashes."""
    table: Literal["archive", "deliveries", "packets", "quarantine", "export"]
    """``export``: of a transfer, which has no other tables; its path is relative to the output folder."""
    survey: str
    """``ztf``, ``lsst`` or ``other``; empty for quarantine."""
    night: int | None
    rows: int
    bytes: int
    checksum: str
    """xxh3-128 of the file's bytes, hex."""
    schema_id: str
    """Fingerprint of the Avro writer schema (archive) or of the Arrow schema (tables)."""
    statistics: dict[str, float | int | None] = field(default_factory=dict)
    """``mjd_min``, ``mjd_max``, ``healpix_min``, ``healpix_max`` where the table has them; of ``deliveries``
    ``received_min_ms`` and ``received_max_ms``, Kafka's times."""


@dataclass(frozen=True, slots=True)
class RangeCount:
    """What became of one offset range: each offset is a row, quarantined, or in a hole."""

    range: OffsetRange
    rows: int
    quarantined: int
    holes: tuple[OffsetRange, ...]
    first_timestamp_ms: int | None = None
    """Earliest and latest Kafka timestamp in the range; None where no message has one."""
    last_timestamp_ms: int | None = None

    @property
    def reconciled(self) -> bool:
        """Whether every planned offset is accounted for."""
        return self.range.offsets == self.rows + self.quarantined + sum(h.offsets for h in self.holes)


class Rejection(NamedTuple):
    """A quarantined message as the ledger knows it: without its bytes, which are in the quarantine file."""

    partition: int
    offset: int
    timestamp_ms: int | None
    reason: str
    byte_position: int | None
    reference: str
    path: str


class KnownSchema(NamedTuple):
    """A schema that the lake's files refer to by its fingerprint."""

    schema_id: str
    kind: Literal["avro", "arrow"]
    content: bytes
    """Avro: the writer schema as received. Arrow: the serialized schema of a table's files."""
    columns: int = 0
    """Of a writer schema, nested ones counted."""


@dataclass(frozen=True, slots=True)
class LastMessage:
    """Hash of a partition's last message: tells a recreated topic where the broker gives no topic id."""

    partition: int
    offset: int
    hash: str


@dataclass(frozen=True, slots=True)
class LandedPart:
    """What one part of a segment left on disk, and the bookkeeping that the ledger commits with it."""

    part: int
    files: tuple[LandedFile, ...]
    counts: tuple[RangeCount, ...]
    rejected: tuple[Rejection, ...]
    schemas: tuple[KnownSchema, ...]
    last: tuple[LastMessage, ...]
    bytes: int
    """Of the message values."""
    first_timestamp_ms: int | None
    last_timestamp_ms: int | None


def covers(ranges: Iterable[OffsetRange], whole: OffsetRange) -> bool:
    """Whether `ranges`, in order, tile `whole` without a gap or an overlap."""
    at = whole.start
    for piece in ranges:
        if piece.partition != whole.partition or piece.start != at:
            return False
        at = piece.end
    return at == whole.end
