"""All attacks on broker, disk and machine, as a table: ``python -m tests.attacks [--json] [-k WHICH]``.

A row a fault: how often it was tried, what was lost, doubled or wrong, what the user sees, and whether the
next plain run carried on. The exit code is 0 if every attack was withstood.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.attacks.rows import Row, merged, table


class Table:
    """Collects the rows that attacks leave."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a phase of an attack."""
        if report.failed:
            self.failed.append(report.nodeid)
        if report.skipped:
            self.skipped.append(report.nodeid)
        if report.when == "teardown":
            self.rows += [Row(**value) for name, value in report.user_properties if name == "attack"]


def main(arguments: list[str] | None = None) -> int:
    """Run the attacks and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")
    parser.add_argument("-k", default="", metavar="WHICH", help="as pytest's: only attacks whose name has it")
    asked = parser.parse_args(arguments)
    found, here = Table(), str(Path(__file__).parent)
    with contextlib.redirect_stdout(sys.stderr):
        code = int(pytest.main([here, "-q", "-p", "no:cacheprovider", "-k", asked.k], plugins=[found]))
    rows = merged(found.rows)
    if asked.json:
        values = {"rows": [asdict(row) for row in rows], "failed": found.failed, "skipped": found.skipped}
        print(json.dumps(values, indent=1))
    else:
        print(table(rows))
    return code


if __name__ == "__main__":
    sys.exit(main())
