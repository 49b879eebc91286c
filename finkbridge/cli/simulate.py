"""``finkbridge simulate``: alerts that look like real ones, to any broker."""

from __future__ import annotations

from typing import Any

import click

from finkbridge import later
from finkbridge.cli.options import App, Number, json_option, pass_app
from finkbridge.simulator import DEFAULT_START


@click.command()
@click.option("--survey", type=click.Choice(["ztf", "lsst"]), default="ztf", show_default=True)
@click.option("--topic", "topics", multiple=True, required=True, help="Topic to write to; repeatable.")
@click.option(
    "--overlap",
    type=Number(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the alerts that go to two of the topics.",
)
@click.option(
    "--rate",
    type=Number(min=0),
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
    later.call("finkbridge.cli.simulating:run", app, survey, topics, options, as_json=as_json)
