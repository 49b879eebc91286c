"""AI topics: alerts joined with the predictions that a job makes of them, while it is still at work."""

from __future__ import annotations

import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from finkbridge.execution import Silent
from finkbridge.settings import Settings
from finkbridge.transfer.engine import Result
from finkbridge.transfer.request import Request
from finkbridge.transfer.run import transfer
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, RealAlerts, forget_landers, make_settings, same, sql
from tests.transfer.conftest import rows_in, transfer_topic
from tests.transfer.test_crash import killed

pytestmark = pytest.mark.kafka


def prediction(candid: int, model: str, value: Any) -> tuple[None, bytes]:
    return None, json.dumps({"source": {"candid": candid}, "bridge": model, "result": value}).encode()


@pytest.fixture
def topics(kafka: Kafka, real_ztf: RealAlerts) -> tuple[str, str]:
    """A feed with all alerts, and an output topic of its name without a prediction."""
    feed = transfer_topic(kafka, real_ztf, "ztf")
    output = "fink_ai_" + feed.removeprefix("ftransfer_ztf_")
    made = kafka.topic("fink_ai", 2, KEPT)
    kafka.delete(made)
    kafka._topics[output] = type(kafka._topics[made])(output, 2, config=dict(KEPT))
    kafka._create(output)
    return feed, output


def say(kafka: Kafka, topic: str, real: RealAlerts, model: str, numbers: range) -> None:
    for i in numbers:
        kafka.produce(topic, [prediction(real.alerts[i]["candid"], model, {"predictions": [i / 100]})], i % 2)


def assert_joined(folder: Path, real: RealAlerts, models: list[str], count: int) -> None:
    rows = rows_in(folder)
    assert len(rows) == len({row["candid"] for row in rows}) == count
    alerts = {alert["candid"]: (i, alert) for i, alert in enumerate(real.alerts)}
    for row in rows:
        i, alert = alerts[row["candid"]]
        assert row.pop("model_predictions") == [{"model": m, "prediction": i / 100} for m in models]
        assert all(same(row[name], alert[name]) for name in row)


def run(kafka: Kafka, tmp_path: Path, topic: str, **more: Any) -> Result:
    decode = more.pop("decode", {})
    settings: Settings = make_settings(
        tmp_path / "lake", kafka.bootstrap, drain={"segment_bytes": 300_000}, decode=decode
    )
    request = Request("ztf", topic, **{"outdir": tmp_path / "out", "idle_s": 0.0, **more})
    result = transfer(settings, request, Silent())
    forget_landers()
    return result


def test_alerts_with_their_predictions(
    command: Command, kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    for model in ("snn", "cbpf"):
        say(kafka, topics[1], real_ztf, model, range(31))
    said = command.run("transfer", "-topic", topics[1], "-outdir", "out", "-survey", "ztf")
    assert f"{topics[0]}: 31 messages = 31 rows" in said.stdout
    assert f"{topics[1]}: 62 messages = 62 rows" in said.stdout
    assert_joined(tmp_path / "out", real_ztf, ["cbpf", "snn"], 31)


def test_a_feed_whose_keys_only_name_a_schema(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    kafka.delete(f"{topics[0]}_schema")
    kafka.recreate(topics[0])
    kafka.produce(topics[0], [(b"2.5_3.5.3", datum) for datum in real_ztf.datums], 0)
    say(kafka, topics[1], real_ztf, "snn", range(31))
    (tmp_path / "distribution_schema_fink_ztf_2.5_3.5.3.avsc").write_bytes(real_ztf.key)
    result = run(kafka, tmp_path, topics[1], decode={"schema_folder": tmp_path})
    assert result.succeeded, result.problems
    assert_joined(tmp_path / "out", real_ztf, ["snn"], 31)


def test_a_job_that_is_still_at_work_is_followed(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    job = threading.Timer(3, say, [kafka, topics[1], real_ztf, "snn", range(31)])
    job.start()
    assert run(kafka, tmp_path, topics[1], idle_s=60.0).succeeded
    job.join()
    assert_joined(tmp_path / "out", real_ztf, ["snn"], 31)


def test_predictions_that_come_later_make_a_round_of_their_own(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(20))
    result = run(kafka, tmp_path, topics[1], partition="time")
    assert not result.succeeded
    assert result.proofs[0].problems == ["11 alerts have no prediction yet: run the same command again later"]
    assert len(rows_in(tmp_path / "out")) == 20
    say(kafka, topics[1], real_ztf, "snn", range(20, 31))
    say(kafka, topics[1], real_ztf, "late", range(5))
    result = run(kafka, tmp_path, topics[1], partition="time")
    assert result.succeeded
    assert "5 predictions came when their alerts were written" in result.notes[0]
    rows = rows_in(tmp_path / "out")
    assert len(rows) == len({row["candid"] for row in rows}) == 31
    kafka.produce(topics[0], real_ztf.records[3:5], 0)  # the feed sends two again
    result = run(kafka, tmp_path, topics[1], partition="time")
    assert result.succeeded, result.proofs
    assert len(rows_in(tmp_path / "out")) == 33
    changed = [prediction(real_ztf.alerts[i]["candid"], "snn", 0.99) for i in range(3)]
    kafka.produce(topics[1], [*changed, prediction(1, "snn", 0.1)], 0)
    notes = run(kafka, tmp_path, topics[1], partition="time").notes
    assert "8 predictions came when their alerts were written" in notes[0]
    assert "1 predictions are of alerts that the feed does not have" in notes[1]


def test_the_newest_prediction_counts_and_what_is_none_is_kept(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    candid = real_ztf.alerts[0]["candid"]
    good = [prediction(candid, "m", {"predictions": [0.1]}), prediction(candid, "m", 0.2)]
    kafka.produce(
        topics[1], [*good, prediction(real_ztf.alerts[1]["candid"], "m", [])], 0, [1000, 2000, 3000]
    )
    bad = [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"[" * 5000,
        b'{"source": {"candid": 1e9}}',
        b'{"source": {"candid": true}}',
    ]
    bad += [
        json.dumps({"source": {"candid": 10**30}}).encode(),
        b'{"source": {"candid": 1}, "result": "high"}',
    ]
    kafka.produce(topics[1], [(None, value) for value in bad], 1)
    result = run(kafka, tmp_path, topics[1], limit=31)
    assert result.proofs[1].account.quarantined == len(bad)
    assert not result.succeeded
    told = {row["candid"]: row["model_predictions"] for row in rows_in(tmp_path / "out")}
    assert told.pop(candid) == [{"model": "m", "prediction": 0.2}]
    ((other,),) = told.values()
    assert math.isnan(other["prediction"])


def test_without_its_alerts_nothing_is_left(command: Command, kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("fink_ai")
    said = command.run("transfer", "-topic", topic, "-outdir", "out", "-survey", "ztf", code=1)
    assert "neither fink_ai_feed_" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_into_the_lake(
    command: Command, kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    for model in ("snn", "cbpf"):
        say(kafka, topics[1], real_ztf, model, range(31))
    told = command.run("transfer", "-topic", topics[1], "--into-lake", "-survey", "ztf")
    assert f"{topics[0]}: 31 messages = 31 rows" in told.stdout
    assert f"{topics[1]}: 62 messages = 62 rows" in told.stdout
    command.run("transfer", "-topic", topics[1], "-outdir", "out", "-survey", "ztf")
    rows = rows_in(tmp_path / "out")
    assert joined_in(command.lake, topics) == {row["candid"]: row["model_predictions"] for row in rows}
    assert len(rows) == 31
    command.run("verify", "--deep")
    kafka.produce(topics[1], [prediction(rows[0]["candid"], "snn", [0.875, 0.125])], 0)
    command.run("drain", topics[1])  # of all clusters that have it
    mine = f"source_id = {rows[0]['candid']} AND model = 'snn' AND cluster = 'ztf'"
    query = f"SELECT prediction, result FROM predictions WHERE {mine}"
    assert sql(command.lake, query) == [(0.875, "[0.875, 0.125]")]
    shutil.rmtree(command.lake / "packets")
    command.run("rebuild")
    assert sql(command.lake, query) == [(0.875, "[0.875, 0.125]")]
    assert sql(command.lake, "SELECT count(*) FROM predictions WHERE cluster = 'ztf'") == [(62,)]


def joined_in(lake: Path, topics: tuple[str, str]) -> dict[int, list[dict[str, Any]]]:
    """Ask as docs/transfer.md does."""
    query = (
        "SELECT p.candid, m.model_predictions FROM packets_ztf AS p JOIN (SELECT topic, source_id, "
        "list({'model': model, 'prediction': prediction} ORDER BY model) AS model_predictions "
        "FROM predictions GROUP BY ALL) AS m ON m.source_id = p._source_id "
        f"WHERE p._topic = '{topics[0]}' AND m.topic = '{topics[1]}'"
    )
    return dict(sql(lake, query))


def test_into_the_lake_as_far_as_there_are_predictions(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(20))
    kafka.produce(topics[1], [(None, b"{}"), (None, b"\x02no JSON")], 1)
    result = run(kafka, tmp_path, topics[1], outdir=None)
    assert not result.succeeded
    assert result.proofs[0].problems == ["11 alerts have no prediction yet: run the same command again later"]
    assert result.proofs[1].account.quarantined == 2
    reasons = sql(tmp_path / "lake", "SELECT reason FROM quarantine ORDER BY kafka_offset")
    assert reasons[0] == ("no prediction: KeyError: 'source'",)
    assert reasons[1][0].startswith("no prediction: JSONDecodeError: ")
    say(kafka, topics[1], real_ztf, "snn", range(20, 31))
    result = run(kafka, tmp_path, topics[1], outdir=None)
    assert result.proofs[0].holds
    assert sql(tmp_path / "lake", "SELECT count(*), round(sum(prediction), 9) FROM predictions") == [
        (31, 4.65)
    ]


def test_a_limit_makes_no_alert_strange(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(31))
    assert run(kafka, tmp_path, topics[1], outdir=None, limit=10).notes == []
    assert run(kafka, tmp_path, topics[1], limit=10).notes == []


def test_killed_into_the_lake_and_run_again(
    kafka: Kafka, topics: tuple[str, str], real_ztf: RealAlerts, tmp_path: Path
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(31))
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, drain={"segment_bytes": 300_000})
    killed(settings, Request("ztf", topics[1], None, idle_s=0.0), *STEPS[0])
    assert run(kafka, tmp_path, topics[1], outdir=None).succeeded
    assert sql(tmp_path / "lake", "SELECT count(*), round(sum(prediction), 9) FROM predictions") == [
        (31, 4.65)
    ]
    assert sql(tmp_path / "lake", "SELECT count(*) FROM deliveries") == [(62,)]


STEPS = [
    ("finkbridge.ledger.coordinator:Coordinator.commit_segment", 2, "after"),
    ("finkbridge.transfer.joined:Joined._name_round", 1, "before"),
    ("finkbridge.transfer.joined:Joined._name_round", 1, "after"),
    ("finkbridge.transfer.outdir:_move", 2, "after"),
    ("finkbridge.transfer.ai:_prove", 1, "before"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "nth", "when"), STEPS, ids=lambda v: str(v).rpartition(":")[2])
def test_killed_at_a_step_and_run_again(
    kafka: Kafka,
    topics: tuple[str, str],
    real_ztf: RealAlerts,
    tmp_path: Path,
    step: str,
    nth: int,
    when: str,
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(31))
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, drain={"segment_bytes": 300_000})
    killed(settings, Request("ztf", topics[1], tmp_path / "out", idle_s=0.0), step, nth, when)
    assert run(kafka, tmp_path, topics[1]).succeeded
    assert_joined(tmp_path / "out", real_ztf, ["snn"], 31)
