"""The output folder: files come into it once they are committed, and none is ever written over."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterable, Iterator, Mapping
from errno import EXDEV
from pathlib import Path

from finkbridge import disk, layout
from finkbridge.disk import NETWORK_FILE_SYSTEMS, file_system
from finkbridge.errors import LakeAccessError
from finkbridge.layout import SegmentName

DEEPEST = 3
"""Levels of folders below the output folder: year, month and day."""


def make_state(folder: Path, outdir: Path) -> None:
    """Make both folders; raise LakeAccessError where they cannot be, or SQLite's locks cannot be trusted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeAccessError(
            f"{error.filename} cannot be made: {error.strerror}: choose another -outdir, or a folder for the "
            "transfer's state with --state DIR"
        ) from None
    kind = file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        raise LakeAccessError(
            f"{folder} is on a network file system ({kind}), which a transfer's state must not be on: name a "
            f"local folder for it with --state DIR; the alerts go to {outdir} all the same"
        )


def strangers(outdir: Path, topic: str, known: Iterable[str]) -> list[str]:
    """Return files of a topic's transfers that are in the folder and that no ledger of ours knows."""
    mine = set(known)
    return sorted(path for path in _files_of(outdir, topic) if path not in mine)


def refuse_strangers(outdir: Path, topic: str, known: Iterable[str]) -> None:
    """Raise LakeAccessError if another transfer of the topic left files: all its alerts would be doubled."""
    if found := strangers(outdir, topic, known):
        raise LakeAccessError(
            f"{outdir} has {len(found):,} files of an earlier transfer of {topic} ({found[0]}), whose state "
            "is not there: move them away, or choose another -outdir; nothing is written over"
        )


def set_aside(state: Path, outdir: Path, topic: str) -> Path | None:
    """Give the state of an earlier transfer another name, so that the next one begins anew.

    Returns
    -------
    Path or None
        Where it is now; None where there was none.

    Raises
    ------
    LakeAccessError
        Files of the earlier transfer are still in the folder.
    """
    if found := strangers(outdir, topic, ()):
        raise LakeAccessError(
            f"{outdir} has {len(found):,} files of {topic} ({found[0]}): move them away, or choose another "
            "-outdir, to begin anew (nothing is written over); without --restart_from_beginning it goes on"
        )
    if not state.is_dir():
        return None
    number = 1
    while (old := state.with_name(f"{state.name}~{number}")).exists():
        number += 1
    with disk.writing(state.parent):
        state.rename(old)
    return old


def deliver_landed(state: Path, outdir: Path, paths: Iterable[str]) -> None:
    """Move a transfer's committed files to the output folder; see `deliver`."""
    deliver(outdir, {path: state / layout.landed_path(path) for path in paths})


def deliver(outdir: Path, waiting: Mapping[str, Path]) -> None:
    """Move committed files to the output folder; those that are there already stay as they are.

    Parameters
    ----------
    outdir
        The output folder.
    waiting
        Where each file is, by its path in the output folder; one that is not there was moved before.

    Raises
    ------
    LakeAccessError
        Another file of that name is there, and ours waits to get it; or the folder cannot be written.
    """
    folders: dict[Path, None] = {}
    with disk.writing(outdir):
        for path, aside in waiting.items():
            final = outdir / path
            if not aside.exists():
                continue
            if final.exists() and not filecmp.cmp(aside, final, shallow=False):
                raise LakeAccessError(
                    f"{final} is there already: move it away, then run again; it is not touched"
                )
            folders |= dict.fromkeys([*disk.make_folders(final.parent), final.parent])
            if final.exists():  # copied whole by a run that was killed before it removed the first one
                disk.sync_folder(final.parent)
                aside.unlink()
            else:
                _move(aside, final)
        for folder in folders:
            disk.sync_folder(folder)


def _files_of(outdir: Path, topic: str) -> Iterator[str]:
    """Yield the names that transfers of a topic give, in the folder itself and in folders of partitions."""
    levels = [outdir] if outdir.is_dir() else []
    for _ in range(DEEPEST + 1):
        inner = []
        for folder in levels:
            for entry in folder.iterdir():
                if "=" in entry.name and entry.is_dir():
                    inner.append(entry)
                elif _topic_of(entry.name) == layout.short_topic(topic):
                    yield entry.relative_to(outdir).as_posix()
        levels = inner


def _topic_of(name: str) -> str | None:
    try:
        return SegmentName.parse(name).topic
    except ValueError:
        return None


def _move(waiting: Path, final: Path) -> None:
    try:
        waiting.rename(final)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        # The state is on another file system. What a killed run left of the file is written over.
        aside = final.with_name(f".{final.name}.part")
        try:
            shutil.copyfile(waiting, aside)
            disk.sync_file(aside)
            aside.rename(final)
        finally:
            aside.unlink(missing_ok=True)
        disk.sync_folder(final.parent)
        waiting.unlink()
