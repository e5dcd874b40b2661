"""The four databases on which a history is checked, each with a source `s` and a target `t`."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb

from pipeline_flow.sql import scd2, scd2_session
from pipeline_flow.testing.bench import Bench
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START = dt.datetime(2024, 1, 1)
HISTORY = ("k1", "k2", "v1", "v2", "o", "valid_from", "valid_to", "is_current")


def moment(number: int) -> dt.datetime:
    """The moment called ``number``."""
    return START + dt.timedelta(days=number)


class Engine:
    """A connection, the types of the source's columns, and values as the driver gives and takes them."""

    types: ClassVar[dict[str, str]] = {
        "k1": "integer", "k2": "varchar(9)", "v1": "varchar(9)", "v2": "integer", "o": "integer", "since": "timestamp",
    }  # fmt: skip
    mark = "?"

    def __init__(self, connection: Any, bench: Bench) -> None:
        self.connection = connection
        self.session = self.open(bench)

    def open(self, bench: Bench) -> scd2.Session:
        raise NotImplementedError

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.connection.execute(statement, list(values))

    def bound(self, value: Any) -> Any:
        return value

    def begin(self) -> None:
        self.execute("begin")

    def end(self, word: str) -> None:
        self.execute(word)

    def prepare(self) -> None:
        """An empty source and no target."""
        for table in ("s", "t"):
            self.execute(f"drop table if exists {table}")
        listed = ", ".join(f"{name} {type_}" for name, type_ in self.types.items())
        self.execute(f"create table s ({listed})")

    def put(self, rows: Sequence[Sequence[Any]]) -> None:
        """Makes the source hold ``rows``."""
        self.execute("delete from s")
        for row in rows:
            self.execute(
                f"insert into s values ({', '.join([self.mark] * len(row))})", [*map(self.bound, row)]
            )

    def write(self, history: scd2.History) -> scd2.Outcome:
        """What the plugin does; nothing of it stays if it fails."""
        self.begin()
        try:
            scd2.create_missing(self.session, history)
            outcome = scd2.write(self.session, history)
        except BaseException:
            self.end("rollback")
            raise
        self.end("commit")
        return outcome

    def history(self) -> list[tuple[Any, ...]]:
        """The target's rows."""
        if self.session.columns(("t",)) is None:
            return []
        rows = self.session.rows(f"select {', '.join(HISTORY)} from t")
        return [
            (*row[:5], *(dt.datetime.fromisoformat(item) if isinstance(item, str) else item for item in row[5:7]),
             bool(row[7]))
            for row in rows
        ]  # fmt: skip


class OnDuckDB(Engine):
    def open(self, bench: Bench) -> scd2.Session:
        return scd2_session.DuckDBSession(bench.context(), self.connection)


class OnSQLite(Engine):
    def open(self, bench: Bench) -> scd2.Session:
        return scd2_session.SQLiteSession(bench.context(), self.connection)

    def bound(self, value: Any) -> Any:
        return value.isoformat(" ", "microseconds") if isinstance(value, dt.datetime) else value


class OnPostgres(Engine):
    mark = "%s"

    def open(self, bench: Bench) -> scd2.Session:
        return scd2_session.PostgresSession(bench.context(), self.connection)


class OnMariaDB(Engine):
    types: ClassVar[dict[str, str]] = {**Engine.types, "since": "datetime(6)"}
    mark = "%s"

    def open(self, bench: Bench) -> scd2.Session:
        return scd2_session.MariaDBSession(bench.context(), self.connection)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        with self.connection.cursor() as cursor:
            return cursor.execute(statement, values or None)


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """A connection to a PostgreSQL database of its own."""
    import psycopg

    with postgres_server.database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        yield connection


@contextlib.contextmanager
def mariadb() -> Iterator[Any]:
    """A connection to a MariaDB database of its own."""
    pymysql = importlib.import_module("pymysql")  # it has no types
    name = f"pipeline_flow_{secrets.token_hex(6)}"
    try:
        connection = mariadb_server.connect(None)
    except pymysql.Error as error:
        postgres_server.unavailable(f"no MariaDB at {mariadb_server.HOST}:{mariadb_server.PORT}: {error}")
        raise
    with connection, connection.cursor() as cursor:
        cursor.execute("set sql_notes = 0")
        cursor.execute(f"create database {name}")
        cursor.execute(f"use {name}")
        try:
            yield connection
        finally:
            cursor.execute(f"drop database {name}")


@contextlib.contextmanager
def open_engine(name: str, folder: Path) -> Iterator[Engine]:
    """The engine called ``duckdb``, ``sqlite``, ``postgres`` or ``mariadb``."""
    with Bench(folder / f"bench-{name}") as bench:
        if name == "duckdb":
            with duckdb.connect() as connection:
                connection.execute("set TimeZone = 'UTC'")
                connection.execute("set threads = 1")  # a few rows are slower with more
                yield OnDuckDB(connection, bench)
        elif name == "sqlite":
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                yield OnSQLite(connection, bench)
        elif name == "postgres":
            with postgres() as connection:
                yield OnPostgres(connection, bench)
        else:
            with mariadb() as connection:
                yield OnMariaDB(connection, bench)
