"""Loaded first by the server that worker processes are forked from, and by nothing else."""

import gc

from finkbridge.later import never_load

gc.disable()  # nothing that modules make while they load is garbage, and looking takes a fifth of the time
never_load("pandas")  # DataFusion and Arrow load it if it is there: 0.35 s that every drain would wait
