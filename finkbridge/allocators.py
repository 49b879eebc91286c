"""How memory is taken from the system by a process that works for weeks."""

from __future__ import annotations

import ctypes
import os

ARENAS = 2
"""Of the C library: each keeps what its threads have freed, and there may be eight a core."""

_M_ARENA_MAX = -8
"""The C library's own number of this option (glibc, malloc.h)."""


def keep_memory_flat() -> None:
    """Let what batches have freed be used by those that come; call it before Arrow is loaded.

    Arrow's own allocator and many arenas of the C library keep freed memory each for itself: in 70 batches a
    process of 300 MiB grows to 450 MiB, and with this it stays at 384 MiB from the first batch on. What the
    user's environment says counts more. Other C libraries than glibc are left as they are.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if "MALLOC_ARENA_MAX" not in os.environ:
        os.environ["MALLOC_ARENA_MAX"] = str(ARENAS)  # of processes that are started from here
        if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
            set_option(_M_ARENA_MAX, ARENAS)
