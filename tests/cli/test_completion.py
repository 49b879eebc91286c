"""Completion in real shells, and that it imports only what it completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finkbridge.cli.main import COMMANDS
from tests.support.command import FINKBRIDGE


def complete(words: str, at: int, **settings: str) -> list[str]:
    return [line.partition(",")[2] for line in told(words, at, **settings) if line]


def told(words: str, at: int, **settings: str) -> list[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")} | {
        **settings,
        "_FINKBRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
    }
    done = subprocess.run([FINKBRIDGE], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("finkbridge con", 1, ["consumer", "config"]),
        ("finkbridge --la", 1, ["--lake"]),
        ("finkbridge consumer -star", 2, ["-start_at"]),
        ("finkbridge consumer --format ", 3, ["table", "line", "json"]),
        ("finkbridge topics ", 2, ["add", "list", "remove"]),
        ("finkbridge completion f", 2, ["fish"]),
        ("finkbridge consumer -survey ", 3, ["ztf", "lsst"]),
        ("finkbridge topics list --survey l", 4, ["lsst"]),
        ("finkbridge transfer -survey z", 3, ["ztf"]),
        ("finkbridge show -survey ", 3, ["ztf", "lsst", "other"]),
    ],
)
def test_what_is_completed(words: str, at: int, found: list[str]) -> None:
    assert complete(words, at) == found


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("finkbridge viewer -filename al", 3, "file,al"),
        ("finkbridge viewer --filename al", 3, "file,al"),
        ("finkbridge viewer -f a -f b", 5, "file,b"),
        ("finkbridge show ZTF1 --avro al", 4, "file,al"),
        ("finkbridge show ZTF1 --fits d", 4, "dir,d"),
        ("finkbridge consumer -schema s", 3, "file,s"),
        ("finkbridge --lake d", 2, "dir,d"),
        ("finkbridge drain --lake d", 3, "dir,d"),
        ("finkbridge viewer --lake d", 3, "dir,d"),
    ],
)
def test_the_shell_completes_files_and_folders(words: str, at: int, found: str) -> None:
    assert told(words, at) == [found]


def test_clusters_are_those_of_the_settings_and_none_where_these_are_wrong(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    servers = {f"FINKBRIDGE_CLUSTERS__{name}__SERVERS": "h:1" for name in ("ZTF", "MIRROR")}
    assert complete("finkbridge republish --cluster ", 3, **home, **servers) == ["mirror", "ztf"]
    assert complete("finkbridge republish --from-cluster m", 3, **home, **servers) == ["mirror"]
    assert complete("finkbridge republish --cluster ", 3, **home, FINKBRIDGE_WORKERS="many") == []
    file = tmp_path / "own.toml"
    file.write_text("[clusters.own]\nservers = 'h:1'\n")
    assert complete(f"finkbridge --config {file} republish --cluster ", 5, **home) == ["own"]
    assert complete(f"finkbridge --config {tmp_path} republish --cluster ", 5, **home) == []


def test_a_real_fish_completes_files(tmp_path: Path) -> None:
    if (fish := shutil.which("fish")) is None:
        pytest.skip("NOT TESTED IN fish: it is not here")
    for name in ("alerts", "lake"):
        (tmp_path / name).mkdir()
    (tmp_path / "alert.avro").touch()
    script = (
        "finkbridge completion fish | source; complete -C 'finkbridge viewer -filename al'; "
        "complete -C 'finkbridge drain --lake l'"
    )
    environ = os.environ | {"PATH": f"{FINKBRIDGE.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [fish, "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [
        "alert.avro",
        "alerts/",
        "lake/",
    ]


def test_all_commands_are_completed_and_none_is_imported() -> None:
    code = (
        "import sys; from finkbridge.cli.main import cli; import click; "
        "c = click.Context(cli, info_name='finkbridge'); "
        "print(*[i.value for i in cli.shell_complete(c, '')]); "
        "print([m for m in sys.modules if m.startswith('finkbridge.cli.') and m.count('.') == 2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, modules = done.stdout.splitlines()
    assert names.split() == list(COMMANDS)
    assert modules == "['finkbridge.cli.interrupting', 'finkbridge.cli.options', 'finkbridge.cli.main']"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_takes(shell: str) -> None:
    done = subprocess.run([FINKBRIDGE, "completion", shell], capture_output=True, text=True, check=True)
    assert "_FINKBRIDGE_COMPLETE" in done.stdout
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"NOT TESTED IN {shell}: it is not here")
    check = ["--no-execute"] if shell == "fish" else ["-n"]
    subprocess.run([program, *check], input=done.stdout, text=True, check=True)


def test_a_real_bash_completes() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("NOT TESTED IN bash: it is not here")
    script = (
        'eval "$(finkbridge completion bash)"; COMP_WORDS=(finkbridge top); COMP_CWORD=1; '
        "_finkbridge_completion finkbridge; echo ${COMPREPLY[@]}"
    )
    environ = os.environ | {"PATH": f"{FINKBRIDGE.parent}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["topics"]
