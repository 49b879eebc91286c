"""``finkbridge topics``: what the cluster has, and which of it is yours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, pass_app, survey_of, survey_option
from finkbridge.cli.output import emit_json, human_bytes, human_duration, table
from finkbridge.errors import SettingsError

if TYPE_CHECKING:
    from finkbridge.settings import ClusterSettings

COLUMNS = (
    "topic",
    "mine",
    "messages",
    "size, about",
    "partitions",
    "kept for",
    "oldest (UTC)",
    "newest (UTC)",
    "schema version",
)


@click.group(name="topics")
def command() -> None:
    """List the topics, and choose those that are yours.

    Yours are those that `consumer`, `drain` and fink-client read when no topic is named. They are kept in
    your credentials file (see `register`), so that both clients know them.

    \b
    finkbridge topics list -survey ztf
    finkbridge topics add -survey ztf 'fink_sn_*' fink_kn_candidates_ztf
    finkbridge topics remove -survey ztf 'fink_*'
    """  # noqa: D301 - click wants the character itself


@command.command(name="list")
@click.argument("patterns", nargs=-1)
@survey_option
@click.option("--mine", is_flag=True, help="Only those that are yours.")
@json_option
@pass_app
def list_command(
    app: App, patterns: tuple[str, ...], *, survey: str | None, mine: bool, as_json: bool
) -> None:
    """List the topics that are there, or those that PATTERNS stand for.

    Sizes are estimates from the newest message. Versions are those of the survey's schema, of Fink's broker
    and of its science modules, as the newest alert tells them.
    """
    settings = app.settings()
    name = survey_of(settings, survey, patterns)
    infos = later.call(
        "finkbridge.topics:list_topics", name, settings.cluster(name), patterns, only_mine=mine
    )
    if as_json:
        emit_json({"cluster": name, "topics": [asdict(info) for info in infos]})
        return
    table([_row(info) for info in infos], COLUMNS, whole=True)


@command.command(name="add")
@click.argument("patterns", nargs=-1)
@click.option("-name", "--name", "named", multiple=True, help="The same as an argument.")
@survey_option
@click.option("--unchecked", is_flag=True, help="Take names as they are, without asking the cluster.")
@pass_app
def add_command(
    app: App, patterns: tuple[str, ...], *, named: tuple[str, ...], survey: str | None, unchecked: bool
) -> None:
    """Add topics to yours: by name, or all that match a pattern now."""
    wanted = _wanted(patterns, named)
    settings = app.settings()
    name = survey_of(settings, survey, wanted)
    topics = (
        wanted if unchecked else later.call("finkbridge.topics:expand", name, settings.cluster(name), wanted)
    )
    new = later.call("finkbridge.register:add_topics", _folder(app), name, topics)
    for topic in topics:
        click.echo(f"{topic}: {'added' if topic in new else 'yours already'}")


@command.command(name="remove")
@click.argument("patterns", nargs=-1)
@click.option("-name", "--name", "named", multiple=True, help="The same as an argument.")
@survey_option
@pass_app
def remove_command(
    app: App, patterns: tuple[str, ...], *, named: tuple[str, ...], survey: str | None
) -> None:
    """Remove topics from yours, by name or pattern; the cluster is not asked."""
    wanted = _wanted(patterns, named)
    name = survey_of(app.settings(), survey, wanted)
    for topic in later.call("finkbridge.register:remove_topics", _folder(app), name, wanted):
        click.echo(f"{topic}: removed")


def print_names(cluster: str, settings: ClusterSettings) -> int:
    """Print the names of all topics, those of a kind together: ``consumer --available_topics``."""
    with later.call("finkbridge.broker:Broker", cluster, settings) as broker:
        for topic in broker.topics():
            click.echo(topic)
    return 0


def _folder(app: App) -> Path:
    folder: Path = later.call("finkbridge.settings:credentials_folder", app.config)
    return folder


def _wanted(patterns: Sequence[str], named: Sequence[str]) -> tuple[str, ...]:
    wanted = (*patterns, *named)
    if not wanted:
        raise SettingsError("name the topics, such as fink_sn_candidates_ztf or 'fink_sn_*'")
    return wanted


def _row(info: Any) -> tuple[object, ...]:
    kept = info.retention_s
    return (
        info.name,
        "yes" if info.is_mine else "",
        info.messages,
        None if info.bytes is None else human_bytes(info.bytes),
        info.partitions,
        None if kept is None else "ever" if kept < 0 else human_duration(kept),
        _time(info.oldest_ms),
        _time(info.newest_ms),
        info.version,
    )


def _time(stamp_ms: int | None) -> str | None:
    if stamp_ms is None or not 0 <= stamp_ms < 253402300800000:
        return None
    return datetime.fromtimestamp(stamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
