"""What the commands share: the context object and the common options."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from finkbridge import later
from finkbridge.errors import SettingsError
from finkbridge.text import LONGEST_LINE, printable

if TYPE_CHECKING:
    from finkbridge.settings import Loaded, Settings

F = TypeVar("F", bound=Callable[..., Any])

MASK = "********"
SURVEYS = ("ztf", "lsst")
"""Those that Fink has; a cluster of the settings may have any name."""


@dataclass(slots=True)
class App:
    """What the global options say, and the settings once a command asks for them."""

    config: Path | None = None
    lake: str | None = None
    """As it was written: a path of its own would take nothing for the working folder."""
    verbosity: int = 0
    secrets: tuple[str, ...] = ()
    """Every secret of the settings loaded so far, to be masked in all output about errors."""

    def load(self, overrides: Mapping[str, Any] | None = None) -> Loaded:
        """Load the settings with their sources; `overrides` are a command's options by dotted key."""
        # Loaded here, so that --help stays quick.
        module = later.load("finkbridge.settings")
        options = {"lake": self.lake, **(overrides or {})}
        loaded: Loaded = module.load_settings(self.config, overrides=options)
        self.secrets = module.secret_values(loaded.settings)
        return loaded

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Settings:
        """Load the settings; `overrides` are a command's options by dotted key, None meaning not given."""
        return self.load(overrides).settings

    def may_set(self, key: str) -> bool:
        """Whether a settings file or a variable speaks of a key: known before settings can be read."""
        file = later.call("finkbridge.config_file:config_file", self.config, os.environ)
        try:
            in_file = file is not None and key.encode() in file.read_bytes()
        except OSError:
            in_file = False  # reading the settings tells
        return in_file or f"FINKBRIDGE_{key.upper()}" in os.environ

    def mask(self, text: str) -> str:
        """Return a text without any secret of the loaded settings."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    def line(self, text: str) -> str:
        """Return a text as one line for a terminal: no secret, and nothing that the terminal obeys."""
        return printable(" ".join(self.mask(text).split()), LONGEST_LINE)


class Number(click.FloatRange):
    """A number within bounds; what is none (``nan``) is within all bounds for click."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fail where it is none or infinite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


pass_app = click.make_pass_decorator(App, ensure=True)
"""Give a command the `App` as its first argument."""


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a file, also where a value need not be one (``-``, a pattern)."""
    return [CompletionItem(incomplete, type="file")]


def complete_folder(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a folder."""
    return [CompletionItem(incomplete, type="dir")]


def complete_survey(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the surveys; the names of other clusters are taken too."""
    return [CompletionItem(name) for name in SURVEYS if name.startswith(incomplete)]


def complete_cluster(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the clusters of the settings; nothing where these cannot be read."""
    try:
        module = later.load("finkbridge.settings")
        clusters = module.load_settings(context.find_root().params.get("config")).settings.clusters
    except Exception:  # noqa: BLE001 - somebody is typing: the command itself will say what is wrong
        return []
    return [CompletionItem(name) for name in sorted(clusters) if name.startswith(incomplete)]


def _keep_lake(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(App).lake = value


def lake_option(function: F) -> F:
    """Take ``--lake DIR``: the folder goes into the `App`, and so into its settings."""
    return click.option(
        "--lake",
        metavar="DIR",
        expose_value=False,
        callback=_keep_lake,
        shell_complete=complete_folder,
        help="Folder of the lake.",
    )(function)


def json_option(function: F) -> F:
    """Take ``--json``: the command gets the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def workers_option(function: F) -> F:
    """Take ``--workers N``: the command gets the argument `workers`, None when not given."""
    return click.option(
        "--workers", type=click.IntRange(min=0), metavar="N", help="Worker processes; 0 works in this one."
    )(function)


def survey_option(function: F) -> F:
    """Take ``-survey NAME``: the command gets the argument `survey`, None when not given."""
    return click.option(
        "-survey",
        "--survey",
        metavar="NAME",
        shell_complete=complete_survey,
        help="ztf or lsst, or another cluster of the settings; not needed where there is one only.",
    )(function)


def survey_of(settings: Settings, survey: str | None, topics: Sequence[str] = ()) -> str:
    """Return the name of the cluster that a command means: as said, as its topics end, or the only one.

    Raises
    ------
    SettingsError
        There is no cluster, or it is not clear which one is meant.
    """
    settings.require_clusters()
    if survey is not None:
        settings.cluster(survey)
        return survey
    ends = {name for topic in topics for name in settings.clusters if topic.endswith(f"_{name}")}
    found = ends if len(ends) == 1 else set(settings.clusters)
    if len(found) > 1:
        names = " or ".join(f"-survey {name}" for name in sorted(found))
        raise SettingsError(f"which survey? say {names}")
    return found.pop()
