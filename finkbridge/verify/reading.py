"""What is met when a file that was proven is read again, and is not what it was."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from finkbridge.errors import FinkbridgeError


class UnreadableError(FinkbridgeError):
    """A file of a table cannot be read.

    Attributes
    ----------
    path : str
        Relative to the lake.
    """

    def __init__(self, path: str, reason: Exception) -> None:
        super().__init__(f"cannot be read any more ({' '.join(str(reason).split())[:200]})")
        self.path = path


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Tell of a table's file that cannot be read; that it is not there is the caller's to judge.

    Raises
    ------
    UnreadableError
        It was cut off or overwritten since it was proven.
    FileNotFoundError
        It may have been replaced by merging.
    """
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            raise
        raise UnreadableError(path, error) from error
