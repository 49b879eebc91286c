"""The examples where there is nothing to show: one clear line. What they show else is in `test_demo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finkbridge import catalog
from finkbridge.ledger import Ledger, coordinate

EXAMPLES = Path(__file__).parents[1] / "examples"


def refused(folder: Path, name: str) -> str:
    """Run an example in a folder where it must fail; return what it says."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_no_lake_is_one_line(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, name).startswith(f"{name}: there is no lake at lake: ")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_lake_has_no_light_curve(tmp_path: Path) -> None:
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
    assert refused(tmp_path, "lightcurve.py") == "lightcurve.py: lake has no alert of any ZTF object"
