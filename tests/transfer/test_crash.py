"""A transfer that is killed between any two of its steps, and run again, leaves what it always leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finkbridge.execution import Silent
from finkbridge.settings import Settings
from finkbridge.transfer.engine import Result
from finkbridge.transfer.request import Request
from finkbridge.transfer.run import transfer
from tests.support.dying import COORDINATOR, killed_at
from tests.support.kafka import Kafka
from tests.support.lake import RealAlerts, forget_landers, make_settings, same
from tests.transfer.conftest import rows_in

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STEPS = [
    ("finkbridge.transfer.outdir:make_state", 1, "after"),
    ("finkbridge.ledger.store:Ledger._create", 1, "after"),
    ("finkbridge.transfer.engine:_remember", 1, "before"),
    ("finkbridge.transfer.engine:_remember", 1, "after"),
    (f"{COORDINATOR}.add_plans", 1, "before"),
    (f"{COORDINATOR}.add_plans", 1, "after"),
    ("finkbridge.parquet:write", 2, "after"),
    ("finkbridge.disk:name_file", 1, "before"),
    ("finkbridge.disk:name_file", 1, "after"),
    ("finkbridge.disk:name_file", 3, "after"),
    (f"{COORDINATOR}.commit_segment", 1, "before"),
    (f"{COORDINATOR}.commit_segment", 1, "after"),
    ("finkbridge.transfer.outdir:_move", 1, "before"),
    ("finkbridge.transfer.outdir:_move", 1, "after"),
    ("finkbridge.transfer.outdir:_move", 2, "after"),
    ("finkbridge.transfer.outdir:deliver", 2, "after"),
    (f"{COORDINATOR}.commit_segment", 3, "after"),
    ("finkbridge.broker.client:Broker.tell_group", 1, "before"),
    (f"{COORDINATOR}.end_run", 1, "before"),
    ("finkbridge.transfer.run:prove", 1, "before"),
]
"""Between any two of what a transfer makes durable, in its order."""


def settings_of(kafka: Kafka, folder: Path) -> Settings:
    return make_settings(folder / "lake", kafka.bootstrap, drain={"segment_bytes": 300_000})


def request_of(topic: str, folder: Path, **more: Any) -> Request:
    return Request("ztf", topic, folder / "out", **more)


def transferred(settings: Settings, request: Request) -> Result:
    result = transfer(settings, request, Silent())
    assert result.succeeded, (result.problems, result.proofs)
    forget_landers()
    return result


def killed(settings: Settings, request: Request, function: str, nth: int, when: str) -> None:
    killed_at((function, nth, when), transfer, settings, request, Silent())


def assert_whole(folder: Path, real: RealAlerts) -> None:
    """Check that the folder has each alert once, as Parquet files and nothing else."""
    out = folder / "out"
    assert {p.suffix for p in out.rglob("*") if p.is_file()} == {".parquet"}
    rows = {row["candid"]: row for row in rows_in(out)}
    assert len(rows_in(out)) == len(rows) == len(real.alerts)
    for alert in real.alerts:
        row = rows[alert["candid"]]
        assert all(same(row[name], alert[name]) for name in row)


@pytest.mark.parametrize(("step", "nth", "when"), STEPS, ids=lambda v: str(v).rpartition(":")[2])
def test_killed_at_a_step_and_run_again(
    kafka: Kafka, ztf_topic: str, real_ztf: RealAlerts, tmp_path: Path, step: str, nth: int, when: str
) -> None:
    settings, request = settings_of(kafka, tmp_path), request_of(ztf_topic, tmp_path, partition="time")
    killed(settings, request, step, nth, when)
    seen = [row["candid"] for row in rows_in(tmp_path / "out")]
    assert len(seen) == len(set(seen)), "what a dead transfer left has nothing twice"
    transferred(settings, request)
    assert_whole(tmp_path, real_ztf)
    assert not list((tmp_path / ".out.finkbridge").rglob("landed/*"))


def test_killed_again_and_again(kafka: Kafka, ztf_topic: str, real_ztf: RealAlerts, tmp_path: Path) -> None:
    settings, request = settings_of(kafka, tmp_path), request_of(ztf_topic, tmp_path)
    for step, when in (("add_plans", "after"), ("commit_segment", "before"), ("commit_segment", "after")):
        killed(settings, request, f"{COORDINATOR}.{step}", 1, when)
    killed(settings, request, "finkbridge.transfer.outdir:_move", 2, "before")
    transferred(settings, request)
    assert_whole(tmp_path, real_ztf)


def test_limit_counts_what_a_killed_transfer_had(kafka: Kafka, ztf_topic: str, tmp_path: Path) -> None:
    settings, request = settings_of(kafka, tmp_path), request_of(ztf_topic, tmp_path, limit=17)
    killed(settings, request, f"{COORDINATOR}.commit_segment", 2, "before")
    result = transferred(settings, request)
    assert len(rows_in(tmp_path / "out")) == 17
    assert result.proofs[0].waiting == 14
    assert transferred(settings, request).proofs[0].counted.rows == 17
    assert transferred(settings, request_of(ztf_topic, tmp_path)).proofs[0].counted.rows == 31
