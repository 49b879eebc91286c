"""The installed program: ``finkbridge``, and ``python -m finkbridge.cli``."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

from finkbridge.cli.main import main
from finkbridge.later import never_load


def program() -> NoReturn:
    """Run the command line in a process of its own, and end that with the exit code."""
    _open_streams()
    never_load("pandas")  # Arrow, DuckDB and DataFusion do if it is there, which takes 0.35 s each time
    _forget_main_script()
    _end(main())


def _forget_main_script() -> None:
    """Let no worker run the script again that runs this: it would load the command line: 40 ms each."""
    vars(sys.modules["__main__"]).pop("__file__", None)  # which multiprocessing hands on


def _open_streams() -> None:
    """Have what the standard streams are for go nowhere where the caller closed them.

    Else the next file that is opened, the ledger say, gets their number, and whatever prints writes into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, errors="backslashreplace", closefd=False))


def _end(code: int) -> NoReturn:
    """End the process without taking its modules apart one by one, which takes 0.16 s after a catalog.

    What wants to be done at the end is done. Where there is more to wait for, Python ends as it always does.
    """
    others = [thread for thread in threading.enumerate() if not thread.daemon]
    if others != [threading.main_thread()]:
        _flush()
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to call them
    _flush()
    os._exit(code)


def _flush() -> None:
    """Send off what was printed; what cannot be goes nowhere, of which the command has told.

    Python would try once more at its end, and exit with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # it is closed
            continue


if __name__ == "__main__":
    program()
