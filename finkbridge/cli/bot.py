"""``finkbridge bot``: alerts of the lake to a chat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from finkbridge import later
from finkbridge.cli.options import App, Number, lake_option, pass_app
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.errors import SettingsError

if TYPE_CHECKING:
    from finkbridge.bot.options import Counts, Options
    from finkbridge.bot.post import Post


@click.command(name="bot")
@click.argument("topics", nargs=-1)
@click.option(
    "--to", "service", type=click.Choice(["slack", "telegram", "webhook"]), required=True,
    help="Where to; for its token see above.",
)  # fmt: skip
@click.option("-channel", "--channel", metavar="CHANNEL", help="Slack's channel ID, or Telegram's chat.")
@click.option("-filter", "--filter", "condition", metavar="SQL", help="Only alerts for which this is true.")
@click.option(
    "-since", "--since", metavar="WHEN",
    help="Go back to what came into the lake since earliest, or a time; what was posted is not posted again.",
)  # fmt: skip
@click.option(
    "-rate", "--rate", type=Number(min=0, min_open=True), default=20.0, show_default=True,
    help="Posts a minute at most.",
)  # fmt: skip
@click.option(
    "-limit", "--limit", type=click.IntRange(min=0), default=100, show_default=True,
    help="Alerts an hour at most; the rest is left out, and counted. 0: all.",
)  # fmt: skip
@click.option("--picture/--no-picture", default=True, show_default=True, help="Cutouts and light curve.")
@click.option("--once", is_flag=True, help="Post what is new, then end: for schedules.")
@click.option("--dry-run", is_flag=True, help="Print what would be posted; post and note nothing.")
@lake_option
@pass_app
@click.pass_context
def command(context: click.Context, app: App, /, *, topics: tuple[str, ...], **how: Any) -> None:
    """Post alerts of TOPICS to a chat, as drain or follow bring them into the lake; each at most once.

    TOPICS are names and patterns; with none, all of the lake. A new bot begins with what comes from then on.
    The filter is one condition over the columns of deliveries. Tokens: FINKBRIDGE_BOT__SLACK__TOKEN,
    FINKBRIDGE_BOT__TELEGRAM__TOKEN, FINKBRIDGE_BOT__WEBHOOK__URL, or the same in a settings file of mode 600.
    Exit codes: 0 all was posted; 1 something was not; 2 a bad setting; 130 or 143 ended by Ctrl-C or SIGTERM.

    \b
    finkbridge bot 'fink_sn_*' --to slack -channel C0123456789 -filter "mag < 18 AND reliability > 0.9"
    finkbridge bot --to telegram -channel @my_alerts --once
    finkbridge bot --to webhook --since 2026-03-20 --dry-run
    """  # noqa: D301 - click wants the character itself
    loaded = app.load()
    options = _options(topics, how)
    secrets = later.call("finkbridge.bot.secrets:all_secrets", loaded)
    app.secrets = tuple(sorted({*app.secrets, *secrets}, key=len, reverse=True))
    printer = Printer(app, dry_run=how["dry_run"])
    with stopping_in_order() as stop:
        run = later.call(
            "finkbridge.bot.start:Run", loaded, how["service"], how["channel"], options, printer, stop.event
        )
        counts = run(once=how["once"], dry_run=how["dry_run"])
    if stop.signal is not None:
        context.exit(stop.exit_code)
    click.echo(f"finkbridge: {described(counts, dry_run=how['dry_run'])}", err=True)
    context.exit(1 if counts.refused or counts.unknown or counts.unreadable else 0)


class Printer:
    """Prints a line an alert, and problems to standard error."""

    def __init__(self, app: App, *, dry_run: bool = False) -> None:
        self._app, self._dry_run = app, dry_run

    def posted(self, post: Post) -> None:
        """Print which alert was posted, or in a dry run all that would be."""
        if self._dry_run:
            picture = f"(picture of {len(post.picture):,} bytes)\n" if post.picture else ""
            click.echo(f"{post.text}\n{picture}")
        else:
            click.echo(f"{_clock()} {post.title} ({post.key})")

    def problem(self, line: str) -> None:
        """Print what a person should know."""
        click.echo(f"{_clock()} finkbridge: {self._app.mask(line)}", err=True)


def described(counts: Counts, *, dry_run: bool) -> str:
    """Return what was done, in one line."""
    said = [f"alerts {'that would be ' if dry_run else ''}posted: {counts.posted:,}"]
    said += [f"left out by the limit: {counts.left_out:,}"] if counts.left_out else []
    said += [f"without an answer, so they may be there: {counts.unknown:,}"] if counts.unknown else []
    said += [f"refused: {counts.refused:,}"] if counts.refused else []
    said += [f"messages that cannot be read: {counts.unreadable:,}"] if counts.unreadable else []
    return ", ".join(said)


def _options(topics: tuple[str, ...], how: dict[str, Any]) -> Options:
    since = how["since"]
    try:
        since = None if since is None else later.call("finkbridge.setting_types:parse_start", since)
    except ValueError as error:
        raise SettingsError(f"--since: {error}") from None
    options: Options = later.get("finkbridge.bot.options:Options")(
        topics, how["condition"], since, how["rate"], how["limit"], how["picture"]
    )
    return options


def _clock() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
