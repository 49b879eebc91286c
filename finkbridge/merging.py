"""When small files are merged: after a run, or aside of many runs, by a process that holds none of them up.

A merge takes seconds, in which nothing that comes would be drained. So `follow` has it made in a process of
its own, which lets batches go first and whose memory ends with it; the ledger is the coordinator's always.
"""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from finkbridge import later
from finkbridge.errors import LakeError, WorkerError
from finkbridge.ledger import Coordinator
from finkbridge.settings import MergeSettings
from finkbridge.workforce import WorkerDiedError, Workforce

AGAIN_S = 600.0
"""Pause after a merge that failed: a long run would else read a night's files for each batch, in vain."""

POLITE = 10
"""Added to the niceness of a process that merges."""


class Merging:
    """Merges the small files of a lake's nights.

    Parameters
    ----------
    coordinator
        Of the lake.
    limits
        When files are merged.
    """

    def __init__(self, coordinator: Coordinator, limits: MergeSettings) -> None:
        self.is_aside = False
        """Whether merges are made by a process of their own, and committed when they are there."""
        self._coordinator = coordinator
        self._limits = limits
        self._again_at = 0.0
        """No merging before; monotonic."""
        self._problems: list[str] = []
        """What could not be merged when that was tried last."""
        self._waiting: deque[Any] = deque()
        """Candidates, see `finkbridge.merge`."""
        self._begun: tuple[Any, Future[Any]] | None = None
        self._process: Workforce | None = None

    def go_on(self) -> list[str]:
        """Merge what is crowded, or let it be merged; return a line for each group of files that cannot."""
        if not self._limits.enabled:
            return []
        if self.is_aside:
            self._go_on_aside()
        elif time.monotonic() >= self._again_at:
            crowds = self._coordinator.ledger.crowds(self._limits.files)
            self._note(
                later.call("finkbridge.merge:merge_crowds", self._coordinator, crowds) if crowds else []
            )
        return list(self._problems)

    def is_ready(self) -> bool:
        """Whether a file was made that waits for its commit."""
        return self._begun is not None and self._begun[1].done()

    def close(self) -> None:
        """End the process, whatever it is doing: nothing that it left is committed."""
        if self._process is not None:
            self._process.close()
            self._process = None
        if self._begun is not None:
            begun, _ = self._begun
            self._begun = None
            with suppress(LakeError, OSError):  # or the next coordinator does so
                self._discard(begun)
        self._waiting.clear()

    def _note(self, problems: list[str]) -> None:
        self._problems = problems
        self._again_at = time.monotonic() + (AGAIN_S if problems else 0)

    def _go_on_aside(self) -> None:
        if self._begun is not None:
            if not self.is_ready():
                return
            self._finish(*self._begun)
        if not self._waiting and time.monotonic() >= self._again_at:
            self._problems = []
            crowds = self._coordinator.ledger.crowds(self._limits.files)
            if crowds:
                self._waiting.extend(later.call("finkbridge.merge:candidates", crowds))
        if self._waiting:
            self._begin(self._waiting.popleft())

    def _begin(self, candidate: Any) -> None:
        begun = later.call("finkbridge.merge:begin", self._coordinator, candidate)
        self._process = self._process or Workforce(0)
        self._begun = begun, self._process.submit_alone(make_politely, begun)

    def _finish(self, begun: Any, made: Future[Any]) -> None:
        self._begun = None
        try:
            try:
                result = made.result()
            except (WorkerDiedError, WorkerError):
                self._discard(begun)
                raise
            except later.get("finkbridge.merge:HARMLESS") as error:
                later.call("finkbridge.merge:give_up", self._coordinator, begun, error)
                raise
            later.call("finkbridge.merge:finish", self._coordinator, begun, result)
        except (WorkerDiedError, WorkerError, *later.get("finkbridge.merge:HARMLESS")) as error:
            folder, _, _ = begun.path.rpartition("/")
            self._note([*self._problems, later.call("finkbridge.merge:problem", folder, error)])

    def _discard(self, begun: Any) -> None:
        """Delete what a process that is gone may have left under the name that was written down for it."""
        begun.place.unlink(missing_ok=True)
        self._coordinator.forget_merges([begun.path])


def make_politely(begun: Any) -> Any:
    """Make the file of a merge, in a process that does nothing else."""
    os.nice(POLITE)
    return later.call("finkbridge.merge:make", begun)
