"""The entry point: finds the command, and turns every failure into one clear line.

Exit codes: 0 done; 1 failed; 2 a bad setting, credentials file or usage; 3 `status --check` found something;
130 or 143 ended by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import logging
import os
import select
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from finkbridge import __version__, later
from finkbridge.cli.interrupting import log_no_interrupts, noting_interrupts
from finkbridge.cli.options import App, lake_option
from finkbridge.errors import FinkbridgeError, SettingsError
from finkbridge.text import escaped

COMMANDS = {
    "drain": "Drain topics into the lake: all that is there now, then end.",
    "follow": "Drain topics into the lake for ever, within seconds.",
    "transfer": "Transfer a finite topic to a folder or the lake, and prove it.",
    "republish": "Put archived messages back on a topic, byte for byte.",
    "status": "Show what is drained, what waits, and when it expires.",
    "certificate": "Show what the lake has of each night, and if that is all.",
    "sql": "Ask the lake in SQL.",
    "register": "Keep your credentials, as fink-client does.",
    "topics": "List the topics, and choose those that are yours.",
    "consumer": "Poll alerts to the screen and to files.",
    "show": "Show an object or alert of the lake, and save its bytes.",
    "viewer": "Look at cutouts and light curve of alerts.",
    "bot": "Post alerts to Slack, Telegram or a webhook.",
    "verify": "Check that nothing is lost, doubled or damaged, byte by byte.",
    "catalog": "Write catalog.duckdb anew.",
    "quarantine": "List, show, export and requeue messages that do not decode.",
    "rebuild": "Make tables and catalog, or the ledger, from the archive.",
    "doctor": "Look whether all is well, and what to do if not.",
    "config": "Print every setting with its source.",
    "simulate": "Produce alerts that look like real ones to a topic.",
    "broker": "Run an embedded Kafka broker, for tests and demos.",
    "completion": "Print what makes the shell complete commands.",
    "demo": "Show all of it with no account: broker, alerts, lake, SQL.",
}
"""Each command with its help; the module of the same name is imported when the command runs."""

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130

_ADVICE = {
    errno.ENOSPC: "free some space or use another folder, then run again",
    errno.EDQUOT: "free some of your quota or use another folder, then run again",
    errno.EACCES: "change its permissions or use another folder, then run again",
    errno.EPERM: "change its permissions or use another folder, then run again",
    errno.EROFS: "use a folder on another file system",
    errno.ENOTDIR: "a part of the path is a file: name another place",
}
"""What to do about errors of the file system that are no fault of the program."""


class _BrokenPipe(Exception):  # noqa: N818 - it only carries the error past click, which would hide it
    """A broken pipe: our output's, when its reader (``head``) went away, or any other, which is a failure."""

    def __init__(self, error: BrokenPipeError) -> None:
        super().__init__()
        self.error = error
        self.is_output = _output_is_closed()


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return a command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        name = f"finkbridge.cli.{cmd_name}"
        try:
            command: click.Command = later.load(name).command
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise FinkbridgeError(f"the command {cmd_name} is not part of finkbridge {__version__}") from None
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands from the table, importing none, and the options that all share."""
        found = [CompletionItem(n, help=h) for n, h in COMMANDS.items() if n.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; say what is close when there is none."""
        if not ctx.resilient_parsing and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.NoSuchCommand(
                args[0], possibilities=difflib.get_close_matches(args[0], COMMANDS), ctx=ctx
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, telling a closed output from any other broken pipe."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise _BrokenPipe(error) from None
        return result


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file (default: ./finkbridge.toml).",
)
@lake_option
@click.option("-v", "--verbose", count=True, help="Say more, and show tracebacks; twice for all details.")
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context, config: Path | None, verbose: int) -> None:
    """Drain Fink's alert streams (ZTF, Rubin/LSST) from Kafka into a lake, exactly once."""
    app = context.ensure_object(App)
    app.config, app.verbosity = config, verbose
    context.with_resource(_logging(app))
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    app = App()
    with noting_interrupts() as interrupted:
        try:
            result = cli.main(arguments, prog_name="finkbridge", standalone_mode=False, obj=app)
        except Exception as error:  # noqa: BLE001 - the last place: what failed becomes a line and an exit code
            words = sys.argv[1:] if arguments is None else arguments
            return _report(click.Abort() if interrupted() else _meant(error, words), app)
    return result if isinstance(result, int) else 0


def _meant(error: Exception, words: Sequence[str]) -> Exception:
    """Return the error that click hides: any end of a file counts as one typed at a prompt.

    Of a long option with a single dash that there is not, it speaks as if its first letter were one.
    """
    if isinstance(error, click.NoSuchOption) and error.ctx and len(error.option_name) == len("-x"):
        names = [n for option in error.ctx.command.params for n in option.opts if n.startswith("-")]
        long = (word.partition("=")[0] for word in words if word.startswith(error.option_name))
        if typed := next((word for word in long if len(word) > len("-x") and word not in names), None):
            close = difflib.get_close_matches(typed, names)
            return click.NoSuchOption(typed, possibilities=close, ctx=error.ctx)
    cause = error.__cause__  # of a real prompt's end there is none
    return cause if isinstance(error, click.Abort) and isinstance(cause, EOFError) else error


def _report(error: Exception, app: App) -> int:
    """Print what failed, and return the exit code."""
    if isinstance(error, _BrokenPipe):
        if not error.is_output:
            return _report(error.error, app)
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        _say(f"error: {_usage(error)}", app)
        return error.exit_code
    if isinstance(error, click.Abort):
        _say("interrupted", app)
        return INTERRUPTED
    _say(f"error: {_line(error, app)}", app)
    return BAD_USAGE if isinstance(error, SettingsError) else FAILED


def _line(error: Exception, app: App) -> str:
    if isinstance(error, FinkbridgeError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _ADVICE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: {_ADVICE[error.errno]}"
    if app.verbosity:
        click.echo(_lines(app.mask("".join(traceback.format_exception(error)))), err=True, nl=False)
    again = "" if app.verbosity else " (run again with --verbose for the details)"
    return f"unexpected {type(error).__name__}: {error}{again}"


def _usage(error: click.ClickException) -> str:
    """Return what is wrong with the command line, and where its help is, as one line."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "finkbridge"
    return f"{error.format_message().rstrip('.')} (see `{path} --help`)"


def _say(text: str, app: App) -> None:
    click.echo(f"finkbridge: {app.line(text)}", err=True)


def _lines(text: str) -> str:
    """Return lines without anything that a terminal obeys but their ends."""
    return "\n".join(map(escaped, text.split("\n")))


def _output_is_closed() -> bool:
    """Ask the system: the failed write has emptied Python's buffer, so another flush would succeed."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


class _Handler(logging.Handler):
    """Prints log lines that look like error lines, with every known secret masked."""

    def __init__(self, app: App) -> None:
        super().__init__()
        self._app = app

    def emit(self, record: logging.LogRecord) -> None:
        text = f"finkbridge: {record.levelname.lower()}: {self.format(record)}"
        click.echo(_lines(self._app.mask(text)), err=True)


@contextlib.contextmanager
def _logging(app: App) -> Iterator[None]:
    """Print the library's log while a command runs."""
    log_no_interrupts()
    logger, handler = logging.getLogger("finkbridge"), _Handler(app)
    level = logger.level
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(app.verbosity, logging.DEBUG))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
