"""Modules that are loaded when they are needed, or never."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from finkbridge import later
from finkbridge.errors import FinkbridgeError


def test_gets_what_a_name_names() -> None:
    assert later.get("finkbridge.errors:FinkbridgeError") is FinkbridgeError
    assert later.call("builtins:len", "abc") == 3


@pytest.mark.parametrize("first", ["finkbridge.worker_process, finkbridge.task", "finkbridge.cli.__main__"])
def test_processes_of_ours_load_no_pandas(first: str) -> None:
    """Arrow, DuckDB and DataFusion load it where it is installed, as here: a third of a second each time."""
    code = f"""
import importlib.util, sys
import {first}
sys.argv = ["finkbridge", "--version"]
if "cli" in {first!r}:
    finkbridge.cli.__main__._end = lambda code: None
    finkbridge.cli.__main__.program()
import datafusion, duckdb, polars, pyarrow
duckdb.connect().register("t", pyarrow.table({{"a": pyarrow.array([1])}}))
assert importlib.util.find_spec("pandas"), "who only asks is answered"
assert polars.DataFrame({{"a": [1]}}).to_arrow().num_rows == 1
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("looked_before", [True, False])
def test_nothing_looks_for_garbage_while_a_module_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, looked_before: bool
) -> None:
    name = f"loaded_{looked_before}".lower()
    (tmp_path / f"{name}.py").write_text("import gc\nlooks = gc.isenabled()\n")
    (tmp_path / f"{name}_broken.py").write_text("raise ValueError('broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    was_looking = gc.isenabled()
    try:
        (gc.enable if looked_before else gc.disable)()
        assert later.get(f"{name}:looks") is False
        assert gc.isenabled() == looked_before
        with pytest.raises(ValueError, match="broken"):
            later.load(f"{name}_broken")
        assert gc.isenabled() == looked_before
    finally:
        (gc.enable if was_looking else gc.disable)()


def test_waits_for_a_module_that_another_thread_is_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_slowly.py").write_text("import time\ntime.sleep(0.5)\nanswer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    other = threading.Thread(target=later.load, args=("loaded_slowly",))
    other.start()
    while "loaded_slowly" not in sys.modules:
        time.sleep(0.001)
    assert later.get("loaded_slowly:answer") == 42
    other.join()
