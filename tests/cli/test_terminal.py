"""Nothing that data say makes a terminal obey."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from finkbridge.cli.main import main
from finkbridge.cli.options import App
from finkbridge.cli.outcome import complaints
from finkbridge.report import DrainReport
from finkbridge.text import escaped, printable
from tests.hostile.test_names import ztf_like
from tests.support.offline import fill, messages_of

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\x9bZTF\n1"
SAFE = "\\x1b]0;owned\\x07\\x1b[2J\\u202e\\x9bZTF\\n1"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("terminal") / "lake"
    fill(lake, {"t": messages_of([ztf_like(EVIL, 1)])})
    return lake


@pytest.mark.parametrize("more", [[], ["--csv"]])
def test_sql_shows_values_and_names_escaped_on_a_terminal(
    lake: Path, more: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    query = 'SELECT object_id AS "o\x1b[2J" FROM deliveries'
    assert main(["sql", query, "--lake", str(lake), *more]) == 0
    said = capsys.readouterr().out
    assert SAFE in said
    assert "\\x1b[2J" in said.splitlines()[1 - bool(more)]
    assert not any(c in said for c in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"))


def test_sql_gives_a_program_the_values_as_they_are(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "SELECT object_id FROM deliveries", "--csv", "--lake", str(lake)]) == 0
    assert f'"{EVIL}"' in capsys.readouterr().out


def test_failed_query_quotes_what_it_says_escaped(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT CAST(object_id AS INTEGER) FROM deliveries"
    assert main(["sql", query, "--lake", str(lake)]) == 2
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert said.rstrip("\n").isprintable()


def test_problems_of_a_run_are_one_line_without_controls_or_secrets() -> None:
    report = DrainReport(problems=[f"{EVIL} hunter2"])
    (line,) = map(App(secrets=("hunter2",)).line, complaints(report))
    assert line == f"problem: {SAFE.replace(chr(92) + 'n', ' ')} ********"


def test_what_can_be_printed_stays() -> None:
    assert escaped("é 漢 😀") == "é 漢 😀"
    assert printable("x" * 300, 10) == f"{'x' * 10} ... (300 characters)"
