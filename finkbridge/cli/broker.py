"""``finkbridge broker``: an embedded Kafka broker in the foreground."""

from __future__ import annotations

import contextlib
import signal
import threading

import click

from finkbridge import later
from finkbridge.cli.options import json_option
from finkbridge.cli.output import emit_json


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Run a Kafka broker on loopback until Ctrl-C; what it holds goes with it."""
    # SIGTERM as Ctrl-C: both end the broker in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        later.call("finkbridge.broker.embedded:EmbeddedBroker") as broker,
    ):
        _announce(broker.bootstrap, as_json)
        threading.Event().wait()


def _announce(bootstrap: str, as_json: bool) -> None:
    if as_json:
        emit_json({"bootstrap": bootstrap})
        return
    click.echo(f"Kafka broker at {bootstrap} (loopback, newest 5 MB per partition). Ctrl-C ends it.")
    click.echo(f"Use it: export FINKBRIDGE_CLUSTERS__LOCAL__SERVERS={bootstrap}")
