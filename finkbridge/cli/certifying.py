"""Certificates as text and JSON, for the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import click

from finkbridge.blockers import Blocker, Rules, utc
from finkbridge.certificate import Certificate, PartitionState, Summary, certificates, summaries
from finkbridge.cli.options import App
from finkbridge.cli.output import emit_json, table
from finkbridge.nights import Verdict, parse_night
from finkbridge.text import counted

COLUMNS = (
    "night",
    "survey",
    "rows",
    "alerts",
    "duplicates",
    "quarantined",
    "gaps",
    "first",
    "last",
    "complete",
)
TOPIC_COLUMNS = ("cluster", "topic", "rows", "alerts", "duplicates")
PARTITION_COLUMNS = (
    "cluster",
    "topic",
    "partition",
    "offsets",
    "messages",
    "rows",
    "quarantined",
    "holes",
    "seen at its end",
)
NIGHT_COLUMNS = ("cluster", "topic", "partition", "rows", "first offset", "last offset", "first", "last")
SEEN = "finkbridge quarantine list --state accepted"
UNNAMED = "no settings name topics, so one that was never drained is not missed: see finkbridge config"
SHOWN = 20
"""Reasons that are listed; ``--json`` has them all."""


def run(app: App, night: str | None, survey: str | None, *, as_json: bool) -> int:
    """Print the certificates of a night, or a line for each night; return the exit code."""
    settings = app.settings()
    if night is None:
        lines = summaries(settings, survey)
        made = []
    else:
        made = certificates(settings, parse_night(night), survey)
        lines = [certificate.summary for certificate in made]
    if as_json:
        emit_json({"nights": [full_object(c) for c in made] if night else [line_object(x) for x in lines]})
    elif night is None:
        _print_lines(lines)
    else:
        for certificate in made:
            _print(certificate)
    if not as_json and Rules.of(settings).topics is None:
        click.echo(f"finkbridge: note: {UNNAMED}", err=True)
    return _exit_code([line.verdict for line in lines])


def line_object(line: Summary) -> dict[str, Any]:
    """Return one night as plain values; times are Unix seconds UTC."""
    verdict, night = line.verdict, line.verdict.night
    return {
        "survey": night.survey,
        "night": night.night,
        "starts_at": _finite(night.start),
        "ends_at": _finite(night.end),
        "closes_at": _finite(night.closes_at),
        "rows": verdict.rows,
        "alerts": line.alerts,
        "duplicates": line.duplicates,
        "quarantined": verdict.quarantined,
        "accepted": verdict.accepted,
        "gaps": verdict.gaps,
        "first_received": line.first_received,
        "last_received": line.last_received,
        "complete": verdict.complete,
        "why": verdict.why,
    }


def full_object(certificate: Certificate) -> dict[str, Any]:
    """Return a whole certificate as plain values."""
    return {
        **line_object(certificate.summary),
        "late": certificate.late,
        "at": certificate.at,
        "commit": certificate.commit,
        "reasons": [_reason(blocker) for blocker in certificate.summary.verdict.blockers],
        "topics": [dataclasses.asdict(topic) for topic in certificate.topics],
        "partitions": [_partition(state) for state in certificate.partitions],
    }


def _partition(state: PartitionState) -> dict[str, Any]:
    reach = state.reach
    counts = ("messages", "rows", "quarantined", "holes")
    return {
        **dataclasses.asdict(reach.source),
        "partition": reach.partition,
        "drained": [
            {"start": d.range.start, "end": d.range.end, **{name: getattr(d, name) for name in counts}}
            for d in state.drained
        ],
        "lost": [
            {
                "start": x.range.start,
                "end": x.range.end,
                "reason": x.reason,
                "after": x.after,
                "before": x.before,
            }
            for x in state.lost
        ],
        "quarantined": state.quarantined,
        "accepted": state.accepted,
        "seen_at_end": reach.reached_at,
        "seen_at": reach.seen_at,
        "seen_end": reach.seen_end,
        "ended_at": reach.ended_at,
        "night": state.night and dataclasses.asdict(state.night),
    }


def _reason(blocker: Blocker) -> dict[str, Any]:
    source = blocker.source
    return {
        "cluster": source and source.cluster,
        "topic": source and source.topic,
        "generation": source and source.generation,
        "partition": blocker.partition,
        "since": _finite(blocker.since),
        "until": _finite(blocker.until),
        "why": blocker.why,
        "todo": blocker.todo,
    }


def _print_lines(lines: Sequence[Summary]) -> None:
    if not lines:
        click.echo("the lake has no alerts yet: run finkbridge drain")
        return
    table((_row(line) for line in lines), COLUMNS)
    for line in lines:
        if line.verdict.accepted:
            accepted = counted(line.verdict.accepted, "message")
            click.echo(f"{_name(line.verdict)}: {accepted} accepted as lost: {SEEN}")
        if line.verdict.why:
            click.echo(f"{_name(line.verdict)}: {line.verdict.why}")


def _row(line: Summary) -> tuple[object, ...]:
    verdict = line.verdict
    counts = (verdict.rows, line.alerts, line.duplicates, verdict.quarantined, verdict.gaps)
    times = (_utc(line.first_received), _utc(line.last_received))
    return str(verdict.night.night), verdict.night.survey, *counts, *times, verdict.complete


def _print(certificate: Certificate) -> None:
    verdict = certificate.summary.verdict
    for text in _head(certificate):
        click.echo(text)
    click.echo()
    table([[getattr(t, name) for name in TOPIC_COLUMNS] for t in certificate.topics], TOPIC_COLUMNS)
    click.echo("\nthe night's rows, by partition")
    table(list(_night_rows(certificate.partitions)), NIGHT_COLUMNS)
    click.echo("\nall that is drained of the partitions that can hold its alerts")
    table(list(_partition_rows(certificate.partitions)), PARTITION_COLUMNS)
    for state in certificate.partitions:
        for lost in state.lost:
            where = f"{lost.source.cluster} {lost.source.topic} partition {lost.range.partition}"
            click.echo(f"lost: {where} offsets [{lost.range.start:,}, {lost.range.end:,}), {lost.reason}")
    click.echo()
    click.echo(f"complete: {'yes' if verdict.complete else 'no'}")
    for blocker in verdict.blockers[:SHOWN]:
        click.echo(f"  {blocker.why}: {blocker.todo}")
    if len(verdict.blockers) > SHOWN:
        click.echo(f"  and {len(verdict.blockers) - SHOWN:,} more: see --json")
    click.echo()


def _head(certificate: Certificate) -> Iterator[str]:
    line, verdict = certificate.summary, certificate.summary.verdict
    night = verdict.night
    yield f"{night.survey} night {night.night}, as of commit {certificate.commit} ({utc(certificate.at)})"
    if not math.isinf(night.closes_at):
        yield f"from {utc(night.start)} to {utc(night.end)}; its alerts may come until {utc(night.closes_at)}"
    yield f"{verdict.rows:,} rows of {line.alerts:,} alerts; {line.duplicates:,} sent twice by the producer"
    if line.first_received is not None:
        yield f"received by Kafka from {_utc(line.first_received)} to {_utc(line.last_received)}"
    if verdict.accepted:
        yield f"{verdict.accepted:,} messages that may be of it were accepted as lost: {SEEN}"
    if certificate.late:
        yield f"{certificate.late:,} rows came after the night had closed, as replays do: more may come"


def _night_rows(states: Sequence[PartitionState]) -> Iterator[tuple[object, ...]]:
    for state in states:
        if state.night is None:
            continue
        offsets = str(state.night.first_offset), str(state.night.last_offset)
        times = _utc(state.night.first_received), _utc(state.night.last_received)
        yield *_place(state), state.night.rows, *offsets, *times


def _partition_rows(states: Sequence[PartitionState]) -> Iterator[tuple[object, ...]]:
    for state in states:
        for part in state.drained or (None,):
            span = f"[{part.range.start}, {part.range.end})" if part else "none"
            counts = (part.messages, part.rows, part.quarantined, part.holes) if part else (0, 0, 0, 0)
            yield *_place(state), span, *counts, _utc(state.reach.reached_at)


def _place(state: PartitionState) -> tuple[str, str, str]:
    source = state.reach.source
    life = "" if source.generation == 1 else f" (generation {source.generation})"
    return source.cluster, source.topic + life, str(state.reach.partition)


def _name(verdict: Verdict) -> str:
    return f"{verdict.night.survey} {verdict.night.night}"


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    open_ones = [verdict for verdict in verdicts if not verdict.complete]
    if not open_ones:
        return 0
    first, more = open_ones[0], len(open_ones) - 1
    what = f"the night {_name(first)} is not complete"
    if more:
        what += f", nor {'is' if more == 1 else 'are'} {more:,} more"
    click.echo(f"finkbridge: {what}: {first.why}", err=True)
    return 1


def _utc(at: float | None) -> str | None:
    return None if at is None else utc(at)


def _finite(at: float) -> float | None:
    return None if math.isinf(at) else at
