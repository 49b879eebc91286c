"""The certificate of an observing night: what is in the lake of it, and whether that is all there is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from finkbridge import catalog, nights
from finkbridge.blockers import Rules
from finkbridge.errors import LakeAccessError, LakeError, SettingsError
from finkbridge.ledger import Ledger
from finkbridge.ledger.adopt import open_known
from finkbridge.ledger.coverage import Coverage, Drained, Lost, Reach, drained, read_coverage
from finkbridge.nights import Verdict
from finkbridge.settings import Settings
from finkbridge.values import TopicGeneration

Key = tuple[str, str, int, int]
"""Cluster, topic, generation and partition."""

_SUMMARIES = (
    "SELECT survey, night, alerts, duplicates, epoch_ms(first_received), epoch_ms(last_received) "
    "FROM nights WHERE list_contains(?, night)"
)
_BY_TOPIC = (
    "SELECT cluster, topic, CAST(sum(n) AS BIGINT) AS rows, count(source_id) AS alerts, "
    "CAST(coalesce(sum(n - 1) FILTER (source_id IS NOT NULL), 0) AS BIGINT) AS duplicates FROM ("
    "SELECT cluster, topic, source_id, count(*) AS n FROM deliveries "
    "WHERE survey = ? AND night = ? GROUP BY ALL) GROUP BY ALL ORDER BY ALL"
)
_BY_PARTITION = (
    "SELECT cluster, topic, generation, kafka_partition, count(*), min(kafka_offset), max(kafka_offset), "
    "epoch_ms(min(received)) / 1000, epoch_ms(max(received)) / 1000, "
    "count(*) FILTER (received >= make_timestamptz(CAST(? * 1000000 AS BIGINT))) FROM deliveries "
    "WHERE survey = ? AND night = ? GROUP BY ALL"
)


@dataclass(frozen=True, slots=True)
class TopicCount:
    """What one topic delivered of a night."""

    cluster: str
    topic: str
    rows: int
    alerts: int
    """Distinct ones."""
    duplicates: int
    """Rows of an alert that the topic has already: its producer sent it twice."""


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """A night's rows in one partition; times are Kafka's, Unix seconds UTC."""

    rows: int
    first_offset: int
    last_offset: int
    first_received: float | None
    last_received: float | None
    late: int
    """Rows that were sent after the night closed."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition that can hold alerts of a night: all that is drained of it, and the night's part."""

    reach: Reach
    drained: tuple[Drained, ...]
    lost: tuple[Lost, ...]
    quarantined: int
    """Messages that wait in quarantine, of any night."""
    accepted: int
    """Messages in quarantine that a person has accepted to be without, of any night."""
    night: PartitionCount | None
    """None: no row of the night."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One night in one line: the row of the view ``nights``."""

    verdict: Verdict
    alerts: int
    duplicates: int
    first_received: float | None
    last_received: float | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """One night of one survey, in full."""

    at: float
    """When it was made, Unix seconds UTC."""
    commit: int
    """Newest commit of the lake."""
    summary: Summary
    topics: tuple[TopicCount, ...]
    partitions: tuple[PartitionState, ...]

    @property
    def late(self) -> int:
        """Rows that were sent after the night closed: a replay, or alerts later than the settings allow."""
        return sum(p.night.late for p in self.partitions if p.night)


def summaries(settings: Settings, survey: str | None = None) -> list[Summary]:
    """Return one line for each night that is known.

    Parameters
    ----------
    settings
        Lake, and what they say of nights.
    survey
        None: all that the lake has.

    Raises
    ------
    LakeError
        There is no lake, nothing in it, or it cannot be read.
    SettingsError
        The lake has nothing of that survey.
    """
    with open_known(settings.lake, settings.ledger_url) as ledger:
        lines = _summaries(ledger, settings, None)
        if lines and survey is None:
            return lines
        mine = _surveys(read_coverage(ledger), survey)
        return [line for line in lines if line.verdict.night.survey in mine]


def certificates(settings: Settings, night: int, survey: str | None = None) -> list[Certificate]:
    """Return the certificates of a night, one a survey.

    Parameters
    ----------
    settings
        Lake, and what they say of nights.
    night
        YYYYMMDD. One without any alert has a certificate too: of no rows.
    survey
        None: those that have rows of the night or lack some, or else all that the lake has.

    Raises
    ------
    LakeError
        There is no lake, nothing in it, or it cannot be read.
    SettingsError
        The lake has nothing of that survey.
    """
    with open_known(settings.lake, settings.ledger_url) as ledger:
        coverage = read_coverage(ledger)
        wanted = [(name, night) for name in _surveys(coverage, survey)]
        lines = _with_news(_summaries(ledger, settings, wanted))
        ranges = drained(ledger)
        commit = ledger.last_commit()
        with catalog.connect(ledger, "deliveries", settings) as connection:
            return [
                Certificate(time.time(), commit, line, *_details(connection, line.verdict, coverage, ranges))
                for line in lines
            ]


def _surveys(coverage: Coverage, survey: str | None) -> list[str]:
    if not coverage.sources:
        raise LakeError("the lake has nothing of any topic yet: run finkbridge drain")
    known = nights.known_surveys(coverage)
    if survey is None:
        return known
    if survey not in known:
        raise SettingsError(f"the lake has no alerts of {survey}: it has {', '.join(known)}")
    return [survey]


def _with_news(lines: Sequence[Summary]) -> Sequence[Summary]:
    """Leave out surveys that have and lack nothing of a night, where others tell more of it."""
    return [x for x in lines if (v := x.verdict).rows or v.accepted or not v.complete] or lines


def _summaries(ledger: Ledger, settings: Settings, wanted: Sequence[tuple[str, int]] | None) -> list[Summary]:
    found = nights.verdicts(ledger, Rules.of(settings), wanted)
    with catalog.connect(ledger, "nights", settings) as connection:
        rows = _ask(connection, _SUMMARIES, [[v.night.night for v in found]])
    counts = {(survey, night): numbers for survey, night, *numbers in rows}
    return [_summary(v, counts.get((v.night.survey, v.night.night), (0, 0, None, None))) for v in found]


def _summary(verdict: Verdict, counts: Sequence[Any]) -> Summary:
    alerts, duplicates, first_ms, last_ms = counts
    return Summary(verdict, alerts, duplicates, _seconds(first_ms), _seconds(last_ms))


def _details(
    connection: duckdb.DuckDBPyConnection, verdict: Verdict, coverage: Coverage, ranges: Sequence[Drained]
) -> tuple[tuple[TopicCount, ...], tuple[PartitionState, ...]]:
    night = verdict.night
    topics = tuple(TopicCount(*row) for row in _ask(connection, _BY_TOPIC, [night.survey, night.night]))
    closes = [min(night.closes_at, 1e11), night.survey, night.night]
    rows = _ask(connection, _BY_PARTITION, closes)
    counts = {(c, t, g, p): PartitionCount(*numbers) for c, t, g, p, *numbers in rows}
    clusters = nights.clusters(coverage).get(night.survey, frozenset())
    blocking = {(blocker.source, blocker.partition) for blocker in verdict.blockers}
    return topics, _states(
        [
            reach
            for reach in coverage.reaches
            if reach.source.cluster in clusters or (reach.source, reach.partition) in blocking
        ],
        coverage,
        ranges,
        counts,
    )


def _states(
    reaches: Sequence[Reach],
    coverage: Coverage,
    ranges: Sequence[Drained],
    counts: Mapping[Key, PartitionCount],
) -> tuple[PartitionState, ...]:
    """Return what is known of partitions."""
    return tuple(
        PartitionState(
            reach,
            tuple(d for d in ranges if _of(reach, d.source, d.range.partition)),
            tuple(x for x in coverage.lost if _of(reach, x.source, x.range.partition)),
            sum(w.messages for w in coverage.waiting if _of(reach, w.source, w.partition)),
            sum(w.messages for w in coverage.accepted if _of(reach, w.source, w.partition)),
            counts.get((*_fields(reach.source), reach.partition)),
        )
        for reach in reaches
    )


def _of(reach: Reach, source: TopicGeneration, partition: int) -> bool:
    return reach.source == source and reach.partition == partition


def _fields(source: TopicGeneration) -> tuple[str, str, int]:
    return source.cluster, source.topic, source.generation


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _ask(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query, values).fetchall()
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise LakeAccessError(
            f"the rows of the lake cannot be read ({said}): run finkbridge verify"
        ) from None
