"""Verification of lakes with odd files beside, and of scopes that have nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finkbridge.cli.verify import lines
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
