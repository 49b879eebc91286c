"""The topics as upstream assets: one for each entry of the settings, be it a name or a pattern.

They follow from the settings alone. Whatever was drained meanwhile, the code server, a run's process and
definitions that are loaded again agree on them, or Dagster would call all that depends on them out of sync.
Which topics a pattern stands for is in the metadata of its observations.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import dagster as dg

from finkbridge.report import DrainReport, TopicReport
from finkbridge.settings import Settings
from pipelines import metadata
from pipelines.specs import OWNERS

PATTERN = frozenset("*?[")
COUNTS = ("lag", "messages", "quarantined", "expired")


@dataclass(frozen=True)
class Upstream:
    """One asset upstream of the lake."""

    key: dg.AssetKey
    entries: tuple[tuple[str, str], ...]
    """Cluster, and the name or pattern as the settings have it. One, but where Dagster sees no difference."""

    def has(self, topic: TopicReport) -> bool:
        """Whether a topic is one of these."""
        return any(
            topic.cluster == cluster and fnmatchcase(topic.topic, entry) for cluster, entry in self.entries
        )

    @property
    def is_one_topic(self) -> bool:
        """Whether it stands for a single topic, by its name."""
        return len(self.entries) == 1 and not PATTERN & set(self.entries[0][1])


def upstreams(settings: Settings) -> list[Upstream]:
    """Return what the settings name, in order."""
    found: dict[str, Upstream] = {}
    for cluster, its in sorted(settings.clusters.items()):
        for entry in sorted(set(its.topics)):
            key = _key(cluster, entry)
            # of dependencies with equal names, Dagster would silently keep one
            name = re.sub("[.-]", "_", "_".join(key.path))
            before = found.get(name, Upstream(key, ()))
            found[name] = Upstream(before.key, (*before.entries, (cluster, entry)))
    return list(found.values())


def topic_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Return the upstream assets; asks neither a broker nor the lake."""
    return [
        dg.AssetSpec(
            upstream.key,
            group_name="kafka",
            kinds={"kafka"},
            owners=OWNERS,
            tags={"cluster": upstream.entries[0][0]},
            description=_description(upstream),
        )
        for upstream in upstreams(settings)
    ]


def events(
    settings: Settings, report: DrainReport
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """Yield what a run says of the topics that it looked at.

    An observation of the lag that it left, in all and by topic, and before it, where there were new messages,
    a materialization: without one, the UI has an upstream asset as missing for ever.
    """
    for upstream in upstreams(settings):
        topics = [topic for topic in report.topics.values() if upstream.has(topic)]
        counts = _counts(upstream, topics)
        if messages := sum(topic.messages for topic in topics):
            told = f"{messages} new messages"
            yield dg.AssetMaterialization(upstream.key, description=told, metadata=counts)  # of the overview
        if topics:
            yield dg.AssetObservation(upstream.key, metadata=counts)


def _counts(upstream: Upstream, topics: list[TopicReport]) -> metadata.Metadata:
    sums = {name: sum(getattr(topic, name) for topic in topics) for name in COUNTS}
    if upstream.is_one_topic:
        return sums
    by_topic = {f"{name}/{topic.topic}": getattr(topic, name) for topic in topics for name in COUNTS}
    return {**sums, "matching": len(topics), "topics": metadata.topics_table(topics), **by_topic}


def _key(cluster: str, entry: str) -> dg.AssetKey:
    """Return an asset's key: Dagster depends on names of letters, digits, and ``_.-`` only."""
    return dg.AssetKey(["kafka", cluster, re.sub("[^A-Za-z0-9_.-]", ".", entry.replace("*", "..."))])


def _description(upstream: Upstream) -> str:
    told = " and ".join(f"`{entry}` of the Kafka cluster `{cluster}`" for cluster, entry in upstream.entries)
    what = "Topic" if upstream.is_one_topic else "All topics that match"
    return f"{what} {told}. Each drain notes the lag that it left."
