"""The server that workers come from, and what reaches it."""

from __future__ import annotations

import gc
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from pickle import PicklingError

import psutil
import pytest

from finkbridge import workers


def test_a_coordinator_that_dies_while_it_starts_a_worker_leaves_no_traceback(tmp_path: Path) -> None:
    """The process that it asked for gets nothing, or half, of what it is to do."""
    code = (
        "import os; from multiprocessing import forkserver; from finkbridge import forking\n"
        "forking.context()\n"
        "for begun in (b'', b'\\x80\\x04\\x95\\xff'):\n"
        "    told, work = forkserver.connect_to_new_process([])\n"
        "    os.write(work, begun); os.close(work)\n"
        "    while os.read(told, 99): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr == b""


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


@pytest.fixture
def two() -> Iterator[Executor]:
    executor = workers.open_executor(2)
    yield executor
    workers.stop_executor(executor)


def test_a_worker_that_dies_while_it_sends_its_result_ends_its_own_call_only(two: Executor) -> None:
    """Python's own pool would wait for the rest of it for ever."""
    dying = [two.submit(half_of_an_answer) for _ in range(3)]
    others = [two.submit(pow, 2, n) for n in range(20)]
    for future in dying:
        with pytest.raises(BrokenExecutor, match="a worker process died"):
            future.result(60)
    assert [future.result(60) for future in others] == [2**n for n in range(20)]


def pids_of(executor: Executor) -> set[int]:
    """Return the processes of an executor of two: a call each, at once."""
    return {future.result(60) for future in [executor.submit(slow_pid) for _ in range(2)]}


def slow_pid() -> int:
    time.sleep(0.3)
    return os.getpid()


def half_of_an_answer() -> None:
    """Send the begin of a message, as a process that is killed meanwhile does."""
    frame = sys._getframe()
    while "calls" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    calls = frame.f_locals["calls"]
    os.write(calls.fileno(), struct.pack("!i", 1_000_000) + bytes(50_000))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_calls_raise_is_told_and_harms_no_worker(two: Executor) -> None:
    pids = pids_of(two)
    with pytest.raises(ZeroDivisionError) as found:
        two.submit(divmod, 1, 0).result(60)
    assert "in a worker process" in "".join(found.value.__notes__)
    with pytest.raises(RuntimeError, match="_UnreadableError: 1 and 2"):
        two.submit(raise_unreadable).result(60)
    with pytest.raises((TypeError, AttributeError, PicklingError)):
        two.submit(threading.Lock).result(60)
    with pytest.raises((TypeError, AttributeError, PicklingError)):
        two.submit(lambda: 1).result(60)
    assert two.submit(os.getpid).result(60) in pids


class _UnreadableError(Exception):
    """Is copied by its one text, and made of two."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_unreadable() -> None:
    raise _UnreadableError(1, 2)


def test_idle_workers_that_were_killed_are_replaced(two: Executor) -> None:
    for _ in range(2):
        crew = [psutil.Process(pid) for pid in pids_of(two)]
        for process in crew:
            process.kill()
        psutil.wait_procs(crew, timeout=30)
        while any(worker.is_alive() for worker in two._workers):  # type: ignore[attr-defined]
            time.sleep(0.01)  # the server that they come from has yet to tell
        assert pids_of(two).isdisjoint(process.pid for process in crew)


def test_all_goes_on_where_the_server_of_workers_was_killed(two: Executor) -> None:
    crew = pids_of(two)
    server = psutil.Process(next(iter(crew))).parent()
    assert server is not None
    running = two.submit(time.sleep, 300)
    while len(two._idle) == 2:  # type: ignore[attr-defined]
        time.sleep(0.01)  # until a worker has it: those of a dead server count as dead, and a new one gets it
    kill(server)
    psutil.Process(max(crew)).kill()  # so that a new one is started, from a new server
    psutil.Process(min(crew)).kill()
    assert isinstance(running.exception(60), BrokenExecutor)
    assert pids_of(two).isdisjoint(crew)
    assert two.submit(blocked_signals).result(60) == {signal.SIGINT}, "Ctrl-C is the coordinator's"


def kill(server: psutil.Process) -> None:
    """Kill a child of this process, whose exit code is left for who started it."""
    server.kill()
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def blocked_signals() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_stopping_ends_all_though_the_server_of_workers_was_killed() -> None:
    executor = workers.open_executor(1)
    pid = executor.submit(os.getpid).result(60)
    worker, running = psutil.Process(pid), executor.submit(time.sleep, 300)
    server = worker.parent()
    assert server is not None
    while executor._idle:  # type: ignore[attr-defined]
        time.sleep(0.01)  # until the worker has it
    kill(server)
    began = time.monotonic()
    workers.stop_executor(executor)
    assert time.monotonic() - began < 30
    assert isinstance(running.exception(1), BrokenExecutor)
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(BrokenExecutor):
        executor.submit(os.getpid)


def test_stopping_ends_what_is_under_way_and_what_waits() -> None:
    executor = workers.open_executor(1)
    assert executor.submit(pow, 2, 3).result(60) == 8
    running, waiting = executor.submit(time.sleep, 300), executor.submit(time.sleep, 300)
    while executor._idle:  # type: ignore[attr-defined]
        time.sleep(0.01)
    began = time.monotonic()
    workers.stop_executor(executor)
    assert time.monotonic() - began < 30
    assert isinstance(running.exception(1), BrokenExecutor)
    assert waiting.cancelled()


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
