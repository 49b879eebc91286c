"""What can be looked at without the network: settings, secrets' files, the lake, its ledger, packages."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select, text

from finkbridge.disk import NETWORK_FILE_SYSTEMS, file_system
from finkbridge.doctor.findings import Finding
from finkbridge.errors import NoLakeError
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.adopt import has_archive, is_blank, put_back
from finkbridge.settings import Loaded, Settings
from finkbridge.verify import check_ledger

TOO_LITTLE_BYTES, LITTLE_BYTES = 10**9, 10**10
"""Free space below which a drain may fail any moment, and below which it is time to see to it: a night of all
of Fink's topics is some GB."""

REPAIR = "put a backup back, or run finkbridge rebuild --ledger --replace"
AHEAD_S = 60.0
"""A commit that is so far in the future shows that the clock was set back."""

_SECRET = ("password", "sasl.", "ssl.key", "ledger")


def settings(loaded: Loaded) -> Iterator[Finding]:
    """Look at what the settings name."""
    where = str(loaded.config or "no settings file")
    clusters = loaded.settings.clusters
    if not clusters:
        todo = "set clusters.ztf.servers in finkbridge.toml, or register with Fink"
        yield Finding("settings", where, "bad", "no cluster is set", todo)
        return
    yield Finding("settings", where, "good", f"clusters: {', '.join(clusters)}")
    for name, cluster in clusters.items():
        if not cluster.topics:
            todo = f"set clusters.{name}.topics, or name topics with each drain"
            yield Finding("settings", f"cluster {name}", "doubtful", "names no topics", todo)
    for note in loaded.notes:
        yield Finding("settings", where, "doubtful", note, "remove one of the two")


def credentials(loaded: Loaded) -> Iterator[Finding]:
    """Look whether files with secrets can be read by others."""
    files = {*loaded.credential_files, *_secret_files(loaded)}
    if not files:
        yield Finding("credentials", str(loaded.settings.credentials), "good", "no file with a secret")
    for path in sorted(files):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            said = f"mode {mode:04o}: others on this machine can read it"
            yield Finding("credentials", str(path), "doubtful", said, f"chmod 600 {path}")
        else:
            yield Finding("credentials", str(path), "good", f"mode {mode:04o}")


def _secret_files(loaded: Loaded) -> Iterator[Path]:
    """Yield the files that a secret comes from."""
    for key, source in loaded.sources.items():
        if any(part in key for part in _SECRET) and Path(source).is_file():
            yield Path(source)


def lake(settings: Settings) -> Iterator[Finding]:
    """Look whether the lake can be written, and how much room it has."""
    folder = settings.lake.absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    if taken := next((path for path in (folder, *folder.parents) if _is_taken(path)), None):
        said = f"cannot be made: {taken} is there, and no folder"
        yield Finding("lake", str(folder), "bad", said, "set `lake` to another place")
        return
    kind = file_system(there)
    if kind in NETWORK_FILE_SYSTEMS and settings.ledger is None:
        said = f"on a network file system ({kind}), where SQLite's locks cannot be trusted"
        yield Finding("lake", str(folder), "bad", said, "set `ledger` to a PostgreSQL URL")
    if refusal := _refusal(there):
        yield Finding(
            "lake", str(folder), "bad", f"cannot be written: {refusal}", "give access, or set `lake`"
        )
    else:
        new = "" if there == folder else ", and is not there yet: the first drain makes it"
        yield Finding("lake", str(folder), "good", f"can be written{f' ({kind})' if kind else ''}{new}")
    yield _space(folder, there)


def _is_taken(path: Path) -> bool:
    return os.path.lexists(path) and not path.is_dir()


def _refusal(folder: Path) -> str | None:
    """Return why no file can be made in a folder; None if one can, and is gone again."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _space(lake: Path, there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    said, todo = f"{free / 1e9:,.1f} GB free", "make room, or move the lake"
    if free < TOO_LITTLE_BYTES:
        return Finding("space", str(lake), "bad", said, todo)
    return Finding("space", str(lake), "doubtful" if free < LITTLE_BYTES else "good", said, todo)


def ledger(settings: Settings) -> Iterator[Finding]:
    """Look whether the ledger is of a known version, whole, and not from the future.

    Other errors than that it is not there say themselves what to do; `limited` makes findings of them.
    """
    where = "PostgreSQL" if settings.ledger else str(settings.lake.absolute())
    try:
        with Ledger(settings.lake, settings.ledger_url) as opened:
            yield from _opened(opened, where)
    except NoLakeError:
        if has_archive(settings.lake):
            said = "lost, and the lake has an archive"
            yield Finding("ledger", where, "bad", said, put_back(is_file=not settings.ledger))
        else:
            yield Finding("ledger", where, "good", "not there yet: the first drain makes it")


def _opened(ledger: Ledger, where: str) -> Iterator[Finding]:
    if ledger.is_sqlite and (damage := _damage(ledger)):
        yield Finding("ledger", where, "bad", f"damaged: {damage}", REPAIR)
        return
    if is_blank(ledger) and has_archive(ledger.lake):
        said = "knows of nothing, and the lake has an archive"
        yield Finding("ledger", where, "bad", said, put_back(is_file=ledger.is_sqlite))
        return
    if found := next(check_ledger(ledger), None):
        said = f"contradicts itself: {found.where}: {found.problem}"
        yield Finding("ledger", where, "bad", said, "run finkbridge verify, which names all of it")
        return
    with ledger.reading() as connection:
        newest = connection.scalar(select(func.max(s.commits.c.committed_at)))
    yield Finding("ledger", where, "good", f"version {s.VERSION}, commit {ledger.last_commit()}, whole")
    if newest is not None and newest > time.time() + AHEAD_S:
        ahead = f"the ledger's newest commit is {newest - time.time():,.0f} s in the future: it was set back"
        yield Finding("clock", "this machine", "bad", ahead, "set the clock, by NTP")


def _damage(found: Ledger) -> str | None:
    """Return the first thing that SQLite finds wrong with its file."""
    with found.reading() as connection:
        (said, *_) = connection.execute(text("PRAGMA quick_check(1)")).scalars().all()
    return None if said == "ok" else str(said).splitlines()[-1]
