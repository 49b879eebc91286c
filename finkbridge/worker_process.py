"""Loaded first by the server that worker processes are forked from, and by nothing else."""

from finkbridge.later import never_load

never_load("pandas")  # DataFusion and Arrow load it if it is there: 0.35 s that every drain would wait
