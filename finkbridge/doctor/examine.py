"""All checks: those of the machine one after the other, those of the clusters beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from finkbridge.avro.schemas import WriterSchema, parse_schema, read_schema
from finkbridge.doctor import machine
from finkbridge.doctor.cluster import ClusterExam
from finkbridge.doctor.findings import Finding, limited
from finkbridge.doctor.packages import packages
from finkbridge.errors import SettingsError
from finkbridge.settings import Loaded, Settings

LOCAL_S = 10.0
"""Seconds that a check of this machine may take: dead network disks answer never."""
LEDGER_S = 60.0
"""Seconds that reading the whole ledger may take: some GB."""


def examine(loaded: Loaded) -> Iterator[Finding]:
    """Yield findings, group by group, as they come; raises nothing.

    Parameters
    ----------
    loaded
        The settings with their sources.
    """
    settings = loaded.settings
    with ThreadPoolExecutor(max(1, len(settings.clusters))) as threads:
        exams = [threads.submit(_cluster, settings, name) for name in settings.clusters]
        for check, subject, run, limit_s in _local(loaded):
            yield from limited(check, subject, run, limit_s)
        for exam in exams:
            yield from exam.result()


def _local(loaded: Loaded) -> Iterator[tuple[str, str, Callable[[], Iterable[Finding]], float]]:
    settings = loaded.settings
    lake = str(settings.lake)
    yield "packages", "finkbridge", packages, LOCAL_S
    yield "settings", str(loaded.config), lambda: machine.settings(loaded), LOCAL_S
    yield "credentials", str(settings.credentials), lambda: machine.credentials(loaded), LOCAL_S
    yield "lake", lake, lambda: machine.lake(settings), LOCAL_S
    yield "ledger", lake, lambda: machine.ledger(settings), LEDGER_S


def _cluster(settings: Settings, name: str) -> list[Finding]:
    try:
        override = _override(settings)
    except SettingsError as error:
        return [Finding("settings", "decode.schema_file", "bad", str(error), "correct it, or leave it out")]
    return list(
        ClusterExam(name, settings.clusters[name], override, settings.decode.schema_folder).findings()
    )


def _override(settings: Settings) -> WriterSchema | None:
    file = settings.decode.schema_file
    return None if file is None else parse_schema(read_schema(file))
