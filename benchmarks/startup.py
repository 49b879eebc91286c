"""``python -m benchmarks.startup``: how long the command takes when there is nothing to do.

``finkbridge --help``; a first drain of a small topic; a second one, which finds nothing new.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks import results
from benchmarks.fill import PARTITIONS
from benchmarks.measure import Usage, measure
from finkbridge.broker.produce import Producer, create_topic
from finkbridge.settings import ClusterSettings
from finkbridge.simulator.stream import alerts
from tests.support.kafka_server import KafkaServer

TIMES = 7
SMALL = 100
HELP_WITHIN_S = 0.3
TOPIC = "fink_startup_ztf"


@dataclass(frozen=True, slots=True)
class Repeated:
    """One command, several times."""

    what: str
    runs: tuple[Usage, ...]

    @property
    def seconds(self) -> float:
        """Median."""
        return statistics.median(run.seconds for run in self.runs)


def main() -> int:
    finkbridge = str(Path(sys.executable).parent / "finkbridge")
    found = [_repeat("--help", [finkbridge, "--help"])]
    with KafkaServer() as server, tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
        _send(server.bootstrap, SMALL)
        config = Path(work, "finkbridge.toml")
        config.write_text(f'lake = "{work}/lake"\n[clusters.ztf]\nservers = "{server.bootstrap}"\n')
        drain = [finkbridge, "--config", str(config), "drain", TOPIC]
        found.append(_repeat(f"first drain, {SMALL} alerts", drain, 1))
        found.append(_repeat("drain with nothing new", drain))
    told = [
        {"what": one.what, "seconds": one.seconds, "all": [run.seconds for run in one.runs]} for one in found
    ]
    loads = [one.runs[0].load for one in found]
    print(f"written: {results.save('startup', {'runs': told, 'loads': loads})}")
    return found[0].seconds > HELP_WITHIN_S


def _repeat(what: str, command: list[str], times: int = TIMES) -> Repeated:
    found = Repeated(what, tuple(measure(command, watched=False) for _ in range(times)))
    print(f"{what}: {found.seconds:.2f} s, load {found.runs[0].load:.1f}")
    return found


def _send(bootstrap: str, count: int) -> None:
    settings = ClusterSettings(servers=bootstrap)
    create_topic(settings, TOPIC, PARTITIONS)
    with Producer("ztf", settings) as producer:
        for number, alert in enumerate(islice(alerts("ztf", n=count), count)):
            producer.send(TOPIC, alert.value, alert.key, partition=number % PARTITIONS)


if __name__ == "__main__":
    sys.exit(main())
