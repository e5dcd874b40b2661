"""DuckDB as an engine of the `sql` plugins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import duckdb as native

from pipeline_flow.sql import dialect, duckdb, params
from pipeline_flow.sql.duckdb_target import DuckDBTransaction
from pipeline_flow.sql.engine import Engine, Probe, Selection, Snapshot
from pipeline_flow.sql.pattern import Catalogue, Relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.url import Database


class DuckDBEngine(Engine):
    """DuckDB files."""

    dialect = dialect.DUCKDB

    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """See :meth:`Engine.extract`."""
        selection.check_untyped(self.dialect)
        text = params.bind(selection.sql(self.dialect), selection.params, self.dialect.marker)
        query = duckdb.single_select(text)
        connection = duckdb.connect(context, database, write=False)
        return duckdb.stream(connection, query, selection.params, context=context)

    def snapshot(self, context: Context, database: Database) -> _Snapshot:
        """See :meth:`Engine.snapshot`."""
        return _Snapshot(context, database)

    async def begin(self, context: Context, database: Database) -> DuckDBTransaction:
        """See :meth:`Engine.begin`."""
        return await DuckDBTransaction.begin(context, database)

    def execute(
        self, context: Context, database: Database, statements: str, given: Mapping[str, Any]
    ) -> int | None:
        """See :meth:`Engine.execute`."""
        connection = duckdb.connect(context, database, write=True)
        try:
            connection.execute("begin transaction")
            affected = duckdb.run(context, connection, statements, given)
            connection.execute("commit")
        except native.Error as error:
            context.check()
            raise duckdb.failed(error) from None
        finally:
            with contextlib.suppress(native.Error):
                connection.execute("rollback")  # after a commit there is nothing to roll back
            connection.close()
        return affected

    def probe(self, database: Database) -> Probe:
        """See :meth:`Engine.probe`."""
        version, refusal = duckdb.probe(database)
        return Probe(f"DuckDB {version}", refusals={"read": "", "write": refusal})


class _Snapshot(Snapshot):
    """A transaction of DuckDB's, which begins when it first looks at the database."""

    def __init__(self, context: Context, database: Database) -> None:
        self._context = context
        self._connection = duckdb.connect(context, database, write=False)

    def catalogue(self, *, every_schema: bool) -> Catalogue:  # noqa: ARG002 - there is but one file
        own = "database_name = current_database() and not internal and not temporary"
        try:
            self._connection.execute("begin transaction")
            rows = self._connection.execute(
                f"select schema_name, table_name, true from duckdb_tables() where {own} "
                f"union all select schema_name, view_name, false from duckdb_views() where {own}"
            ).fetchall()
        except native.Error as error:
            self._context.check()
            raise duckdb.failed(error) from None
        return Catalogue([Relation(*row) for row in rows], ("main",), folds_case=True)

    def begin(self, relations: Sequence[Relation]) -> None:
        """The question for the catalogue has begun it."""

    def read(self, relation: Relation) -> BatchStream:
        query = Selection(table=(relation.schema, relation.name)).sql(dialect.DUCKDB)
        return duckdb.stream(self._connection, query, context=self._context, keep=True)

    def close(self) -> None:
        with contextlib.suppress(native.Error):
            self._connection.close()


ENGINE = DuckDBEngine()
