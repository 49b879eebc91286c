"""The deep comparison finds what no checksum can: tables that are not what the archive says."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import update

from finkbridge import disk, layout
from finkbridge.avro.archive import read_archive, write_archive
from finkbridge.avro.columns import Program
from finkbridge.cli.verifying import lines
from finkbridge.errors import DecodeError
from finkbridge.ledger import schema as s
from finkbridge.verify import Finding, Options, Report, verify
from finkbridge.verify import deep as deep_module
from finkbridge.verify.archives import Decoded, Decoders
from finkbridge.verify.contents import check_file
from tests.support.lake import encode
from tests.verify.lakes import Feed, add, doctor, files, forge, merge_all, point, verified

ZTF, LSST = "night=20260322", "night=20260305"


def of_night(lake: Path, table: str, night: str = ZTF) -> Any:
    return next(file for file in files(lake, table) if night in file.path)


def deep(lake: Path, **asked: Any) -> list[Finding]:
    """Return what only the deep comparison finds; the catalog of a copied lake is elsewhere."""
    report = verified(lake, deep=True, **asked)
    assert all("\n" not in str(found) for found in report.findings)
    return [found for found in report.findings if found.kind == "row"]


def compared(report: Report) -> tuple[int, int]:
    return report.compared_rows, report.sampled_rows


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_whole_lake_agrees(lake: Path, *, is_merged: bool) -> None:
    if is_merged:
        merge_all(lake)
    assert deep(lake) == []
    assert deep(lake, independent=True) == []
    assert compared(verified(lake, deep=True)) == (18, len(files(lake, "archive")))
    assert compared(verified(lake, deep=True, sample="10")) == (18, 18)
    assert compared(verified(lake, deep=True, sample="1")) == (18, len(files(lake, "archive")))
    assert compared(verified(lake, deep=True, sample="0")) == (18, 0)
    assert compared(verified(lake, deep=True, sample="all", nights=["20260322"])) == (10, 10)
    assert compared(verified(lake, deep=True, topics=["fink_b*"])) == (6, 2)


def put(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Return a change of one value."""

    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        assert values[row] != value
        values[row] = value
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))

    return change


def nested(table: pa.Table) -> pa.Table:
    """Change one leaf of one struct by the least that a float can change."""
    values = table["candidate"].to_pylist()
    values[0]["magpsf"] = float(np.nextafter(np.float32(values[0]["magpsf"]), np.float32(0)))
    at = table.schema.get_field_index("candidate")
    field = table.schema.field("candidate")
    return table.set_column(at, field, pa.array(values, field.type))


CHANGES: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "a magnitude": ("deliveries", put("mag", 0, 12.5), "deliveries column mag is not what"),
    "a null": ("deliveries", put("ra", 0, None), "deliveries column ra is not what"),
    "a class": ("deliveries", put("simbad", 0, "Star?"), "deliveries column simbad is not what"),
    "an object": ("packets", put("_object_id", 0, "ZTF00aaaaaaa"), "column _object_id is not what"),
    "a nested float": ("packets", nested, "column candidate is not what"),
    "a place in the archive": ("deliveries", put("archive_pos", 0, 7), "is not in the archive where its"),
    "a length": ("deliveries", put("archive_len", 0, 7), "deliveries column archive_len is not what"),
    "another file": ("deliveries", put("archive_file", 0, "../../etc/passwd"), "which is no archive file"),
    "a time": ("deliveries", put("received", 0, None), "deliveries column received is not what"),
    "a column less": (
        "packets",
        lambda t: t.drop_columns(["candid"]),
        "not those of the schema: candid",
    ),
    "an offset": ("packets", put("_kafka_offset", 0, 999), "has 0 rows in deliveries and 1 in packets"),
}


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_changed_value(lake: Path, tmp_path: Path, *, is_merged: bool) -> None:
    if is_merged:
        merge_all(lake)
    for name, (table, change, problem) in CHANGES.items():
        copy = Path(shutil.copytree(lake, tmp_path / name))
        forge(copy, of_night(copy, table), change)
        found = deep(copy)
        assert any(problem in str(finding) for finding in found), (name, found)
        shutil.rmtree(copy)


def rows(table: str, change: Callable[[pa.Table], pa.Table], lake: Path) -> list[str]:
    """Change the rows of a file and of its row in the ledger; return what is found."""
    file = of_night(lake, table)
    forge(lake, file, change)
    count = check_file(lake, file)
    assert count.problem is not None
    rows = change(pa.table({"x": range(file.rows)})).num_rows
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(rows=rows))
    return [str(finding) for finding in deep(lake)]


@pytest.mark.parametrize("table", ["deliveries", "packets"])
def test_a_doubled_row(lake: Path, table: str) -> None:
    (found,) = rows(table, lambda t: pa.concat_tables([t, t.slice(0, 1)]), lake)
    counts = {"deliveries": "2 rows in deliveries and 1 in", "packets": "1 rows in deliveries and 2 in"}[
        table
    ]
    assert counts in found


@pytest.mark.parametrize("table", ["deliveries", "packets"])
def test_a_missing_row(lake: Path, table: str) -> None:
    (found,) = rows(table, lambda t: t.slice(1), lake)
    counts = {"deliveries": "0 rows in deliveries and 1 in", "packets": "1 rows in deliveries and 0 in"}[
        table
    ]
    assert counts in found


def test_rows_missing_from_both_tables(lake: Path) -> None:
    first = of_night(lake, "packets")
    name = first.path.rpartition("/")[2]
    for file in (first, of_night(lake, "deliveries")):
        forge(lake, file, lambda t: t.slice(0, 0))
    (found,) = deep(lake)
    assert found.where.startswith("archive/")
    assert found.where.endswith(name.replace(".parquet", ".avro"))
    assert found.problem.startswith(f"{first.rows} of its {first.rows} messages have no row, the first is ")
    assert deep(lake, nights=["20260322"]) == [found]
    assert deep(lake, nights=["20260305"]) == []


def test_rows_in_a_wrong_night(lake: Path) -> None:
    for table in ("deliveries", "packets"):
        file = of_night(lake, table)
        path = file.path.replace(ZTF, "night=20260323")
        (lake / path).parent.mkdir()
        (lake / file.path).rename(lake / path)
        doctor(lake, update(s.files).where(s.files.c.id == file.id).values(path=path, night=20260323))
    (found,) = deep(lake)
    assert "in night 20260323, where one is due in 20260322" in found.problem


def test_an_archive_with_another_value(lake: Path) -> None:
    """A value that is a good datum, with all hashes as they should be: only the tables tell."""
    file = of_night(lake, "archive", "2026-03-20")
    archive = read_archive(lake / file.path)
    messages = list(archive.messages)
    messages[0] = messages[0]._replace(value=messages[1].value)
    write_archive(lake / file.path, archive.schema, archive.framing, messages, archive.facts)
    facts = {"bytes": (lake / file.path).stat().st_size, "checksum": disk.checksum(lake / file.path)}
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(**facts))
    found = [str(finding) for finding in deep(lake)]
    assert any("is not what the archive says" in f or "is not in the archive" in f for f in found)


def test_an_archive_of_bad_messages_is_not_given_to_the_bulk_decoder(lake: Path) -> None:
    file = of_night(lake, "archive", "2026-03-20")
    archive = read_archive(lake / file.path)
    value = archive.messages[0].value
    assert value
    messages = [archive.messages[0]._replace(value=value[:-1] + b"\0"), *archive.messages[1:]]
    messages[0] = messages[0]._replace(value=value[: len(value) // 2] + value[: len(value) - len(value) // 2])
    write_archive(lake / file.path, archive.schema, archive.framing, messages, archive.facts)
    facts = {"bytes": (lake / file.path).stat().st_size, "checksum": disk.checksum(lake / file.path)}
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(**facts))
    assert any("messages cannot be decoded" in str(finding) for finding in deep(lake))


def test_damaged_files_are_told_once_and_not_compared(lake: Path) -> None:
    file = of_night(lake, "packets")
    (lake / file.path).write_bytes(b"x")
    report = verified(lake, deep=True)
    assert {found.where for found in report.findings} <= {file.path, layout.CATALOG}
    assert report.notes == [
        "night 20260322 of ztf was not compared, as files of it are damaged",
        "messages without rows were not looked for, as not all nights were compared",
    ]
    assert compared(report)[0] == 8


def test_values_that_are_container_files(tmp_path: Path, shared_data: Path) -> None:
    """ZTF's own stream: each value is a whole file."""
    (path,) = (shared_data / "ztf").glob("*.avro")
    import fastavro  # noqa: PLC0415

    with path.open("rb") as stream:
        reader: Any = fastavro.reader(stream)
        records = [next(reader) for _ in range(4)]
    messages = []
    for offset, record in enumerate(records):
        out = io.BytesIO()
        fastavro.writer(out, reader.writer_schema, [record], codec="deflate")
        messages.append(point(offset, value=out.getvalue(), key=None))
    lake = tmp_path / "lake"
    add(lake, Feed("ztf_own", messages), parts=2)
    report = verified(lake, deep=True, sample="all")
    assert report.findings == []
    assert compared(report) == (4, 4)


def test_a_fault_of_the_drains_own_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What drain and verification share, they get wrong alike: only another engine tells."""
    decode = Program.decode

    def off_by_one(self: Program, datums: Any) -> pa.Table:
        table = decode(self, datums)
        return table.set_column(0, table.schema.field(0), pc.add(table["x"], 1.0))

    monkeypatch.setattr(Program, "decode", off_by_one)
    lake = tmp_path / "lake"
    add(lake, Feed("points", [point(n, float(n)) for n in range(300)]), parts=2)
    assert deep(lake, sample="0") == []
    first, second = deep(lake)
    told = "of which the decoder of drains and fastavro do not agree about the column x"
    assert first.problem == f"2 rows, the first is points:0:0, {told}"
    assert second.problem == f"2 rows, the first is points:0:150, {told}"
    assert "--deep --independent tells all rows" in first.remedy
    assert len(deep(lake, sample="all")) == 2
    assert compared(verified(lake, deep=True)) == (300, 4)
    found = deep(lake, sample="0", independent=True)
    assert [f.problem.partition(",")[0] for f in found] == ["150 rows"] * 2


def test_what_the_drains_decoder_refuses_is_decoded_by_fastavro(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise DecodeError("refused")

    monkeypatch.setattr(Program, "decode", refuse)
    lake = tmp_path / "lake"
    add(lake, Feed("points", [point(n, float(n)) for n in range(30)]))
    assert compared(verified(lake, deep=True)) == (30, 1)
    assert deep(lake) == []


def test_rows_that_datafusion_cannot_decode_are_told(tmp_path: Path) -> None:
    """They are compared with what fastavro makes of them, which is what a drain does, too."""
    document = {"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", "long", "string"]}]}
    key = json.dumps(document).encode()
    general = [point(n)._replace(key=key, value=encode(document, {"x": n})) for n in range(7)]
    lake = tmp_path / "lake"
    add(lake, Feed("points", [*general, *(point(n) for n in range(7, 10))]))
    report = verified(lake, deep=True, independent=True)
    assert report.findings == []
    assert (report.compared_rows, report.independent_rows) == (10, 3)
    (told,) = [line for line in lines(report, lake) if line.startswith("every field")]
    assert "decoded anew by Apache DataFusion (but 7 rows, which it cannot, by fastavro) (" in told
    assert verified(lake, deep=True).independent_rows == 0


def test_messages_that_cannot_be_decoded_do_not_count_as_compared(lake: Path) -> None:
    archive = read_archive(lake / (file := of_night(lake, "archive", "2026-03-20")).path)
    messages = [archive.messages[0]._replace(value=b"?"), *archive.messages[1:]]
    write_archive(lake / file.path, archive.schema, archive.framing, messages, archive.facts)
    facts = {"bytes": (lake / file.path).stat().st_size, "checksum": disk.checksum(lake / file.path)}
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(**facts))
    report = verified(lake, deep=True)
    assert not report.holds
    assert report.compared_rows < 18


class Meddler:
    """Does something as soon as the files are proven and the comparison begins."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self.meddle = meddle

    def begin(self, what: str, total_bytes: int) -> None:
        if what == "deep":
            self.meddle()

    def advance(self, read_bytes: int) -> None:
        pass


@pytest.mark.parametrize("table", ["archive", "deliveries", "packets"])
@pytest.mark.parametrize("damage", ["gone", "cut", "overwritten"])
def test_files_that_are_lost_after_they_were_proven(lake: Path, table: str, damage: str) -> None:
    path = lake / (file := of_night(lake, table, "2026-03-20" if table == "archive" else ZTF)).path

    def meddle() -> None:
        if damage == "gone":
            path.unlink()
        elif damage == "cut":
            os.truncate(path, path.stat().st_size // 3)
        else:
            path.write_bytes(bytes(path.stat().st_size))

    report = verify(lake, None, Options(deep=True), Meddler(meddle))
    found = [finding for finding in report.findings if finding.kind != "catalog"]
    assert {finding.where for finding in found} == {file.path}
    assert all("restore it from a copy" in finding.remedy for finding in found)
    assert compared(report)[0] < 18


@pytest.mark.parametrize("when", [1, 2])
def test_a_night_that_is_merged_meanwhile_is_compared_as_it_is_then(
    lake: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """What has been read by then is of no use, and counts once."""
    calls, read = [], deep_module.read_keys

    def reading(*args: Any) -> Any:
        keys = read(*args)
        calls.append(args)
        if len(calls) == when:
            before = {f.path for table in ("deliveries", "packets") for f in files(lake, table)}
            merge_all(lake)
            for gone in before - {f.path for t in ("deliveries", "packets") for f in files(lake, t)}:
                (lake / gone).unlink()
        return keys

    monkeypatch.setattr(deep_module, "read_keys", reading)
    report = verified(lake, deep=True)
    assert [found for found in report.findings if found.kind != "catalog"] == []
    assert report.notes == []
    assert compared(report)[0] == 18
    assert len(calls) > 4


def test_many_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finkbridge.verify import archives, compare  # noqa: PLC0415
    from finkbridge.verify import deep as module  # noqa: PLC0415

    lake = tmp_path / "lake"
    add(lake, Feed("points", [point(n, float(n)) for n in range(300)]), parts=7)
    merge_all(lake)
    for file in files(lake, "packets") + files(lake, "deliveries"):
        shuffle = np.random.default_rng(file.id).permutation(300)
        forge(lake, file, lambda t, order=shuffle: t.take(pa.array(order)))
    monkeypatch.setattr(module, "BATCH_BYTES", 80)
    monkeypatch.setattr(archives, "INDEXED_MESSAGES", 50)
    monkeypatch.setattr(compare, "KEPT_BYTES", 100)
    assert deep(lake) == []
    (file,) = files(lake, "packets")
    forge(lake, file, lambda t: t.set_column(9, t.schema.field(9), pc.add(t["x"], 1.0)))
    found = deep(lake)
    assert sum(int(f.problem.split()[0]) for f in found) == 300


def watched(monkeypatch: pytest.MonkeyPatch, size: Callable[[Any], int]) -> list[int]:
    """Return the list that takes the size of each batch that is decoded."""
    sizes: list[int] = []
    bulk = Decoders.bulk

    def counted(self: Decoders, schema: Any, survey: str, datums: Any) -> Decoded:
        sizes.append(size(datums))
        return bulk(self, schema, survey, datums)

    monkeypatch.setattr(Decoders, "bulk", counted)
    return sizes


@pytest.mark.parametrize("lost", [False, True], ids=["rows", "messages without rows"])
def test_batches_are_of_unpacked_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    """Each of these values is a compressed file of a megabyte of zeros."""
    document = {"type": "record", "name": "zeros", "fields": [{"name": "b", "type": "bytes"}]}
    out = io.BytesIO()
    fastavro.writer(out, document, [{"b": bytes(1_000_000)}], codec="deflate")
    assert len(out.getvalue()) < 2_000
    lake, count = tmp_path / "lake", 60
    add(lake, Feed("bombs", [point(n, value=out.getvalue(), key=None) for n in range(count)]))
    if lost:
        for table in ("deliveries", "packets"):
            forge(lake, files(lake, table)[0], lambda t: t.slice(0, 1))
    decoded = watched(monkeypatch, lambda datums: sum(map(len, datums)))
    report = verified(lake, deep=True, sample="0", nights=["20260320"])
    assert sum(decoded) > count * 1_000_000
    assert max(decoded) <= 24_000_000
    assert bool([f for f in report.findings if f.kind == "row"]) == lost


@pytest.mark.parametrize("lost", [False, True], ids=["rows", "messages without rows"])
def test_batches_are_of_what_datums_take_in_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    """Each byte of these is a hundred columns: one message is some 50 MB."""
    inner = {
        "type": "record",
        "name": "e",
        "fields": [{"name": f"f{n}", "type": "long"} for n in range(100)],
    }
    nulls = {"type": "array", "items": ["null", inner]}
    document = {"type": "record", "name": "r", "fields": [{"name": "a", "type": nulls}]}
    value = encode(document, {"a": [None] * 60_000})
    key = json.dumps(document).encode()
    lake, count = tmp_path / "lake", 4
    add(lake, Feed("sparse", [point(n)._replace(key=key, value=value) for n in range(count)]))
    merge_all(lake)
    if lost:
        for table in ("deliveries", "packets"):
            forge(lake, files(lake, table)[0], lambda t: t.slice(0, 1))
    decoded = watched(monkeypatch, len)
    report = verified(lake, deep=True, sample="0", nights=["20260320"])
    assert (max(decoded), sum(decoded)) == (1, count)
    assert bool([f for f in report.findings if f.kind == "row"]) == lost
