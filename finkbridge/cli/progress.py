"""Progress of a drain as plain lines: for logs, and for terminals that draw nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from finkbridge import later
from finkbridge.cli.output import human_bytes, human_duration
from finkbridge.execution import Listener, Silent
from finkbridge.values import LandedPart, SegmentPlan

TELL_EVERY_S = 5.0
"""Seconds between two lines."""


class Pace:
    """How far a run is, and how fast.

    Parameters
    ----------
    clock
        Gives seconds; monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.planned = self.done = self.bytes = 0

    def add(self, parts: tuple[LandedPart, ...]) -> None:
        """Count what was committed."""
        self.done += sum(count.range.offsets for part in parts for count in part.counts)
        self.bytes += sum(part.bytes for part in parts)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(1e-3, self._clock() - self._began)

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at this pace; None while there is none."""
        return self.seconds * (self.planned - self.done) / self.done if self.done else None

    def rate(self) -> str:
        """Return offsets and bytes per second, for people."""
        return f"{self.done / self.seconds:,.0f}/s, {human_bytes(self.bytes / self.seconds)}/s"


class Lines:
    """Prints a line to standard error, at most one every `TELL_EVERY_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(clock)
        self._told = clock()

    def planned(self, offsets: int) -> None:
        """Take note of offsets that are to be drained."""
        self._pace = Pace(self._clock)
        self._pace.planned = offsets
        click.echo(f"{offsets:,} offsets to drain", err=True)

    def committed(self, plan: SegmentPlan, parts: tuple[LandedPart, ...]) -> None:
        """Take note of a plan that is in the lake."""
        pace = self._pace
        pace.add(parts)
        if self._clock() - self._told < TELL_EVERY_S or pace.done >= pace.planned:
            return
        self._told = self._clock()
        left = human_duration(pace.left_s or 0)
        click.echo(
            f"{pace.done:,} of {pace.planned:,} offsets, {pace.rate()}, {left} left, now {plan.source.topic}",
            err=True,
        )

    def close(self) -> None:
        """Do nothing: lines stay."""


@contextmanager
def watching(*, quiet: bool) -> Iterator[Listener]:
    """Yield who watches a run: a bar where standard error is a terminal, lines elsewhere, nobody if quiet."""
    if quiet:
        yield Silent()
        return
    # rich takes longer to load than a short run
    watcher = later.call("finkbridge.cli.bar:Bar") if sys.stderr.isatty() else Lines()
    try:
        yield watcher
    finally:
        watcher.close()
