"""The table of faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Row:
    """One line of the table of faults."""

    fault: str
    tries: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    says: str = ""
    """The very line that the user sees."""
    recovered: bool = False
    """Whether the next plain run carried on, with no hand work."""
    by: str = ""
    """What had to be done first, where that was not enough."""
    longest_s: float = 0.0
    """Of all commands that it took."""

    def add(self, other: Row) -> None:
        """Take another case of the same fault in."""
        for count in ("tries", "lost", "doubled", "wrong"):
            setattr(self, count, getattr(self, count) + getattr(other, count))
        self.recovered = self.recovered and other.recovered
        self.longest_s = max(self.longest_s, other.longest_s)


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = [
        "| fault | tries | lost | doubled | wrong | what the user sees | next run carries on |",
        "|---" * 7 + "|",
    ]
    for r in rows:
        on = (f"after {r.by}" if r.by else "yes") if r.recovered else "NO"
        says = r.says.replace("|", r"\|")
        lines.append(f"| {r.fault} | {r.tries} | {r.lost} | {r.doubled} | {r.wrong} | {says} | {on} |")
    return "\n".join(lines)


def merged(rows: list[Row]) -> list[Row]:
    """Return one row a fault: the cases of one test are tries of one fault."""
    found: dict[str, Row] = {}
    for row in rows:
        if (before := found.setdefault(row.fault, row)) is not row:
            before.add(row)
    return list(found.values())
