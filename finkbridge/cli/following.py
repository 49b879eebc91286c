"""Follows topics for the command line, and says what each batch drained."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from finkbridge.allocators import keep_memory_flat
from finkbridge.cli.options import App
from finkbridge.cli.outcome import complaints
from finkbridge.cli.output import human_bytes
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.drain import open_bridge
from finkbridge.follow import follow
from finkbridge.report import DrainReport
from finkbridge.text import counted, printable

SHOWN_TOPICS = 3
"""Topics that a batch's line names."""


def run(app: App, topics: Sequence[str], options: Mapping[str, Any], *, as_json: bool) -> int:
    """Follow until told to stop; return the exit code."""
    keep_memory_flat()
    settings = app.settings(options)
    _warn_once()
    with stopping_in_order() as stop, open_bridge(settings, topics) as bridge:
        bridge.stopping = stop.event
        printer = Printer(app, as_json=as_json)
        printer.begin(settings.wanted(topics))
        follow(bridge, topics, printer)
    return stop.exit_code


class Printer:
    """Prints one line a batch, and problems to standard error."""

    def __init__(self, app: App, *, as_json: bool = False) -> None:
        self._app = app
        self._as_json = as_json

    def begin(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Print what is followed, by cluster: the first batch may be long in coming."""
        named = "; ".join(f"{', '.join(topics)} of {cluster}" for cluster, topics in wanted.items() if topics)
        self._say(f"follows {printable(named)}; Ctrl-C ends it")

    def batch(self, report: DrainReport) -> None:
        """Print what a batch drained."""
        if self._as_json:
            click.echo(json.dumps(report.as_dict()))
        elif report.total("messages") or report.total("holes"):
            click.echo(f"{_clock()} {describe(report)}")
        for line in complaints(report, problems=False):
            self._say(line)

    def problem(self, line: str) -> None:
        """Print what is wrong."""
        self._say(f"problem: {line}")

    def recovered(self, cluster: str) -> None:
        """Print that a cluster is back."""
        self._say(f"cluster {cluster} answers again")

    def _say(self, line: str) -> None:
        click.echo(f"{_clock()} finkbridge: {self._app.line(line)}", err=True)


def describe(report: DrainReport) -> str:
    """Return what a batch drained, in one line."""
    full = sorted((t for t in report.topics.values() if t.messages), key=lambda t: -t.messages)
    named = ", ".join(f"{t.topic} {t.messages:,}" for t in full[:SHOWN_TOPICS])
    rest = f", {len(full) - SHOWN_TOPICS} more" if len(full) > SHOWN_TOPICS else ""
    size = human_bytes(report.total("bytes"))
    return f"{counted(report.total('messages'), 'message')}, {size} in {report.seconds:.2f} s ({named}{rest})"


def _clock() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class _Once(logging.Filter):
    """Lets each text through once: what is refused with every batch is told with the first."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text in self._seen:
            return False
        self._seen.add(text)
        return True


def _warn_once() -> None:
    for handler in logging.getLogger("finkbridge").handlers:
        handler.addFilter(_Once())
