"""One empty database of each kind, for tests that say the same of all four."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENGINES = ("duckdb", "sqlite", "postgresql", "mariadb")


class Database:
    """A database: its URL, and a way in that knows nothing of pipeline-flow."""

    def __init__(self, engine: str, url: str, file: Path | None = None) -> None:
        self.engine = engine
        self.url = url
        self._file = file

    def rows(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements, each committed, and gives the last one's rows."""
        if self.engine == "postgresql":
            return postgres_server.run(self.url, *statements)
        found: list[tuple[Any, ...]] = []
        if self.engine == "mariadb":
            for statement in statements:
                found = mariadb_server.root(statement, mariadb_server.NAME)
            return found
        if self.engine == "sqlite":
            connection: Any = sqlite3.connect(str(self._file), isolation_level=None)
        else:
            connection = duckdb.connect(str(self._file))
        try:
            for statement in statements:
                found = connection.execute(statement).fetchall()
            return found
        finally:
            connection.close()

    def count(self, table: str = "t") -> int:
        """How many rows a table has."""
        return int(self.rows(f"select count(*) from {table}")[0][0])


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    """A database of this run's own at the PostgreSQL server."""
    with postgres_server.database() as url:
        yield url


def opened(engine: str, request: pytest.FixtureRequest) -> Database:
    """The empty database of this kind."""
    if engine == "postgresql":
        url = request.getfixturevalue("postgres_database")
        postgres_server.run(url, "drop schema if exists public cascade", "create schema public")
        return Database(engine, url)
    if engine == "mariadb":
        return Database(engine, request.getfixturevalue("mariadb"))
    folder: Path = request.getfixturevalue("tmp_path")
    file = folder / f"t.{engine}"
    return Database(engine, f"{engine}:///{file}", file)


@pytest.fixture(params=ENGINES)
def db(request: pytest.FixtureRequest) -> Database:
    """An empty database, each kind in turn."""
    return opened(request.param, request)
