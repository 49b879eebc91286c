"""Alerts that look like real ones: seeded, reproducible, physically sensible."""

DEFAULT_START = 20260301
"""First night, YYYYMMDD."""
