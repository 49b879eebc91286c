"""A topic may bring only so many writer schemas, over all its segments and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finkbridge.budget import SchemaBudget
from finkbridge.ledger import Ledger
from finkbridge.values import LandedFile, LandedPart, OffsetRange, SegmentPlan, TopicGeneration
from tests.support.kafka import Kafka
from tests.support.lake import Record, drained, encode, forget_landers, make_settings, sql
from tests.support.offline import assert_verified, fill, messages_of, point

SOURCE = TopicGeneration("ztf", "t", 1)
LATER = TopicGeneration("ztf", "t", 2)


def distinct(number: int) -> Record:
    document = {"type": "record", "name": "r", "fields": [{"name": f"f{number}", "type": "long"}]}
    return json.dumps(document).encode(), encode(document, {f"f{number}": 1})


def plan(number: int, source: TopicGeneration = SOURCE) -> SegmentPlan:
    return SegmentPlan(number, source, (OffsetRange(0, number, number + 1),), 1)


def parts(*schemas: str) -> tuple[LandedPart, ...]:
    files = tuple(LandedFile(s, "archive", "other", None, 1, 1, "", s) for s in schemas)
    return (LandedPart(0, files, (), (), (), (), 0, None, None),)


def test_plan_that_comes_too_late_is_landed_again_and_no_other(tmp_path: Path) -> None:
    fill(tmp_path / "lake", {"t": messages_of([point(1.0)])})
    with Ledger(tmp_path / "lake") as ledger:
        (known,) = ledger.schema_contents("avro")
        budget = SchemaBudget(ledger, 3)
        assert [budget.tell(plan(n)) for n in (1, 2, 3)] == [frozenset({known})] * 3
        assert budget.tell(plan(9, LATER)) == frozenset()
        assert not budget.is_late(plan(1), parts(known, "b", "c"))
        budget.note(plan(1), parts(known, "b", "c"))
        assert budget.is_late(plan(2), parts("d"))
        assert not budget.is_late(plan(3), parts("b", known))
        assert budget.tell(plan(4)) == {known, "b", "c"}
        assert not budget.is_late(plan(4), parts("d")), (
            "it knew: a user's schema is not to be landed for ever"
        )
        assert not budget.is_late(plan(9, LATER), parts("x", "y", "z"))


@pytest.mark.kafka
@pytest.mark.slow
def test_topic_of_many_schemas_brings_as_many_as_it_may(kafka: Kafka, tmp_path: Path) -> None:
    lake, topic = tmp_path / "lake", kafka.topic("many", partitions=2)
    for partition in (0, 1):
        kafka.produce(topic, [distinct(1_000 * partition + i) for i in range(60)], partition=partition)
    settings = make_settings(
        lake, kafka.bootstrap, topic, workers=2, drain={"segment_bytes": 500_000}, decode={"max_schemas": 20}
    )
    report = drained(settings)
    assert report.total("rows") == 20
    assert report.total("quarantined") == 100
    kafka.produce(topic, [distinct(5_000), *sorted_known(lake)], partition=0)
    report = drained(settings)
    assert (report.total("rows"), report.total("quarantined")) == (20, 1)
    assert sql(lake, "SELECT count(DISTINCT schema_id), count(*) FROM deliveries") == [(20, 40)]
    ((reason,),) = sql(lake, "SELECT DISTINCT reason FROM quarantine")
    assert "the key: more than 20 writer schemas in one topic: requeue the message" in reason
    assert_verified(lake)
    forget_landers()


def sorted_known(lake: Path) -> list[Record]:
    """Return a message of each schema that the lake has."""
    with Ledger(lake) as ledger:
        texts = sorted(ledger.schema_contents("avro").values())
    return [(text, encode(json.loads(text), {json.loads(text)["fields"][0]["name"]: 2})) for text in texts]
