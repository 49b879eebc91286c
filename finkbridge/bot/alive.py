"""Which bots live: each holds a lock for as long as it does, and the system takes it back when it dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from uuid import uuid4


class Alive:
    """That this bot lives, for others to see; close it.

    Parameters
    ----------
    folder
        Of the locks; made where there is none.
    only_look
        Look at others, and be none oneself.

    Raises
    ------
    OSError
        The folder cannot be used, or its file system has no locks.
    """

    def __init__(self, folder: Path, *, only_look: bool = False) -> None:
        self._folder = folder
        self._only_looks = only_look
        self.name = "" if only_look else uuid4().hex
        """Of this bot."""
        if not only_look:
            self._begin(folder)

    def _begin(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        begun = folder / f".{self.name}"
        self._file = begun.open("wb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError:
            self._file.close()
            begun.unlink()
            raise
        begun.rename(folder / self.name)  # only now: whoever finds a name unlocked takes its bot for dead
        for other in list(folder.glob("[!.]*")):
            self.has(other.name)

    def has(self, name: str) -> bool:
        """Whether the bot of a name lives; what a dead one left is deleted."""
        if not name.isalnum():  # of notes that say of no bot
            return False
        if name == self.name:
            return True
        path = self._folder / name
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        if not self._only_looks:
            path.unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """Live no more."""
        if not self._only_looks:
            (self._folder / self.name).unlink(missing_ok=True)
            self._file.close()
