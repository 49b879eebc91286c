"""Alerts to picture files: each is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from finkbridge.errors import SaveError, SettingsError
from finkbridge.viewer.figure import pages, rendered
from finkbridge.viewer.html import page
from finkbridge.viewer.view import View

TOGETHER: dict[str, Callable[[Iterable[View]], bytes]] = {".pdf": pages, ".html": page, ".htm": page}
"""Formats of which one file has all alerts."""
ALONE = (".png", ".svg")


def save(views: Iterable[View], path: Path) -> Iterator[Path]:
    """Write alerts to a file of the format that its suffix says, and yield each file that is written.

    ``.pdf`` has a page, ``.html`` a section for each alert; of ``.png`` and ``.svg`` there is a file for
    each, the second named ``NAME-2.png``. A file that is there is replaced.

    Raises
    ------
    SettingsError
        The suffix is of no format, or there is no such folder.
    SaveError
        The disk refuses.
    """
    suffix = path.suffix.lower()
    if suffix not in TOGETHER and suffix not in ALONE:
        known = ", ".join([*ALONE, *TOGETHER])
        raise SettingsError(f"{path} is of no format that is known: name a file that ends in one of {known}")
    if not path.parent.is_dir():
        raise SettingsError(f"there is no folder {path.parent}: make it first")
    if suffix in TOGETHER:
        yield _write(path, TOGETHER[suffix](views))
        return
    for number, view in enumerate(views, 1):
        yield _write(_numbered(path, number), rendered(view, suffix[1:]))


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _write(path: Path, data: bytes) -> Path:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise SaveError(f"{path} cannot be written: {error.strerror}: name another file") from None
    finally:
        with suppress(OSError):
            aside.unlink()
    return path
