"""Progress of a drain as a bar, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from finkbridge.cli.output import human_duration
from finkbridge.cli.progress import Pace
from finkbridge.values import LandedPart, SegmentPlan


class Bar:
    """Draws on standard error from the first plan to `close`, and leaves nothing behind."""

    def __init__(self) -> None:
        columns = (
            BarColumn(),
            TextColumn("{task.completed:,} of {task.total:,} offsets"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TextColumn("{task.fields[left]}", style="green"),
            TextColumn("{task.fields[topic]}", style="dim"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: TaskID | None = None
        self._pace = Pace()

    def planned(self, offsets: int) -> None:
        """Begin to draw."""
        self._pace = Pace()
        self._pace.planned = offsets
        self._task = self._progress.add_task("", total=offsets, rate="", left="", topic="")
        self._progress.start()

    def committed(self, plan: SegmentPlan, parts: tuple[LandedPart, ...]) -> None:
        """Move on."""
        self._pace.add(parts)
        left = self._pace.left_s
        if self._task is not None:
            self._progress.update(
                self._task,
                completed=self._pace.done,
                rate=self._pace.rate(),
                left="" if left is None else f"{human_duration(left)} left",
                topic=plan.source.topic,
            )

    def close(self) -> None:
        """Give the terminal back as it was."""
        self._progress.stop()
