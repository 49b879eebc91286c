"""Files of abandoned plans go, and none besides."""

from __future__ import annotations

from pathlib import Path

from finkbridge import layout
from finkbridge.layout import SegmentName
from finkbridge.ledger import Ledger, coordinate
from finkbridge.retire import delete_landed
from finkbridge.values import OffsetRange, SegmentPlan, TopicGeneration


def paths(topic: str, plan: int) -> list[str]:
    """Return a path of each kind that a plan can have left."""
    name = SegmentName(topic, 1, 0, 5, plan, 0)
    return [
        layout.archive_path(name, 1),
        layout.quarantine_path(name),
        *(layout.deliveries_path(name, survey, 20260101) for survey in ("ztf", "other")),
        *(layout.packets_path(name.with_ordinal(1), survey, 20260101) for survey in ("lsst", "other")),
    ]


def test_all_of_the_plans_and_nothing_else_is_deleted(tmp_path: Path) -> None:
    abandoned = [path for topic, plan in (("a", 7), ("b", 8)) for path in paths(topic, plan)]
    kept = [path for topic, plan in (("a", 70), ("a", 6), ("c", 9)) for path in paths(topic, plan)]
    others = [
        SegmentName("a", 2, 0, 5, 7, 0),
        SegmentName("a", 1, 1, 5, 7, 0),
        SegmentName("a", 1, 0, 4, 7, 0),
    ]
    kept += [layout.archive_path(name, 1) for name in others]  # of the same number: a lost ledger gave it
    kept += [layout.merged_path("deliveries/ztf/night=20260101", 7, 0), "deliveries/ztf/mine/notes-n7.txt"]
    for path in abandoned + kept:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    plans = [
        SegmentPlan(n, TopicGeneration("ztf", t, 1), (OffsetRange(0, 5, 6),), 1)
        for t, n in (("a", 7), ("b", 8))
    ]
    with Ledger(tmp_path, create=True) as ledger, coordinate(ledger) as coordinator:
        delete_landed(coordinator, plans)
    assert {path for path in abandoned + kept if (tmp_path / path).exists()} == set(kept)
