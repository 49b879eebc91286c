"""What a group has read of its topics: ``finkbridge consumer --display_statistics``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from finkbridge.broker import Broker
from finkbridge.broker.poller import Poller
from finkbridge.cli.output import table
from finkbridge.settings import ClusterSettings

COLUMNS = ("topic", "partition", "committed", "lag")


def print_statistics(cluster: str, settings: ClusterSettings, topics: Sequence[str]) -> int:
    """Print the group's offset and lag of each partition, and the sums of each topic.

    The group is not joined: other members keep their partitions.
    """
    with Broker(cluster, settings) as broker:
        names, missing = broker.find(topics)
        if missing and not names:
            raise next(iter(missing.values()))
        marks = broker.watermarks(names)
    poller = Poller(cluster, settings)
    try:
        committed = poller.committed(list(marks))
    finally:
        poller.close()
    rows: list[tuple[object, ...]] = []
    for name in names:
        mine = {place: mark for place, mark in marks.items() if place[0] == name}
        # what expired before it was read waits no more; a group that never read begins at the first message
        lags = {p: max(0, m.end - max(committed[p] or 0, m.low)) for p, m in mine.items()}
        rows += [(name, str(place[1]), committed[place], lags[place]) for place in mine]
        rows.append((f"all of {name}", "", sum(committed[p] or 0 for p in mine), sum(lags.values())))
    table(rows, COLUMNS)
    for error in missing.values():
        click.echo(f"finkbridge: problem: {error}", err=True)
    return int(bool(missing))
