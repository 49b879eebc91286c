"""The whole of it, as a user starts it: ``dagster dev``, a run by GraphQL, rows in the lake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import Environment, ztf_records
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports
from tests.support.lake import delivered

ROOT = Path(__file__).parents[2]
DAGSTER = Path(sys.executable).parent / "dagster"
UP_S = 90
RUN_S = 90

LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SCHEDULES = """{ schedulesOrError(repositorySelector: {
    repositoryLocationName: "finkbridge", repositoryName: "__repository__"}) {
    ... on Schedules { results { name scheduleState { status } } } } }"""
STALE = "{ assetNodes { assetKey { path } staleStatus staleCauses { reason } } }"
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "finkbridge") { __typename } }"""
LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"


class Dev:
    """A running ``dagster dev``."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def loaded(self) -> bool:
        try:
            entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        except OSError:
            return False
        return [entry["loadStatus"] for entry in entries] == ["LOADED"]

    def launch(self, job: str, config: dict[str, Any]) -> str:
        selector = {
            "repositoryLocationName": "finkbridge",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        params = {"selector": selector, "runConfigData": config, "mode": "default"}
        launched = self.ask(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def launch_assets(self, *keys: str) -> str:
        """Materialize assets by hand, as the button in the UI does."""
        selector = {
            "repositoryLocationName": "finkbridge",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [key]} for key in keys],
            "assetCheckSelection": None,
        }
        launched = self.ask(LAUNCH, params={"selector": selector, "mode": "default"})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def stale(self) -> dict[str, tuple[str, list[str]]]:
        """Return of each asset whether it is in sync, and why not."""
        nodes = self.ask(STALE)["assetNodes"]
        return {
            "/".join(node["assetKey"]["path"]): (
                node["staleStatus"],
                [cause["reason"] for cause in node["staleCauses"]],
            )
            for node in nodes
        }

    def reload(self) -> None:
        """Load the definitions again."""
        assert self.ask(RELOAD)["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"

    def ended(self, run_id: str) -> str:
        until = time.monotonic() + RUN_S
        while time.monotonic() < until:
            status = str(self.ask(STATUS, id=run_id)["runOrError"]["status"])
            if status in {"SUCCESS", "FAILURE", "CANCELED"}:
                return status
            time.sleep(0.5)
        return f"not over in {RUN_S} s"


@contextmanager
def dagster_dev(home: Path) -> Iterator[Dev]:
    """Run ``dagster dev`` with the project's own settings on a free port; ends all its processes."""
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    (port,) = free_ports(1)
    command = [str(DAGSTER), "dev", "-h", "127.0.0.1", "-p", str(port), "-w", str(ROOT / "workspace.yaml")]
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        dev, until = Dev(port), time.monotonic() + UP_S
        while not dev.loaded():
            assert process.poll() is None, (home / "dev.log").read_text()
            assert time.monotonic() < until, (home / "dev.log").read_text()
            time.sleep(0.3)
        yield dev
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # as on a machine with more to do
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.kafka
def test_a_run_through_dagster_dev_fills_the_lake(
    kafka: Kafka, environment: Environment, tmp_path: Path
) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(12))
    lake = environment(kafka.bootstrap, topic)
    home = tmp_path / "dagster_home"
    home.mkdir()
    with dagster_dev(home) as dev:
        schedules = dev.ask(SCHEDULES)["schedulesOrError"]["results"]
        states = {schedule["name"]: schedule["scheduleState"]["status"] for schedule in schedules}
        assert states == {"drain_schedule": "RUNNING", "maintenance_schedule": "RUNNING"}
        config = {"ops": {"drain_topics": {"config": {"topics": [topic], "max_messages": 10}}}}
        assert dev.ended(dev.launch("drain", config)) == "SUCCESS", (home / "dev.log").read_text()
        assert len(delivered(lake)) >= 10, "the schedule may have drained the rest"
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS"
    assert len(delivered(lake)) == 12


@pytest.mark.slow
@pytest.mark.kafka
def test_with_patterns_all_stays_in_sync_whatever_is_drained_and_loaded_again(
    kafka: Kafka, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code server has loaded its definitions before the topics are known, a run's process after."""
    monkeypatch.setenv("FINKBRIDGE_SCHEDULE__CRON", "0 0 1 1 *")
    first = kafka.topic("sync_first_ztf")
    kafka.produce(first, ztf_records(5))
    lake = environment(kafka.bootstrap, "sync_*_ztf*")
    home = tmp_path / "dagster_home"
    home.mkdir()
    lake_assets = {"raw_archive", "deliveries", "packets", "catalog"}
    with dagster_dev(home) as dev:
        assert {key for key, (status, _) in dev.stale().items() if status == "MISSING"} >= lake_assets
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS", (home / "dev.log").read_text()
        synced = dict.fromkeys(
            ["kafka/ztf/sync_..._ztf...", "deliveries_by_night", *lake_assets], ("FRESH", [])
        )
        assert dev.stale() == synced
        second = kafka.topic("sync_second_ztf")
        kafka.produce(second, ztf_records(7))
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS"
        assert dev.stale() == synced
        dev.reload()
        assert dev.stale() == synced
        kafka.produce(second, ztf_records(2))
        for keys in (["raw_archive", "deliveries", "packets"], ["catalog"]):
            assert dev.ended(dev.launch_assets(*keys)) == "SUCCESS"
        assert dev.stale() == synced
    assert {topic for topic, *_ in delivered(lake)} == {first, second}
    assert len(delivered(lake)) == 14
