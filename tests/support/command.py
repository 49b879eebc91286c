"""The real command line, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finkbridge import layout

LONGEST_S = 60
FINKBRIDGE = Path(sys.executable).with_name("finkbridge")


class Command:
    """``finkbridge`` in an empty folder, with settings from the environment alone.

    Parameters
    ----------
    folder
        Home and working folder; the lake is ``lake`` in it.
    servers
        Of the cluster ``ztf``.
    """

    def __init__(self, folder: Path, servers: str, **settings: str) -> None:
        self.folder = folder
        self.lake = folder / "lake"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")}
        ours = {"FINKBRIDGE_CLUSTERS__ZTF__SERVERS": servers, **settings}
        self.environ: Mapping[str, str] = kept | ours | {"HOME": str(folder), "PYTHONWARNINGS": "error"}

    def run(self, *arguments: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run to its end and expect an exit code."""
        done = subprocess.run(
            [FINKBRIDGE, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
            cwd=self.folder,
            env=self.environ,
            **options,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run with ``--json`` and return the object."""
        return dict(json.loads(self.run(*arguments, "--json", code=code).stdout))

    def start(self, *arguments: str) -> Running:
        """Start, to be told to stop."""
        return Running(self, arguments)


class Running:
    """A command that runs until it is told to stop; killed with the context at the latest."""

    def __init__(self, command: Command, arguments: tuple[str, ...]) -> None:
        self.out, self.err = command.folder / "out.txt", command.folder / "err.txt"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [FINKBRIDGE, *arguments],
                stdout=out,
                stderr=err,
                cwd=command.folder,
                env=command.environ,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def await_text(self, text: str, *, count: int = 1) -> None:
        """Wait until it has printed a text so often."""
        deadline = time.monotonic() + LONGEST_S
        while self.said().count(text) < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def await_lock(self, lake: Path) -> None:
        """Wait until it holds the lake."""
        lock, deadline = lake / layout.LOCK, time.monotonic() + LONGEST_S
        while not lock.is_file() or lock.read_text().strip() != str(self.process.pid):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        """Return all that it printed."""
        return self.out.read_text() + self.err.read_text()

    def end(self, *signals: int, within_s: float = 10) -> int:
        """Send signals, and return the exit code, which must come in time."""
        began = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.3)
        code = self.process.wait(LONGEST_S)
        assert time.monotonic() - began < within_s, self.said()
        assert "Traceback" not in self.said()
        return code
