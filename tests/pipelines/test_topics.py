"""The upstream assets follow from the settings alone, so that no drain puts the lake out of sync."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from finkbridge.errors import UnreachableError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.report import DrainReport
from finkbridge.settings import Settings
from finkbridge.values import TopicGeneration
from pipelines.definitions import definitions
from pipelines.topics import events, topic_specs


def settings(lake: Path, **topics: tuple[str, ...]) -> Settings:
    clusters = {name: {"servers": "127.0.0.1:1", "topics": its} for name, its in topics.items()}
    return Settings.model_validate({"lake": lake, "clusters": clusters})


def graph(settings: Settings) -> dict[str, set[str]]:
    """Return each asset with what it depends on, as Dagster loads them."""
    defs = definitions(settings)
    dg.Definitions.validate_loadable(defs)
    nodes = defs.resolve_asset_graph().asset_nodes
    return {n.key.to_user_string(): {k.to_user_string() for k in n.parent_keys} for n in nodes}


def test_one_asset_an_entry_whatever_is_drained_and_no_broker_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnreachableError("asked while loading")

    monkeypatch.setattr("finkbridge.broker.client.ClusterAdmin.__init__", refuse)
    its = settings(tmp_path / "lake", ztf=("fink_named_ztf", "fink_*_ztf"), lsst=("fink_?[ab]_lsst",))
    before = graph(its)
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger) as coordinator:
        coordinator.add_generation("ztf", "fink_new_ztf", None)
    assert graph(its) == before
    upstream = {"kafka/ztf/fink_named_ztf", "kafka/ztf/fink_..._ztf", "kafka/lsst/fink_..ab._lsst"}
    assert {key for key in before if key.startswith("kafka/")} == upstream
    assert before["raw_archive"] == before["deliveries"] == before["packets"] == upstream


def test_what_they_stand_for_is_said(tmp_path: Path) -> None:
    named, pattern = topic_specs(settings(tmp_path, ztf=("fink_a_ztf",), lsst=("fink_*_lsst",)))[::-1]
    assert named.description == (
        "Topic `fink_a_ztf` of the Kafka cluster `ztf`. Each drain notes the lag that it left."
    )
    assert str(pattern.description).startswith("All topics that match `fink_*_lsst` of the Kafka cluster")


def test_names_that_dagster_cannot_tell_apart_are_one_asset_and_lose_nothing(tmp_path: Path) -> None:
    its = settings(tmp_path / "lake", ztf=("a.b", "a_b", "c"))
    assert graph(its)["deliveries"] == {"kafka/ztf/a.b", "kafka/ztf/c"}
    merged, _ = topic_specs(its)
    assert "`a.b` of the Kafka cluster `ztf` and `a_b` of" in str(merged.description)


def report(**lags: int) -> DrainReport:
    """Return a run over topics of the cluster ``ztf`` that left lags."""
    made = DrainReport()
    for name, lag in lags.items():
        topic = made.topic(TopicGeneration("ztf", name, 1))
        topic.lag, topic.messages, topic.expired = lag, 10 * lag, 1
    return made


def test_a_pattern_is_observed_with_each_of_its_topics(tmp_path: Path) -> None:
    its = settings(tmp_path, ztf=("fink_*_ztf", "fink_b_ztf", "none_*"), lsst=("fink_*",))
    told = list(events(its, report(fink_a_ztf=2, fink_b_ztf=3, x=9)))
    seen = {o.asset_key.path[-1]: o.metadata for o in told if isinstance(o, dg.AssetObservation)}
    numbers = {key: {n: v.value for n, v in said.items() if n != "topics"} for key, said in seen.items()}
    b = {"lag": 3, "messages": 30, "quarantined": 0, "expired": 1}
    a = {"lag": 2, "messages": 20, "quarantined": 0, "expired": 1}
    sums = {name: a[name] + b[name] for name in a}
    by_topic = {f"{name}/fink_{x}_ztf": its[name] for x, its in {"a": a, "b": b}.items() for name in its}
    assert numbers == {"fink_..._ztf": {**sums, "matching": 2, **by_topic}, "fink_b_ztf": b}
    table = seen["fink_..._ztf"]["topics"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(r.data["topic"], r.data["lag"]) for r in table.records] == [("fink_a_ztf", 2), ("fink_b_ztf", 3)]


def test_a_topic_is_materialized_only_when_it_had_something_new(tmp_path: Path) -> None:
    its = settings(tmp_path, ztf=("fink_a_ztf", "fink_b_ztf"))
    told = [
        (type(e), e.asset_key.path[-1], e.description)
        for e in events(its, report(fink_a_ztf=0, fink_b_ztf=3))
    ]
    assert told == [
        (dg.AssetObservation, "fink_a_ztf", None),
        (dg.AssetMaterialization, "fink_b_ztf", "30 new messages"),
        (dg.AssetObservation, "fink_b_ztf", None),
    ]
