"""``finkbridge status``: what is drained, what waits, and when it expires."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.cli.output import emit_json, human_duration, table
from finkbridge.text import escaped

if TYPE_CHECKING:  # --help is quick without them
    from finkbridge.ledger.summary import RunStatus
    from finkbridge.status import Status, TopicStatus

_TIMES = ("oldest unread", "expires in", "lost")
COLUMNS = ("cluster", "topic", "messages", "drained", "end", "lag", *_TIMES, "quarantined")
PARTITION_COLUMNS = ("cluster", "topic", "partition", "drained", "end", "lag", *_TIMES)
SHOWN_GAPS = 10
"""Gaps that are listed, the newest; ``--json`` has them all."""


@click.command(name="status")
@click.argument("topics", nargs=-1)
@click.option("--partitions", is_flag=True, help="One row a partition.")
@click.option("--check", is_flag=True, help="Exit with 3 when messages are about to expire unread.")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(
    context: click.Context,
    app: App,
    topics: tuple[str, ...],
    *,
    partitions: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Show what is drained of TOPICS, what waits, and when it expires at the broker.

    It needs no lock: a drain may run meanwhile. Numbers are offsets, but for messages and quarantined.
    With --check, messages that expire within status.warn_hours, or that expired unread, are an error.

    Exit codes: 0; 1 a cluster or topic does not answer, or is not set (what the lake knows is shown);
    2 a bad setting; 3 with --check, messages are about to expire.
    """
    settings = app.settings()
    status: Status = later.call("finkbridge.status:measure_status", settings, topics)
    expiring = list(status.expiring(settings.status.warn_hours * 3600))
    if as_json:
        emit_json(as_object(status, expiring))
    else:
        _print(status, partitions=partitions)
    for problem in status.problems:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    several = len({topic.cluster for topic in status.topics}) > 1
    for topic in expiring:
        where = f"{topic.cluster}: " if several else ""
        click.echo(f"finkbridge: warning: {where}{warning(topic, status.at)}", err=True)
    context.exit(3 if check and expiring else int(bool(status.problems)))


def as_object(status: Status, expiring: list[TopicStatus]) -> dict[str, Any]:
    """Return all of it as one object; times are Unix seconds UTC."""
    return {
        "at": status.at,
        "topics": [topic_object(topic, is_expiring=topic in expiring) for topic in status.topics],
        "run": status.run,
        "problems": list(status.problems),
    }


def topic_object(topic: TopicStatus, *, is_expiring: bool) -> dict[str, Any]:
    """Return one topic with what follows from its partitions."""
    sums = ("drained", "end", "lag", "held", "lost", "oldest_unread_at", "expires_at")
    values = dataclasses.asdict(topic) | {name: getattr(topic, name) for name in sums}
    return values | {"is_expiring": is_expiring}


def rows(status: Status) -> Iterator[tuple[object, ...]]:
    """Yield the table's rows, one a topic."""
    for t in status.topics:
        times = (_age(t.oldest_unread_at, status.at), _time_left(t, t.oldest_unread_at, status.at))
        yield t.cluster, t.topic, t.messages, t.drained, t.end, t.lag, *times, t.lost, t.quarantined


def partition_rows(status: Status) -> Iterator[tuple[object, ...]]:
    """Yield the long table's rows, one a partition."""
    for t in status.topics:
        for p in t.partitions:
            times = (_age(p.oldest_unread_at, status.at), _time_left(t, p.oldest_unread_at, status.at))
            lost = p.lost + sum(g.end - g.start for g in t.gaps if g.partition == p.partition)
            yield t.cluster, t.topic, str(p.partition), p.drained, p.end, p.lag, *times, lost


def gap_lines(status: Status) -> Iterator[str]:
    """Yield a line for each of the newest gaps."""
    gaps = sorted(
        ((gap, topic.topic) for topic in status.topics for gap in topic.gaps), key=lambda g: -g[0].at
    )
    for gap, topic in gaps[:SHOWN_GAPS]:
        yield (
            f"lost: {topic} partition {gap.partition} offsets [{gap.start:,}, {gap.end:,}), "
            f"{gap.reason} (noticed {_utc(gap.at)})"
        )
    if len(gaps) > SHOWN_GAPS:
        yield f'lost: {len(gaps) - SHOWN_GAPS:,} more, older: finkbridge sql "FROM gaps"'


def run_line(run: RunStatus | None, now: float) -> str:
    """Return how the newest run went."""
    if run is None:
        return "no run yet"
    if run.state == "running":
        return f"{run.kind} is running since {human_duration(now - run.started_at)} ({_utc(run.started_at)})"
    if run.state == "dead":
        return f"last run: {run.kind} of {_utc(run.started_at)} died; the next one finishes it first"
    ended = run.ended_at or run.started_at
    done = "its report says nothing"
    if "messages" in run.summary:
        done = f"{run.summary['messages']:,} messages in {human_duration(ended - run.started_at)}"
    problems = "; ".join(run.summary.get("problems", ()))
    line = f"last run: {run.kind}, {human_duration(now - ended)} ago ({_utc(ended)}), {run.state}, {done}"
    return f"{line}: {problems}" if problems else line


def warning(topic: TopicStatus, now: float) -> str:
    """Return what is about to be lost."""
    if unrecorded := sum(p.lost for p in topic.partitions):
        return f"{topic.topic}: {unrecorded:,} offsets expired before they were drained: run finkbridge drain"
    left = (topic.expires_at or now) - now
    when = "may expire any moment" if left <= 0 else f"may expire in {human_duration(left)}"
    return f"{topic.topic}: {topic.lag:,} offsets wait and the oldest {when}: run finkbridge drain"


def _print(status: Status, *, partitions: bool) -> None:
    if not status.topics:
        click.echo("no topic matches")
    elif partitions:
        table(partition_rows(status), PARTITION_COLUMNS)
    else:
        table(rows(status), COLUMNS)
    for topic in status.topics:
        if topic.is_at_broker is False:
            click.echo(f"{topic.topic} is no more at cluster {topic.cluster}; the lake has what was drained")
        if topic.held:
            wait = "wait behind an open transaction: they can be drained when it ends"
            click.echo(escaped(f"{topic.topic}: {topic.held:,} offsets {wait}"))
    for line in gap_lines(status):
        click.echo(escaped(line))
    click.echo(escaped(run_line(status.run, status.at)))


def _age(since: float | None, now: float) -> str | None:
    return None if since is None else human_duration(max(0.0, now - since))


def _time_left(topic: TopicStatus, oldest: float | None, now: float) -> str | None:
    if oldest is None:
        return None
    if topic.retention_s is None:
        return "never"
    left = oldest + topic.retention_s - now
    return "any moment" if left <= 0 else human_duration(left)


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(at))
