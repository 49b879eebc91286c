"""Ctrl-C ends what a library does in C: by its own interrupt, or with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import duckdb
import pyarrow as pa
import pytest

from finkbridge.cli.interrupting import heed_interrupt
from finkbridge.cli.main import LazyGroup, cli, main
from finkbridge.ledger import Ledger
from tests.support.command import Command

DEAF = """
import hashlib
from finkbridge.cli.interrupting import interruptible
with interruptible(lambda: None):
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # many minutes, without the interpreter's lock
"""
ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range * b.range = -1"


def test_a_query_that_never_ends_is_interrupted(tmp_path: Path) -> None:
    command = Command(tmp_path, "127.0.0.1:1")
    Ledger(command.lake, create=True).close()
    with command.start("sql", ENDLESS) as running:
        time.sleep(4)  # DuckDB's progress bar, which came into the output, waits for two
        assert running.process.poll() is None, running.said()
        assert running.end(signal.SIGINT, within_s=6) == 130
        assert running.said().strip() == "finkbridge: interrupted"


@pytest.mark.parametrize(("times", "within_s"), [(1, 4.0), (2, 1.5)])
def test_what_heeds_no_interrupt_ends_with_the_process(times: int, within_s: float) -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.3)  # until it is in the call
            began = time.monotonic()
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)
            assert process.wait(20) == 130
            assert time.monotonic() - began < within_s
        finally:
            process.kill()


def test_the_next_call_is_interrupted_as_ever() -> None:
    code = """
import os, signal
from finkbridge.cli.interrupting import interruptible
with interruptible(lambda: None):
    pass
assert signal.set_wakeup_fd(-1) == -1
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n"


def test_what_a_library_makes_an_error_of_is_an_interrupt_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = pa.schema({"number": pa.int64()})

    def batches() -> Iterator[pa.RecordBatch]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)  # where the interrupt comes
        yield pa.record_batch([[1]], schema)

    def command(*_: Any, **__: Any) -> None:
        with duckdb.connect() as connection:
            connection.register("sent", pa.RecordBatchReader.from_batches(schema, batches()))
            with pytest.raises(duckdb.Error) as caught:
                connection.sql("FROM sent").fetchall()
        raise caught.value

    monkeypatch.setattr(cli, "main", command)
    assert main([]) == 130
    assert capsys.readouterr().err == "finkbridge: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_a_library_drops_is_heeded_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*_: Any, **__: Any) -> None:
        heed_interrupt()
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        try:
            heed_interrupt()
        except KeyboardInterrupt as again:
            raise click.Abort from again

    monkeypatch.setattr(cli, "main", command)
    assert main([]) == 130
    assert capsys.readouterr().err == "finkbridge: interrupted\n"


def test_an_end_of_file_inside_is_no_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def command() -> None:
        raise EOFError("of something inside")

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: command)
    assert main(["status"]) == 1
    assert "unexpected EOFError: of something inside" in capsys.readouterr().err


LOGS = """
import sys
import click
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from finkbridge.cli.main import LazyGroup, main

@click.command()
def closing():
    engine = create_engine("sqlite://", poolclass=NullPool)

    def fail(_):
        raise {error}

    engine.dialect.do_close = fail
    with engine.connect():
        pass

LazyGroup.get_command = lambda *_: closing
sys.exit(main(["config"]))
"""


@pytest.mark.parametrize(
    ("error", "code", "logs"), [("KeyboardInterrupt", 130, False), ("ValueError('of the pool')", 0, True)]
)
def test_an_interrupt_is_not_logged_where_a_library_meets_it(error: str, code: int, logs: bool) -> None:
    """SQLAlchemy logs whatever ends the closing of a connection, with a traceback, and raises interrupts."""
    done = subprocess.run(
        [sys.executable, "-c", LOGS.format(error=error)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert ("Exception closing connection" in done.stderr) is logs
    assert logs or done.stderr.strip() == "finkbridge: interrupted"
