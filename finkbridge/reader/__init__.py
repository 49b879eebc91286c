"""Alerts in files: one, a folder of ten thousand, gzipped, a list, a pattern; as dicts or as a table."""

from finkbridge.reader.alerts import AlertReader, Skipped
from finkbridge.reader.files import Source

__all__ = ["AlertReader", "Skipped", "Source"]
