"""``finkbridge register``: keeps the credentials that Fink sent, in fink-client's own format."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from finkbridge import later
from finkbridge.cli.options import MASK, App, Number, pass_app
from finkbridge.errors import SettingsError

ON_THE_COMMAND_LINE = (
    "a password on the command line can be read by everybody on this machine: say --ask_password, "
    "--password_file FILE, or set FINKBRIDGE_CLUSTERS__{}__PASSWORD"
)
LONGEST_PASSWORD = 10_000
"""Characters: a file may have no end, such as a device."""
ASKED = {
    "username": "Username",
    "group_id": "Group id",
    "servers": "Servers (host:port, several with commas between)",
    "mytopics": "Topics (with commas between; may be empty)",
}


@click.command(name="register")
@click.argument("more", nargs=-1, metavar="[TOPICS]")
@click.option(
    "-survey", "--survey", type=click.Choice(["ztf", "lsst"]), help="Each one has a file of its own."
)
@click.option("-username", "--username", help="As Fink sent it.")
@click.option("-group_id", "--group_id", "--group-id", "-groupid", "--groupid", help="As Fink sent it.")
@click.option(
    "-mytopics",
    "--mytopics",
    multiple=True,
    help="Topics, with blanks or commas between; they replace yours.",
)
@click.option("-servers", "--servers", help="host:port, several with commas between.")
@click.option(
    "-maxtimeout",
    "--maxtimeout",
    type=Number(min=0, min_open=True),
    help="Seconds without an alert after which the consumer says so. [default: 10]",
)
@click.option("--ask_password", "--ask-password", is_flag=True, help="Ask for a password; Fink needs none.")
@click.option(
    "--password_file",
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Take the password from the first line of a file.",
)
@click.option("-password", "--password", hidden=True)
@click.option("-log_level", "--log_level", hidden=True)
@click.option("--tmp", is_flag=True, help="Write to the system's temporary folder, for a trial.")
@click.option("--verbose", is_flag=True, help="Print what the file says, without the password.")
@click.option("--test", "is_test", is_flag=True, help="Then connect, and see whether the topics are there.")
@pass_app
def command(app: App, /, more: Sequence[str], **options: Any) -> None:
    """Keep your credentials in ~/.finkclient/<survey>_credentials.yml, where fink-client keeps them too.

    What you do not say is asked for on a terminal, or stays as it was. The file can be read by you alone; the
    one before is kept beside it, as .bak. A password is never given on the command line.

    \b
    finkbridge register -survey ztf -username ME -group_id ME_1 -servers HOST:24499 -mytopics fink_sn_ztf
    finkbridge register -survey lsst --test
    """  # noqa: D301 - click wants the character itself
    survey = options["survey"] or _asked("Survey (ztf or lsst)", "-survey")
    module = later.get("finkbridge.register:read_content").__module__
    folder = _folder(app, tmp=options["tmp"])
    known = later.call(f"{module}:known_content", folder, survey)
    said = _said(options, more) | {"password": _password(options, survey)}
    later.call(f"{module}:check", said, known)
    _ask_missing(
        said, known, may_ask=not known or options["survey"] is None, password=_asks_password(options)
    )
    file = later.call(f"{module}:register", folder, survey, said)
    click.echo(f"credentials of {survey} are in {file}")
    if options["verbose"]:
        _print(later.call(f"{module}:read_content", folder, survey))
    if options["is_test"]:
        later.call("finkbridge.cli.connecting:test", app, survey, folder)


def _said(options: dict[str, Any], more: Sequence[str]) -> dict[str, Any]:
    topics = [name for text in (*options["mytopics"], *more) for name in text.replace(",", " ").split()]
    if more and not options["mytopics"]:
        raise click.UsageError(f"{more[0]}: topics come after -mytopics")
    keys = ("username", "group_id", "servers", "maxtimeout")
    return {key: options[key] for key in keys} | {"mytopics": topics or None}


def _password(options: dict[str, Any], survey: str) -> str | None:
    """Return a password from a file or from the environment; None where it is asked for, or none is given.

    It is empty where fink-client's words for none are.
    """
    if options["password"] not in (None, "", "None", "null"):
        raise SettingsError(ON_THE_COMMAND_LINE.format(survey.upper()))
    if (file := options["password_file"]) is not None:
        return _first_line(file)
    if options["ask_password"]:
        return None
    if options["password"] is not None:
        return ""
    layer = later.call("finkbridge.layers:read_environment", os.environ, {"FINKBRIDGE_CONFIG"})
    cluster = layer.values.get("clusters", {})
    return (cluster.get(survey, {}) if isinstance(cluster, dict) else {}).get("password")


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            password = stream.readline(LONGEST_PASSWORD + 1).rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"cannot read the password file {file}: {reason}") from None
    if len(password) > LONGEST_PASSWORD:
        raise SettingsError(f"cannot read the password file {file}: its first line has no end")
    if not password:
        raise SettingsError(
            f"the first line of the password file {file} is empty: write the password there, or leave "
            "--password_file out (-password None takes a password away)"
        )
    return password


def _asks_password(options: dict[str, Any]) -> bool:
    return options["ask_password"] and options["password_file"] is None


def _ask_missing(said: dict[str, Any], known: dict[str, Any], *, may_ask: bool, password: bool) -> None:
    """Ask for what is not said, in the order of fink-client's file."""
    may_ask = may_ask and sys.stdin.isatty()
    for key in ASKED:
        if may_ask and said[key] is None:
            said[key] = _answer(key, known)
        if password and key == "username":
            said["password"] = (
                str(click.prompt("Password", hide_input=True, default="", show_default=False)) or None
            )


def _answer(key: str, known: dict[str, Any]) -> Any:
    """Ask for one value until it can be one."""

    def checked(text: str) -> Any:
        answer = text.replace(",", " ").split() if key == "mytopics" else text
        try:
            later.call("finkbridge.register:check", {key: answer}, known)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None
        return answer

    before = known.get(key)
    default = ",".join(before) if isinstance(before, list) else before or ("" if key == "mytopics" else None)
    return click.prompt(ASKED[key], default=default, value_proc=checked)


def _asked(question: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise SettingsError(f"which survey? add {option} ztf or {option} lsst")
    return str(click.prompt(question, type=click.Choice(["ztf", "lsst"]), show_choices=False))


def _folder(app: App, *, tmp: bool) -> Path:
    if tmp:
        return Path(later.call("tempfile:gettempdir"))
    folder: Path = later.call("finkbridge.settings:credentials_folder", app.config)
    return folder


def _print(content: dict[str, Any]) -> None:
    for key in ("survey", "username", "password", "group_id", "servers", "mytopics", "maxtimeout"):
        value = content[key]
        shown = (
            MASK if key == "password" and value else ", ".join(value) if isinstance(value, list) else value
        )
        click.echo(f"{key}: {'none' if shown in (None, '') else shown}")
