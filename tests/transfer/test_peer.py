"""Against the real ``finkctl transfer``: the same rows, columns and values, field by field.

It has an environment of its own, which `python -m benchmarks.drain` makes; without it nothing is compared.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import RealAlerts, same
from tests.transfer.conftest import rows_in
from tests.transfer.test_ai import say, topics

__all__ = ["topics"]

FINKCTL = Path(
    os.environ.get("FINKBRIDGE_TEST_FINKCTL")
    or Path(__file__).parents[2] / "benchmarks" / ".venvs" / "fink-client" / "bin" / "finkctl"
)
KEYS = {"ztf": "candid", "lsst": "diaSourceId"}

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(
        not FINKCTL.is_file(),
        reason="NOT COMPARED WITH fink-client: python -m benchmarks.drain makes its environment",
    ),
]


def finkctl(kafka: Kafka, home: Path, survey: str, topic: str, *words: str) -> list[dict[str, Any]]:
    """Run the peer and return its rows."""
    told = {
        "survey": survey,
        "username": "peer",
        "password": None,
        "servers": kafka.bootstrap,
        "group_id": f"peer-{uuid.uuid4().hex}",
        "mytopics": [topic],
        "maxtimeout": 3,
    }
    file = home / ".finkclient" / f"{survey}_credentials.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told))
    out = home / "peer"
    command = [FINKCTL, "transfer", "-survey", survey, "-topic", topic, "-outdir", out, *words]
    environ = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        command, env=environ, cwd=home, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return rows_in(out)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same, where a map's order is nobody's."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return same(a, b)


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
@pytest.mark.parametrize("by", ["None", "time"])
def test_same_rows_and_values(
    command: Command, kafka: Kafka, survey: str, by: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    topic, key = request.getfixturevalue(f"{survey}_topic"), KEYS[survey]
    words = [] if by == "None" else ["-partitionby", by]
    home = tmp_path / "home"
    theirs = {row[key]: row for row in finkctl(kafka, home, survey, topic, "-nconsumers", "2", *words)}
    command.run("transfer", "-survey", survey, "-topic", topic, "-outdir", "out", *words)
    ours = {row[key]: row for row in rows_in(tmp_path / "out")}
    assert ours.keys() == theirs.keys()
    for number, row in ours.items():
        assert list(row) == list(theirs[number]), "the columns and their order"
        for name, value in row.items():
            assert equal(value, theirs[number][name]), name
    nights = [
        {p.relative_to(folder).parent.as_posix() for p in folder.rglob("*.parquet")}
        for folder in (tmp_path / "out", home / "peer")
    ]
    if survey == "ztf":
        assert nights[0] == nights[1]


def test_same_join(
    command: Command,
    kafka: Kafka,
    topics: tuple[str, str],
    real_ztf: RealAlerts,
    tmp_path: Path,
) -> None:
    say(kafka, topics[1], real_ztf, "snn", range(31))
    say(kafka, topics[1], real_ztf, "cbpf", range(31))
    theirs = {row["candid"]: row for row in finkctl(kafka, tmp_path / "home", "ztf", topics[1])}
    command.run("transfer", "-survey", "ztf", "-topic", topics[1], "-outdir", "out")
    ours = {row["candid"]: row for row in rows_in(tmp_path / "out")}
    assert ours.keys() == theirs.keys()
    for number, row in ours.items():
        models = [sorted(r.pop("model_predictions"), key=lambda p: p["model"]) for r in (row, theirs[number])]
        assert models[0] == models[1]
        assert all(equal(row[name], theirs[number][name]) for name in row | theirs[number])
