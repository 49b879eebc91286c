"""What the lake holds now, in numbers, as the ledger lists it."""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import func, select

from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.adopt import open_known
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


def open_ledger(settings: Settings) -> Ledger:
    """Open the lake's ledger."""
    return open_known(settings.lake, settings.ledger_url)


def _contents(ledger: Ledger, table: str) -> TableContents:
    f = s.files.c
    sums = (func.count(), func.sum(f.rows), func.sum(f.bytes))
    query = select(f.night, *sums).where(f.table == table, f.removed.is_(None)).group_by(f.night)
    with ledger.reading() as connection:
        nights = [
            (night or 0, int(n), int(rows), int(size)) for night, n, rows, size in connection.execute(query)
        ]
    by_night = Counter[int]()
    for night, _, rows, _ in nights:
        by_night[night] += rows
    return TableContents(
        sum(n for _, n, _, _ in nights), by_night.total(), sum(x[3] for x in nights), by_night
    )
