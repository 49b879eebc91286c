"""The server that workers come from, and what reaches it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finkbridge import workers


@pytest.mark.parametrize("when", ["starts", "loads", "works"])
def test_ctrl_c_does_not_reach_the_server_nor_its_workers(tmp_path: Path, when: str) -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, lambda *_: None)\n"
        "import pathlib, sys, time; from finkbridge import forking, workers\n"
        "if __name__ == '__main__':\n"
        "    forking.PRELOADED[:] = ['slow_module']; forking.context()\n"
        "    print('starts', flush=True)\n"
        "    while not pathlib.Path('loading').exists(): time.sleep(0.01)\n"
        "    print('loads', flush=True)\n"
        "    executor = workers.open_executor(1)\n"
        "    work = executor.submit(exec, \"print('works', flush=True); import time; time.sleep(1)\")\n"
        "    print(work.result(), executor.submit(int, '7').result(), flush=True)\n"
        "    workers.stop_executor(executor)"
    )
    (tmp_path / "slow_module.py").write_text("import time\nopen('loading', 'w').close()\ntime.sleep(1)\n")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == f"{when}\n":
            break
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert (out.splitlines()[-1], err, process.returncode) == ("None 7", "", 0)


def test_a_server_that_cannot_load_its_modules_is_told_in_one_line(tmp_path: Path) -> None:
    code = (
        "from finkbridge import forking; from finkbridge.errors import WorkerError;"
        "from finkbridge.workforce import Workforce\n"
        "forking.PRELOADED[:] = ['broken_module']; workforce = Workforce(1)\n"
        "for submit in (workforce.submit, lambda *call: workforce.submit_alone(*call).result()):\n"
        "    try: submit(int, '7')\n"
        "    except WorkerError as error: print(error)\n"
        "workforce.close()"
    )
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('broken')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("no worker process can be started (") for line in lines)


def test_a_failed_call_in_this_process_lets_its_memory_go() -> None:
    gone = []

    class Segment:
        def __del__(self) -> None:
            gone.append(True)

    def land() -> None:
        segment = Segment()
        raise OSError(f"no room for {type(segment).__name__}")

    gc.collect()
    was_looking = gc.isenabled()
    gc.disable()
    try:
        future = workers.InProcessExecutor().submit(land)
        assert gone == [True]
    finally:
        if was_looking:
            gc.enable()
    with pytest.raises(OSError, match="no room for Segment"):
        future.result()
