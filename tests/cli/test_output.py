"""What people and programs read: tables, JSON, sizes and durations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from finkbridge.cli.output import emit_json, human_bytes, human_duration, table

ROWS = [("fink_[red]sn_ztf", 1234567, None), ("b", 5, 0.25)]


def test_plain_table(capsys):
    table(ROWS, ("topic", "rows", "score"))
    assert capsys.readouterr().out.splitlines() == [
        "topic                  rows  score",
        "fink_[red]sn_ztf  1,234,567      -",
        "b                         5   0.25",
    ]


def test_empty_table(capsys):
    table([], ("topic", "rows"))
    assert capsys.readouterr().out == "topic  rows\n"


def test_terminal_table_keeps_brackets(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    table(ROWS, ("topic", "rows", "score"))
    out = capsys.readouterr().out
    assert "fink_[red]sn_ztf" in out
    assert "1,234,567" in out


@pytest.mark.parametrize(("width", "is_drawn"), [(40, True), (39, False), (34, False), (33, True)])
def test_a_narrow_terminal_has_the_text_where_that_fits(capsys, monkeypatch, width, is_drawn):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    table(ROWS, ("topic", "rows", "score"))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("┏") for line in lines) == is_drawn
    assert is_drawn or max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [33, 20, 5])
def test_what_must_stay_whole_is_a_block_a_row(capsys, monkeypatch, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    table(ROWS, ("topic", "rows", "score"), whole=True)
    lines = capsys.readouterr().out.splitlines()
    numbers = ["  rows: 5   score: 0.25"] if width == 33 else ["  rows: 5", "  score: 0.25"]
    assert lines == ["fink_[red]sn_ztf", "  rows: 1,234,567", "b", *numbers]


def test_what_must_stay_whole_is_a_table_where_it_fits_and_for_programs(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    table(ROWS, ("topic", "rows", "score"), whole=True)
    assert capsys.readouterr().out.startswith("topic   ")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for width, begin in ((34, "topic "), (40, "┏")):
        monkeypatch.setenv("COLUMNS", str(width))
        table(ROWS, ("topic", "rows", "score"), whole=True)
        assert capsys.readouterr().out.startswith(begin)


@dataclass
class Thing:
    path: Path
    time: datetime
    span: timedelta


def test_json(capsys):
    emit_json(
        {"thing": Thing(Path("a/b"), datetime(2026, 1, 31, tzinfo=UTC), timedelta(seconds=2)), "set": {2, 1}}
    )
    assert json.loads(capsys.readouterr().out) == {
        "thing": {"path": "a/b", "time": "2026-01-31T00:00:00+00:00", "span": 2.0},
        "set": [1, 2],
    }
    with pytest.raises(TypeError, match="object has no JSON form"):
        emit_json(object())
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit_json(float("nan"))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (53_400, "53.4 kB"),
        (99_960, "100 kB"),
        (999_600, "1 MB"),
        (1_073_741_824, "1.07 GB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_bytes(count, text):
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.97, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (7200, "2 h"),
        (273_600, "3 d 4 h"),
        (86_460, "1 d"),
        (-125, "-2 min 5 s"),
    ],
)
def test_durations(seconds, text):
    assert human_duration(seconds) == text
