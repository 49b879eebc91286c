"""The quarantine's files, read back: each message whole, with the reasons."""

from __future__ import annotations

from pathlib import Path

from finkbridge.avro.quarantine import read_quarantine
from finkbridge.errors import DecodeError
from finkbridge.ledger.quarantined import Entry
from finkbridge.values import Rejected


class Contents:
    """Gives what the lake kept of messages in quarantine; remembers the file that was read last."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._path = ""
        self._found: dict[tuple[int, int], Rejected] = {}

    def of(self, entry: Entry) -> Rejected:
        """Return a message, whole.

        Raises
        ------
        DecodeError
            When its file is missing, damaged, or does not have it.
        """
        if entry.path != self._path:
            self._found = _read(self._lake / entry.path)
            self._path = entry.path
        found = self._found.get((entry.partition, entry.offset))
        if found is None:
            raise DecodeError(
                f"{self._lake / entry.path} does not have {entry.place}: restore it from a copy"
            )
        return found


def _read(path: Path) -> dict[tuple[int, int], Rejected]:
    try:
        found = read_quarantine(path)
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror}: restore it from a copy") from None
    return {(r.message.partition, r.message.offset): r for r in found}
