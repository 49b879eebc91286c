"""Produces simulated alerts for the command line, and counts them."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from typing import Any

import click
from pydantic import ValidationError

from finkbridge.broker.produce import Producer
from finkbridge.cli.options import App
from finkbridge.cli.output import emit_json
from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings
from finkbridge.simulator import DEFAULT_START
from finkbridge.simulator.feed import Feed, Sent, prepare, send
from finkbridge.simulator.stream import alerts
from finkbridge.text import counted


def run(app: App, survey: str, topics: tuple[str, ...], options: Mapping[str, Any], *, as_json: bool) -> None:
    """Produce alerts as the options ask for them, and print how many."""
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
        settings = app.settings()
        if survey not in settings.clusters:
            raise SettingsError(f"no cluster {survey!r} is set: name a broker with --servers HOST:PORT")
        return settings.cluster(survey)
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
        f"{counted(sent.alerts, 'alert')} as {counted(sent.messages, 'message')} to {', '.join(topics)}: "
        f"{sent.value_bytes / 1e6:.1f} MB, {rate:.0f} alerts/s"
    )
