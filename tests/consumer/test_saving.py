"""Files of single alerts: whole or not there, the same each time, and readable by everybody."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import fastavro
import pytest

from finkbridge.avro.schemas import parse_schema
from finkbridge.broker.assignment import Received
from finkbridge.consumer import saving
from finkbridge.consumer.saving import ASIDE, UNDECODED, Saver, Unsaved
from finkbridge.errors import AlertExistsError, SaveError
from finkbridge.values import Message
from tests.avro.samples import encode, record_of, schema_of
from tests.consumer.samples import values_of

SCHEMA = schema_of(record_of(a="int", b="string"))


def alert(number: int, name: str | None = None) -> Unsaved:
    return Unsaved(name or f"o_{number}.avro", SCHEMA, encode(SCHEMA, {"a": number, "b": "é" * number}))


def test_each_alert_is_a_container_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "db"
    with Saver(folder) as saver:
        files = saver.save([alert(n) for n in range(30)])
        assert files == [folder / f"o_{n}.avro" for n in range(30)]
        for n, file in enumerate(files):
            assert values_of(file) == [{"a": n, "b": "é" * n}]
            with file.open("rb") as stream:
                assert fastavro.reader(stream).metadata["avro.schema"] == SCHEMA.text.decode()
    assert sorted(path.name for path in folder.iterdir()) == sorted(file.name for file in files)


def test_the_same_alert_gives_the_same_bytes(tmp_path: Path) -> None:
    with Saver(tmp_path / "a") as one, Saver(tmp_path / "b") as other:
        (first,), (second,) = one.save([alert(3)]), other.save([alert(3)])
        assert first.read_bytes() == second.read_bytes()


def test_of_one_name_the_last_stays(tmp_path: Path) -> None:
    with Saver(tmp_path) as saver:
        saver.save([alert(1, "x.avro"), alert(2, "x.avro")])
        saver.save([alert(4, "x.avro")])
        assert [v["a"] for v in values_of(tmp_path / "x.avro")] == [4]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    with Saver(tmp_path) as saver:
        saver.save([alert(1, "x.avro")])
        with pytest.raises(AlertExistsError, match=r"x\.avro is there already") as caught:
            saver.save([alert(2, "y.avro"), alert(3, "x.avro")], overwrite=False)
        assert isinstance(caught.value, FileExistsError)
        assert [v["a"] for v in values_of(tmp_path / "x.avro")] == [1]
        assert not (tmp_path / "y.avro").exists()


def test_what_a_dead_saver_left_is_removed_and_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "LEFT_S", -1.0)
    dead = tmp_path / f"{ASIDE}dead"
    dead.mkdir()
    (dead / "0").write_bytes(b"half")
    (tmp_path / f"{ASIDE}a-file").write_text("not ours")
    with Saver(tmp_path) as living, Saver(tmp_path) as other:
        assert not dead.exists()
        assert len([p for p in tmp_path.glob(f"{ASIDE}*") if p.is_dir()]) == 2
        living.save([alert(1)])
        other.save([alert(2)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{ASIDE}a-file", "o_1.avro", "o_2.avro"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_takes_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(saving, "LEFT_S", -1.0)
    monkeypatch.setattr("fcntl.flock", flock)
    with Saver(tmp_path) as one, Saver(tmp_path) as other:
        one.save([alert(1)])
        other.save([alert(2)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o_1.avro", "o_2.avro"]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(SaveError, match=r"alerts cannot be saved in .*db: File exists: make room"):
        Saver(tmp_path / "db")


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Saver(tmp_path) as saver:
        saver.save([alert(1)])

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(saving.os, "fsync", full)
        with pytest.raises(SaveError, match="No space left on device"):
            saver.save([alert(2), alert(1)])
    assert [path.name for path in tmp_path.iterdir()] == ["o_1.avro"]


def test_what_cannot_be_opened_is_kept_as_it_came(tmp_path: Path) -> None:
    message = Message(3, 9, None, 0, b"{not a schema", b"\xff\x00", ())
    with Saver(tmp_path) as saver:
        saver.set_aside(Received("fink_x", message))
        saver.set_aside(Received("fink_x", Message(3, 10, None, 0, None, None, ())))
    folder = tmp_path / UNDECODED
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "fink_x-3-9.value": b"\xff\x00",
        "fink_x-3-9.key": b"{not a schema",
        "fink_x-3-10.value": b"",
    }


def test_a_schema_that_only_a_python_reader_would_take_is_kept_as_received(tmp_path: Path) -> None:
    schema = parse_schema(json.dumps(record_of(a="int") | {"doc": "kept"}).encode())
    with Saver(tmp_path) as saver:
        (file,) = saver.save([Unsaved("x.avro", schema, encode(schema, {"a": 1}))])
    with file.open("rb") as stream:
        assert json.loads(fastavro.reader(stream).metadata["avro.schema"])["doc"] == "kept"


@pytest.mark.slow
def test_avro_tools_of_java_read_real_alerts(
    tmp_path: Path, shared_data: Path, avro_tools: list[str]
) -> None:
    from tests.consumer.samples import real  # noqa: PLC0415

    for survey in ("ztf", "lsst"):
        (key, value), *_ = real(shared_data, survey)
        with Saver(tmp_path) as saver:
            (file,) = saver.save([Unsaved(f"{survey}.avro", parse_schema(key), value)])
        done = subprocess.run([*avro_tools, "tojson", str(file)], capture_output=True, text=True, check=True)
        told, (alert_,) = json.loads(done.stdout), values_of(file)
        name = "candid" if survey == "ztf" else "diaSourceId"
        assert (told[name]["long"] if isinstance(told[name], dict) else told[name]) == alert_[name]


@pytest.fixture(scope="session")
def avro_tools(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of Apache's avro-tools, fetched by Maven once into its own cache."""
    if not (shutil.which("mvn") and shutil.which("java")):
        pytest.skip("NOT TESTED WITH JAVA'S AVRO: Java or Maven are absent")
    folder = tmp_path_factory.mktemp("avro-tools")
    goal = ["mvn", "-q", "-B", "dependency:copy", "-Dartifact=org.apache.avro:avro-tools:1.12.0"]
    done = subprocess.run([*goal, f"-DoutputDirectory={folder}"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED WITH JAVA'S AVRO: Maven has no avro-tools: {done.stdout[-300:]}")
    return ["java", "-jar", str(next(folder.glob("*.jar")))]
