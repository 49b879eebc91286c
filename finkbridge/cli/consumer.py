"""``finkbridge consumer``: polls alerts to the screen and to files, as a member of the user's own group."""

from __future__ import annotations

from pathlib import Path

import click

from finkbridge import later
from finkbridge.cli.options import App, Number, pass_app, survey_option

FORMATS = click.Choice(["table", "line", "json"])


@click.command(name="consumer")
@click.argument("topics", nargs=-1)
@survey_option
@click.option("--display", is_flag=True, help="Show each alert, as is done without --save.")
@click.option("-limit", "--limit", type=click.IntRange(min=1), metavar="N", help="End after so many alerts.")
@click.option("--save", is_flag=True, help="Save each alert as an Avro file of its own.")
@click.option(
    "-outdir",
    "--outdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder of the files; made where it is not there. [default: .]",
)
@click.option(
    "-schema",
    "--schema",
    "-ext_schema",
    "--ext_schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Avro writer schema (.avsc) of every alert, whatever the alerts say.",
)
@click.option(
    "--dump_schema", "--dump-schema", is_flag=True, help="Save each writer schema as schema_<id>.json here."
)
@click.option(
    "-start_at",
    "--start_at",
    "--start-at",
    metavar="WHERE",
    help="Begin there, not where the group is: earliest, latest, a time (2026-01-31T18:00Z), an offset.",
)
@click.option(
    "-maxtimeout",
    "--maxtimeout",
    type=Number(min=0, min_open=True),
    metavar="S",
    help="Tell when no alert came for so many seconds. [default: as registered, else 10]",
)
@click.option(
    "-format",
    "--format",
    "style",
    type=FORMATS,
    default="table",
    show_default=True,
    help="Of what is shown.",
)
@click.option("--cutouts", is_flag=True, help="With --format json: the images too, in Base64.")
@click.option(
    "--skip_bad", "--skip-bad", is_flag=True, help="Leave alerts aside that cannot be decoded, and go on."
)
@click.option("--available_topics", "--available-topics", is_flag=True, help="List the topics, and end.")
@click.option(
    "--display_statistics",
    "--display-statistics",
    is_flag=True,
    help="Show what the group has read of each partition, and end.",
)
@pass_app
@click.pass_context
def command(context: click.Context, app: App, /, **options: object) -> None:
    """Poll alerts of TOPICS, for ever or up to a limit: to the screen, to files, or both.

    TOPICS are names and patterns such as 'fink_sn_*'; with none, those that you registered. It reads in your
    own group, as fink-client does: the next call goes on with the next alert. An alert counts as read when
    it was shown or is safely on disk: Ctrl-C and a kill lose none; after a kill, the newest may come twice.
    Files are <objectId>_<candid>.avro (LSST: <diaObjectId>_<diaSourceId>.avro). Exit codes: 0 the limit is
    reached; 1 it failed; 2 a bad setting; 130 or 143 ended by Ctrl-C or SIGTERM.

    \b
    finkbridge consumer -survey ztf --display -limit 1
    finkbridge consumer -survey lsst --display --save -outdir alertDB
    finkbridge consumer -survey ztf 'fink_sn_*' --format json -start_at earliest
    """  # noqa: D301 - click wants the character itself
    context.exit(later.call("finkbridge.cli.consuming:run", app, options))
