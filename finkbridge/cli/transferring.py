"""Runs a transfer for the command line, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from finkbridge.cli import output, progress
from finkbridge.cli.options import App
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.errors import LakeAccessError
from finkbridge.execution import Landed, Listener
from finkbridge.settings import Settings
from finkbridge.text import counted
from finkbridge.transfer.engine import Result
from finkbridge.transfer.look import dump_schemas
from finkbridge.transfer.request import Request
from finkbridge.transfer.run import transfer
from finkbridge.values import SegmentPlan

TIME_RULE = (
    "folders by observing night: ZTF's alerts by the UTC date of the start of the exposure, Rubin's and "
    "ELAsTiCC's from noon to noon TAI"
)
"""It is by the alerts, not by the survey that the command names: a topic may have others."""


def run(app: App, settings: Settings, request: Request, *, as_json: bool, dump: bool) -> int:
    """Transfer once; return the exit code."""
    began = time.monotonic()
    if request.partition == "time" and not as_json:
        click.echo(TIME_RULE, err=True)
    with stopping_in_order() as stop:
        with progress.watching(quiet=as_json) as listener:
            result = transfer(settings, request, Once(listener), stop.event)
        schemas = _dumped(result, request.topic) if dump else ()
        _tell(app, result, schemas, time.monotonic() - began, as_json=as_json)
        return stop.exit_code if stop.signal else int(not result.succeeded)
    return stop.exit_code


def _dumped(result: Result, topic: str) -> tuple[Path, ...]:
    """Write the schemas; where they cannot be, what was transferred is told all the same."""
    try:
        return dump_schemas(result.sample, topic, Path()) if result.sample else ()
    except LakeAccessError as error:
        result.problems.append(str(error))
        return ()


class Once:
    """One bar for all the drains of a transfer: what comes later only makes it longer."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._began = False

    def planned(self, offsets: int) -> None:
        """Begin; nothing more of later drains, which take what came meanwhile."""
        if offsets and not self._began:
            self._began = True
            self._listener.planned(offsets)

    def committed(self, plan: SegmentPlan, parts: Landed) -> None:
        """Move on."""
        self._listener.committed(plan, parts)


def _tell(app: App, result: Result, schemas: tuple[Path, ...], seconds: float, *, as_json: bool) -> None:
    if as_json:
        told = {
            "succeeded": result.succeeded,
            "seconds": round(seconds, 3),
            "proofs": [proof.as_dict() for proof in result.proofs],
            "problems": result.problems,
            "schemas": schemas,
        }
        output.emit_json(told, app.mask)
        return
    for file in schemas:
        click.echo(f"written: {file}")
    for line in proven(result):
        click.echo(line)
    for line in complaints(result):
        click.echo(f"finkbridge: {app.mask(line)}", err=True)


def proven(result: Result) -> Iterator[str]:
    """Yield the proofs, one line each."""
    for proof in result.proofs:
        a = proof.account
        if not (a.messages or proof.waiting or proof.before or proof.skipped):
            yield f"{proof.topic} has no messages: the query found nothing, or its results are still to come"
            continue
        sign = "=" if proof.counted.rows == a.messages else "but"
        files = f"{counted(proof.counted.files, 'file')} ({output.human_bytes(proof.counted.bytes)})"
        rows = counted(proof.counted.rows, "row")
        line = f"{proof.topic}: {counted(a.messages, 'message')} {sign} {rows} in {files}"
        if proof.limit is not None and proof.waiting:
            line += f"; -limit leaves {proof.waiting:,} at the broker"
        yield line


def complaints(result: Result) -> Iterator[str]:
    """Yield what a user should know beyond the proofs, one line each."""
    yield from result.notes
    for problem in dict.fromkeys([*result.problems, *(p for proof in result.proofs for p in proof.problems)]):
        yield f"problem: {problem}"
