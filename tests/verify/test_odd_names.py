"""Verification of lakes with odd files beside, and of scopes that have nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finkbridge.cli.verifying import lines
from finkbridge.errors import SettingsError
from finkbridge.verify import Options, Scope, verify
from finkbridge.verify.contents import check_file
from tests.support.offline import fill, messages_of, point
from tests.verify.lakes import files


@pytest.fixture
def small(tmp_path: Path) -> Path:
    fill(tmp_path / "lake", {"t": messages_of([point(float(n)) for n in range(3)])})
    return tmp_path / "lake"


def test_names_that_are_no_text_are_foreign_and_shown_escaped(small: Path) -> None:
    for name in (b"a\xff.avro", b"b\x1b]0;owned\x07\nall holds"):
        Path(os.fsdecode(os.fsencode(small / "archive") + b"/" + name)).write_text("x")
    report = verify(small, None)
    assert [found.problem for found in report.findings] == ["is not finkbridge's"] * 2
    shown = list(lines(report, small))
    assert all(line.isprintable() for line in shown)
    assert any("\\udcff" in line for line in shown)


def test_scope_that_has_nothing_is_an_error(small: Path) -> None:
    for nights, topics in (([], ["typo"]), (["20250101"], []), (["20260320"], ["typo"])):
        with pytest.raises(SettingsError, match="the lake has nothing of"):
            verify(small, None, Options(Scope.parse(nights, topics)))
    for word in ("20269999", "yesterday", "2026-0322-"):
        with pytest.raises(SettingsError, match="is not a night"):
            Scope.parse([word], [])
    assert verify(small, None, Options(Scope.parse(["2026-03-20"], ["t"]))).files > 0


def test_file_that_goes_while_its_rows_are_counted_is_missing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files(small, "deliveries")[0]

    def checksum(path: Path) -> str:
        path.unlink()
        return str(file.checksum)

    monkeypatch.setattr("finkbridge.disk.checksum", checksum)
    assert check_file(small, file).is_missing


def test_names_in_the_root_and_empty_folders_are_named_and_left(small: Path) -> None:
    """A folder in the root once, whatever it has; below the data folders what no data file can be in."""
    odd = ["archive/t/yesterday", "notes.txt", "old", "packets/other/t/night=soon", ".scratch/mine"]
    for folder in (*odd, "deliveries/other/night=20260101"):
        (small / folder).mkdir() if folder != "notes.txt" else (small / folder).write_text("x")
    for number in range(3):
        (small / "old" / f"{number}.parquet").write_text("x")
    (small / "ledger.db.20261127T120000Z").write_text("an old ledger, set aside")
    report = verify(small, None, Options(prune=True))
    assert sorted(found.where for found in report.findings) == sorted(odd)
    assert {found.problem for found in report.findings} == {"is not finkbridge's"}
    assert report.pruned == []
    assert all((small / path).exists() for path in odd)
    assert verify(small, None, Options(Scope.parse([], ["t"]))).holds


@pytest.mark.timeout(60)
@pytest.mark.parametrize("table", ["archive", "deliveries", "packets"])
def test_pipe_in_place_of_a_file_is_found_at_once(small: Path, table: str) -> None:
    """To open one waits for a writer, for ever."""
    path = small / files(small, table)[0].path
    path.unlink()
    os.mkfifo(path)
    stray = path.with_name(path.name.replace("-n00000001-", "-n00000009-"))
    os.mkfifo(stray)
    report = verify(small, None, Options(deep=True))
    assert {(found.kind, found.where) for found in report.findings} == {
        ("file", path.relative_to(small).as_posix()),
        ("stray", stray.relative_to(small).as_posix()),
    }
    assert "no file but a folder, pipe, socket or device" in str(report.findings[0])


@pytest.mark.timeout(60)
def test_pipe_named_as_a_file_that_no_plan_has_is_not_opened(small: Path) -> None:
    """Whether all that it holds is committed cannot be told, so it is left."""
    strays = []
    for table in ("archive", "deliveries"):
        path = small / files(small, table)[0].path
        strays.append(path.with_name(path.name.replace("-o0000000000000000000-", "-o0000000000000000007-")))
        os.mkfifo(strays[-1])
    report = verify(small, None, Options(prune=True))
    assert report.pruned == []
    assert {found.where for found in report.findings} == {p.relative_to(small).as_posix() for p in strays}
