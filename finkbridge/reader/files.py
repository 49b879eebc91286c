"""Which files a name stands for, and the bytes of a file, within bounds.

Nothing is taken by its name alone: a folder may hold anything, and a file anything but what it is called.
"""

from __future__ import annotations

import glob
import gzip
import mmap
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finkbridge.avro.container import MAGIC, Data
from finkbridge.errors import SettingsError

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, a folder, a pattern, or a list of any of them."""

GZIP = b"\x1f\x8b"
MAPPED_BYTES = 64 << 20
"""A file larger than this is mapped, not read: only what is decoded is in memory."""
MAX_UNZIPPED_BYTES = 512 << 20
"""Of a gzipped file, which must be in memory: two thousand of the largest alerts, and no bomb."""
PORTION_BYTES = 1 << 20

NO_ALERTS = (".json", ".avsc", ".crc")
"""What lies beside alerts on purpose: schemas that clients save, checksums of Hadoop."""


class FileError(ValueError):
    """A file cannot be read as alerts; the text is the reason, without the file's name."""


class CutError(FileError):
    """A gzipped file is damaged, cut or too large; what comes before is good."""

    def __init__(self, problem: str, good: bytes) -> None:
        super().__init__(problem)
        self.good = good


def find_files(source: Source) -> tuple[list[Path], bool]:
    """Return the files that `source` stands for, in order, and whether it is one file that is named.

    A folder stands for all files below it, by name, but hidden ones and those of `NO_ALERTS`. A name with
    ``*``, ``?`` or ``[`` that is no file is a pattern; ``**`` stands for any folders. A folder
    that cannot be listed stands for itself, so that whoever opens it is told.

    Raises
    ------
    SettingsError
        There is no such file, or nothing matches, or `source` is nothing of the kind.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return list(_expand(source)), path.exists() and not path.is_dir()
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise _no_name(source)
    return [path for one in source for path in _expand(one)], False


def _no_name(source: object) -> SettingsError:
    return SettingsError(
        f"{source!r} is no name of a file: give a file, a folder, a pattern or a list of them"
    )


def _expand(source: str | os.PathLike[str]) -> Iterator[Path]:
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if not name or "\0" in name:
        raise _no_name(source)
    path = Path(name)
    try:
        found = path.stat()
    except FileNotFoundError:
        yield from _matching(name)
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {error.strerror}") from None
    else:
        yield from _below(path) if stat.S_ISDIR(found.st_mode) else (path,)


def _matching(pattern: str) -> Iterator[Path]:
    magic = glob.has_magic(pattern)
    found = sorted(glob.glob(pattern, recursive=True)) if magic else []  # noqa: PTH207 - it takes absolute ones
    if not found:
        raise SettingsError(f"there is no file or folder {pattern}")
    for name in found:
        path = Path(name)
        yield from _below(path) if path.is_dir() else (path,)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, links followed; and the folders that cannot be listed, to be named."""
    unread: list[Path] = []
    seen: set[tuple[int, int]] = set()
    walk = os.walk(folder, onerror=lambda error: unread.append(Path(error.filename)), followlinks=True)
    for place, folders, files in walk:
        found = Path(place).stat()
        if (found.st_dev, found.st_ino) in seen:  # by a link to what is above it, or beside it
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(files):
            if not name.startswith((".", "_")) and not name.endswith(NO_ALERTS):
                yield Path(place, name)
    yield from unread


@contextmanager
def opened(path: Path) -> Iterator[Data]:
    """Give the bytes of a file, unzipped.

    Raises
    ------
    FileError
        It is no container file, or cannot be read.
    CutError
        It is gzipped and damaged, or larger than `MAX_UNZIPPED_BYTES`.
    """
    try:
        # a pipe would else block until someone writes to it
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FileError("it is no file with content")
            head = file.read(len(MAGIC))
            file.seek(0)
            if head.startswith(GZIP):
                yield _unzipped(path)
            elif head != MAGIC:
                raise FileError("it is empty" if not head else "it is no Avro container file")
            elif found.st_size > MAPPED_BYTES:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    yield data
            else:
                yield file.read()
    except OSError as error:
        raise FileError(f"it cannot be read: {error.strerror or error}") from error


def _unzipped(path: Path) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(PORTION_BYTES):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_UNZIPPED_BYTES:
                    raise CutError(
                        f"it has more than {MAX_UNZIPPED_BYTES >> 20} MB: unzip it", b"".join(pieces)
                    )
                if len(pieces) == 1 and not piece.startswith(MAGIC):
                    raise FileError("what is gzipped in it is no Avro container file")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CutError(f"its gzip is damaged: {error}", b"".join(pieces)) from None
    return b"".join(pieces)
