"""The demo's small world: an embedded broker, simulated alerts of both surveys, and a lake in one folder."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from finkbridge.broker import Producer, embedded_process
from finkbridge.broker.embedded import PARTITIONS
from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings, Settings
from finkbridge.simulator.alert import SimulatedAlert
from finkbridge.simulator.stream import alerts

ZTF_TOPICS = ("fink_sn_candidates_ztf", "fink_all_ztf")
LSST_TOPIC = "fink_all_lsst"
PATTERNS = {"ztf": ("fink_*_ztf",), "lsst": ("fink_*_lsst",)}
MARK = ".finkbridge-demo"
"""Marks a folder that the demo may remove."""

PORTION = {"ztf": 160, "lsst": 60}
"""Alerts between two drains, and what waits for the first one behind the UI."""

STEADY_RATE = 0.5
"""Alerts a second and survey behind the UI. Of so many the embedded broker holds three ticks of the schedule,
15 minutes: a first drain may come late, and one may fail."""

DRAINS = 2
NIGHTS = 4


@dataclass(frozen=True, slots=True)
class World:
    """A running broker, what is produced to it, and the settings that drain it."""

    folder: Path
    settings: Settings
    producers: Mapping[str, Producer]
    streams: Mapping[str, Iterator[SimulatedAlert]]
    turns: Mapping[str, Iterator[int]] = field(
        default_factory=lambda: {t: itertools.cycle(range(PARTITIONS)) for t in (*ZTF_TOPICS, LSST_TOPIC)}
    )
    """The partition of a topic's next message."""

    def produce(self, survey: str, count: int) -> int:
        """Send the survey's next alerts; return how many messages that made.

        The partitions take turns: all keys of a survey are the same schema, and Kafka's own choice would
        be one partition.
        """
        messages = 0
        for alert in itertools.islice(self.streams[survey], count):
            for topic in _topics(survey, alert):
                self.producers[survey].send(topic, alert.value, alert.key, partition=next(self.turns[topic]))
                messages += 1
        self.producers[survey].flush()
        return messages

    def produce_steadily(self, stop: Event) -> None:
        """Send alerts of both surveys at a steady rate until told to stop."""
        while not stop.wait(1 / STEADY_RATE):
            for survey in self.producers:
                self.produce(survey, 1)

    def write_config(self) -> Path:
        """Write the settings as ``finkbridge.toml`` into the demo's folder, for other commands."""
        lines = [f'lake = "{self.settings.lake}"']
        for name, cluster in self.settings.clusters.items():
            topics = ", ".join(f'"{topic}"' for topic in cluster.topics)
            lines += ["", f"[clusters.{name}]", f'servers = "{cluster.servers}"', f"topics = [{topics}]"]
        path = self.folder / "finkbridge.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


@contextmanager
def demo_world(folder: Path, seed: int = 1, *, endless: bool = False) -> Iterator[World]:
    """Start the broker over an empty folder; the broker ends with the context, the lake stays.

    The alerts are `DRAINS` portions over a few nights, or a stream without end.
    """
    folder = folder.absolute()
    _empty(folder)
    with ExitStack() as stack:
        servers = stack.enter_context(embedded_process())
        clusters = {
            name: ClusterSettings(servers=servers, topics=topics) for name, topics in PATTERNS.items()
        }
        settings = Settings(lake=folder / "lake", clusters=clusters)
        producers = {name: stack.enter_context(Producer(name, c)) for name, c in clusters.items()}
        counts = {name: None if endless else DRAINS * PORTION[name] for name in clusters}
        streams = {
            name: alerts(name, seed=seed, size="small", nights=NIGHTS, n=counts[name]) for name in clusters
        }
        yield World(folder, settings, producers, streams)


def _topics(survey: str, alert: SimulatedAlert) -> tuple[str, ...]:
    """Return the topics of an alert: one filter, one topic, and supernovae pass two of them."""
    if survey == "lsst":
        return (LSST_TOPIC,)
    return ZTF_TOPICS if alert.kind == "supernova" else ZTF_TOPICS[1:]


def _empty(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).is_file():
        raise SettingsError(f"{folder} is there and is not the demo's: name another folder with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(f"made by `finkbridge demo` at {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
