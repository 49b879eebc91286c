"""How far a run is, in Dagster's log."""

import time

import dagster as dg

from finkbridge.values import LandedPart, SegmentPlan

TELL_EVERY_S = 10.0
"""Seconds between two lines: each is a row of Dagster's database."""


class Progress:
    """Listens to a run and tells its log."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._planned = self._done = 0
        self._told = time.monotonic()

    def planned(self, offsets: int) -> None:
        """Take note of offsets that are to be drained."""
        self._planned = offsets
        self._log.info(f"{offsets:,} offsets to drain")

    def committed(self, plan: SegmentPlan, parts: tuple[LandedPart, ...]) -> None:
        """Take note of a plan that is in the lake."""
        self._done += sum(count.range.offsets for part in parts for count in part.counts)
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._log.info(f"{self._done:,} of {self._planned:,} offsets drained, now {plan.source.topic}")
