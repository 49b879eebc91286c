"""Saves alerts as files of their own: standard Avro container files, on disk before anybody says so.

A file is written aside, in a folder beside its place, synced, and renamed; then the folder is synced, once a
batch. So a file of the final name is always whole, and the same alert gives the same file again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from finkbridge.avro.container import SYNC_BYTES, block_prefix, encode_header
from finkbridge.avro.schemas import WriterSchema
from finkbridge.broker.assignment import Received
from finkbridge.consumer.names import safe_place
from finkbridge.consumer.opening import place_of
from finkbridge.errors import AlertExistsError, SaveError

THREADS = 4
"""That write and sync files: a sync waits for the disk, and several waits cost what one does."""
UNDECODED = "undecoded"
"""Folder, in that of the alerts, of messages that cannot be opened."""
ASIDE = ".finkbridge-saving-"
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What file systems say that have no locks: Lustre without ``-o flock``, some NFS."""
KEPT_HEADERS = 16
LEFT_S = 10.0
"""Age in seconds from which a folder that nobody holds is a dead saver's: a new one is not locked yet."""


class Unsaved(NamedTuple):
    """An alert that is to be a file."""

    name: str
    schema: WriterSchema
    datum: bytes


class Saver:
    """Saves alerts into one folder, which is made where it is not there. A context manager.

    Parameters
    ----------
    folder
        Where the files go. Several savers may share it: the last one of a name wins, whole.

    Raises
    ------
    SaveError
        The folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._headers: dict[str, tuple[bytes, bytes]] = {}
        with _saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _clear_left_behind(folder)
            self._aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder))
            self._lock = os.open(self._aside, os.O_RDONLY)
            _lock(self._lock)
        self._threads = ThreadPoolExecutor(THREADS, "save")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the threads back, and remove what is left aside."""
        self._threads.shutdown()
        os.close(self._lock)
        shutil.rmtree(self._aside, ignore_errors=True)

    def save(self, alerts: Sequence[Unsaved], *, overwrite: bool = True) -> list[Path]:
        """Save alerts; when this returns, they are on disk.

        Parameters
        ----------
        alerts
            Of one name, the last one stays.
        overwrite
            False refuses to replace a file.

        Returns
        -------
        list of Path
            The file of each alert.

        Raises
        ------
        SaveError
            The disk is full, or refuses otherwise.
        AlertExistsError
            A file is there, and may not be replaced; of a batch, none was.
        """
        latest = {alert.name: alert for alert in alerts}
        finals = [self._folder / alert.name for alert in alerts]
        if not overwrite and (there := next((path for path in finals if path.exists()), None)):
            raise AlertExistsError(f"{there} is there already: name another folder, or say overwrite=True")
        with _saving(self._folder):
            written = list(self._threads.map(self._write, enumerate(latest.values())))
            for aside, name in zip(written, latest, strict=True):
                aside.replace(self._folder / name)
            _sync_folder(self._folder)
        return finals

    def set_aside(self, received: Received) -> None:
        """Save a message that cannot be opened as it came: its value, empty for none, and its key if any."""
        stem = self._folder / UNDECODED / safe_place(place_of(received))
        with _saving(self._folder):
            stem.parent.mkdir(exist_ok=True)
            for suffix, data in ((".value", received.message.value or b""), (".key", received.message.key)):
                if data is not None:
                    self._replace(stem.with_name(stem.name + suffix), data)
            _sync_folder(stem.parent)
            _sync_folder(self._folder)

    def _replace(self, final: Path, data: bytes) -> None:
        aside = self._aside / "one"
        _write_synced(aside, data)
        aside.replace(final)

    def _write(self, numbered: tuple[int, Unsaved]) -> Path:
        """Write one file aside, and wait until it is on disk."""
        number, alert = numbered
        header, sync = self._header(alert.schema)
        aside = self._aside / str(number)
        _write_synced(aside, b"".join((header, block_prefix(len(alert.datum)), alert.datum, sync)))
        return aside

    def _header(self, schema: WriterSchema) -> tuple[bytes, bytes]:
        """Return a file's header and its sync marker, which is a hash of the schema: the same each time."""
        made = self._headers.get(schema.fingerprint)
        if made is None:
            if len(self._headers) >= KEPT_HEADERS:
                self._headers.clear()
            sync = sha256(schema.text).digest()[:SYNC_BYTES]
            metadata = {"avro.codec": b"null", "avro.schema": schema.text}
            made = self._headers[schema.fingerprint] = encode_header(metadata, sync), sync
        return made


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())


@contextmanager
def _saving(folder: Path) -> Iterator[None]:
    """Turn a refusal of the file system into one line."""
    try:
        yield
    except (AlertExistsError, SaveError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(
            f"alerts cannot be saved in {folder}: {reason}: make room or give access, then run again: it "
            "goes on with the first alert that is not saved"
        ) from None


def _lock(descriptor: int) -> None:
    """Lock a folder of our own, where there are locks; where there are none, nobody removes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _clear_left_behind(folder: Path) -> None:
    """Remove what this user's savers left aside that are dead: nobody holds its lock."""
    folders = (path for path in folder.glob(f"{ASIDE}*") if path.is_dir() and not path.is_symlink())
    for left in (path for path in folders if time.time() - path.stat().st_mtime > LEFT_S):
        try:
            descriptor = os.open(left, os.O_RDONLY)
        except (PermissionError, FileNotFoundError):
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
