"""Loading through SQLAlchemy: INSERTs with bound values, all in the transaction of the commit group."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import sqlalchemy as native
from sqlalchemy import exc
from sqlalchemy.schema import CreateSchema, CreateTable, DropTable

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import DestinationFailed, RetryableError
from pipeline_flow.sql import product, sqlalchemy, sqlalchemy_type
from pipeline_flow.sql.engine import TableTransaction
from pipeline_flow.sql.sqlalchemy import FAULTS, Opened
from pipeline_flow.sql.sqlalchemy_type import Literally, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import WriteOptions
    from pipeline_flow.sql.url import Database

_SLICE_ROWS = 5_000
_SLICE_BYTES = 4 * 1024 * 1024
# Names and texts that differ in case are two to all that data comes from.
_OPTIONS: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("default_charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


class SQLAlchemyTransaction(TableTransaction):
    """One transaction on a connection of SQLAlchemy's."""

    def __init__(self, context: Context, database: Database, opened: Opened) -> None:
        self.database = database
        self._context = context
        self._opened = opened
        self._is_open = True
        self._made: list[native.Table] = []

    @classmethod
    async def begin(cls, context: Context, database: Database) -> SQLAlchemyTransaction:
        """Connects; the transaction begins with the first statement.

        Raises:
            WrongArgument: the dialect or its driver is not installed.
            TargetUnwritable: there is no way in.
            RetryableError: the connection was refused, or the server is not ready.
        """

        def open_() -> SQLAlchemyTransaction:
            return cls(context, database, sqlalchemy.connect(database, write=True))

        return await context.to_thread(open_)

    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """See :meth:`TableTransaction.write`."""
        return await context.to_thread(self._write, context, table, mode, stream, options)

    def _write(
        self, context: Context, parts: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        connection, dialect = self._opened.connection, self._opened.dialect
        take_back = sqlalchemy.interruptible(context, self.database, self._opened)
        done = 0
        try:
            writers = [
                sqlalchemy_type.writer(field, dialect, key=field.name in options.key)
                for field in stream.schema
            ]
            known = self._look_up(parts)
            if known is None:
                self._make(parts, writers, options)
                known = self._look_up(parts)
            columns = check_columns(".".join(parts), known or [], writers, dialect)
            writers = [
                sqlalchemy_type.into(item, column["type"], dialect)
                for item, column in zip(writers, columns, strict=True)
            ]
            table = _table(
                parts, [(column["name"], item.kind) for item, column in zip(writers, columns, strict=True)]
            )
            if mode == "replace":
                connection.execute(native.delete(table))
            statement = native.insert(table)
            for batch in stream:
                step = max(1, min(_SLICE_ROWS, batch.num_rows * _SLICE_BYTES // max(batch.nbytes, 1)))
                for start in range(0, batch.num_rows, step):
                    context.check()
                    part = batch.slice(start, step)
                    values = [item.values(array) for item, array in zip(writers, part.columns, strict=True)]
                    keys = [f"c{number}" for number in range(len(writers))]
                    connection.execute(
                        statement, [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
                    )
                    done += part.num_rows
        except FAULTS as error:
            raise sqlalchemy.explain(error, self.database, write=True, context=context) from None
        finally:
            take_back()
            stream.close()
        return done

    def _look_up(self, parts: Sequence[str]) -> list[Mapping[str, Any]] | None:
        """The columns of a table, ``None`` where there is no such table."""
        schema = parts[0] if len(parts) > 1 else None
        looking = native.inspect(self._opened.connection)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exc.SAWarning)  # a type that SQLAlchemy does not know
            if not looking.has_table(parts[-1], schema):
                return None
            with contextlib.suppress(NotImplementedError):
                if parts[-1] in looking.get_view_names(schema):
                    raise DestinationFailed(f"`{'.'.join(parts)}` is a view", hint="name a table")
            return list(looking.get_columns(parts[-1], schema))

    def _make(self, parts: Sequence[str], writers: Sequence[Writer], options: WriteOptions) -> None:
        """Makes a missing table, and its schema; in the transaction, where that does not end with it."""
        types = options.types
        columns = [
            (item.field.name, Literally(types[item.field.name]) if item.field.name in types else item.kind)
            for item in writers
        ]
        table = _table(parts, columns, options.key)
        if product.of(self.database.scheme).rolls_back_tables:
            _create(self._opened.connection, table)
            return
        with sqlalchemy.connect(self.database, write=True) as other:
            _create(other.connection, table)
            other.connection.commit()
        self._made.append(table)

    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """See :meth:`TableTransaction.execute`. In many databases, statements such as CREATE TABLE commit by themselves."""
        return await context.to_thread(
            sqlalchemy.run, context, self._opened, self.database, statements, params
        )

    async def commit(self) -> None:
        """Makes the rows visible.

        Raises:
            DestinationFailed: the database refused; or the connection was lost, and nobody knows.
        """

        def commit() -> None:
            try:
                self._opened.connection.commit()
            except FAULTS as error:
                raised = sqlalchemy.explain(error, self.database, write=True)
                if not isinstance(raised, RetryableError):
                    raise raised from None
                raise DestinationFailed(
                    f"{raised} while the rows were committed: they are there, or none of them is",
                    hint="look into the table before you run again",
                ) from None
            self._made.clear()
            self._close()

        await self._context.to_thread(commit)

    async def abort(self) -> None:
        """Takes everything back."""

        def abort() -> None:
            if self._is_open:
                with contextlib.suppress(*FAULTS):
                    self._opened.connection.rollback()
            self._close()
            self._unmake()

        await self._context.to_thread(abort)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._opened.close()

    def _unmake(self) -> None:
        made, self._made = self._made, []
        if not made:
            return
        with (
            contextlib.suppress(*FAULTS, DestinationFailed, RetryableError),
            sqlalchemy.connect(self.database, write=True) as other,
        ):
            for table in made:
                with contextlib.suppress(*FAULTS):
                    first = native.select(native.literal(1)).select_from(table).limit(1)
                    if other.connection.execute(first).first() is None:
                        other.connection.execute(DropTable(table))
                        other.connection.commit()


def _create(connection: native.Connection, table: native.Table) -> None:
    if table.schema is not None:
        looking = native.inspect(connection)
        if table.schema not in looking.get_schema_names():
            connection.execute(CreateSchema(table.schema))
    connection.execute(CreateTable(table))


def _table(parts: Sequence[str], columns: Sequence[tuple[str, Any]], key: Sequence[str] = ()) -> native.Table:
    """A table for SQLAlchemy; its columns are called c0, c1, … to Python, whatever their names are."""
    return native.Table(
        parts[-1],
        native.MetaData(),
        *(
            native.Column(name, kind, key=f"c{number}", primary_key=name in key, autoincrement=False)
            for number, (name, kind) in enumerate(columns)
        ),
        schema=parts[0] if len(parts) > 1 else None,
        **_OPTIONS,
    )


def check_columns(
    name: str, columns: Sequence[Mapping[str, Any]], writers: Sequence[Writer], dialect: str
) -> list[Mapping[str, Any]]:
    """The table's column for each of the data's.

    Raises:
        DestinationFailed: a column is missing on either side, or its type does not hold the data's values.
    """
    exact = {str(column["name"]): column for column in columns}
    folded = {column_name.casefold(): column for column_name, column in exact.items()}
    found = []
    for item in writers:
        column = exact.get(item.field.name) or folded.get(item.field.name.casefold())
        if column is None:
            raise DestinationFailed(
                f"the table `{name}` has no column `{item.field.name}`",
                hint=hint(item.field.name, exact, "it has"),
            )
        found.append(column)
    taken = {str(column["name"]) for column in found}
    for column_name, column in exact.items():
        optional = (
            column.get("nullable", True)
            or column.get("default") is not None
            or column.get("autoincrement") is True
            or column.get("identity")
            or column.get("computed")
        )
        if column_name not in taken and not optional:
            raise DestinationFailed(
                f"the data has no column `{column_name}`, which the table `{name}` has",
                hint=f"add it in the query (null as {column_name}), or give it a default in the table",
            )
    for item, column in zip(writers, found, strict=True):
        if not sqlalchemy_type.fits(item, column["type"], dialect):
            raise DestinationFailed(
                f"the column `{item.field.name}` is {item.field.type} in the data and {column['type']!r} in the table "
                f"`{name}`, which would change values",
                hint="cast it in the query, or change the table's column",
            )
    return found
