"""SQLite as an engine of the `sql` plugins."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import TargetUnwritable
from pipeline_flow.sql import dialect, params, sqlite
from pipeline_flow.sql.engine import Engine, Probe, Selection, Snapshot
from pipeline_flow.sql.pattern import Catalogue, Relation
from pipeline_flow.sql.sqlite_target import SQLiteTransaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.url import Database


class SQLiteEngine(Engine):
    """SQLite files."""

    dialect = dialect.SQLITE

    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """See :meth:`Engine.extract`."""
        selection.check_untyped(self.dialect)
        query = params.bind(selection.sql(self.dialect), selection.params, self.dialect.marker)
        return sqlite.stream(context, database, query, selection.params)

    def snapshot(self, context: Context, database: Database) -> _Snapshot:
        """See :meth:`Engine.snapshot`."""
        return _Snapshot(context, database)

    async def begin(self, context: Context, database: Database) -> SQLiteTransaction:
        """See :meth:`Engine.begin`."""
        return await SQLiteTransaction.begin(context, database)

    def execute(
        self, context: Context, database: Database, statements: str, given: Mapping[str, Any]
    ) -> int | None:
        """See :meth:`Engine.execute`."""
        connection = sqlite.connect(database, write=True)
        try:
            connection.execute("begin immediate")
            affected = sqlite.run(context, database, connection, statements, given)
            connection.execute("commit")
        except sqlite3.Error as error:
            context.check()
            raise sqlite.failed(error, database.path) from None
        finally:
            if connection.in_transaction:
                connection.execute("rollback")
            connection.close()
        return affected

    def probe(self, database: Database) -> Probe:
        """See :meth:`Engine.probe`."""
        sqlite.connect(database, write=False).close()
        refusal = ""
        try:
            connection = sqlite.connect(database, write=True)
        except TargetUnwritable as error:
            refusal = str(error)
        else:
            try:
                connection.execute("begin immediate")
                connection.execute("rollback")
            except sqlite3.Error as error:
                refusal = str(error)
            finally:
                connection.close()
        return Probe(f"SQLite {sqlite3.sqlite_version}", refusals={"read": "", "write": refusal})


class _Snapshot(Snapshot):
    """A transaction of SQLite's, which begins when it first looks at the database."""

    def __init__(self, context: Context, database: Database) -> None:
        self._context = context
        self._database = database
        self._connection = sqlite.connect(database, write=False)
        self._take_back = context.on_cancel(self._connection.interrupt)

    def catalogue(self, *, every_schema: bool) -> Catalogue:  # noqa: ARG002 - there is but one schema
        try:
            self._connection.execute("begin")
            rows = self._connection.execute(
                "select name, type from sqlite_master where type in ('table', 'view')"
            )
            kinds = dict(rows.fetchall())
            # From version 3.37 on it also tells the tables that only serve another one, or a module.
            listed = self._connection.execute("pragma main.table_list").fetchall()
            kinds |= {name: kind for _, name, kind, *_ in listed if name in kinds}
        except sqlite3.Error as error:
            self._context.check()
            raise sqlite.failed(error, self._database.path) from None
        relations = [
            Relation("main", name, kind == "table")
            for name, kind in kinds.items()
            if not name.startswith("sqlite_")
        ]
        return Catalogue(relations, ("main",), folds_case=True)

    def begin(self, relations: Sequence[Relation]) -> None:
        """The question for the catalogue has begun it."""

    def read(self, relation: Relation) -> BatchStream:
        query = Selection(table=(relation.schema, relation.name)).sql(dialect.SQLITE)
        return sqlite.read(self._context, self._database, self._connection, query, {}, on_close=lambda: None)

    def close(self) -> None:
        self._take_back()
        self._connection.close()


ENGINE = SQLiteEngine()
