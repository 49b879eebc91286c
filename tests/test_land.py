"""Segments landed from messages that are given, good and bad."""

from __future__ import annotations

import errno
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finkbridge import landing
from finkbridge.avro import portions
from finkbridge.avro.archive import read_archive
from finkbridge.avro.arrow import MAX_COLUMNS
from finkbridge.avro.check import Checker
from finkbridge.avro.columns import Program
from finkbridge.avro.quarantine import read_quarantine
from finkbridge.avro.resolve import Grouped, SchemaResolver
from finkbridge.disk import Staging
from finkbridge.errors import (
    BrokerTimeoutError,
    DecodeError,
    LakeAccessError,
    ReconciliationError,
    UnknownTopicError,
)
from finkbridge.land import Lander
from finkbridge.layout import SegmentName
from finkbridge.values import LandedPart, Message, OffsetRange, SegmentPlan, TopicGeneration
from tests.support.lake import RealAlerts, data_files, encode, real_alerts

TIME_MS = 1_774_050_000_000  # 2026-03-20T23:40 UTC
POINT = {"type": "record", "name": "point", "fields": [{"name": "x", "type": "double"}]}
HALVES = (slice(1, 3), slice(3, 5))
GREETING = {"type": "record", "name": "greeting", "fields": [{"name": "x", "type": "string"}]}


class Source:
    """Messages of one topic, as a broker would give them."""

    def __init__(self, messages: Sequence[Message], first_keys: Mapping[str, bytes] | None = None) -> None:
        self.messages = list(messages)
        self.first_keys = dict(first_keys or {})
        self.fail_at: int | None = None
        self.hides: set[int] = set()

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:
        for m in self.messages:
            if m.partition == span.partition and span.start <= m.offset < span.end:
                if m.offset == self.fail_at:
                    raise BrokerTimeoutError("silent")
                if m.offset not in self.hides:
                    yield [m]

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:
        return not any(
            m.partition == h.partition and h.start <= m.offset < h.end for m in self.messages for h in holes
        )

    def first_key(self, topic: str, /) -> bytes | None:
        if topic not in self.first_keys:
            raise UnknownTopicError(f"no {topic}")
        return self.first_keys[topic]


def message(offset: int, key: bytes | None, value: bytes | None, **more: Any) -> Message:
    return Message(**{
        "partition": 0, "offset": offset, "timestamp_ms": TIME_MS + offset, "timestamp_type": 1, "key": key,
        "value": value, "headers": (("h", b"\xff"), ("none", None)), **more,
    })  # fmt: skip


def plan_of(source: Source, topic: str = "t", byte_limit: int = 10**9) -> SegmentPlan:
    spans: dict[int, list[int]] = {}
    for m in source.messages:
        spans.setdefault(m.partition, []).append(m.offset)
    ranges = tuple(OffsetRange(p, min(o), max(o) + 1) for p, o in sorted(spans.items()))
    return SegmentPlan(7, TopicGeneration("ztf", topic, 1), ranges, byte_limit)


def key_of(schema: Any) -> bytes:
    return json.dumps(schema).encode()


def point(offset: int, x: float = 1.5, **more: Any) -> Message:
    return message(offset, key_of(POINT), encode(POINT, {"x": x}), **more)


def container(schema: Any, record: Any, codec: str = "deflate") -> bytes:
    stream = io.BytesIO()
    fastavro.writer(stream, schema, [record], codec=codec)
    return stream.getvalue()


def landed(lake: Path, source: Source, **more: Any) -> LandedPart:
    (part,) = Lander(lake, source, **more).land(plan_of(source))
    assert data_files(lake) == {file.path for file in part.files}
    assert all(count.reconciled for count in part.counts)
    return part


def of(part: LandedPart, table: str) -> list[str]:
    return [file.path for file in part.files if file.table == table]


def packets(lake: Path, part: LandedPart) -> list[dict[str, Any]]:
    rows = [row for path in of(part, "packets") for row in pq.ParquetFile(lake / path).read().to_pylist()]
    return sorted(rows, key=lambda row: row["_kafka_offset"])


def archived(lake: Path, part: LandedPart) -> list[Message]:
    found = [m for path in of(part, "archive") for m in read_archive(lake / path).messages]
    return sorted(found, key=lambda m: (m.partition, m.offset))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    path = tmp_path / "lake"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


def test_bad_messages_go_to_quarantine_whole_and_the_rest_lands(lake: Path) -> None:
    bad = [
        message(1, key_of(POINT), b"garbage"),
        message(2, key_of(POINT), b""),
        message(3, key_of(POINT), None),
        message(4, b"3.1_2.0", encode(POINT, {"x": 1.0})),
        message(5, None, encode(POINT, {"x": 1.0}), timestamp_ms=None, timestamp_type=0),
        message(6, b'{"type": "nonsense"}', encode(POINT, {"x": 1.0})),
        message(7, key_of(POINT), encode(POINT, {"x": 1.0}) + b"\0"),
        message(8, key_of(POINT), b"Obj\x01 but cut off"),
    ]
    part = landed(lake, Source([point(0), *bad, point(9)]))
    (path,) = of(part, "quarantine")
    rejected = read_quarantine(lake / path)
    assert [r.message for r in rejected] == bad
    reasons = [r.reason for r in rejected]
    assert reasons[1:3] == ["empty value", "null value"]
    assert all("no writer schema" in reason for reason in reasons[3:5])
    assert reasons[0] == "end of data" or "left over" in reasons[0]
    assert "left over" in reasons[6]
    assert [(r.partition, r.offset, r.reason, r.path) for r in part.rejected] == [
        (0, r.message.offset, r.reason, path) for r in rejected
    ]
    assert archived(lake, part) == [point(0), point(9)]
    assert [(c.rows, c.quarantined, c.holes) for c in part.counts] == [(2, 8, ())]


def test_nothing_good_leaves_a_quarantine_file_alone(lake: Path) -> None:
    part = landed(lake, Source([message(0, None, None)]))
    assert [file.table for file in part.files] == ["quarantine"]


def test_schema_changes_in_the_middle(lake: Path) -> None:
    wider = {**POINT, "fields": [*POINT["fields"], {"name": "y", "type": ["null", "string"]}]}
    changed = [message(o, key_of(wider), encode(wider, {"x": float(o), "y": str(o)})) for o in (2, 3, 5)]
    messages = [point(0), point(1), *changed[:2], point(4), changed[2]]
    part = landed(lake, Source(messages))
    assert [path.rpartition("-")[2] for path in of(part, "archive")] == ["000.avro", "001.avro"]
    assert archived(lake, part) == messages
    assert [row.get("y") for row in packets(lake, part)] == [None, None, "2", "3", None, "5"]
    assert len({known.schema_id for known in part.schemas if known.kind == "avro"}) == 2


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
def test_value_that_is_a_container_file(lake: Path, ztf: RealAlerts, codec: str) -> None:
    messages = [message(o, None, container(ztf.schema, ztf.alerts[o], codec)) for o in range(2)]
    part = landed(lake, Source(messages))
    assert archived(lake, part) == messages
    assert [row["candid"] for row in packets(lake, part)] == [a["candid"] for a in ztf.alerts[:2]]
    (path,) = of(part, "deliveries")
    for row in pq.ParquetFile(lake / path).read().to_pylist():
        with (lake / row["archive_file"]).open("rb") as stream:
            stream.seek(row["archive_pos"])
            assert stream.read(row["archive_len"]) == messages[row["kafka_offset"]].value


def test_schema_of_the_schema_topic(lake: Path) -> None:
    datum = encode(POINT, {"x": 2.5})
    source = Source([message(0, None, datum), message(1, b"17", datum)], {"t_schema": key_of(POINT)})
    part = landed(lake, source)
    assert archived(lake, part) == source.messages
    assert [row["x"] for row in packets(lake, part)] == [2.5, 2.5]


def test_override_goes_before_the_key(lake: Path) -> None:
    messages = [
        message(0, key_of(GREETING), encode(POINT, {"x": 2.5})),
        message(1, None, encode(POINT, {"x": 3.5})),
    ]
    part = landed(lake, Source(messages), schema_override=key_of(POINT))
    assert [row["x"] for row in packets(lake, part)] == [2.5, 3.5]
    assert archived(lake, part) == messages


def test_schema_that_has_no_tables_quarantines_its_messages_only(lake: Path) -> None:
    fields = [{"name": f"x{i}", "type": "int"} for i in range(MAX_COLUMNS + 1)]
    wide = {"type": "record", "name": "wide", "fields": fields}
    part = landed(lake, Source([message(0, key_of(wide), bytes(len(fields))), point(1)]))
    assert [r.offset for r in part.rejected] == [0]
    assert "columns" in part.rejected[0].reason
    assert archived(lake, part) == [point(1)]


def test_schema_that_is_no_record_does_not_stop_the_rest(lake: Path) -> None:
    part = landed(lake, Source([message(0, b'{"type": "string"}', b"\x02a"), point(1)]))
    assert point(1) in archived(lake, part)
    assert sum(c.rows + c.quarantined for c in part.counts) == 2


def test_alert_without_identity_position_or_time_is_quarantined(lake: Path, ztf: RealAlerts) -> None:
    lost = [dict(ztf.alerts[i]) for i in range(2)]
    lost[0]["candidate"] = {**lost[0]["candidate"], "ra": float("nan")}
    lost[1]["candidate"] = {**lost[1]["candidate"], "jd": 0.0}
    bad = [message(o, ztf.key, encode(ztf.schema, alert)) for o, alert in enumerate(lost)]
    good = [message(o, ztf.key, ztf.datums[o]) for o in (2, 3)]
    part = landed(lake, Source([bad[0], *good[:1], bad[1]._replace(offset=5), good[1]._replace(offset=6)]))
    assert [(r.offset, r.reason.partition(":")[0]) for r in part.rejected] == [
        (0, "no position"),
        (5, "no time"),
    ]
    (quarantine,) = of(part, "quarantine")
    assert read_quarantine(lake / quarantine)[0].message == bad[0]
    assert [m.value for m in archived(lake, part)] == ztf.datums[2:4]
    assert [h for c in part.counts for h in c.holes] == [OffsetRange(0, 1, 2), OffsetRange(0, 3, 5)]


def test_rest_that_comes_back_otherwise_loses_nothing(
    lake: Path, ztf: RealAlerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins again without bad alerts may be refused, or be of several groups, the second time."""
    lost = {**ztf.alerts[0], "candidate": {**ztf.alerts[0]["candidate"], "ra": float("nan")}}
    messages = [message(0, ztf.key, encode(ztf.schema, lost))]
    messages += [message(o, ztf.key, ztf.datums[o]) for o in range(1, 6)]
    group, calls = SchemaResolver.group, iter(range(99))

    def otherwise(self: SchemaResolver, topic: str, given: Sequence[Message]) -> Grouped:
        found = group(self, topic, given)
        if next(calls) != 1:
            return found
        (whole,) = found.groups
        halves = [replace(whole, indices=whole.indices[s], datums=whole.datums[s]) for s in HALVES]
        return Grouped(tuple(halves), ((0, "odd"),))

    monkeypatch.setattr(SchemaResolver, "group", otherwise)
    part = landed(lake, Source(messages))
    assert sorted(r.offset for r in part.rejected) == [0, 1]
    assert [m.offset for m in archived(lake, part)] == [2, 3, 4, 5]
    assert [row["_kafka_offset"] for row in packets(lake, part)] == [2, 3, 4, 5]


def test_other_schemas_land_by_the_night_of_their_timestamp(lake: Path) -> None:
    morning = point(1, timestamp_ms=TIME_MS + 3_600_000)
    undated = point(2, timestamp_ms=None, timestamp_type=0)
    part = landed(lake, Source([point(0), morning, undated]))
    folders = sorted(path.rpartition("/")[0] for path in of(part, "packets"))
    assert folders == [f"packets/other/t/night={n}" for n in ("00000000", "20260320", "20260321")]
    assert [row["x"] for row in packets(lake, part)] == [1.5] * 3
    rows = [row for path in of(part, "deliveries") for row in pq.ParquetFile(lake / path).read().to_pylist()]
    assert {row["object_id"] for row in rows} == {None}
    assert sorted(row["kafka_offset"] for row in rows) == [0, 1, 2]


@pytest.mark.parametrize("loses_a_row", [False, True])
def test_checked_messages_that_the_bulk_engine_refuses_go_the_careful_way(
    lake: Path, monkeypatch: pytest.MonkeyPatch, *, loses_a_row: bool
) -> None:
    def refuse(_: Program, datums: Sequence[bytes]) -> pa.Table:
        raise DecodeError(f"datum 1 of {len(datums)} is not what its schema says")

    def drop_a_row(self: Program, datums: Sequence[bytes]) -> pa.Table:
        return whole(self, datums).slice(1)

    whole = Program.decode
    monkeypatch.setattr(Program, "decode", drop_a_row if loses_a_row else refuse)
    part = landed(lake, Source([point(i, float(i)) for i in range(5)]))
    assert [row["x"] for row in packets(lake, part)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_an_archive_file_that_does_not_decode_is_named(lake: Path) -> None:
    lander = Lander(lake, source := Source([point(0)]))
    (part,) = lander.land(plan_of(source))
    (file,) = (f for f in part.files if f.table == "archive")
    archive = read_archive(lake / file.path)
    damaged = replace(archive, messages=tuple(m._replace(value=b"\2") for m in archive.messages))
    name = SegmentName.parse(file.path.rpartition("/")[2])
    with pytest.raises(DecodeError, match=re.escape(file.path)):
        lander.land_archived(damaged, file, name, Staging(lake))


def test_limit_cuts_at_the_message_that_reaches_it_each_time_alike(lake: Path, tmp_path: Path) -> None:
    source = Source([*(point(o) for o in range(7)), *(point(o, partition=1) for o in (3, 4))])
    parts = Lander(lake, source).land(plan_of(source, byte_limit=1500))  # a point takes 563, and once its key
    cuts = [[(c.range.partition, c.range.start, c.range.end) for c in part.counts] for part in parts]
    assert cuts == [[(0, 0, 3)], [(0, 3, 6)], [(0, 6, 7), (1, 3, 5)]]
    assert [part.part for part in parts] == [0, 1, 2]
    assert [m for part in parts for m in archived(lake, part)] == source.messages
    again = tmp_path / "again"
    again.mkdir()
    assert Lander(again, source).land(plan_of(source, byte_limit=1500)) == parts
    assert Lander(lake, source).land(plan_of(source, byte_limit=1500)) == parts
    assert data_files(lake) == data_files(again)


def test_plan_that_fails_half_way_leaves_no_file(lake: Path) -> None:
    source = Source([point(o) for o in range(7)])
    source.fail_at = 5
    with pytest.raises(BrokerTimeoutError):
        Lander(lake, source).land(plan_of(source, byte_limit=1500))
    assert data_files(lake) == set()


def test_hole_that_proves_to_be_a_message_stops_the_segment(lake: Path) -> None:
    source = Source([point(o) for o in range(5)])
    source.hides = {2}
    with pytest.raises(ReconciliationError, match="a second look"):
        Lander(lake, source).land(plan_of(source))
    assert data_files(lake) == set()


def test_full_disk_is_one_line(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(landing.parquet, "write", full)
    with pytest.raises(LakeAccessError, match="No space left on device: make room"):
        Lander(lake, Source([point(0)])).land(plan_of(Source([point(0)])))
    assert data_files(lake) == set()


def test_umask_decides_who_may_read(lake: Path) -> None:
    part = landed(lake, Source([point(0), message(1, None, None)]))
    for file in part.files:
        assert (lake / file.path).stat().st_mode & 0o777 == 0o644
        assert (lake / file.path).parent.stat().st_mode & 0o777 == 0o755


def test_column_of_the_writer_named_as_a_key_column_keeps_its_content(lake: Path) -> None:
    schema = {**POINT, "fields": [{"name": "_topic", "type": "string"}, {"name": "x", "type": "double"}]}
    part = landed(lake, Source([message(0, key_of(schema), encode(schema, {"_topic": "mine", "x": 1.0}))]))
    (row,) = packets(lake, part)
    assert (row["_topic"], row["_topic_"]) == ("t", "mine")


def test_night_is_in_the_path_only(lake: Path) -> None:
    part = landed(lake, Source([point(0)]))
    for path in of(part, "packets") + of(part, "deliveries"):
        schema: pa.Schema = pq.read_schema(lake / path)
        assert "night" not in schema.names


BLOB = {"type": "record", "name": "blob", "fields": [{"name": "x", "type": "bytes"}]}


def test_container_files_are_unwrapped_some_at_a_time(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment of small messages may be one of gigabytes: each file of the archive has some of them."""
    monkeypatch.setattr(portions, "MAX_PORTION_BYTES", 100_000)
    unwrapped: list[int] = []
    check = Checker.check
    monkeypatch.setattr(
        Checker, "check", lambda self, datums: unwrapped.append(sum(map(len, datums))) or check(self, datums)
    )
    records = [{"x": bytes([i]) * size} for i, size in enumerate([40_000] * 5 + [120_000] + [10_000] * 2)]
    messages = [message(i, None, container(BLOB, record)) for i, record in enumerate(records)]
    damaged = messages[2].value or b""
    messages[2] = message(2, None, damaged[:-20] + bytes(4) + damaged[-16:])
    part = landed(lake, Source(messages))
    assert [r.offset for r in part.rejected] == [2]
    assert [size // 10_000 for size in unwrapped] == [8, 8, 12, 2]
    assert sorted(f.rows for f in part.files if f.table == "archive") == [1, 2, 2, 2]
    assert [row["x"] for row in packets(lake, part)] == [r["x"] for i, r in enumerate(records) if i != 2]
    assert archived(lake, part) == [m for m in messages if m.offset != 2]
    again = Lander(lake, Source(messages)).land(plan_of(Source(messages)))
    assert [f.path for p in again for f in p.files] == [f.path for f in part.files], "a retry cuts alike"


def test_the_schema_of_a_topics_former_life_is_forgotten(lake: Path) -> None:
    """A lander is kept from run to run, and a topic may be made anew with other columns of the same types."""
    fields = [{"name": name, "type": "double"} for name in ("ra", "dec")]
    source, found = Source([]), []
    lander = Lander(lake, source)
    for life, ordered in enumerate((fields, fields[::-1]), 1):
        schema = POINT | {"fields": ordered}
        source.first_keys["t_schema"] = key_of(schema)
        source.messages = [message(0, None, encode(schema, {"ra": 10.0, "dec": -70.0}))]
        plan = replace(plan_of(source), number=life, source=TopicGeneration("ztf", "t", life))
        (part,) = lander.land(plan)
        found += [(row["ra"], row["dec"]) for row in packets(lake, part)]
    assert found == [(10.0, -70.0)] * 2
