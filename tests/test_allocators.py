"""A process that works for weeks takes its memory from one place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

CODE = """
import os
from finkbridge.allocators import keep_memory_flat
keep_memory_flat()
import pyarrow
print(pyarrow.default_memory_pool().backend_name, os.environ["MALLOC_ARENA_MAX"])
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "system 2"),
        ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "MALLOC_ARENA_MAX": "4"}, "mimalloc 4"),
    ],
)
def test_arrow_uses_the_c_library_unless_the_user_says_otherwise(given: dict[str, str], said: str) -> None:
    names = ("ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX")
    environ = {name: value for name, value in os.environ.items() if name not in names} | given
    told = subprocess.run(
        [sys.executable, "-c", CODE], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == said


def test_follow_sets_them_before_arrow_is_loaded() -> None:
    code = "import sys, finkbridge.cli.following; assert 'pyarrow' not in sys.modules, 'too late'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def pool_and_arenas() -> str:
    """Tell in a worker how it takes memory."""
    return f"{pa.default_memory_pool().backend_name} {os.environ['MALLOC_ARENA_MAX']}"


WORKER_CODE = """
from finkbridge.workers import open_executor, stop_executor
from tests.test_allocators import pool_and_arenas
if __name__ == "__main__":
    executor = open_executor(1)
    print(executor.submit(pool_and_arenas).result())
    stop_executor(executor)
"""


def test_workers_take_their_memory_from_the_c_library() -> None:
    """Two of them grew by 40 MB in a drain, and stood 100 MB higher."""
    names = ("ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX")
    environ = {name: value for name, value in os.environ.items() if name not in names}
    told = subprocess.run(
        [sys.executable, "-c", WORKER_CODE],
        env=environ,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == "system 2"
