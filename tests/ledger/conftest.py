"""Each ledger test runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from finkbridge.ledger import Ledger
from tests.ledger.postgres import PostgresUnavailableError, postgres

OpenLedger = Callable[[], Ledger]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with postgres() as url:
            yield url
    except PostgresUnavailableError as reason:
        if os.environ.get("CI"):
            pytest.fail(f"no PostgreSQL to test on: {reason}; CI must have one")
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {reason}")


@pytest.fixture
def database(postgres_server: str) -> str:
    """Give the URL of a new, empty database."""
    name = f"t{uuid.uuid4().hex[:8]}"
    driver = postgres_server.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(f"{driver}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{postgres_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """URL of the ledger: None is SQLite in the lake."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("database"))


@pytest.fixture
def open_ledger(tmp_path: Path, url: str | None) -> Iterator[OpenLedger]:
    """Open the test's ledger, as often as wanted."""
    lake, opened = tmp_path / "lake", []
    lake.mkdir()

    def open_it() -> Ledger:
        opened.append(Ledger(lake, url, create=True))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> Ledger:
    return open_ledger()
