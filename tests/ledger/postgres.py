"""A PostgreSQL of the tests' own: Debian's package, in a temporary folder, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kafka_server import free_ports

USER = "postgres"
"""Who runs the server where the tests run as root, which it refuses."""


class PostgresUnavailableError(Exception):
    """There is no PostgreSQL on this machine."""


def programs() -> Path:
    """Return the folder with initdb and pg_ctl."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    where = str(found[-1]) if found else shutil.which("initdb")
    if where is None:
        raise PostgresUnavailableError("no initdb; install the package postgresql")
    return Path(where).resolve().parent


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server for as long as the block lasts; give its URL without a database."""
    folder, bin_ = Path(tempfile.mkdtemp(prefix="finkbridge-pg-")), programs()
    (port,) = free_ports(1)
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    data = str(folder / "data")
    _run(bin_ / "initdb", "-D", data, "-U", "fink", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    _run(bin_ / "pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://fink@127.0.0.1:{port}"
    finally:
        _run(bin_ / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _run(*command: str | Path) -> None:
    user = USER if os.geteuid() == 0 else None
    # to files, not pipes: the server would keep a pipe open for ever
    subprocess.run(
        command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
