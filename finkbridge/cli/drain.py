"""``finkbridge drain``: everything that is at the brokers now, into the lake."""

from __future__ import annotations

from pathlib import Path

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app, workers_option


@click.command(name="drain")
@click.argument("topics", nargs=-1)
@click.option("--max-messages", type=click.IntRange(min=1), metavar="N", help="Take so many at most.")
@click.option("--max-bytes", metavar="SIZE", help="Take so much at most, such as 500MB.")
@click.option(
    "--start",
    metavar="WHERE",
    help="Where topics start that were never drained: earliest, latest, or a time (2026-01-31T18:00Z).",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Avro writer schema (.avsc) of every message, whatever the messages say.",
)
@workers_option
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    topics: tuple[str, ...],
    *,
    max_messages: int | None,
    max_bytes: str | None,
    start: str | None,
    schema: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Drain TOPICS into the lake: all that is there now, then end.

    TOPICS are names and patterns such as 'fink_*_ztf'; with none, those of the settings. Each is asked of the
    clusters whose topics in the settings it is among; where it is of none, of all clusters. Exit codes: 0 all
    that was planned is in the lake; 1 something is not (what is drained stays drained, the next run goes on);
    2 a bad setting; 130 or 143 ended by Ctrl-C or SIGTERM.

    \b
    finkbridge drain
    finkbridge drain 'fink_sn_*' --max-messages 10000 --start 2026-01-31T18:00Z
    """  # noqa: D301 - click wants the character itself
    settings = app.settings(
        {
            "drain.max_messages": max_messages,
            "drain.max_bytes": max_bytes,
            "drain.start": start,
            "decode.schema_file": schema,
            "workers": workers,
        }
    )
    later.call("finkbridge.staffing:expect_work", settings)  # its modules load while the coordinator's do
    context.exit(later.call("finkbridge.cli.outcome:run", app, settings, topics, as_json=as_json))
