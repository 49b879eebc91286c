"""Names and identifiers that are attacks: nothing outside the lake is touched, and all commands go on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import finkbridge
from finkbridge.avro.archive import read_archive
from finkbridge.cli.main import main
from tests.avro.samples import encode, schema_of
from tests.support.kafka import Kafka
from tests.support.lake import (
    Record,
    assert_consistent,
    drained,
    make_settings,
    open_catalog,
    sql,
)
from tests.support.offline import assert_verified

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NAMES = (
    "'; DROP VIEW alerts; --", '"; DROP VIEW alerts; --', "../../etc/passwd", "/etc/passwd",
    "nul\0byte", "a b", "a.b",
    "select", "SELECT * FROM read_text('/etc/passwd')", "rowid", "topic", "TOPIC", "_topic", "_TOPIC",
    "%s%n", "{x}",
    "\u202egnp", "\u00e9", "e\u0301", "漢字", "😀", "x" * 5_000, "\n", "\t", "$1", "?", "\\", "`", "[x]",
    "_object_id", "night",
    "filename", "file_row_number", "COLUMNS(*)",
)  # fmt: skip
VIEWS = (
    "alerts", "deliveries", "packets_ztf", "packets_lsst", "packets_other", "predictions", "nights",
    "segments", "topics", "quarantine", "gaps",
)  # fmt: skip


def keyed(document: Any, value: Any) -> Record:
    schema = schema_of(document)
    return schema.text, encode(schema, value)


def field_names() -> Iterator[Record]:
    for name in NAMES:
        yield keyed(
            {"type": "record", "name": name.strip("\0") or "r", "fields": [{"name": name, "type": "int"}]},
            {name: 1},
        )
    every = dict.fromkeys(NAMES, 7)
    fields = [{"name": name, "type": "int"} for name in every]
    yield keyed({"type": "record", "name": "all", "fields": fields}, every)


def nested_names() -> Iterator[Record]:
    for name in NAMES:
        inner = {"type": "record", "name": "inner", "fields": [{"name": name, "type": "string"}]}
        yield keyed(
            {"type": "record", "name": "outer", "fields": [{"name": "f", "type": inner}]}, {"f": {name: name}}
        )


def ztf_like(object_id: str, candid: int, cutout: bytes = b"") -> Record:
    """Return the least that is taken for a ZTF alert."""
    candidate = {"type": "record", "name": "candidate", "fields": [
        {"name": "jd", "type": "double"}, {"name": "ra", "type": "double"}, {"name": "dec", "type": "double"},
        {"name": "magpsf", "type": "float"}, {"name": "fid", "type": "int"},
        {"name": "candid", "type": "long"}]}  # fmt: skip
    stamp = {"type": "record", "name": "cutout", "fields": [{"name": "stampData", "type": "bytes"}]}
    document = {"type": "record", "name": "alert", "fields": [
        {"name": "objectId", "type": "string"}, {"name": "candid", "type": "long"},
        {"name": "candidate", "type": candidate}, {"name": "cutoutScience", "type": stamp}]}  # fmt: skip
    inner = {"jd": 2461100.5, "ra": 10.0, "dec": 20.0, "magpsf": 18.0, "fid": 1, "candid": candid}
    return keyed(
        document,
        {"objectId": object_id, "candid": candid, "candidate": inner, "cutoutScience": {"stampData": cutout}},
    )


def files_beside(lake: Path) -> set[Path]:
    return {p for p in lake.parent.rglob("*") if not p.is_relative_to(lake)}


def assert_all_answers(
    lake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_catalog(lake) as catalog:
        for view in VIEWS:
            catalog.execute(f"SELECT * FROM {view}").fetchall()
    assert_consistent(lake)
    assert_verified(lake)
    for table in ("deliveries", "packets_other"):
        finkbridge.scan(table, lake).collect()
    monkeypatch.setenv("FINKBRIDGE_LAKE", str(lake))
    for words in (
        ["sql", "SELECT count(*) FROM alerts"], ["sql", "SELECT * FROM packets_other LIMIT 5", "--json"],
        ["verify", "--deep"], ["quarantine", "list"], ["certificate"], ["status", "--json"],
    ):  # fmt: skip
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err, words
        assert words[0] in {"certificate", "status"} or code in {0, None}, (words, said.err)


def test_names_of_fields_and_records(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, topic = tmp_path / "here" / "lake", kafka.topic("names")
    lake.parent.mkdir()
    kafka.produce(topic, [*field_names(), *nested_names()])
    before = files_beside(lake)
    report = drained(
        make_settings(lake, kafka.bootstrap, topic, merge={"enabled": False}, decode={"max_schemas": 1_000})
    )
    assert report.total("rows") + report.total("quarantined") == 2 * len(NAMES) + 1
    assert files_beside(lake) == before
    assert_all_answers(lake, capsys, monkeypatch)


def test_identifiers_and_cutouts(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, topic = tmp_path / "here" / "lake", kafka.topic("..names--")
    lake.parent.mkdir()
    ids = [*NAMES, "", "y" * 1_000_000]
    bomb = gzip.compress(bytes(100_000_000), 9)
    sent = [ztf_like(name, i, bomb) for i, name in enumerate(ids)]
    kafka.produce(topic, sent)
    before = files_beside(lake)
    report = drained(
        make_settings(lake, kafka.bootstrap, topic, merge={"enabled": False}, decode={"max_schemas": 1_000})
    )
    assert (report.total("rows"), report.total("quarantined")) == (len(ids) - 1, 1)
    assert files_beside(lake) == before
    found = {row[0] for row in sql(lake, "SELECT object_id FROM alerts")}
    assert found == set(ids) - {""}, "all but the empty one, which is none"
    archived = [m.value for path in (lake / "archive").rglob("*.avro") for m in read_archive(path).messages]
    assert sorted(archived) == sorted(v for name, (_, v) in zip(ids, sent, strict=True) if name), "bombs too"
    with open_catalog(lake) as catalog:
        for name in found:
            assert len(catalog.execute("FROM lightcurve(?)", [name]).fetchall()) == 1, name[:50]
    assert_all_answers(lake, capsys, monkeypatch)
