"""``finkbridge verify``: whether the lake is what the ledger says, and the ledger what it promises."""

from __future__ import annotations

import click
from click.core import ParameterSource

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app


@click.command(name="verify")
@click.option("--night", "nights", multiple=True, metavar="YYYYMMDD", help="Only this night.")
@click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Only this topic, or pattern.")
@click.option("--deep", is_flag=True, help="Decode the archive again and compare every field of the tables.")
@click.option(
    "--sample",
    default="1%",
    metavar="N|N%|all",
    help="With --deep: messages of each archive file that fastavro decodes too.",
    show_default=True,
)
@click.option(
    "--independent",
    is_flag=True,
    help="With --deep: decode all by Apache DataFusion, which shares no code with drains: slower.",
)
@click.option(
    "--prune", is_flag=True, help="If the rest holds, delete files that surely were never committed."
)
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    nights: tuple[str, ...],
    topics: tuple[str, ...],
    sample: str,
    *,
    independent: bool,
    deep: bool,
    prune: bool,
    as_json: bool,
) -> None:
    """Verify the lake: nothing lost, nothing doubled, every byte as it was written.

    The ledger first, by its database's own checks and by ours: offsets tile each partition, counts agree.
    Then every file that it lists, by size, checksum and rows; then whatever else is in the lake's folders.
    Gaps (offsets that are recorded as lost) and holes (offsets without a message) are named, and no failure.
    Needs no lock (but for --prune) and may run beside a drain. --night and --topic may be repeated.

    Exit codes: 0 all holds; 1 something does not; 2 a bad setting.

    \b
    finkbridge verify
    finkbridge verify --deep --night 20260322
    finkbridge verify --deep --independent --sample all
    finkbridge verify --prune
    """  # noqa: D301 - click wants the character itself
    source = context.get_parameter_source
    given = [name for name in ("sample", "independent") if source(name) is not ParameterSource.DEFAULT]
    if given and not deep:
        raise click.UsageError(f"--{given[0]} is of the deep comparison: add --deep, or leave it out")
    asked = {"deep": deep, "sample": sample, "independent": independent, "prune": prune}
    context.exit(later.call("finkbridge.cli.verifying:run", app, (nights, topics), asked, as_json=as_json))
