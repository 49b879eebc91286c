"""When small files are merged: after a run, or aside of many runs, by a process that holds none of them up.

A merge takes seconds, in which nothing that comes would be drained. So `follow` has it made in a process of
its own, which lets batches go first and whose memory ends with it (the server that it is forked from stays);
the ledger is the coordinator's always.
"""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from finkbridge import later
from finkbridge.deadline import deadline
from finkbridge.errors import LakeError
from finkbridge.ledger import Coordinator
from finkbridge.settings import MergeSettings
from finkbridge.workforce import Workforce

AGAIN_S = 600.0
"""Pause after a merge that failed: a long run would else read a night's files for each batch, in vain."""

POLITE = 10
"""Added to the niceness of a process that merges."""

PATIENCE_S = 300.0
"""Seconds that a merge may take, beside what its bytes may: one that hangs would end all merging."""
S_PER_BYTE = 1e-5
"""A hundred times what a merge takes on a machine that does nothing else."""


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
        self._coordinator = coordinator
        self._limits = limits
        self._again_at = 0.0
        """No merging before; monotonic."""
        self._problems: list[str] = []
        """What could not be merged when that was tried last."""
        self._failed: list[str] = []
        """The same, of the round that is under way."""
        self._waiting: deque[Any] = deque()
        """Candidates, see `finkbridge.merge`."""
        self._begun: tuple[Any, Future[Any]] | None = None
        self._process: Workforce | None = None

    def go_on(self, *, aside: bool = False) -> list[str]:
        """Merge what is crowded, or let it be merged; return a line for each group of files that cannot.

        Parameters
        ----------
        aside
            Whether a process of its own makes the file, which a later call commits.
        """
        if not self._limits.enabled:
            return []
        if aside:
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
            begun, made = self._begun
            self._begun = None
            error = made.exception() if made.done() and not made.cancelled() else None
            with suppress(LakeError, OSError):  # or the next coordinator does so
                later.call("finkbridge.merge:discard", self._coordinator, begun, error)
        self._waiting.clear()

    def _note(self, problems: list[str]) -> None:
        self._problems = problems
        self._again_at = time.monotonic() + (AGAIN_S if problems else 0)

    def _go_on_aside(self) -> None:
        if self._begun is not None:
            if not self.is_ready():
                return
            self._finish(*self._begun)
            if not self._waiting:
                self._note(self._failed)
        if not self._waiting and time.monotonic() >= self._again_at:
            self._failed = []
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
        error = made.exception()
        try:
            if error is None:
                later.call("finkbridge.merge:finish", self._coordinator, begun, made.result())
            else:
                later.call("finkbridge.merge:discard", self._coordinator, begun, error)
        except later.get("finkbridge.merge:HARMLESS") as refusal:
            error = refusal
        if error is not None:
            folder, _, _ = begun.path.rpartition("/")
            self._failed.append(later.call("finkbridge.merge:problem", folder, error))


def make_politely(begun: Any) -> Any:
    """Make the file of a merge, in a process that does nothing else."""
    os.nice(POLITE)
    with deadline(PATIENCE_S + begun.bytes * S_PER_BYTE, f"merging files to {begun.path}"):
        return later.call("finkbridge.merge:make", begun)
