"""``finkbridge demo``: the whole way with no account, and what came out of it."""

from __future__ import annotations

from pathlib import Path

import click

from finkbridge import later


@click.command(name="demo", context_settings={"ignore_unknown_options": True})
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("demo"), help="Where (default: demo)."
)
@click.option("--seed", type=int, default=1, help="Another seed is another sky.")
@click.option(
    "--behind", is_flag=True, help="Run COMMAND, with broker and a steady stream of alerts behind it."
)
@click.argument("arguments", metavar="[-- COMMAND ...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context, folder: Path, seed: int, *, behind: bool, arguments: tuple[str, ...]
) -> None:
    """Show all of it with no account: embedded broker, simulated alerts, drains, SQL, a light curve."""
    context.exit(later.call("finkbridge.cli.showcase:run", folder, seed, arguments if behind else None))
