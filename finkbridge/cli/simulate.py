"""``finkbridge simulate``: alerts that look like real ones, to any broker."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import click
from pydantic import ValidationError

from finkbridge.broker.produce import Producer
from finkbridge.cli.options import App, json_option, pass_app
from finkbridge.cli.output import emit_json
from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings
from finkbridge.simulator.feed import Feed, Sent, prepare, send
from finkbridge.simulator.stream import DEFAULT_START, alerts


@click.command()
@click.option("--survey", type=click.Choice(["ztf", "lsst"]), default="ztf", show_default=True)
@click.option("--topic", "topics", multiple=True, required=True, help="Topic to write to; repeatable.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the alerts that go to two of the topics.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Alerts a second; 0: as fast as possible.",
)
@click.option(
    "--n",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of alerts; 0: until Ctrl-C.",
)
@click.option(
    "--nights",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Nights over which the alerts are spread, about.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another sky.")
@click.option(
    "--size",
    type=click.Choice(["full", "small"]),
    default="full",
    show_default=True,
    help="As large as real alerts, or a few kB.",
)
@click.option(
    "--start-night",
    "start",
    type=int,
    default=DEFAULT_START,
    show_default=True,
    metavar="YYYYMMDD",
    help="First night.",
)
@click.option("--servers", metavar="HOST:PORT", help="Any broker; else the cluster named as the survey.")
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Of topics that are not there yet.",
)
@click.option("--own-time", is_flag=True, help="Kafka timestamp: the alert's own time, not now.")
@json_option
@pass_app
def command(app: App, /, survey: str, topics: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Produce alerts that look like real ones to a topic.

    The same options give the same alerts, byte for byte.
    """
    # SIGTERM as Ctrl-C: both end with everything acknowledged and counted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = _cluster(app, survey, options["servers"])
    feed = Feed(topics, options["overlap"], options["rate"], options["own_time"])
    chosen = {name: options[name] for name in ("seed", "size", "start", "nights")}
    try:
        stream = alerts(survey, n=options["n"] or None, **chosen)
    except ValueError as error:
        raise SettingsError(f"--start-night is not a night such as {DEFAULT_START}: {error}") from None
    partitions = prepare(survey, cluster, topics, options["partitions"])
    with Producer(survey, cluster) as producer:
        _report(send(producer, stream, feed, partitions), topics, as_json)


def _cluster(app: App, survey: str, servers: str | None) -> ClusterSettings:
    """Return the survey's cluster, or the named servers without any credentials."""
    if servers is None:
        return app.settings().cluster(survey)
    try:
        return ClusterSettings(servers=servers)
    except ValidationError:
        raise SettingsError("--servers: write host:port, several with commas between") from None


def _report(sent: Sent, topics: tuple[str, ...], as_json: bool) -> None:
    rate = sent.alerts / sent.seconds if sent.seconds else 0.0
    if as_json:
        emit_json(dataclasses.asdict(sent) | {"topics": topics, "alerts_per_second": rate})
        return
    click.echo(
        f"{sent.alerts:,} alerts as {sent.messages:,} messages to {', '.join(topics)}: "
        f"{sent.value_bytes / 1e6:.1f} MB, {rate:.0f} alerts/s"
    )
