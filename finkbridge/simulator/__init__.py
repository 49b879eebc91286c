"""Alerts that look like real ones: seeded, reproducible, physically sensible."""
