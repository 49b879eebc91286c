"""``finkbridge follow``: drain for ever, within seconds."""

from __future__ import annotations

import click

from finkbridge import later
from finkbridge.cli.options import App, lake_option, pass_app, workers_option


@click.command(name="follow")
@click.argument("topics", nargs=-1)
@click.option(
    "--start",
    metavar="WHERE",
    help="Where topics start that were never drained: earliest, latest, or a time (2026-01-31T18:00Z).",
)
@workers_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a batch, each on a line.")
@lake_option
@pass_app
@click.pass_context
def command(
    context: click.Context,
    app: App,
    topics: tuple[str, ...],
    *,
    start: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Drain TOPICS into the lake for ever: an alert is in SQL within 5 s.

    A batch closes by size or age (settings follow.batch_bytes, follow.batch_age_s). Ctrl-C or SIGTERM ends
    it within 10 s, with what is done committed; a second one at once. Exit codes: 130 or 143 when ended so;
    1 the lake cannot be written, or all clusters refuse the credentials from the start; 2 a bad setting.
    """
    options = {"drain.start": start, "workers": workers}
    context.exit(later.call("finkbridge.cli.following:run", app, topics, options, as_json=as_json))
