"""PostgreSQL as an engine of the `sql` plugins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg

from pipeline_flow.errors import DestinationFailed
from pipeline_flow.sql import dialect, postgres, postgres_source
from pipeline_flow.sql.engine import Engine, Probe, Selection, Snapshot
from pipeline_flow.sql.pattern import Catalogue, Relation
from pipeline_flow.sql.postgres_target import PostgresTransaction
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.url import Database


class PostgresEngine(Engine):
    """PostgreSQL servers, from version 12 on."""

    dialect = dialect.POSTGRESQL

    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """See :meth:`Engine.extract`."""
        return postgres_source.stream(context, database, selection)

    def snapshot(self, context: Context, database: Database) -> _Snapshot:
        """See :meth:`Engine.snapshot`."""
        return _Snapshot(context, database)

    async def begin(self, context: Context, database: Database) -> PostgresTransaction:
        """See :meth:`Engine.begin`."""
        return await PostgresTransaction.begin(context, database)

    def execute(
        self, context: Context, database: Database, statements: str, given: Mapping[str, Any]
    ) -> int | None:
        """See :meth:`Engine.execute`."""
        lease = postgres.lend(context, database)
        connection = lease.connection
        try:
            connection.execute("begin")
            affected = postgres.run(context, connection, database, statements, given)
            context.check()
            postgres.commit(connection, database)
        except psycopg.Error as error:
            raise postgres.explain(
                error, database, write=False, context=context, connection=connection
            ) from None
        finally:
            lease.release()  # what is not committed is rolled back
        return affected

    def probe(self, database: Database) -> Probe:
        """See :meth:`Engine.probe`."""
        connection = postgres.connect(database, write=False)
        try:
            ((version, user, tables, readable),) = connection.execute(
                "select current_setting('server_version'), current_user::text, count(*), "
                "count(*) filter (where has_table_privilege(c.oid, 'select')) from pg_class c "
                "join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'v', 'm', 'f', 'p') "
                "and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'"
            ).fetchall()
            unread = f"none of the {tables:,} tables may be read" if tables and not readable else ""
            pgconn = connection.pgconn
            encryption = _protocol(pgconn) if pgconn.ssl_in_use else ""
            return Probe(
                f"PostgreSQL {version}",
                user,
                encryption,
                {"read": unread, "write": _write_refusal(connection, database)},
            )
        except psycopg.Error as error:
            raise postgres.explain(error, database, write=False) from None
        finally:
            connection.close()


def _protocol(pgconn: Any) -> str:
    with contextlib.suppress(AttributeError, psycopg.Error):
        return str(pgconn.ssl_attribute("protocol").decode())
    return "TLS"


def _write_refusal(connection: postgres.Connection, database: Database) -> str:
    """Why no table can be made and filled; empty where it can. Nothing stays."""
    try:
        connection.execute("begin")
        connection.execute("create table _pipeline_flow_probe (a integer)")
        connection.execute("insert into _pipeline_flow_probe values (1)")
    except psycopg.Error as error:
        found = postgres.explain(error, database, write=True)
        if not isinstance(found, DestinationFailed):
            raise
        return str(found)
    finally:
        if not connection.broken:
            connection.execute("rollback")
    return ""


_RELATIONS = """
select n.nspname, c.relname,
    c.relkind in ('r', 'p') and not c.relispartition and not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'),
    c.relkind in ('r', 'p')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%%'
    and (%s or n.nspname = any(%s))
"""


class _Snapshot(Snapshot):
    """A repeatable read transaction that holds the tables."""

    def __init__(self, context: Context, database: Database) -> None:
        self._context = context
        self._database = database
        self._lease = postgres.lend(context, database)
        self._connection = self._lease.connection
        self._take_back = postgres.interruptible(context, self._connection)
        self._lockable: set[tuple[str, str]] = set()

    def catalogue(self, *, every_schema: bool) -> Catalogue:
        try:
            ((path,),) = self._connection.execute("select current_schemas(false)::text[]").fetchall()
            rows = self._connection.execute(_RELATIONS, (every_schema, path)).fetchall()
        except psycopg.Error as error:
            raise self._explained(error) from None
        self._lockable = {(schema, name) for schema, name, _, lockable in rows if lockable}
        return Catalogue([Relation(*row[:3]) for row in rows], path, folds_case=False)

    def begin(self, relations: Sequence[Relation]) -> None:
        """See :meth:`Snapshot.begin`.

        Locked before the snapshot is taken, as every reader locks: a TRUNCATE would show us an empty table otherwise.
        """
        names = [
            quote(item.schema, item.name) for item in relations if (item.schema, item.name) in self._lockable
        ]
        postgres_source.begin(self._context, self._connection, self._database)
        try:
            if names:
                self._connection.execute(f"lock table {', '.join(names)} in access share mode".encode())
        except psycopg.Error as error:
            raise self._explained(error) from None

    def read(self, relation: Relation) -> BatchStream:
        selection = Selection(table=(relation.schema, relation.name))
        return postgres_source.read(
            self._context, self._connection, self._database, selection, on_close=lambda: None
        )

    def _explained(self, error: psycopg.Error) -> Exception:
        return postgres.explain(
            error, self._database, write=False, context=self._context, connection=self._connection
        )

    def close(self) -> None:
        self._take_back()
        self._lease.release()


ENGINE = PostgresEngine()
