"""The trial of ``finkbridge register --test``: are we let in, and are the topics there."""

from __future__ import annotations

from pathlib import Path

import click

from finkbridge.broker import Broker
from finkbridge.cli.options import App
from finkbridge.consumer.config import cluster_settings
from finkbridge.errors import UnknownTopicError
from finkbridge.register import read_content


def test(app: App, survey: str, folder: Path) -> None:
    """Connect with what the file says, and print what is found.

    Raises
    ------
    BrokerError
        The cluster does not answer, or refuses; the file is written all the same.
    UnknownTopicError
        One of the topics is not there.
    """
    content = read_content(folder, survey)
    settings = cluster_settings(content)
    app.secrets = tuple(filter(None, (content["password"],)))
    with Broker(survey, settings) as broker:
        there = broker.topics()
        click.echo(f"connected to {settings.servers}: {len(there):,} topics")
        missing = [topic for topic in content["mytopics"] if topic not in there]
        if missing:
            raise UnknownTopicError(
                f"cluster {survey} has no topic {', '.join(missing)} now: look at the names with "
                f"`finkbridge topics list -survey {survey}` (a topic may also come with its first alert)"
            )
        click.echo(f"all {len(content['mytopics'])} of your topics are there")
