"""The sessions in which a Type 2 history is written: one transaction each, all or nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import DestinationFailed
from pipeline_flow.sql import engine, url
from pipeline_flow.sql.scd2_dialect import Column, DuckDB, MariaDB, Postgres, SQLite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.scd2 import Session
    from pipeline_flow.sql.scd2_dialect import Dialect
    from pipeline_flow.sql.url import Database


class DuckDBSession:
    """A connection to a DuckDB file."""

    dialect: Dialect = DuckDB()

    def __init__(self, context: Context, connection: DuckDBPyConnection) -> None:
        self._context = context
        self._connection = connection

    def run(self, statement: str) -> int:
        """Runs a statement and gives the number of rows that it changed."""
        self._context.check()
        found = self._connection.execute(statement).fetchone()
        return found[0] if found and isinstance(found[0], int) else 0

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        return self._connection.execute(query).fetchall()

    def columns(self, table: Sequence[str]) -> list[Column] | None:
        """The columns of a table or view."""
        schema = table[-2] if len(table) > 1 else "main"
        found = self._connection.execute(
            "select column_name, data_type, column_default is not null from duckdb_columns() "
            "where database_name = current_database() and lower(schema_name) = lower(?) and lower(table_name) = lower(?) "
            "order by column_index",
            [schema, table[-1]],
        ).fetchall()
        return [Column(*row) for row in found] or None


@contextlib.contextmanager
def in_duckdb(context: Context, database: Database) -> Iterator[Session]:
    """A session in a DuckDB file; it is committed when the block ends and taken back when it raises."""
    import duckdb as native

    from pipeline_flow.sql import duckdb

    connection = duckdb.connect(context, database, write=True)
    take_back = context.on_cancel(connection.interrupt)
    try:
        connection.execute("begin transaction")
        yield DuckDBSession(context, connection)
        connection.execute("commit")
    except native.Error as error:
        context.check()
        raise duckdb.failed(error) from None
    finally:
        take_back()
        with contextlib.suppress(native.Error):
            connection.execute("rollback")  # after a commit there is nothing to roll back
        connection.close()


class SQLiteSession:
    """A connection to a SQLite file."""

    dialect: Dialect = SQLite()

    def __init__(self, context: Context, connection: sqlite3.Connection) -> None:
        self._context = context
        self._connection = connection

    def run(self, statement: str) -> int:
        """Runs a statement and gives the number of rows that it changed."""
        self._context.check()
        return max(0, self._connection.execute(statement).rowcount)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        return self._connection.execute(query).fetchall()

    def columns(self, table: Sequence[str]) -> list[Column] | None:
        """The columns of a table or view."""
        if len(table) > 1 and table[0].casefold() != "main":
            raise DestinationFailed(f"SQLite has no schema `{table[0]}`", hint=f"write {table[-1]} alone")
        found = self._connection.execute(
            "select name, type, dflt_value is not null or pk <> 0 from pragma_table_info(?, 'main')",
            (table[-1],),
        ).fetchall()
        return [Column(name, type_, bool(optional)) for name, type_, optional in found] or None


@contextlib.contextmanager
def in_sqlite(context: Context, database: Database) -> Iterator[Session]:
    """A session in a SQLite file; it is committed when the block ends and taken back when it raises."""
    from pipeline_flow.sql import sqlite

    connection = sqlite.connect(database, write=True)
    take_back = context.on_cancel(connection.interrupt)
    try:
        connection.execute("begin immediate")
        yield SQLiteSession(context, connection)
        connection.execute("commit")
    except sqlite3.Error as error:
        context.check()
        raise sqlite.failed(error) from None
    finally:
        take_back()
        if connection.in_transaction:
            connection.execute("rollback")
        connection.close()


class PostgresSession:
    """A connection of psycopg's, inside a transaction."""

    dialect: Dialect = Postgres()

    def __init__(self, context: Context, connection: Any) -> None:
        self._context = context
        self._connection = connection

    def run(self, statement: str) -> int:
        """Runs a statement and gives the number of rows that it changed."""
        self._context.check()
        return max(0, int(self._connection.execute(statement).rowcount))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        return list(self._connection.execute(query).fetchall())

    def columns(self, table: Sequence[str]) -> list[Column] | None:
        """The columns of a table or view. A name without a schema is looked up along the search path."""
        found = self._connection.execute(
            "select attname, format_type(atttypid, atttypmod), atthasdef or attidentity <> '' from pg_attribute "
            "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            (self.dialect.quote(*table),),
        ).fetchall()
        return [Column(*row) for row in found] or None


@contextlib.contextmanager
def in_postgres(context: Context, database: Database) -> Iterator[Session]:
    """A session with a PostgreSQL server; it is committed when the block ends and taken back when it raises."""
    import psycopg

    from pipeline_flow.sql import postgres

    connection = postgres.connect(database, write=True)
    take_back = postgres.interruptible(context, connection)
    try:
        # Whoever waited for another run sees what that has written, whatever the server's default is.
        connection.execute("begin isolation level read committed")
        yield PostgresSession(context, connection)
        connection.execute("commit")
    except psycopg.Error as error:
        raise postgres.explain(error, database, write=True, context=context, connection=connection) from None
    finally:
        take_back()
        connection.close()  # what is not committed is rolled back


class MariaDBSession:
    """A connection of PyMySQL's; what makes or drops a table that is not temporary ends its transaction."""

    dialect: Dialect = MariaDB()

    def __init__(self, context: Context, connection: Any) -> None:
        self._context = context
        self._connection = connection

    def run(self, statement: str) -> int:
        """Runs a statement and gives the number of rows that it changed."""
        self._context.check()
        with self._connection.cursor() as cursor:
            return int(cursor.execute(statement))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def columns(self, table: Sequence[str]) -> list[Column] | None:
        """The columns of a table or view, their types with character set and collation."""
        from pipeline_flow.sql import mariadb

        schema = mariadb.literal(table[-2]) if len(table) > 1 else "database()"
        found = self.rows(
            "select column_name, column_type, character_set_name, collation_name, "
            "column_default is not null and column_default <> 'NULL' or extra <> '' from information_schema.columns "
            f"where table_schema = {schema} and table_name = {mariadb.literal(table[-1])} order by ordinal_position"
        )
        return [
            Column(
                str(name),
                f"{type_} character set {charset} collate {collation}" if charset else str(type_),
                bool(int(str(optional))),
            )
            for name, type_, charset, collation, optional in found
        ] or None


@contextlib.contextmanager
def in_mariadb(context: Context, database: Database) -> Iterator[Session]:
    """A session with a MariaDB server; it is committed when the block ends and taken back when it raises.

    A table that was made stays in any case, empty.
    """
    import pymysql  # type: ignore[import-untyped] # it has no annotations

    from pipeline_flow.sql import mariadb

    connection = mariadb.connect(database, write=True)
    take_back = mariadb.interruptible(context, database, connection)
    try:
        mariadb.run(connection, "start transaction")
        yield MariaDBSession(context, connection)
        context.check()
        mariadb.run(connection, "commit")
    except pymysql.Error as error:
        raise mariadb.explain(error, database, write=True, context=context, connection=connection) from None
    finally:
        take_back()
        connection.close()  # takes back what is not committed


def of(context: Context, database: Database) -> AbstractContextManager[Session]:
    """A session with ``database``: one transaction, committed when the block ends and taken back when it raises.

    Raises:
        WrongArgument: the database's driver is not installed.
    """
    engine.of(database)  # says which
    sessions = {
        url.DUCKDB: in_duckdb,
        url.SQLITE: in_sqlite,
        url.POSTGRESQL: in_postgres,
        url.MARIADB: in_mariadb,
    }
    return sessions[database.engine](context, database)
