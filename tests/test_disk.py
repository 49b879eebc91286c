"""Files get their names when they are whole, and only then."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
import xxhash

from finkbridge import disk, layout
from finkbridge.errors import LakeAccessError, NameTakenError


def test_published_files_are_there_and_nothing_else(tmp_path: Path) -> None:
    with disk.staging(tmp_path) as place:
        kept, dropped = place.new(".a"), place.new(".b")
        kept.write_text("kept")
        dropped.write_text("dropped")
        place.keep(kept, "deep/er/file.a")
        assert not (tmp_path / "deep").exists()
        place.publish()
    assert (tmp_path / "deep/er/file.a").read_text() == "kept"
    assert list((tmp_path / layout.SCRATCH).iterdir()) == []


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with disk.staging(tmp_path) as place:
            aside = place.new(".a")
            aside.write_text("x")
            place.keep(aside, "file.a")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_folders_that_got_a_name_are_synced_behind_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", lambda path: synced.append(path.relative_to(tmp_path)))
    with disk.staging(tmp_path) as place:
        aside = place.new(".a")
        aside.write_text("x")
        place.keep(aside, "a/b/file.a")
        place.publish()
    assert set(synced) == {Path(), Path("a"), Path("a/b")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_is_not_writable_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(LakeAccessError, match="Permission denied"), disk.staging(tmp_path):
        pass


def test_scratch_is_cleared(tmp_path: Path) -> None:
    disk.clear_scratch(tmp_path)
    (tmp_path / layout.SCRATCH).mkdir()
    (tmp_path / layout.SCRATCH / "half").write_text("x")
    (tmp_path / "whole").write_text("x")
    disk.clear_scratch(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["whole"]


def test_checksum_is_of_the_bytes(tmp_path: Path) -> None:
    data = os.urandom(disk.READ_BYTES + 17)
    (tmp_path / "file").write_bytes(data)
    assert disk.checksum(tmp_path / "file") == xxhash.xxh3_128(data).hexdigest()


def test_file_that_cannot_be_synced_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    def publish() -> None:
        with disk.staging(tmp_path) as place:
            aside = place.new(".a")
            aside.write_text("x")
            place.keep(aside, "file.a")
            place.publish()

    monkeypatch.setattr(disk, "sync_file", fail)
    with pytest.raises(LakeAccessError, match="Input/output error"):
        publish()
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_kept_files_are_synced_once_before_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(disk, "sync_file", lambda path: steps.append(("sync", path.suffix)))
    monkeypatch.setattr(disk, "sync_folder", lambda path: steps.append(("folder", path.name)))
    with disk.staging(tmp_path) as place:
        early, late = place.new(".early"), place.new(".late")
        for aside in (early, late):
            aside.write_text("x")
        place.written(early)
        place.keep(early, "files/a", is_read_soon=False)
        place.keep(late, "files/b")
        assert place.kept() == [(early, "files/a"), (late, "files/b")]
        assert sorted(steps) == [("sync", ".early"), ("sync", ".late")]
        place.publish()
    assert [step for step, _ in steps] == ["sync", "sync", "folder", "folder"]
    assert (tmp_path / "files/a").read_text() == "x"


def test_a_file_goes_to_disk_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, enough, write_back = [], threading.Event(), disk.write_back

    def noted(path: Path) -> None:
        write_back(path)
        begun.append(path.exists() and path.stat().st_size)
        if begun[-1]:
            enough.set()

    monkeypatch.setattr(disk, "write_back", noted)
    with disk.staging(tmp_path) as place:
        aside = place.new(".parquet")
        with place.filling(aside), aside.open("wb", buffering=0) as file:
            file.write(bytes(1 << 20))
            assert enough.wait(10)
            file.write(bytes(1 << 20))
        place.keep(aside, "archive/t/file.parquet")
        place.publish()
        seen = len(begun)
    assert (tmp_path / "archive/t/file.parquet").stat().st_size == 2 << 20
    time.sleep(3 * disk.WRITE_BACK_EVERY_S)
    assert len(begun) == seen, "it ends with the file"


def test_a_file_that_was_never_made_leaves_no_thread(tmp_path: Path) -> None:
    disk.write_back(tmp_path / "absent")
    with disk.staging(tmp_path) as place, place.filling(place.new(".avro")):
        time.sleep(2 * disk.WRITE_BACK_EVERY_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sync")]


def test_folders_in_scratch_are_cleared_too(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "kept").mkdir(parents=True)
    (tmp_path / ".scratch" / "a" / "b").mkdir(parents=True)
    (tmp_path / ".scratch" / "link").symlink_to(other)
    disk.clear_scratch(tmp_path)
    assert list((tmp_path / ".scratch").iterdir()) == []
    assert (other / "kept").is_dir()


def published(lake: Path, text: str) -> None:
    with disk.staging(lake) as place:
        aside = place.new(".a")
        aside.write_text(text)
        place.keep(aside, "files/a")
        place.publish()
        assert not aside.exists(), "whoever did not make it, as a requeue, will not remove it either"


@pytest.mark.parametrize("has_links", [True, False])
def test_name_that_is_taken_is_never_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(disk.os, "link", refuse)
    published(tmp_path, "mine")
    published(tmp_path, "mine")
    for other in ("else", "longer"):
        with pytest.raises(NameTakenError, match=r"files/a is there with other content, and stays as it is"):
            published(tmp_path, other)
    assert (tmp_path / "files/a").read_text() == "mine"
    assert list((tmp_path / layout.SCRATCH).iterdir()) == []
