"""Drain a topic in which each message has a writer schema of its own; see what it costs.

    python -m tests.torture.schemas --n 1000000 [--json]

As many schemas as a topic may bring land; all other messages are quarantined, and none is lost.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hostile.test_budget import distinct
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.kafka_server import KafkaServer
from tests.torture import processes, results

ROWS = 64
"""`decode.max_schemas`, as the settings have it."""
BOUND_MB = 1024
AT_ONCE = 10_000


def overwhelm(kafka: Kafka, folder: Path, count: int) -> dict[str, Any]:
    """Produce, drain and verify so many messages; return the figures."""
    topic = kafka.topic("schemas")
    for first in range(0, count, AT_ONCE):
        kafka.produce(topic, [distinct(n) for n in range(first, min(count, first + AT_ONCE))])
    command = Command(folder, kafka.bootstrap)
    began = time.monotonic()
    with command.start("drain", topic, "--json") as running:
        peak_mb = max(_megabytes(running.process), default=0.0)
        seconds = time.monotonic() - began
        report = json.loads(running.out.read_text())
    found = {"messages": count, "drain_s": seconds, "peak_mb": peak_mb, "exit": running.process.returncode}
    found |= {name: report[name] for name in ("rows", "quarantined")}
    found["problems"] = list(_problems(found, command))
    return found


def _megabytes(process: Any) -> Iterator[float]:
    while process.poll() is None:
        yield processes.pss_bytes(process.pid) / 1e6
        time.sleep(0.1)


def _problems(found: dict[str, Any], command: Command) -> Iterator[str]:
    rows = min(ROWS, found["messages"])
    if (found["rows"], found["quarantined"]) != (rows, found["messages"] - rows):
        yield f"{found['rows']} rows and {found['quarantined']} in quarantine of {found['messages']} messages"
    if found["peak_mb"] > BOUND_MB:
        yield f"{found['peak_mb']:.0f} MB, and {BOUND_MB} are allowed"
    with command.start("verify") as running:
        if running.process.wait() != 0:
            yield f"verify: {running.out.read_text()[:1000]}"


def main() -> None:
    """Run it, print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n", type=int, default=1_000_000, help="messages")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    given = parser.parse_args()
    with KafkaServer() as server, tempfile.TemporaryDirectory() as folder:
        found = overwhelm(Kafka(server.bootstrap, server), Path(folder), given.n)
    if not given.json:
        results.show("writer schemas", {}, found)
    print(json.dumps(found))
    results.save("schemas", found)
    sys.exit(bool(found["problems"]))


if __name__ == "__main__":
    main()
