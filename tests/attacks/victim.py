"""The real command line, in a process of its own that halts where an attack wants it to.

Production code knows nothing of it: methods are wrapped from outside. Most processes are forked from one that
has all modules loaded, which takes a tenth of the time of starting Python anew.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finkbridge import later
from finkbridge.cli.main import main

FORK = multiprocessing.get_context("forkserver")
"""Starts victims from a process that never spoke to Kafka."""
FORK.set_forkserver_preload(
    [f"finkbridge.{name}" for name in ("task", "catalog", "merge", "drain", "verify.deep", "rebuild")]
    + [f"finkbridge.cli.{name}" for name in ("drain", "verify", "outcome", "rebuild")]
    + ["tests.attacks.victim"]
)
LONGEST_S = 120
REACHED, GO = "reached", "go"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen to a command."""

    step: str = ""
    """``module:function`` or ``module:Class.method`` at which it halts, until the file `GO` is there."""
    nth: int = 1
    """The call at which it halts."""
    when: str = "before"
    """``before`` or ``after`` that call."""
    folder: str = ""
    """Where the file `REACHED` appears when it halts."""
    constants: dict[str, float] = field(default_factory=dict)
    """``module:NAME`` with another value."""
    clock_s: float = 0.0
    """By how much its clock is wrong."""
    no_topic_ids: bool = False
    """Whether the broker seems to give no topic ids, as old ones."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def carry_out(plan: Plan) -> None:
    """Arrange all that a plan says."""
    for name, value in plan.constants.items():
        module, _, constant = name.partition(":")
        setattr(later.importlib.import_module(module), constant, value)
    if plan.clock_s:
        right = time.time
        time.time = lambda: right() + plan.clock_s
    if plan.no_topic_ids:
        broker = later.get("finkbridge.broker:Broker")
        broker.topic_ids = lambda self, topics: dict.fromkeys(topics)
    if plan.step:
        _halt_at(plan)


def _halt_at(plan: Plan) -> None:
    module, _, path = plan.step.partition(":")
    *owners, name = path.split(".")
    owner: Any = later.importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), iter(range(1, 10_000_000))

    def halting(*args: Any, **kwargs: Any) -> Any:
        is_due = next(calls) == plan.nth
        if is_due and plan.when == "before":
            _halt(Path(plan.folder))
        result = original(*args, **kwargs)
        if is_due and plan.when == "after":
            _halt(Path(plan.folder))
        return result

    setattr(owner, name, halting)


def _halt(folder: Path) -> None:
    (folder / REACHED).touch()
    until = time.monotonic() + LONGEST_S
    while not (folder / GO).exists() and time.monotonic() < until:
        time.sleep(0.01)


def be(
    plan: Plan, arguments: Sequence[str], environ: Mapping[str, str], folder: Path, said: tuple[Path, Path]
) -> None:
    """Be a command in this process, which ends with it; what it says goes to two files."""
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    warnings.simplefilter("error")
    carry_out(plan)
    sys.exit(main(list(arguments)))


if __name__ == "__main__":
    carry_out(Plan(**json.loads(sys.argv[1])))
    sys.exit(main(sys.argv[2:]))
