"""All the attacks at full size, one after the other: ``python -m tests.torture``, or ``make torture``.

Each is a process of its own, so that one which dies takes no other with it. What each prints goes through;
its figures are in benchmarks/results.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.torture import results
from tests.torture.world import ROOT

DURABLE_STEPS = (
    "tests/test_drain_crash.py",
    "tests/test_salvage.py",
    "tests/test_cuts.py",
    "tests/quarantine",
    "tests/rebuild",
    "tests/republish",
    "tests/transfer/test_crash.py",
)
"""Where processes are killed between two of them."""


class Step(NamedTuple):
    """One attack: a module, and what it is told."""

    name: str
    module: str
    words: tuple[str, ...]


def steps(given: argparse.Namespace) -> list[Step]:
    """Return what is to be done."""
    seed = ("--seed", str(given.seed))
    return [
        Step("kills", "tests.torture.kills", ("--kills", str(given.kills), *seed)),
        Step("dagster", "tests.torture.dagster_kills", ("--kills", str(given.dagster_kills), *seed)),
        Step("mutants", "tests.hostile.mutants", ("--n", str(given.mutants), *seed)),
        Step("schemas", "tests.torture.schemas", ("--n", str(given.schemas))),
        Step("soak", "tests.torture.soak", ("--minutes", str(given.minutes), *seed)),
        Step("attacks", "tests.attacks", ()),
        Step("hostile", "pytest", ("-q", "tests/hostile", "tests/viewer/test_fits.py", "tests/reader")),
        Step("steps", "pytest", ("-q", *DURABLE_STEPS)),
        Step("secrets", "pytest", ("-q", "tests/test_secrets.py")),
    ]


def run(step: Step) -> str:
    """Run a step; return what came of it in a few words."""
    try:
        found = importlib.util.find_spec(step.module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return f"SKIPPED: there is no {step.module} here"
    began = time.monotonic()
    print(f"== {step.name}: python -m {step.module} {' '.join(step.words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", step.module, *step.words], cwd=ROOT, check=False).returncode
    said = "all holds" if code == 0 else f"FAILED, exit code {code}"
    return f"{said} ({(time.monotonic() - began) / 60:.1f} min)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all of it, and print a summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--dagster-kills", type=int, default=20)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--schemas", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=30, help="of the soak")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="names of steps")
    given = parser.parse_args(arguments)
    chosen = [step for step in steps(given) if not given.only or step.name in given.only]
    came = {step.name: run(step) for step in chosen}
    print("== summary")
    for name, what in came.items():
        print(f"  {name:<10} {what}")
    print(f"  figures: {results.save('summary', {'steps': came, 'seed': given.seed})}")
    return int(any("FAILED" in what for what in came.values()))


if __name__ == "__main__":
    sys.exit(main())
