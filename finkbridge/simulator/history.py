"""What has been measured of one object so far, with each entry already encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from finkbridge.simulator.features import features


class Entry(NamedTuple):
    """One visit of the history."""

    mjd: float
    band: str
    value: float
    """Magnitude (ZTF; the limit where nothing was found) or flux in nJy (LSST)."""
    err: float
    detected: bool
    item: bytes
    """As an item of the alert's array, in Avro."""


@dataclass(slots=True)
class History:
    """Entries in time order, of the last `days` only."""

    days: float
    entries: deque[Entry] = field(default_factory=deque)
    _features: dict[str, tuple[tuple[float, float], dict[str, float]]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self.entries.append(entry)

    def forget(self, mjd: float) -> None:
        """Drop what is older than the window that ends at `mjd`."""
        while self.entries and self.entries[0].mjd < mjd - self.days:
            self.entries.popleft()

    def items(self, newest: int | None = None) -> list[bytes]:
        """Return the encoded entries, or only the newest ones, in time order."""
        items = [entry.item for entry in self.entries]
        return items if newest is None else items[-newest:]

    def last(self, wanted: Callable[[Entry], bool]) -> Entry | None:
        """Return the newest entry that is `wanted`."""
        return next((entry for entry in reversed(self.entries) if wanted(entry)), None)

    def detections(self, band: str) -> list[Entry]:
        """Return the detections in a band."""
        return [entry for entry in self.entries if entry.detected and entry.band == band]

    def features(self, band: str, now: Entry | None = None) -> dict[str, float]:
        """Return the light-curve features of a band with the point `now`; computed only for new points."""
        points = [*self.detections(band), *([now] if now and now.band == band else [])]
        state = (points[0].mjd, points[-1].mjd) if points else (0.0, 0.0)
        known = self._features.get(band)
        if known is None or known[0] != state:
            columns = ([getattr(point, name) for point in points] for name in ("mjd", "value", "err"))
            known = self._features[band] = state, features(*columns)
        return known[1]


@dataclass(slots=True)
class Record:
    """How often and since when an object has been detected, longer than any history."""

    detections: int = 0
    first_mjd: float = 0.0
    covered: int = 0
    """Visits, with or without detection."""

    def remember(self, first_mjd: float, until_mjd: float) -> None:
        """Start with detections of a time before any history: one in two days."""
        self.first_mjd, self.detections = first_mjd, max(int((until_mjd - first_mjd) / 2.0), 1)
        self.covered = 2 * self.detections

    def count(self, mjd: float, *, detected: bool) -> None:
        """Take one more visit into account."""
        self.covered += 1
        if detected:
            self.first_mjd = self.first_mjd if self.detections else mjd
            self.detections += 1


class BrokerTimes(NamedTuple):
    """When Fink received, took up and finished an alert, MJD UTC."""

    ingest: float
    start: float
    end: float
