"""`AlertReader`: alerts come out as fastavro reads them, and whatever else is there is named."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import finkbridge
from finkbridge import AlertReader
from finkbridge.avro.archive import FRAMING
from finkbridge.avro.container import block_prefix, encode_header, encode_long
from finkbridge.errors import ClashError, DecodeError, SchemaError, SettingsError
from finkbridge.reader import files
from tests.support.lake import POINT, RealAlerts, encode, real_alerts, same

SYNC = b"0123456789abcdef"
KEY = json.dumps(POINT).encode()
LATER = encode_header({"avro.codec": b"null", "avro.schema": KEY, FRAMING: b"of a later version"}, SYNC)


def container(key: bytes, datums: Sequence[bytes], sync: bytes = SYNC) -> bytes:
    """Return a container file of one record a block."""
    blocks = [block_prefix(len(datum)) + datum + sync for datum in datums]
    return encode_header({"avro.codec": b"null", "avro.schema": key}, sync) + b"".join(blocks)


def numbers(*values: float) -> bytes:
    return container(KEY, [encode(POINT, {"x": value}) for value in values])


def read(reader: AlertReader) -> list[float]:
    """Return the numbers that each way of reading gives, once it is the same."""
    listed = [alert["x"] for alert in reader.to_list()]
    skipped = list(reader.skipped)
    assert reader.to_arrow().to_pydict().get("x", []) == listed
    assert reader.skipped == skipped or [s.path for s in reader.skipped] == [s.path for s in skipped]
    return listed


@pytest.fixture(scope="module", params=["ztf", "lsst"])
def real(request: pytest.FixtureRequest, shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / request.param)


@pytest.fixture
def folder(real: RealAlerts, tmp_path: Path) -> Path:
    """Return a folder of one file for each alert, as a consumer saves them."""
    for number, datum in enumerate(real.datums):
        (tmp_path / f"{number:03d}.avro").write_bytes(container(real.key, [datum], os.urandom(16)))
    return tmp_path


def test_a_link_to_a_folder_is_followed_once(tmp_path: Path) -> None:
    for place in ("alerts/20260101", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "alerts/20260101/a.avro").write_bytes(numbers(1))
    (tmp_path / "elsewhere/b.avro").write_bytes(numbers(2))
    (tmp_path / "alerts/20260102").symlink_to("../elsewhere")
    (tmp_path / "alerts/20260103").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/up").symlink_to("../alerts")
    assert read(AlertReader(tmp_path / "alerts", strict=True)) == [1, 2]


@pytest.mark.parametrize("shut", ["", "shut"])
def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shut: str
) -> None:
    """As root may list all folders, the refusal is made."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.avro").write_bytes(numbers(1))
    (tmp_path / "shut").mkdir()
    folder, real = tmp_path / shut, os.scandir

    def scandir(path: str | Path) -> Any:
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    reader = AlertReader(tmp_path)
    assert read(reader) == ([1] if shut else [])
    assert [(one.path, one.alerts) for one in reader.skipped] == [(folder, 0)]
    assert "it cannot be read" in reader.skipped[0].reason
    with pytest.raises(DecodeError, match="it cannot be read"):
        AlertReader(tmp_path, strict=True).to_list()


@pytest.mark.parametrize("columns", [["magpsf"], ["x", "magpsf"], ["magpsf", "diffmaglim"]])
def test_a_field_that_no_alert_has_is_told(tmp_path: Path, columns: list[str]) -> None:
    (tmp_path / "a.avro").write_bytes(numbers(1, 2))
    reader = AlertReader(tmp_path)
    ways = (reader.to_arrow, reader.to_polars, reader.to_pandas, lambda c: reader.to_pandas(c, objects=True))
    for way in ways:
        with pytest.raises(SchemaError, match=f"no alert has a field '{min({*columns} - {'x'})}'"):
            way(columns)


def test_a_field_that_some_alerts_have_is_null_in_the_others(tmp_path: Path) -> None:
    other = {"type": "record", "name": "o", "fields": [{"name": "y", "type": "double"}]}
    for name, schema in (("a", POINT), ("b", other), ("c", POINT)):
        value = {"x": 1.5} if schema is POINT else {"y": 2.5}
        (tmp_path / name).write_bytes(container(json.dumps(schema).encode(), [encode(schema, value)]))
    reader = AlertReader(tmp_path)
    assert reader.to_arrow(["y"]).to_pydict() == {"y": [None, 2.5, None]}
    assert reader.to_arrow(["y", "x"]).to_pydict() == {"y": [None, 2.5, None], "x": [1.5, None, 1.5]}
    assert len(reader.to_pandas(["y"], objects=True)) == 3


RECORD_OF_2019 = {"type": "record", "name": "cut", "fields": [{"name": "stampData", "type": "bytes"}]}


@pytest.fixture
def clashing(tmp_path: Path) -> AlertReader:
    """Return files of two schemas that alternate: one field is a record, bytes or not there."""
    value: Any
    for name, kind, value in (
        ("a", RECORD_OF_2019, {"stampData": b"1"}),
        ("b", "bytes", b"2"),
        ("c", RECORD_OF_2019, {"stampData": b"3"}),
        ("d", None, None),
    ):
        fields = [{"name": "x", "type": "double"}, {"name": "n", "type": "long"}]
        if kind is not None:
            fields.insert(1, {"name": "cut", "type": kind})
        schema = {"type": "record", "name": "alert", "fields": fields}
        alert = {"x": 1.5, "cut": value, "n": ord(name)}
        (tmp_path / name).write_bytes(container(json.dumps(schema).encode(), [encode(schema, alert)]))
    return AlertReader(tmp_path)


CUTS = [{"stampData": b"1"}, b"2", {"stampData": b"3"}, None]


def test_pandas_has_fields_of_different_kinds_as_objects(
    clashing: AlertReader, caplog: pytest.LogCaptureFixture
) -> None:
    frame = clashing.to_pandas()
    assert list(frame.columns) == ["x", "cut", "n"]
    assert frame["cut"].tolist() == CUTS
    assert frame["n"].tolist() == [97, 98, 99, 100]
    assert (frame["x"].dtype, frame["cut"].dtype, frame["n"].dtype) == ("float64", "object", "int64")
    assert "different files, and so columns of Python's objects: cut" in caplog.text
    assert list(clashing.to_pandas(["n", "cut"]).columns) == ["n", "cut"]
    assert clashing.to_pandas(["cut"])["cut"].tolist() == CUTS
    assert clashing.to_pandas(objects=True)["cut"].tolist()[:3] == CUTS[:3]
    with pytest.raises(SchemaError, match="no alert has a field 'y'"):
        clashing.to_pandas(["cut", "y"])


def test_arrow_refuses_fields_of_different_kinds(clashing: AlertReader) -> None:
    for way in (clashing.to_arrow, clashing.to_polars):
        with pytest.raises(ClashError, match=r"leave such fields out .* or use to_pandas") as error:
            way()
        assert error.value.columns == {"cut"}
        assert len(way(["n", "x"])) == 4


def test_dicts_are_fastavros(folder: Path, real: RealAlerts) -> None:
    reader = AlertReader(folder)
    assert same(reader.to_list(), real.alerts)
    assert same(reader.to_list(size=2), real.alerts[:2])
    assert same(next(reader.to_iterator()), real.alerts[0])
    assert same(list(reader), real.alerts)
    assert reader.filenames == [str(folder / f"{n:03d}.avro") for n in range(len(real.alerts))]
    assert reader.skipped == []


def test_pandas_has_the_same_values(folder: Path, real: RealAlerts) -> None:
    frame = AlertReader(folder).to_pandas()
    plain = AlertReader(folder).to_pandas(objects=True)
    assert list(frame.columns) == list(plain.columns) == list(real.alerts[0])
    for name in frame.columns:
        for sent, value, other in zip(real.alerts, frame[name], plain[name], strict=True):
            for got in (value, other):
                assert is_same(sent[name], got), (name, sent[name], got)


def is_same(sent: Any, got: Any) -> bool:
    if sent is None or (isinstance(sent, float) and math.isnan(sent)):
        return bool(got is None or pd.isna(got))
    return same(sent, got) or bool(sent == got)


def test_nested_columns_of_pandas_are_quick_and_usual(folder: Path, real: RealAlerts) -> None:
    frame = AlertReader(folder).to_pandas()
    record, field = ("candidate", "jd") if "candidate" in frame else ("diaSource", "midpointMjdTai")
    wanted = [alert[record][field] for alert in real.alerts]
    assert frame[record].struct.field(field).tolist() == wanted
    assert frame[record].apply(lambda r: r[field]).tolist() == wanted
    assert [row[record][field] for _, row in frame.iterrows()] == wanted


def test_polars_and_arrow_have_every_alert_in_order(folder: Path, real: RealAlerts) -> None:
    reader = AlertReader(folder)
    name = "candid" if "candid" in real.alerts[0] else "diaSourceId"
    wanted = [alert[name] for alert in real.alerts]
    assert reader.to_polars()[name].to_list() == wanted
    assert reader.to_arrow([name]).to_pydict() == {name: wanted}
    assert reader.to_pandas([name])[name].tolist() == wanted
    with pytest.raises(SchemaError, match="no alert has a field 'nope'"):
        reader.to_arrow([name, "nope"])


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_blocks_of_many_records(real: RealAlerts, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "spark.avro"
    with path.open("wb") as stream:
        fastavro.writer(stream, real.schema, real.alerts, codec=codec, sync_interval=200_000)
    assert same(AlertReader(path).to_list(), real.alerts)
    assert AlertReader(path).to_arrow().num_rows == len(real.alerts)


def test_every_kind_of_name(tmp_path: Path) -> None:
    (tmp_path / "night" / "deep").mkdir(parents=True)
    (tmp_path / "a.avro").write_bytes(numbers(1))
    (tmp_path / "b.avro.gz").write_bytes(gzip.compress(numbers(2)))
    (tmp_path / "night" / "c.avro").write_bytes(numbers(3, 4))
    (tmp_path / "night" / "deep" / "[d].avro").write_bytes(numbers(5))
    assert read(AlertReader(tmp_path)) == [1, 2, 3, 4, 5]
    assert read(AlertReader(str(tmp_path / "a.avro"))) == [1]
    assert read(AlertReader(tmp_path / "b.avro.gz")) == [2]
    assert read(AlertReader([tmp_path / "b.avro.gz", str(tmp_path / "a.avro")])) == [2, 1]
    assert read(AlertReader(f"{tmp_path}/*.avro")) == [1]
    assert read(AlertReader(f"{tmp_path}/**/*.avro")) == [1, 3, 4, 5]
    assert read(AlertReader(tmp_path / "night" / "deep" / "[d].avro")) == [5]
    assert read(AlertReader(tmp_path / "night")) == [3, 4, 5]


@pytest.mark.parametrize("name", ["absent.avro", "*.nothing", "", "a\0b"])
def test_what_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for source in (name, [name]):
        with pytest.raises(SettingsError):
            AlertReader(source)


def test_an_empty_folder_is_empty(tmp_path: Path) -> None:
    reader = AlertReader(tmp_path)
    assert reader.to_list() == []
    assert (reader.to_arrow().num_rows, reader.to_polars().height) == (0, 0)
    assert (len(reader.to_pandas()), len(reader.to_pandas(objects=True))) == (0, 0)


def test_wrong_files_are_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, cut = numbers(1, 2), numbers(3, 4, 5)
    wrong = {
        "b_empty.avro": (b"", "it is empty", 0),
        "c_notes.txt": (b"my notes", "it is no Avro container file", 0),
        "d_picture.avro": (b"\x89PNG\r\n\x1a\n" + bytes(90), "it is no Avro container file", 0),
        "e_cut.avro": (cut[:-20], "cut off", 2),
        "f_sync.avro": (cut[:-1] + b"?", "wrong sync marker", 2),
        "g_schema.avro": (good.replace(b'"double"', b'"dubble"'), "its schema is none", 0),
        "h_head.avro": (good[:30], "its header is damaged", 0),
        "i_left.avro": (container(KEY, [encode(POINT, {"x": 8.0}), bytes(9)]), "", 1),
        "j_cut.avro.gz": (gzip.compress(numbers(6) + numbers(7)[-26:])[:-9], "its gzip is damaged", 0),
        "l_framing.avro": (LATER + good.partition(KEY)[2][17:], "does not know", 0),
        "k_count.avro": (good[:-26] + encode_long(2**40) + encode_long(8) + bytes(8) + SYNC, "a block of", 1),
    }
    (tmp_path / "a.avro").write_bytes(good)
    (tmp_path / "z.avro").write_bytes(numbers(9))
    for name, (data, _, _) in wrong.items():
        (tmp_path / name).write_bytes(data)
    for name in ("schema.json", ".hidden", "_SUCCESS"):
        (tmp_path / name).write_text("no alert, and none is expected")
    reader = AlertReader(tmp_path)
    with caplog.at_level(logging.WARNING, "finkbridge"):
        listed = read(reader)
    assert listed[:2] == [1, 2]
    assert listed[-1] == 9
    told = {s.path.name: s for s in reader.skipped}
    assert set(told) == set(wrong)
    for name, (_, reason, alerts) in wrong.items():
        assert reason in told[name].reason, told[name]
        if not name.endswith(".gz"):
            assert told[name].alerts == alerts, told[name]
    assert f"{tmp_path}/b_empty.avro is not read: it is empty" in caplog.text
    for name in wrong:
        with pytest.raises(DecodeError, match=name):
            AlertReader([tmp_path / "a.avro", tmp_path / name], strict=True).to_list()
        with pytest.raises(DecodeError, match=name):
            AlertReader(tmp_path / name).to_list()
        with pytest.raises(DecodeError, match=name):
            AlertReader(tmp_path / name).to_arrow()


def test_many_wrong_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(25):
        (tmp_path / f"{number}.avro").write_bytes(b"no")
    reader = AlertReader(tmp_path)
    assert reader.to_list() == []
    assert len(reader.skipped) == 25
    assert len(caplog.records) == 11
    assert "and 15 more files" in caplog.text


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avro")
    (tmp_path / "lost.avro").symlink_to(tmp_path / "absent")
    (tmp_path / "a.avro").write_bytes(numbers(1))
    reader = AlertReader(tmp_path)
    assert read(reader) == [1]
    assert {s.path.name for s in reader.skipped} == {"pipe.avro", "lost.avro"}
    with pytest.raises(DecodeError, match=r"pipe\.avro.*no file with content"):
        AlertReader(tmp_path / "pipe.avro").to_list()


def test_a_gzip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_UNZIPPED_BYTES", 3 << 20)
    (tmp_path / "bomb.avro.gz").write_bytes(gzip.compress(numbers(1) + bytes(50 << 20)))
    reader = AlertReader([tmp_path / "bomb.avro.gz"])
    assert read(reader) == [1]
    assert "more than 3 MB" in reader.skipped[0].reason


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "record",
            "name": "r",
            "fields": [{"name": "x", "type": {"type": "array", "items": "null"}}],
        },
        {
            "type": "record",
            "name": "r",
            "fields": [{"name": "x", "type": ["null", "r"]}],
        },
    ],
)
def test_bytes_that_never_end_for_fastavro(tmp_path: Path, schema: dict[str, Any]) -> None:
    endless = encode_long(2**60) if "array" in json.dumps(schema) else b"\x02" * 1_000_000
    (tmp_path / "endless.avro").write_bytes(container(json.dumps(schema).encode(), [endless]))
    reader = AlertReader([tmp_path / "endless.avro"])
    assert reader.to_list() == []
    assert len(reader.skipped) == 1


def test_schemas_that_alternate_keep_their_order(tmp_path: Path) -> None:
    other = {**POINT, "fields": [*POINT["fields"], {"name": "y", "type": ["null", "string"]}]}
    for number in range(6):
        schema = other if number % 2 else POINT
        record = {"x": float(number)} | ({"y": f"y{number}"} if number % 2 else {})
        data = container(json.dumps(schema).encode(), [encode(schema, record)])
        (tmp_path / f"{number}.avro").write_bytes(data)
    reader = AlertReader(tmp_path)
    assert reader.to_arrow().to_pydict() == {
        "x": [0, 1, 2, 3, 4, 5],
        "y": [None, "y1", None, "y3", None, "y5"],
    }
    assert reader.to_arrow(["y"]).to_pydict() == {"y": [None, "y1", None, "y3", None, "y5"]}
    frame = reader.to_pandas()
    assert frame["x"].tolist() == [0, 1, 2, 3, 4, 5]


def test_schemas_that_do_not_go_together_are_an_error(tmp_path: Path) -> None:
    other = {**POINT, "fields": [{"name": "x", "type": "string"}]}
    (tmp_path / "a.avro").write_bytes(numbers(1))
    (tmp_path / "b.avro").write_bytes(container(json.dumps(other).encode(), [encode(other, {"x": "1"})]))
    with pytest.raises(DecodeError, match="do not go together"):
        AlertReader(tmp_path).to_arrow()
    assert [a["x"] for a in AlertReader(tmp_path)] == [1, "1"]


def test_identifiers_with_nulls_keep_their_digits(tmp_path: Path) -> None:
    schema = {**POINT, "fields": [{"name": "x", "type": ["null", "long"]}]}
    digits = [2**62 + 1, None, 2**62 + 3]
    data = container(json.dumps(schema).encode(), [encode(schema, {"x": d}) for d in digits])
    (tmp_path / "a.avro").write_bytes(data)
    got = AlertReader(tmp_path).to_pandas()["x"]
    assert [None if pd.isna(v) else int(v) for v in got] == digits


WHOLE = numbers(1.0, 2.0, 3.0)


@pytest.mark.parametrize("source", [None, 5, b"a.avro", [5], [None], [b"a.avro"]])
def test_what_is_no_name_of_a_file(source: Any) -> None:
    with pytest.raises(SettingsError, match="is no name of a file"):
        AlertReader(source)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_is_named_and_nothing_else(at: int, junk: bytes, cut: bool) -> None:
    folder = Path(os.environ.get("PYTEST_TMP", "/tmp")) / f"finkbridge-reader-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    path = folder / "one.avro"
    path.write_bytes(WHOLE[:at] if cut else WHOLE[:at] + junk + WHOLE[at + len(junk) :])
    try:
        reader = AlertReader([path])
        listed = reader.to_list()
        was_skipped = bool(reader.skipped)
        assert len(listed) == 3 or was_skipped or cut
        reader.to_arrow()
        assert bool(reader.skipped) == was_skipped
    finally:
        path.unlink()
        folder.rmdir()


def test_the_package_has_it() -> None:
    assert finkbridge.AlertReader is AlertReader
