"""A real ``dagster dev`` with the project's own settings, and what is asked of it by GraphQL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.kafka_server import free_ports

ROOT = Path(__file__).parents[2]
DAGSTER = Path(sys.executable).parent / "dagster"
UP_S = 240
"""It takes ten seconds alone, minutes on a crowded machine."""
RUN_S = 240

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

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
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
def dagster_dev(home: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Dev]:
    """Run ``dagster dev`` with the project's own settings on a free port; ends all its processes."""
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    (port,) = free_ports(1)
    command = [str(DAGSTER), "dev", "-h", "127.0.0.1", "-p", str(port), "-w", str(ROOT / "workspace.yaml")]
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**environ, "DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        dev, until = Dev(port, process), time.monotonic() + UP_S
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
