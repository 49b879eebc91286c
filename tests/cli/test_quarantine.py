"""``finkbridge quarantine`` and ``rebuild``: what they print, and their exit codes."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from finkbridge.cli.main import main
from finkbridge.quarantine.show import hex_rows
from finkbridge.text import printable
from tests.support.lake import POINT, encode
from tests.support.offline import POINT_KEY, assert_verified, fill, messages_of, point

HOSTILE = b"\x1b[2J\x1b]0;owned\x07\xe2\x80\xae" + b"A" * 5000
RECORDS = [
    point(0),
    (None, encode(POINT, {"x": 1.0})),
    (POINT_KEY, b"\x1b[31mno"),
    (POINT_KEY, None),
    (HOSTILE, b"\x1b[31m" + b"x" * 300),
]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "lake", {"t": messages_of(RECORDS)})
    (tmp_path / "point.avsc").write_bytes(POINT_KEY)
    return tmp_path / "lake"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main([*arguments]) == code, capsys.readouterr()
    said = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in said), "a terminal would obey this"
    return said


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    return json.loads(run(capsys, *arguments, "--json", code=code))


def test_list(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "quarantine", "list").splitlines()
    assert lines[0].split() == ["id", "cluster", "message", "received", "bytes", "state", "reason"]
    assert [line.split()[1:3] for line in lines[1:]] == [["ztf", f"t:0:{o}"] for o in (1, 2, 3, 4)]
    assert "2026-03-20T23:40:00Z" in lines[1]
    short = run(capsys, "quarantine", "list", "--limit", "2").splitlines()
    assert len(short) == 4
    assert "--limit 20" in short[-1]
    found = run_json(capsys, "quarantine", "list", "--topic", "t*")
    assert [m["bytes"] for m in found["messages"]] == [8, 7, None, 305]
    assert (found["messages"][0]["topic"], found["more"]) == ("t", False)
    assert run(capsys, "quarantine", "list", "--state", "landed") == "no message is landed\n"


def test_show(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "quarantine", "show", "t:0:2")
    assert "reason     end of data at byte 0" in said
    assert "expected   double at byte 0 x" in said
    assert "fastavro   " in said
    assert ">          0  1b 5b 33 31 6d 6e 6f" in said
    assert said.rstrip().endswith(".[31mno")
    assert "header     h = 1 bytes: \\xff" in said
    whole = run(capsys, "quarantine", "show", "t:0:1", "--schema", "point.avsc")
    assert "today      decodes" in whole
    assert "fastavro   accepted" in whole
    hostile = run(capsys, "quarantine", "show", "t:0:4")
    assert "key        5,017 bytes: \\x1b[2J" in hostile
    assert "no writer schema" in hostile
    assert len(hostile) < 3000
    assert "value      null" in run(capsys, "quarantine", "show", "t:0:3")
    shown = run_json(capsys, "quarantine", "show", "t:0:2")
    assert (shown["path"], shown["expected"], shown["position"]) == ("x", "double", 0)
    run(capsys, "quarantine", "show", "t:0:0", code=2)
    run(capsys, "quarantine", "show", "nonsense", code=2)


def test_export(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "quarantine", "export", "t:0:4", "t:0:3", "--to", "out")
    stem = str(tmp_path / "out" / "ztf.t-g1-p00000-o0000000000000000004")
    assert Path(stem + ".value").read_bytes() == RECORDS[4][1]
    assert Path(stem + ".key").read_bytes() == HOSTILE
    rest = json.loads(Path(stem + ".json").read_bytes())
    assert rest["headers"] == [{"name": "h", "base64": "/w=="}]
    assert (rest["offset"], rest["topic"], rest["timestamp_type"]) == (4, "t", 1)
    assert sorted(p.name.rpartition("o000000000000000000")[2] for p in (tmp_path / "out").iterdir()) == [
        "3.json", "3.key", "4.json", "4.key", "4.value"
    ]  # fmt: skip
    assert len(said.splitlines()) == 5
    Path(stem + ".key").unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    run(capsys, "quarantine", "export", "t:0:4", "--to", "out", code=2)
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    run(capsys, "quarantine", "export", code=2)
    for name in ("list", "export", "requeue", "accept"):
        run(capsys, "quarantine", name, "--topic", "t", "--topic", "fink_*", code=2)


def test_a_full_disk_leaves_no_part_of_a_message(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(lake, {"u": messages_of([(POINT_KEY, b"\xff" * 200_000)])})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # SQLite needs a third of that
    try:
        assert main(["quarantine", "export", "u:0:0", "--to", "out"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").touch()
    assert main(["quarantine", "export", "t:0:4", "--to", "file/below"]) == 1
    assert "a part of the path is a file: name another place" in capsys.readouterr().err


def test_export_of_two_clusters(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both have a topic of the name, and a bad message at the same place."""
    fill(lake, {"t": messages_of(RECORDS)}, cluster="lsst")
    run(capsys, "quarantine", "export", "--topic", "t", "--to", "out")
    names = sorted(p.name for p in (tmp_path / "out").glob("*o0000000000000000004.value"))
    assert [name.partition(".")[0] for name in names] == ["lsst", "ztf"]


def test_a_place_in_two_clusters_is_accepted_by_number_alone(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To accept one that nobody meant would make a night complete that is not."""
    fill(lake, {"t": messages_of(RECORDS)}, cluster="lsst")
    main_code = run(capsys, "quarantine", "accept", "t:0:4", code=2)
    assert main_code == ""
    listed = run_json(capsys, "quarantine", "list")["messages"]
    (number,) = [str(m["id"]) for m in listed if (m["cluster"], m["offset"]) == ("lsst", 4)]
    assert run(capsys, "quarantine", "accept", number) == "accepted: 1 message\n"
    (left,) = [m for m in run_json(capsys, "quarantine", "list")["messages"] if m["offset"] == 4]
    assert left["cluster"] == "ztf"


def test_requeue_and_accept(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "quarantine", "requeue", "--schema", "point.avsc", code=1)
    assert said.startswith("1 of 4 messages landed, 3 wait on\n")
    assert "t:0:3  null value (it can never land: finkbridge quarantine accept)" in said
    assert_verified(lake)
    run(capsys, "quarantine", "requeue", "t:0:1", code=2)
    assert run(capsys, "quarantine", "accept", "--topic", "*") == "accepted: 3 messages\n"
    report = run_json(capsys, "quarantine", "requeue")
    assert (report["selected"], report["landed"]) == (0, 0)
    assert "null value (it stays accepted as lost)" in run(capsys, "quarantine", "requeue", "t:0:3", code=1)
    assert run(capsys, "quarantine", "list") == "no message is waiting\n"
    run(capsys, "quarantine", "requeue", "--schema", "gone.avsc", code=2)


def test_rebuild(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in lake.rglob("*.parquet"):
        path.unlink()
    assert run(capsys, "rebuild").startswith("1 row made again from 1 archive file")
    run(capsys, "rebuild", "--ledger", code=2)
    run(capsys, "rebuild", "--replace", code=2)
    said = run(capsys, "rebuild", "--ledger", "--replace")
    assert "the old ledger is ledger.db.2" in said
    assert "the ledger is new: 1 plan, 5 messages, 4 of them went to quarantine" in said
    assert "only the old ledger knew: reasons of gaps" in said
    next(lake.rglob("archive/**/*.avro")).write_bytes(b"gone bad")
    report = run_json(capsys, "rebuild", code=1)
    assert report["commit"] == 0
    assert len(report["problems"]) == 1
    assert "nothing was made" in run(capsys, "rebuild", "--ledger", "--replace", code=1)


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    assert printable("a\x1b[0m\u202eb\x00\n\ud800") == "a\\x1b[0m\\u202eb\\x00\\n\\ud800"
    assert printable("x" * 300) == "x" * 200 + " ... (300 characters)"


def test_hex() -> None:
    rows = hex_rows(bytes(range(256)) * 4, 500)
    assert rows[0].position == 432
    assert rows[-1].position + len(rows[-1].bytes.split()) == 596
    assert rows[0].bytes.startswith("b0 b1")
    assert hex_rows(b"", 0) == ()
