"""MariaDB and MySQL as engines of the `sql` plugins."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pymysql  # type: ignore[import-untyped] # it has no annotations

from pipeline_flow.sql import dialect, mariadb, mariadb_source
from pipeline_flow.sql.engine import Engine, Probe, Snapshot
from pipeline_flow.sql.mariadb_target import MariaDBTransaction
from pipeline_flow.sql.pattern import Catalogue, Relation
from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import Selection
    from pipeline_flow.sql.url import Database


class MariaDBEngine(Engine):
    """MariaDB servers. MySQL speaks the same, and is not tested."""

    dialect = dialect.MARIADB

    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """See :meth:`Engine.extract`."""
        return mariadb_source.stream(context, database, selection)

    def snapshot(self, context: Context, database: Database) -> _Snapshot:
        """See :meth:`Engine.snapshot`."""
        return _Snapshot(context, database)

    async def begin(self, context: Context, database: Database) -> MariaDBTransaction:
        """See :meth:`Engine.begin`."""
        return await MariaDBTransaction.begin(context, database)

    def execute(
        self, context: Context, database: Database, statements: str, given: Mapping[str, Any]
    ) -> int | None:
        """See :meth:`Engine.execute`. MariaDB commits by itself before and after statements such as CREATE TABLE."""
        lease = mariadb.lend(context, database)
        connection = lease.connection
        try:
            mariadb.run(connection, "start transaction")
            affected = mariadb.execute(context, connection, database, statements, given)
            context.check()
            mariadb.commit(connection, database)
        except pymysql.Error as error:
            raise mariadb.explain(
                error, database, write=False, context=context, connection=connection
            ) from None
        finally:
            lease.release()  # takes back what is not committed
        return affected

    def probe(self, database: Database) -> Probe:
        """See :meth:`Engine.probe`. MariaDB cannot roll back a table, so one is made and dropped at once."""
        connection = mariadb.connect(database, write=False)
        try:
            ((version, user),) = mariadb.rows(connection, "select version(), current_user()")
            cipher = mariadb.rows(connection, "show session status like 'Ssl_version'")
            name = quote(f"_pipeline_flow_probe_{secrets.token_hex(4)}", dialect=self.dialect)
            refusals = {
                "read": _refusal(connection, "select count(*) from information_schema.tables"),
                "write": _refusal(connection, f"create table {name} (n int)", f"drop table {name}"),
            }
        except pymysql.Error as error:
            raise mariadb.explain(error, database, write=False) from None
        finally:
            connection.close()
        product = "MariaDB" if "mariadb" in str(version).lower() else "MySQL"
        return Probe(
            f"{product} {version}",
            user=str(user),
            encryption=str(cipher[0][1]) if cipher else "",
            refusals=refusals,
        )


def _refusal(connection: Any, *statements: str) -> str:
    try:
        for statement in statements:
            mariadb.run(connection, statement)
    except pymysql.ProgrammingError as error:
        return str(error.args[-1])
    except pymysql.OperationalError as error:
        return str(error.args[-1])
    return ""


_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_TABLES = ("BASE TABLE", "SYSTEM VERSIONED")


class _Snapshot(Snapshot):
    """A transaction with a consistent snapshot. Only tables of InnoDB, and of engines like it, are part of that."""

    def __init__(self, context: Context, database: Database) -> None:
        self._context = context
        self._database = database
        self._reading = mariadb_source.Reading(context, database)
        self._engines: dict[tuple[str, str], str] = {}

    def catalogue(self, *, every_schema: bool) -> Catalogue:
        where = "table_schema = database()"
        if every_schema:
            where = f"table_schema not in ({', '.join(map(literal, _SYSTEM))})"
        rows = self._reading.run(
            "select table_schema, table_name, table_type, coalesce(engine, '') from information_schema.tables "
            f"where {where} and table_type in ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW')"
        ).fetchall()
        self._engines = {(schema, name): engine for schema, name, _, engine in rows}
        ((folding, path),) = self._reading.run("select @@lower_case_table_names, database()").fetchall()
        relations = [Relation(schema, name, kind in _TABLES) for schema, name, kind, _ in rows]
        return Catalogue(relations, (path,), folds_case=str(folding) != "0")

    def begin(self, relations: Sequence[Relation]) -> None:
        self._reading.begin()
        known = self._reading.run("select engine from information_schema.engines where transactions = 'YES'")
        good = {"", *(str(row[0]) for row in known.fetchall())}
        apart = [item.name for item in relations if self._engines[item.schema, item.name] not in good]
        if apart:
            shown = ", ".join(f"`{name}`" for name in apart[:5]) + (", …" if len(apart) > 5 else "")
            self._context.notice(
                f"not in the snapshot, because their storage engine has no transactions: {shown}", "warning"
            )

    def read(self, relation: Relation) -> BatchStream:
        return mariadb_source.read(
            self._context,
            self._database,
            self._reading,
            (relation.schema, relation.name),
            on_close=self._reading.leave,
        )

    def close(self) -> None:
        self._reading.close()


ENGINE = MariaDBEngine()
