"""The machines that attack a lake for as long as asked: ``python -m tests.torture``."""

MARK = "TORTURE_FETCHING"
"""Environment variable that names the file by which a process tells that it begins to fetch."""
