"""A topic may bring only so many writer schemas, over all its segments and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finkbridge.budget import SchemaBudget
from finkbridge.ledger import Ledger
from finkbridge.values import KnownSchema, LandedFile, LandedPart, OffsetRange, SegmentPlan, TopicGeneration
from tests.support.kafka import Kafka
from tests.support.lake import Record, drained, encode, forget_landers, make_settings, points, sql
from tests.support.offline import assert_verified, fill, messages_of, point

SOURCE = TopicGeneration("ztf", "t", 1)
LATER = TopicGeneration("ztf", "t", 2)


def distinct(number: int) -> Record:
    document = {"type": "record", "name": "r", "fields": [{"name": f"f{number}", "type": "long"}]}
    return json.dumps(document).encode(), encode(document, {f"f{number}": 1})


def plan(number: int, source: TopicGeneration = SOURCE) -> SegmentPlan:
    return SegmentPlan(number, source, (OffsetRange(0, number, number + 1),), 1)


def parts(*schemas: str, columns: int = 1) -> tuple[LandedPart, ...]:
    files = tuple(LandedFile(s, "archive", "other", None, 1, 1, "", s) for s in schemas)
    known = tuple(KnownSchema(s, "avro", b"", columns) for s in schemas)
    return (LandedPart(0, files, (), (), known, (), 0, None, None),)


def test_plan_that_comes_too_late_is_landed_again_and_no_other(tmp_path: Path) -> None:
    fill(tmp_path / "lake", {"t": messages_of([point(1.0)])})
    with Ledger(tmp_path / "lake") as ledger:
        (known,) = ledger.schema_contents("avro")
        budget = SchemaBudget(ledger, 3, 10)
        assert [budget.tell(plan(n)) for n in (1, 2, 3)] == [{known: 2}] * 3
        assert budget.tell(plan(9, LATER)) == {}
        assert not budget.is_late(plan(1), parts(known, "b", "c"))
        budget.note(plan(1), parts(known, "b", "c"))
        assert budget.is_late(plan(2), parts("d"))
        assert not budget.is_late(plan(3), parts("b", known))
        assert budget.tell(plan(4)) == {known: 1, "b": 1, "c": 1}
        assert not budget.is_late(plan(4), parts("d")), (
            "it knew: a user's schema is not to be landed for ever"
        )
        assert not budget.is_late(plan(9, LATER), parts("x", "y", "z"))
        budget.tell(plan(5, LATER))
        budget.tell(plan(6, LATER))
        budget.note(plan(5, LATER), parts("x", columns=6))
        assert budget.is_late(plan(6, LATER), parts("y", columns=5))
        assert not budget.is_late(plan(6, LATER), parts("y", columns=4))


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


def wide(number: int, columns: int) -> Record:
    fields = [{"name": f"f{number}_{i}", "type": "int"} for i in range(columns)]
    return json.dumps({"type": "record", "name": "r", "fields": fields}).encode(), b"\2" * columns


@pytest.mark.kafka
@pytest.mark.slow
def test_topic_of_wide_schemas_brings_as_many_columns_as_it_may(kafka: Kafka, tmp_path: Path) -> None:
    lake, topic = tmp_path / "lake", kafka.topic("wide", partitions=2)
    for partition in (0, 1):
        records = [wide(100 * partition + number, 1_000) for number in range(20)]
        kafka.produce(topic, [*records, *points(float(partition))], partition=partition)
    settings = make_settings(lake, kafka.bootstrap, topic, workers=2, decode={"max_columns": 5_000})
    report = drained(settings)
    assert (report.total("rows"), report.total("quarantined")) == (6, 36)
    ((reason,),) = sql(lake, "SELECT DISTINCT reason FROM quarantine")
    assert "the key: more than 5000 columns of writer schemas in one topic: requeue the message" in reason
    kafka.produce(topic, [*sorted_known(lake), wide(900, 994), wide(901, 993)], partition=0)
    report = drained(settings)
    assert (report.total("rows"), report.total("quarantined")) == (6, 1), "what is known counts, in any run"
    assert_verified(lake)
    forget_landers()


def sorted_known(lake: Path) -> list[Record]:
    """Return a message of each schema that the lake has."""
    with Ledger(lake) as ledger:
        texts = sorted(ledger.schema_contents("avro").values())
    documents = map(json.loads, texts)
    return [
        (text, encode(document, {field["name"]: 2 for field in document["fields"]}))
        for text, document in zip(texts, documents, strict=True)
    ]
