"""The programs that are compared: how each is set up, called, and how many rows it left."""

from __future__ import annotations

import compileall
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fastavro
import platformdirs
import pyarrow.parquet as pq

from benchmarks.alerts import AlertFile
from benchmarks.fill import Topic
from benchmarks.measure import Usage, measure

HERE = Path(__file__).parent
VENVS = HERE / ".venvs"
FINK_CLIENT = "12.3.0"
PYSPARK = "4.1.1"
FINKCTL_TIMEOUT_S = 10
"""finkctl waits so long at the end of each partition: what ``finkctl auth register`` writes unless told."""
TUNED_TIMEOUT_S = 2
"""Short, so that it is hardly timed waiting; a network's slow moment would end it too early."""
TUNED_BATCH = {"ztf": 1000, "lsst": 250}
"""Large batches are its fastest; the default is 100."""

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>finkbridge</groupId><artifactId>spark</artifactId><version>1</version>
<dependencies>{}</dependencies></project>
"""
_DEPENDENCY = (
    "<dependency><groupId>org.apache.spark</groupId>"
    "<artifactId>{}_2.13</artifactId><version>{}</version></dependency>"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One topic to drain, and where."""

    bootstrap: str
    topic: Topic
    alerts: AlertFile
    folder: Path
    """Empty; what the program leaves goes there."""
    watched: bool
    """Tell what the program takes, not how fast it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with a topic."""

    usage: Usage
    rows: int
    """Found in what it left, by counting there."""
    drain_s: float
    """Seconds of the draining alone, where the program tells; else of all."""
    problem: str = ""


Program = Callable[[Case], Outcome]


def consume(case: Case) -> Outcome:
    """Run the bare loop, which leaves nothing."""
    loop = [sys.executable, "-m", "benchmarks.consume_loop"]
    usage = measure(
        [*loop, case.bootstrap, case.topic.name, str(case.topic.messages)],
        folder=HERE.parent,
        watched=case.watched,
    )
    told = json.loads(usage.output.splitlines()[-1])
    problem = "" if told["value_bytes"] == case.topic.value_bytes else "the bytes differ"
    return Outcome(usage, told["rows"], usage.seconds, problem)


def finkctl(case: Case) -> Outcome:
    """Run ``finkctl transfer`` as it comes: one consumer a core, and its own batches and wait."""
    return _finkctl(case, FINKCTL_TIMEOUT_S)


def finkctl_tuned(case: Case) -> Outcome:
    """Run ``finkctl transfer`` as fast as it goes."""
    return _finkctl(case, TUNED_TIMEOUT_S, "-batchsize", str(TUNED_BATCH[case.topic.survey]))


def _finkctl(case: Case, timeout_s: int, *options: str) -> Outcome:
    """Run ``finkctl transfer`` in a home folder made for it."""
    home, out = case.folder / "home", case.folder / "out"
    _write_credentials(home, case, timeout_s)
    words = ["transfer", "-survey", case.topic.survey, "-topic", case.topic.name, "-outdir", str(out)]
    words += options
    program = environment("fink-client", f"fink-client=={FINK_CLIENT}") / "bin/finkctl"
    usage = measure([str(program), *words], {"HOME": str(home)}, case.folder, watched=case.watched)
    return Outcome(usage, parquet_rows(out), usage.seconds)


def _write_credentials(home: Path, case: Case, timeout_s: int) -> None:
    told = {
        "survey": case.topic.survey,
        "username": "bench",
        "password": None,
        "servers": case.bootstrap,
        "group_id": f"finkctl-{case.folder.name}",
        "mytopics": [case.topic.name],
        "maxtimeout": timeout_s,
    }
    file = home / ".finkclient" / f"{case.topic.survey}_credentials.yml"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(told))  # JSON is YAML


def spark(case: Case) -> Outcome:
    """Run the job of ``spark_drain.py``; its start is told apart."""
    schema, jars = case.folder / "schema.avsc", _spark_jars()
    schema.write_bytes(case.alerts.key())
    python = environment("spark", f"pyspark=={PYSPARK}") / "bin/python"
    words = [case.bootstrap, case.topic.name, str(schema), str(case.folder / "out"), str(jars)]
    usage = measure(
        [str(python), str(HERE / "spark_drain.py"), *words],
        {"TMPDIR": str(case.folder)},
        watched=case.watched,
    )
    told = next(json.loads(line) for line in usage.output.splitlines() if line.startswith('{"drain_'))
    return Outcome(usage, parquet_rows(case.folder / "out" / "rows"), told["drain_seconds"])


def transfer(case: Case) -> Outcome:
    """Run ``finkbridge transfer`` into an empty folder: the same rows and columns as ``finkctl transfer``."""
    out, config = case.folder / "out", case.folder / "finkbridge.toml"
    config.write_text(f'[clusters.{case.topic.survey}]\nservers = "{case.bootstrap}"\n')
    program = Path(sys.executable).parent / "finkbridge"
    compileall.compile_dir(HERE.parent / "finkbridge", quiet=1)  # as installing a package does
    words = ["transfer", "-survey", case.topic.survey, "-topic", case.topic.name, "-outdir", str(out)]
    usage = measure(
        [str(program), "--config", str(config), *words],
        {"HOME": str(case.folder)},
        case.folder,
        watched=case.watched,
    )
    return Outcome(usage, parquet_rows(out), usage.seconds)


def finkbridge(case: Case) -> Outcome:
    """Run the real command into an empty lake, and look into every table and the archive."""
    lake, config = case.folder / "lake", case.folder / "finkbridge.toml"
    config.write_text(f'lake = "{lake}"\n[clusters.{case.topic.survey}]\nservers = "{case.bootstrap}"\n')
    program = Path(sys.executable).parent / "finkbridge"
    compileall.compile_dir(HERE.parent / "finkbridge", quiet=1)  # as installing a package does
    command = [str(program), "--config", str(config), "drain", case.topic.name]
    usage = measure(command, {"HOME": str(case.folder)}, watched=case.watched)
    rows = {name: parquet_rows(lake / name) for name in ("deliveries", "packets")}
    rows["archive"] = sum(map(_avro_rows, lake.glob("archive/**/*.avro")))
    problem = "" if set(rows.values()) == {case.topic.messages} else f"rows: {rows}"
    if (identities := _identities(lake)) != case.topic.messages:
        problem += f" distinct partition and offset: {identities}"
    return Outcome(usage, rows["deliveries"], usage.seconds, problem)


PROGRAMS: dict[str, Program] = {
    "consume() loop": consume,
    "finkctl transfer": finkctl,
    "finkctl transfer, tuned": finkctl_tuned,
    "Spark": spark,
    "finkbridge drain": finkbridge,
    "finkbridge transfer": transfer,
}


def parquet_rows(folder: Path) -> int:
    """Return the rows of all Parquet files below a folder, by their footers."""
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("**/*.parquet"))


def _avro_rows(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(block.num_records for block in fastavro.block_reader(stream))


def _identities(lake: Path) -> int:
    found: set[tuple[int, int]] = set()
    for file in lake.glob("deliveries/**/*.parquet"):
        table = pq.ParquetFile(file).read(["kafka_partition", "kafka_offset"])
        found |= set(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return len(found)


def environment(name: str, *packages: str) -> Path:
    """Return a virtual environment that has the packages; made at its first use."""
    folder = VENVS / name
    if not (folder / "ready").is_file():
        print(f"making {folder}, once")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *packages], check=True)
        (folder / "ready").touch()
    return folder


def _spark_jars() -> Path:
    folder = platformdirs.user_cache_path("finkbridge") / "spark" / PYSPARK
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "jars").is_dir():
            wanted = (_DEPENDENCY.format(name, PYSPARK) for name in ("spark-sql-kafka-0-10", "spark-avro"))
            (folder / "pom.xml").write_text(_POM.format("".join(wanted)))
            goal = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
            subprocess.run([*goal, "-DoutputDirectory=part"], cwd=folder, check=True)
            (folder / "part").rename(folder / "jars")
    return folder / "jars"
