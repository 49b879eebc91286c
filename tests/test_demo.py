"""The demo, the examples and the README's commands run, and say what is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pytest

from finkbridge.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FINKBRIDGE = Path(sys.executable).with_name("finkbridge")

pytestmark = pytest.mark.slow


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder with an empty HOME; return what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={"HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the demo ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, FINKBRIDGE, "demo")


def test_the_demo_shows_two_micro_batches_and_no_lag(world):
    _, printed = world
    rows = re.findall(r"^(ztf|lsst) +(fink_\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", printed, re.MULTILINE)
    assert len(rows) == 6
    assert all(messages == landed and bad == lag == "0" for _, _, messages, landed, bad, lag in rows)
    assert len(re.findall(r"planned (\d+) offsets = \1 rows \+ 0 quarantined \+ 0 holes", printed)) == 2


def test_the_demo_answers_in_sql_and_says_what_next(world):
    folder, printed = world
    assert "The light curve of ZTF" in printed
    assert "make ui-demo" in printed
    with duckdb.connect(str(folder / "demo/lake/catalog.duckdb"), read_only=True) as catalog:
        ((alerts, deliveries),) = catalog.execute("SELECT count(*), sum(deliveries) FROM alerts").fetchall()
        ((messages,),) = catalog.execute("SELECT sum(messages) FROM topics").fetchall()
    assert deliveries == messages > alerts == 440


def test_the_readmes_queries_find_what_the_demo_has(world):
    folder, _ = world
    queries = re.findall(r"^    ((?:SELECT|FROM) .*);$", README.read_text(), re.MULTILINE)
    with duckdb.connect(str(folder / "demo/lake/catalog.duckdb"), read_only=True) as catalog:
        assert [bool(catalog.execute(query).fetchall()) for query in queries] == [True, True]


def test_the_demo_works_again(world):
    folder, printed = world
    assert run(folder, FINKBRIDGE, "demo", "--folder", "demo").count("planned") == printed.count("planned")


def test_the_demo_leaves_a_folder_that_is_not_its_own_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    done = subprocess.run(
        [FINKBRIDGE, "demo", "--folder", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is not the demo's" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_counts(world):
    folder, _ = world
    printed = run(folder, sys.executable, ROOT / "examples/counts.py", "demo/lake")
    ((n,),) = duckdb.sql(f"SELECT count(*) FROM '{folder}/demo/lake/deliveries/lsst/*/*.parquet'").fetchall()
    rows = re.findall(r"lsst +┆ fink_all_lsst +┆ \d+ +┆ (\d+) ", printed)
    assert sum(map(int, rows)) == n > 0


def test_candidates(world):
    folder, _ = world
    assert run(folder, sys.executable, ROOT / "examples/candidates.py", "demo/lake").count("ZTF") >= 5


def test_lightcurve(world):
    folder, _ = world
    script = ROOT / "examples/lightcurve.py"
    printed = run(folder, sys.executable, script, "demo/lake", "", "curve.png")
    assert int(re.search(r": (\d+) points of ZTF", printed)[1]) > 3
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["nights.sql", "rising.sql"])
def test_sql_files(world, name):
    folder, _ = world
    printed = run(folder, FINKBRIDGE, "--lake", "demo/lake", "sql", "--json", "-f", ROOT / "examples" / name)
    rows = json.loads(printed)
    assert rows
    assert all(row["alerts"] > 0 for row in rows)


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"(?:`|\.venv/bin/)finkbridge (?:--lake \S+ )?([a-z]+)", readme()))
    assert named == set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", readme())) <= targets


def test_the_readmes_examples_run(world):
    folder, _ = world
    (folder / "examples").exists() or (folder / "examples").symlink_to(ROOT / "examples")
    lines = re.findall(r"^    \.venv/bin/(python|finkbridge) (.*demo/lake.*)$", readme(), re.MULTILINE)
    assert len(lines) >= 4
    for program, words in lines:
        assert run(folder, Path(sys.executable).with_name(program), *words.split())


def test_the_readmes_settings_are_settings(tmp_path):
    text = "\n".join(re.findall(r"^       (.*)$", readme().partition("2. See what counts")[0], re.MULTILINE))
    assert tomllib.loads(text)["clusters"]["ztf"]["topics"] == ["fink_*_ztf"]
    (tmp_path / "finkbridge.toml").write_text(text.replace("HOST:PORT", "127.0.0.1:9"))
    assert "fink_*_ztf" in run(tmp_path, FINKBRIDGE, "config")


def test_the_readmes_polars_snippet_runs(world):
    folder, _ = world
    snippet = re.search(
        r"^    import finkbridge, polars.*?collect\(\)\)$", readme(), re.MULTILINE | re.DOTALL
    )[0]
    code = "\n".join(line[4:] for line in snippet.splitlines()).replace('"lake"', '"demo/lake"')
    assert "object_id" in run(folder, sys.executable, "-c", code)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
