"""Files that are written aside, synced, and only then given the name that a commit will list."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import xxhash

from finkbridge import layout
from finkbridge.errors import LakeAccessError, NameTakenError

READ_BYTES = 1 << 20
WRITE_BACK_EVERY_S = 0.02
"""Of a file that is being written: the disk takes 10 MB in that time."""
_SYNC_FILE_RANGE_WRITE = 2

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems say that know no second name of a file."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs", "ceph", "lustre"}
)
"""Whose locks SQLite cannot trust."""


class Staging:
    """Files of one part, before they are in their place.

    A file that is written goes to disk in the background, while the next is being made.
    """

    def __init__(self, lake: Path, mark: str = "") -> None:
        self.lake = lake
        self._mark = mark
        self._syncing = ThreadPoolExecutor(1, "sync")
        self._aside: list[Path] = []
        self._synced: dict[Path, Future[None]] = {}
        self._kept: list[tuple[Path, str]] = []
        self._unread: list[Path] = []
        (lake / layout.SCRATCH).mkdir(exist_ok=True)

    def new(self, suffix: str) -> Path:
        """Return a path for a new file, on the lake's own file system."""
        path = self.lake / layout.scratch_path(self._mark + uuid.uuid4().hex, suffix)
        self._aside.append(path)
        return path

    @contextmanager
    def filling(self, aside: Path) -> Iterator[None]:
        """Have a large file go to disk while it is being written: little is left to wait for at its end."""
        done = threading.Event()
        self._syncing.submit(_write_back_until, done, aside)
        try:
            yield
        finally:
            done.set()

    def written(self, aside: Path) -> None:
        """Begin to bring a file to disk that is written to its end."""
        self._synced[aside] = self._syncing.submit(sync_file, aside)

    def keep(self, aside: Path, path: str, *, is_read_soon: bool = True) -> None:
        """Note the final path, relative to the lake, of a file that is written to its end."""
        if aside not in self._synced:
            self.written(aside)
        self._kept.append((aside, path))
        if not is_read_soon:
            self._unread.append(aside)

    def kept(self) -> list[tuple[Path, str]]:
        """Return the kept files once they are on disk: where each is aside, and its path to be."""
        for aside, _ in self._kept:
            self._synced[aside].result()
        return list(self._kept)

    def publish(self) -> None:
        """Wait until every kept file is on disk, give each its name, and sync the folders that name them.

        Raises
        ------
        NameTakenError
            The lake has a file of such a name with other content, which stays as it is.
        """
        kept = self.kept()
        for aside in self._unread:
            forget(aside)
        folders: dict[Path, None] = {}
        for aside, path in kept:
            final = self.lake / path
            folders |= dict.fromkeys(make_folders(final.parent))
            name_file(aside, final)
            folders[final.parent] = None
        for folder in folders:
            sync_folder(folder)

    def discard(self) -> None:
        """Remove what is left aside."""
        self._syncing.shutdown()
        for path in self._aside:
            path.unlink(missing_ok=True)


@contextmanager
def staging(lake: Path, mark: str = "") -> Iterator[Staging]:
    """Yield a place for new files; whatever is not published is removed at the end.

    Parameters
    ----------
    lake
        Folder of the lake.
    mark
        What the names of the files aside begin with: see `clear_marked`.
    """
    with writing(lake):
        place = Staging(lake, mark)
        try:
            yield place
        finally:
            place.discard()


@contextmanager
def writing(lake: Path) -> Iterator[None]:
    """Turn a refusal of the file system into one line about the lake, or the folder of a transfer."""
    try:
        yield
    except OSError as error:
        if not lake.is_dir():
            raise LakeAccessError(lake_is_gone(lake)) from None
        reason = error.strerror or str(error)
        raise LakeAccessError(
            f"the folder {lake} cannot be written: {reason}: make room or give access, then run again; "
            "what is committed is untouched"
        ) from None


def lake_is_gone(lake: Path) -> str:
    """Return what to say of a lake that went away while it was in use."""
    return (
        f"the lake {lake} was moved or deleted while it was in use: put it back, then run again; where it is "
        "deleted, the next run begins a new one"
    )


def clear_scratch(lake: Path) -> None:
    """Remove what a dead run left aside; only the coordinator may call this, before it starts work."""
    folder = lake / layout.SCRATCH
    with writing(lake):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # nothing of ours is a folder
            else:
                path.unlink(missing_ok=True)


def clear_marked(lake: Path, mark: str) -> None:
    """Remove what a process that is gone left aside under a mark of its own."""
    for path in (lake / layout.SCRATCH).glob(f"{glob.escape(mark)}*"):
        path.unlink(missing_ok=True)


def name_file(aside: Path, final: Path) -> None:
    """Give a file its final name for the one it has, and never one that a file with other content has.

    Whoever was thought dead, on whatever machine, may come late: what has a name may be committed.

    Raises
    ------
    NameTakenError
        The name is taken by a file with other content.
    """
    try:
        os.link(aside, final)  # unlike a rename it replaces nothing
    except FileExistsError:
        _refuse_other(aside, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():
            _refuse_other(aside, final)
        else:
            aside.replace(final)
    aside.unlink(missing_ok=True)


def replace_file(aside: Path, final: Path) -> None:
    """Put a file that is on disk in the place of another."""
    aside.replace(final)
    sync_folder(final.parent)


def _refuse_other(aside: Path, final: Path) -> None:
    if aside.stat().st_size != final.stat().st_size or checksum(aside) != checksum(final):
        raise NameTakenError(
            f"{final} is there with other content, and stays as it is: run again, which takes another name; "
            "finkbridge verify tells whether that file is needed"
        )


def require_file(path: Path) -> None:
    """Raise OSError where there is a pipe, a socket, a device or a folder: to open one may hang for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file but a folder, pipe, socket or device")


def checksum(path: Path) -> str:
    """Return the xxh3-128 of a file's bytes, as hex; raise OSError where there is no plain file."""
    require_file(path)
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def forget(path: Path) -> None:
    """Tell the system that a file which is on disk will not be read soon: it need not stay in memory."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def write_back(path: Path) -> None:
    """Have the system begin to bring a file's bytes to disk; `sync_file` waits, and tells what fails."""
    begin = _sync_file_range()
    if begin is not None and path.exists():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            begin(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)
        finally:
            os.close(descriptor)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Return what Linux alone has."""
    import ctypes  # noqa: PLC0415 - a transfer needs it, and every command comes by

    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return found


def _write_back_until(done: threading.Event, path: Path) -> None:
    while not done.wait(WRITE_BACK_EVERY_S):
        write_back(path)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Make a folder's names durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and what is missing above it; return the folders that got a new name in them."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
    return [new.parent for new in missing]


def file_system(path: Path) -> str:
    """Type of the file system that holds `path`; empty where the system does not tell."""
    mounts = Path("/proc/self/mounts")
    if not mounts.is_file():
        return ""
    at, best, kind = path.resolve(), -1, ""
    for line in mounts.read_text(errors="replace").splitlines():
        _, folder, found, *_ = line.split()
        where = Path(folder.replace("\\040", " "))
        if at.is_relative_to(where) and len(where.parts) >= best:
            best, kind = len(where.parts), found
    return kind
