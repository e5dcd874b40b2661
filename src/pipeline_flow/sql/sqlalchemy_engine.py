"""Any database that SQLAlchemy has a dialect for, as an engine of the `sql` plugins: the last resort."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as native

from pipeline_flow.errors import WrongArgument
from pipeline_flow.sql import dialect, product, sqlalchemy, sqlalchemy_source
from pipeline_flow.sql.engine import Engine, Probe, Snapshot
from pipeline_flow.sql.sqlalchemy import FAULTS, Opened
from pipeline_flow.sql.sqlalchemy_target import SQLAlchemyTransaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import Selection
    from pipeline_flow.sql.url import Database

_USERS = {
    "postgresql": "select current_user", "redshift": "select current_user", "cockroachdb": "select current_user",
    "mysql": "select current_user()", "mariadb": "select current_user()", "snowflake": "select current_user()",
    "mssql": "select suser_sname()", "oracle": "select user from dual", "clickhouse": "select currentUser()",
}  # fmt: skip


class SQLAlchemyEngine(Engine):
    """Whatever SQLAlchemy reaches. Rows go value by value through Python, so it is not fast."""

    dialect = dialect.ANY

    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """See :meth:`Engine.extract`."""
        return sqlalchemy_source.stream(context, database, selection)

    async def begin(self, context: Context, database: Database) -> SQLAlchemyTransaction:
        """See :meth:`Engine.begin`. In many databases, making a table commits by itself."""
        return await SQLAlchemyTransaction.begin(context, database)

    def execute(
        self, context: Context, database: Database, statements: str, given: Mapping[str, Any]
    ) -> int | None:
        """See :meth:`Engine.execute`. In many databases, statements such as CREATE TABLE commit by themselves."""
        with sqlalchemy.connect(database, write=True) as opened:
            affected = sqlalchemy.run(context, opened, database, statements, given)
            try:
                context.check()
                opened.connection.commit()
            except FAULTS as error:
                raise sqlalchemy.explain(error, database, write=False, context=context) from None
        return affected

    def snapshot(self, context: Context, database: Database) -> Snapshot:  # noqa: ARG002 - the engine's interface
        """Refused: how to read several tables in one state is different in each database."""
        raise WrongArgument(
            f"`tables` cannot be read from {database}",
            hint="read each in an extract step of its own, with `table`",
        )

    def probe(self, database: Database) -> Probe:
        """See :meth:`Engine.probe`. Where a table cannot be rolled back, one is made and dropped at once."""
        with sqlalchemy.connect(database, write=False) as opened:
            return Probe(
                f"{_label(opened, database)} {_version(opened)}".strip(),
                _user(opened),
                None if database.is_server else "",
                {"read": _read_refusal(opened, database), "write": _write_refusal(opened, database)},
            )


def _label(opened: Opened, database: Database) -> str:
    # What answers to mysql:// may be MariaDB.
    return (
        "MariaDB"
        if getattr(opened.engine.dialect, "is_mariadb", False)
        else product.of(database.scheme).label
    )


def _version(opened: Opened) -> str:
    found = (
        opened.engine.dialect.server_version_info
        if hasattr(opened.engine.dialect, "server_version_info")
        else None
    )
    if found is None and opened.dialect == "sqlite":
        found = getattr(opened.engine.dialect.dbapi, "sqlite_version_info", None)
    return ".".join(str(part) for part in found or () if str(part).isdigit())


def _user(opened: Opened) -> str:
    if opened.dialect not in _USERS:
        return ""
    try:
        return str(opened.connection.exec_driver_sql(_USERS[opened.dialect]).scalar())
    except FAULTS:
        return ""
    finally:
        opened.connection.rollback()


def _read_refusal(opened: Opened, database: Database) -> str:
    try:
        native.inspect(opened.connection).get_table_names()
    except NotImplementedError:
        return ""
    except FAULTS as error:
        return sqlalchemy.said(error, database)
    finally:
        opened.connection.rollback()
    return ""


def _write_refusal(opened: Opened, database: Database) -> str:
    name = f"pipeline_flow_probe_{secrets.token_hex(4)}"
    try:
        opened.connection.exec_driver_sql(f"create table {name} (n integer)")
        if product.of(database.scheme).rolls_back_tables:
            opened.connection.exec_driver_sql(f"insert into {name} values (1)")
    except FAULTS as error:
        return sqlalchemy.said(error, database)
    finally:
        with contextlib.suppress(*FAULTS):
            opened.connection.rollback()
    if not product.of(database.scheme).rolls_back_tables:
        with contextlib.suppress(*FAULTS):
            opened.connection.exec_driver_sql(f"drop table {name}")
            opened.connection.commit()
    return ""


ENGINE = SQLAlchemyEngine()
