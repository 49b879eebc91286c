"""What is kept and shown of benchmark runs: machine, versions, medians, ratios."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.fill import Topic
from benchmarks.peers import FINK_CLIENT, PYSPARK, Outcome
from tests.support.kafka_server import KAFKA_VERSION

FOLDER = Path(__file__).parent / "results"
_PACKAGES = (
    "finkbridge",
    "confluent-kafka",
    "datafusion",
    "pyarrow",
    "numpy",
    "numba",
    "duckdb",
    "sqlalchemy",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One program on one topic, once."""

    program: str
    topic: Topic
    outcome: Outcome

    @property
    def exact(self) -> bool:
        """Whether it left one row for each message."""
        return self.outcome.rows == self.topic.messages and not self.outcome.problem


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one program on one topic."""

    runs: tuple[Run, ...]

    @property
    def timed(self) -> list[Run]:
        """Those that nobody looked at."""
        return [run for run in self.runs if not run.outcome.usage.watched]

    @property
    def seconds(self) -> float:
        """Median of the whole command, start included."""
        return statistics.median(run.outcome.usage.seconds for run in self.timed)

    @property
    def drain_s(self) -> float:
        """Median of the draining alone, where the program tells."""
        return statistics.median(run.outcome.drain_s for run in self.timed)

    @property
    def cpu_s(self) -> float:
        """Median of CPU seconds, of runs that were watched."""
        return statistics.median(run.outcome.usage.cpu_s for run in self.runs if run.outcome.usage.watched)

    @property
    def pss_mb(self) -> float:
        """Highest peak of all runs, MiB."""
        return max(run.outcome.usage.pss_bytes for run in self.runs) / 2**20

    @property
    def anonymous_mb(self) -> float:
        """Highest peak of all runs of the part of it that is of no file, MiB."""
        return max(run.outcome.usage.anonymous_bytes for run in self.runs) / 2**20

    @property
    def rss_mb(self) -> float:
        """Highest peak of all runs, MiB."""
        return max(run.outcome.usage.rss_bytes for run in self.runs) / 2**20

    @property
    def loads(self) -> str:
        """Load averages at the beginnings of what is timed."""
        return " ".join(f"{run.outcome.usage.load:.1f}" for run in self.timed)


def summaries(runs: Sequence[Run]) -> dict[tuple[str, str], Summary]:
    """Group runs by topic and program."""
    keys = dict.fromkeys((run.topic.name, run.program) for run in runs)
    return {k: Summary(tuple(r for r in runs if (r.topic.name, r.program) == k)) for k in keys}


def show(runs: Sequence[Run]) -> None:
    """Print the table."""
    table = Table(title=f"Drains: medians, peaks of memory; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    for heading in ("topic", "program", "runs", "rows"):
        table.add_column(heading)
    for heading in (
        "alerts/s",
        "MB/s",
        "s",
        "of it draining",
        "CPU s",
        "PSS MiB",
        "anonymous",
        "RSS MiB",
        "load",
    ):
        table.add_column(heading, justify="right")
    for (topic, program), summary in summaries(runs).items():
        first, exact = summary.runs[0], all(run.exact for run in summary.runs)
        table.add_row(
            topic,
            program,
            str(len(summary.timed)),
            f"{first.outcome.rows:,}" if exact else "[red]WRONG[/]",
            f"{first.topic.messages / summary.seconds:,.0f}",
            f"{first.topic.value_bytes / 1e6 / summary.seconds:,.0f}",
            f"{summary.seconds:.2f}",
            f"{summary.drain_s:.2f}",
            f"{summary.cpu_s:.1f}",
            f"{summary.pss_mb:,.0f}",
            f"{summary.anonymous_mb:,.0f}",
            f"{summary.rss_mb:,.0f}",
            summary.loads,
        )
    Console(width=170).print(table)


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    model = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cores": os.cpu_count(),
        "model": model[0] if model else platform.processor(),
        "memory_gib": round(memory[0] / 2**20, 1) if memory else None,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of all that took part."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    peers = {"kafka": KAFKA_VERSION, "fink-client": FINK_CLIENT, "pyspark": PYSPARK}
    return found | peers | {"python": platform.python_version(), "commit": commit()}


def save(name: str, content: dict[str, Any]) -> Path:
    """Write results beside those of earlier runs, with date, machine and versions."""
    now = datetime.now(UTC)
    told = {"date": now.isoformat(timespec="seconds"), "machine": machine(), "versions": versions()} | content
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}-{now:%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps(told, indent=1) + "\n")
    return file


def as_dict(run: Run) -> dict[str, Any]:
    """Return a run for JSON, without what the program said."""
    usage = asdict(run.outcome.usage)
    del usage["output"]
    topic, outcome = asdict(run.topic), run.outcome
    found = {"rows": outcome.rows, "drain_s": outcome.drain_s, "problem": outcome.problem, "exact": run.exact}
    return {"program": run.program, "topic": topic, **found, **usage}


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.is_file() else []


def commit() -> str:
    """Return the commit that this is, with a mark if files were changed since."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()
