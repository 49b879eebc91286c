"""Files come into the output folder once, also from another file system, whenever the transfer is killed."""

from __future__ import annotations

from errno import EXDEV
from pathlib import Path

import pytest

from finkbridge.errors import LakeAccessError
from finkbridge.transfer.outdir import deliver


class KilledError(BaseException):
    """No handler of errors sees it."""


@pytest.mark.parametrize("step", ["copyfile", "rename", "unlink"])
def test_a_move_between_file_systems_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    waiting, outdir = tmp_path / "state" / "a.parquet", tmp_path / "out"
    waiting.parent.mkdir()
    waiting.write_bytes(b"x" * 1000)
    rename, unlink = Path.rename, Path.unlink

    def renaming(self: Path, target: Path) -> Path:
        if self == waiting:
            raise OSError(EXDEV, "another device")
        if step == "rename":
            raise KilledError
        return rename(self, target)

    def unlinking(self: Path, *, missing_ok: bool = False) -> None:
        if step != "unlink" or self == waiting:
            raise KilledError  # a killed process does not clear up either
        unlink(self, missing_ok=missing_ok)

    def copying(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:10])
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", renaming)
        patch.setattr(Path, "unlink", unlinking)
        if step == "copyfile":
            patch.setattr("shutil.copyfile", copying)
        with pytest.raises(KilledError):
            deliver(outdir, {"night/a.parquet": waiting})
    assert waiting.exists()
    with monkeypatch.context() as patch:
        step = ""
        patch.setattr(Path, "rename", renaming)
        deliver(outdir, {"night/a.parquet": waiting})
        deliver(outdir, {"night/a.parquet": waiting})
    assert not waiting.exists()
    (file,) = (path for path in outdir.rglob("*") if path.is_file())
    assert (file.relative_to(outdir).as_posix(), file.read_bytes()) == ("night/a.parquet", b"x" * 1000)


def test_another_file_of_the_name_is_not_touched(tmp_path: Path) -> None:
    waiting = tmp_path / "a.parquet"
    waiting.write_bytes(b"ours")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.parquet").write_bytes(b"mine")
    with pytest.raises(LakeAccessError, match="it is not touched"):
        deliver(tmp_path / "out", {"a.parquet": waiting})
    assert (waiting.read_bytes(), (tmp_path / "out" / "a.parquet").read_bytes()) == (b"ours", b"mine")
