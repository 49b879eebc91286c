"""``finkbridge transfer``: a finite topic, whole, into a plain folder or into the lake."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Literal

import click

from finkbridge import later
from finkbridge.cli.options import App, Number, complete_survey, json_option, lake_option, pass_app

FORMATS = ("parquet", "avro")
PARTITIONS = ("None", "time", "finkclass", "tnsclass", "classId")


@click.command(name="transfer")
@click.option(
    "-survey",
    "--survey",
    metavar="NAME",
    shell_complete=complete_survey,
    help="ztf or lsst (default: as the topic's name says).",
)
@click.option("-topic", "--topic", required=True, metavar="TOPIC", help="From the page of your job.")
@click.option(
    "-outdir",
    "--outdir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Output folder; made when it is not there (default: the working folder).",
)
@click.option("-outformat", "--outformat", type=click.Choice(FORMATS), default="parquet", show_default=True)
@click.option(
    "-partitionby",
    "--partitionby",
    type=click.Choice(PARTITIONS),
    default="None",
    help="Folders by observing night (time), or by a class.",
)
@click.option("-limit", "--limit", type=click.IntRange(min=1), metavar="N", help="So many alerts at most.")
@click.option(
    "-nconsumers",
    "--nconsumers",
    type=click.IntRange(min=-1),
    default=-1,
    metavar="N",
    help="Worker processes; -1: as many as are worth it.",
)
@click.option("-maxtimeout", "--maxtimeout", type=Number(min=0.1), metavar="S", help="Of the broker.")
@click.option(
    "-batchsize",
    "--batchsize",
    type=click.IntRange(min=1),
    metavar="N",
    help="Not needed: files have about 64 MB.",
)
@click.option(
    "-number_partitions",
    "--number_partitions",
    type=click.IntRange(min=1),
    metavar="N",
    help="Not needed: asked for.",
)
@click.option(
    "-schema", "--schema", type=click.Path(path_type=Path), metavar="FILE", help="Avro writer schema."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="For its state (default: beside the output).",
)
@click.option("--restart_from_beginning", "--restart-from-beginning", "restart", is_flag=True)
@click.option(
    "--dump_schemas", "--dump-schemas", "dump", is_flag=True, help="Write Avro and Arrow schema here."
)
@click.option(
    "--into-lake",
    "--into_lake",
    "into_lake",
    is_flag=True,
    help="Into the lake, not a folder.",
)
@click.option(
    "--idle",
    "idle_s",
    type=Number(min=0),
    default=300.0,
    show_default=True,
    metavar="S",
    help="AI topics: wait so long for the next prediction.",
)
@click.option("--verbose", is_flag=True, help="Say more.")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    *,
    survey: str | None,
    topic: str,
    outdir: Path | None,
    outformat: Literal["parquet", "avro"],
    partitionby: str,
    limit: int | None,
    nconsumers: int,
    maxtimeout: float | None,
    batchsize: int | None,
    number_partitions: int | None,
    schema: Path | None,
    state: Path | None,
    restart: bool,
    dump: bool,
    into_lake: bool,
    idle_s: float,
    verbose: bool,
    as_json: bool,
) -> None:
    """Transfer a finite topic (ftransfer_*, fxmatch_*, fink_ai_*), all of it, and prove it.

    Ended or killed at any moment, the same command goes on, and nothing is lost or doubled. At the end it
    counts the rows in the files and holds them against the messages at the broker. Only finished files are
    ever in the output folder, and none is written over.

    Time is the observing night by the survey's rule, as year=/month=/day= folders: ZTF's UTC date of the
    exposure's start, LSST's from noon to noon. Exit codes: 0 each message is a row; 1 one is not, and a line
    says which; 2 a bad setting; 130 or 143 ended by Ctrl-C or SIGTERM.

    \b
    finkbridge transfer -survey ztf -topic ftransfer_ztf_2026-03-23_11487 -outdir alerts -partitionby time
    """  # noqa: D301 - click wants the character itself
    del batchsize, number_partitions  # fink-client's: neither is needed
    if into_lake and outdir is not None:
        raise click.UsageError("-outdir and --into-lake exclude each other: choose one")
    folder = outdir or Path()
    if verbose:
        logging.getLogger("finkbridge").setLevel(logging.INFO)
    workers = None if nconsumers < 0 else nconsumers
    if workers != 0 and not app.may_set("workers"):  # a whole topic is worth them: they load while we do
        with suppress(OSError):  # the drain meets it again, and tells
            later.call("finkbridge.forking:context")
    settings = app.settings(
        {"decode.schema_file": schema, "workers": workers, "broker_timeout_s": maxtimeout}
    )
    request = later.get("finkbridge.transfer.request:Request")(
        cluster=survey or later.call("finkbridge.transfer.request:survey_of", topic, settings.clusters),
        topic=topic,
        outdir=None if into_lake else folder,
        format=outformat,
        partition=None if partitionby == "None" else partitionby,
        limit=limit,
        restart=restart,
        idle_s=idle_s,
        state=state,
    )
    request.check(settings)
    code = later.call("finkbridge.cli.transferring:run", app, settings, request, as_json=as_json, dump=dump)
    context.exit(code)
