"""Dagster only: assets, checks, schedules; thin over the library."""
