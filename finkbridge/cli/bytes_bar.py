"""Progress through bytes as a bar, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn


class BytesBar:
    """Draws on standard error until `close`, and leaves nothing behind."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", style="dim"),
            BarColumn(),
            DownloadColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: TaskID | None = None

    def begin(self, what: str, total_bytes: int) -> None:
        """Begin to draw; what was drawn before goes."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total_bytes)
        self._progress.start()

    def advance(self, read_bytes: int) -> None:
        """Move on."""
        if self._task is not None:
            self._progress.advance(self._task, read_bytes)

    def close(self) -> None:
        """Give the terminal back as it was."""
        self._progress.stop()
