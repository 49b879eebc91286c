"""How many writer schemas, and columns of them, a topic's life may bring: each makes files and longer views.

What is known counts from the ledger; a plan's task says it, so that what lands depends on what was committed
before and on nothing else. Plans that are on their way together may bring more than is left: the one whose
turn to be committed comes too late is landed again, knowing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from finkbridge.ledger import Ledger
from finkbridge.ledger.writers import read_schemas
from finkbridge.values import KnownSchema, LandedPart, SegmentPlan, TopicGeneration


class SchemaBudget:
    """The writer schemas of each topic's life, as one run of the coordinator sees them grow.

    Parameters
    ----------
    ledger
        Of the lake.
    most
        Writer schemas of a topic's life.
    most_columns
        Columns of them together, nested ones counted.
    """

    def __init__(self, ledger: Ledger, most: int, most_columns: int) -> None:
        self._ledger = ledger
        self._most = most
        self._most_columns = most_columns
        self._known: dict[TopicGeneration, Mapping[str, int]] = {}
        self._told: dict[int, Mapping[str, int]] = {}
        """By the number of a plan that is on its way."""

    def tell(self, plan: SegmentPlan) -> Mapping[str, int]:
        """Return the schemas that are known when a plan goes out, with their columns."""
        self._told[plan.number] = self._of(plan.source)
        return self._told[plan.number]

    def is_late(self, plan: SegmentPlan, parts: Iterable[LandedPart]) -> bool:
        """Whether what landed is too much by now: with what is known now, it would not have landed so."""
        known = self._of(plan.source)
        told = self._told.get(plan.number, known)
        return is_late(told, known, _schemas(parts), self._most, self._most_columns)

    def note(self, plan: SegmentPlan, parts: Iterable[LandedPart]) -> None:
        """Take note of a commit."""
        self._told.pop(plan.number, None)
        self._known[plan.source] = {**self._of(plan.source), **_schemas(parts)}

    def _of(self, source: TopicGeneration) -> Mapping[str, int]:
        if source not in self._known:
            self._known[source] = read_schemas(self._ledger, source)
        return self._known[source]


def is_late(
    told: Mapping[str, int], known: Mapping[str, int], new: Mapping[str, int], most: int, most_columns: int
) -> bool:
    """Whether what landed with some schemas told is too much for those that are known by now.

    Parameters
    ----------
    told, known, new
        Columns of writer schemas, by fingerprint: those known when it went out, now, and what it brings.
    most, most_columns
        What a topic's life may bring.
    """
    together = {**known, **new}
    return told != known and (len(together) > most or sum(together.values()) > most_columns)


def columns_by_schema(schemas: Iterable[KnownSchema]) -> dict[str, int]:
    """Return the columns of the writer schemas among some, by fingerprint."""
    return {known.schema_id: known.columns for known in schemas if known.kind == "avro"}


def _schemas(parts: Iterable[LandedPart]) -> dict[str, int]:
    return columns_by_schema(known for part in parts for known in part.schemas)
