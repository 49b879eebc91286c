"""Completion in real shells, and that it imports only what it completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from finkbridge.cli.main import COMMANDS
from tests.support.command import FINKBRIDGE


def complete(words: str, at: int) -> list[str]:
    environ = os.environ | {
        "_FINKBRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
    }
    done = subprocess.run([FINKBRIDGE], env=environ, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "at", "found"),
    [
        ("finkbridge con", 1, ["consumer", "config"]),
        ("finkbridge --la", 1, ["--lake"]),
        ("finkbridge consumer -star", 2, ["-start_at"]),
        ("finkbridge consumer --format ", 3, ["table", "line", "json"]),
        ("finkbridge topics ", 2, ["add", "list", "remove"]),
        ("finkbridge completion f", 2, ["fish"]),
    ],
)
def test_what_is_completed(words: str, at: int, found: list[str]) -> None:
    assert complete(words, at) == found


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
