"""Real processes that are killed right before or after a step; the code they run has no branch for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from finkbridge import later

FORK = multiprocessing.get_context("forkserver")
"""Children start from a process that has the modules and never spoke to Kafka."""
FORK.set_forkserver_preload(
    [
        "finkbridge.task",
        "finkbridge.catalog",
        "finkbridge.merge",
        "finkbridge.drain",
        "finkbridge.transfer.run",
    ]
)

COORDINATOR = "finkbridge.ledger.coordinator:Coordinator"

Step = tuple[str, int, str]
"""A function, which of its calls, and whether death comes ``before`` or ``after`` it."""


def killed_at(step: Step, target: Callable[..., object], *args: Any) -> None:
    """Call a function in a process of its own, which is killed at a step, and expect just that."""
    process = FORK.Process(target=_die_at, args=(step, target, args))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, process.exitcode


def _die_at(step: Step, target: Callable[..., object], args: tuple[Any, ...]) -> None:
    function, nth, when = step
    module, _, path = function.partition(":")
    *owners, name = path.split(".")
    owner = later.get(f"{module}:{owners[0]}") if owners else __import__(module, fromlist=[name])
    original, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def dying(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        if when == "before" and number == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and number == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)
    target(*args)
