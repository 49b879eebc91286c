"""What the lake holds now, in numbers, as the ledger lists it."""

from collections import Counter
from dataclasses import dataclass, field

from finkbridge.errors import LakeError
from finkbridge.ledger import Ledger
from finkbridge.settings import Settings


@dataclass(frozen=True)
class TableContents:
    """One table of the lake."""

    files: int = 0
    rows: int = 0
    bytes: int = 0
    by_night: Counter[int] = field(default_factory=Counter)
    """Rows by observing night."""

    @property
    def megabytes(self) -> float:
        """Size of its files, MB."""
        return round(self.bytes / 1e6, 3)


def contents(settings: Settings) -> dict[str, TableContents]:
    """Return what ``deliveries`` and ``packets`` hold."""
    with open_ledger(settings) as ledger:
        return {table: _contents(ledger, table) for table in ("deliveries", "packets")}


def drained_topics(settings: Settings) -> set[tuple[str, str]]:
    """Return cluster and topic of all that the lake has ever drained; none where there is no lake to read."""
    try:
        with open_ledger(settings) as ledger:
            return set(ledger.generations())
    except LakeError:  # the next drain makes it, or says what is wrong with it
        return set()


def open_ledger(settings: Settings, *, create: bool = False) -> Ledger:
    """Open the lake's ledger."""
    url = settings.ledger_url
    return Ledger(settings.lake, url, create=create)


def _contents(ledger: Ledger, table: str) -> TableContents:
    files = ledger.alive_files(table)
    by_night = Counter[int]()
    for file in files:
        by_night[file.night or 0] += file.rows
    return TableContents(len(files), by_night.total(), sum(file.bytes for file in files), by_night)
