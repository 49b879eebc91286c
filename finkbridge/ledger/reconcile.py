"""The rule that every commit obeys: planned offsets = rows + quarantined messages + confirmed holes."""

from __future__ import annotations

from collections.abc import Sequence

from finkbridge.errors import ReconciliationError
from finkbridge.values import LandedPart, SegmentPlan, covers


def reconcile(plan: SegmentPlan, parts: Sequence[LandedPart]) -> None:
    """Check that planned offsets = rows + quarantined + confirmed holes, and that the files have as many."""
    name = plan.source.topic
    counts = [count for part in parts for count in part.counts]
    if strange := {c.range.partition for c in counts} - {r.partition for r in plan.ranges}:
        raise ReconciliationError(
            f"{name}: partitions {sorted(strange)} came back and were not planned; nothing of "
            "this segment was committed"
        )
    for planned in plan.ranges:
        mine = [c for c in counts if c.range.partition == planned.partition]
        if not covers([c.range for c in mine], planned) or not all(c.reconciled for c in mine):
            got = sum(c.rows + c.quarantined for c in mine)
            raise ReconciliationError(
                f"{name}, partition {planned.partition}: {planned.offsets} offsets were planned from "
                f"{planned.start} and only {got} messages are accounted for; nothing of this segment was "
                "committed, the next run tries again"
            )
    for part in parts:
        check_files(name, part)


def check_files(topic: str, part: LandedPart) -> None:
    """Check that what was written, table by table, is what was counted."""
    rows = sum(c.rows for c in part.counts)
    is_export = any(file.table == "export" for file in part.files)
    due = dict.fromkeys(("export",) if is_export else ("archive", "deliveries", "packets"), rows)
    due["quarantine"] = sum(c.quarantined for c in part.counts)
    for table, count in due.items():
        written = sum(file.rows for file in part.files if file.table == table)
        if written != count:
            raise ReconciliationError(
                f"{topic}: {count} messages were to be in {table} and {written} are; nothing of this segment "
                "was committed, the next run tries again"
            )
