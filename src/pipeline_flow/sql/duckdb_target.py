"""Loading into a DuckDB file: one transaction for all loads of a commit group."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb as native

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import DestinationFailed
from pipeline_flow.sql import duckdb
from pipeline_flow.sql.engine import TableTransaction
from pipeline_flow.sql.index import Index, check_same
from pipeline_flow.sql.quote import literal, quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import WriteOptions
    from pipeline_flow.sql.index import Extras
    from pipeline_flow.sql.url import Database

_STREAM = "_pipeline_flow_stream"
_ATTEMPTS = 50  # to make a schema while others make it


class DuckDBTransaction(TableTransaction):
    """One transaction in a DuckDB file, on a connection of its own; other connections see nothing before the commit."""

    def __init__(self, context: Context, database: Database, connection: DuckDBPyConnection) -> None:
        self.database = database
        self._context = context
        self._connection = connection
        self._begun = (
            False  # DuckDB's transaction begins, and sees nothing newer, when it first looks at the database
        )

    @classmethod
    async def begin(cls, context: Context, database: Database) -> DuckDBTransaction:
        """Opens the file and begins.

        Raises:
            TargetUnwritable: the file cannot be written, or another process holds it.
            SourceMalformed: the file is no DuckDB database.
        """

        def open_() -> DuckDBPyConnection:
            connection = duckdb.connect(context, database, write=True)
            connection.execute("begin transaction")
            return connection

        return cls(context, database, await context.to_thread(open_))

    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """See :meth:`TableTransaction.write`."""
        begun, self._begun = self._begun, True

        def write() -> int:
            if len(table) > 1:
                _make_schema(self._connection, table, apart=not begun)
            return _write(context, self._connection, table, mode, stream, options)

        return await context.to_thread(write)

    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """See :meth:`TableTransaction.execute`."""
        self._begun = True
        return await context.to_thread(duckdb.run, context, self._connection, statements, params)

    async def commit(self) -> None:
        """Makes the rows visible.

        Raises:
            DestinationFailed: DuckDB refused, such as when another transaction changed the same table meanwhile.
        """

        def commit() -> None:
            try:
                self._connection.execute("commit")
            except native.Error as error:
                raise _refused(error) from None
            self._connection.close()

        await self._context.to_thread(commit)

    async def abort(self) -> None:
        """Takes everything back."""

        def abort() -> None:
            with contextlib.suppress(native.Error):
                self._connection.execute("rollback")
            with contextlib.suppress(native.Error):
                self._connection.close()

        await self._context.to_thread(abort)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it stands. ``guarded`` is true where replacing it anew would lose constraints, indexes or defaults."""

    columns: tuple[_Column, ...]
    guarded: bool


def _write(
    context: Context,
    connection: DuckDBPyConnection,
    parts: Sequence[str],
    mode: str,
    stream: BatchStream,
    options: WriteOptions,
) -> int:
    name = ".".join(parts)
    feed = duckdb.Feed(_STREAM, stream)
    take_back = context.on_cancel(connection.interrupt)
    try:
        table = _look_up(connection, parts, options)
        incoming = [_Column(*column) for column in duckdb.types_of(connection, feed.schema)]
        columns = _prepare(connection, parts, mode, table, incoming, options)
        rows = duckdb.insert(
            context, connection, feed, _insert(parts, columns, incoming), columns=len(columns)
        )
        _finish(connection, parts, options.extras)
    except native.Error as error:
        context.check()
        if feed.error is not None:
            raise feed.error from None
        raise _refused(error, name) from None
    finally:
        take_back()
        with contextlib.suppress(native.Error):
            connection.unregister(_STREAM)
        feed.close()
    return rows


def _make_schema(connection: DuckDBPyConnection, parts: Sequence[str], *, apart: bool) -> None:
    """Makes a missing schema, ``apart`` in a short transaction of its own: two pipelines that make one conflict."""
    name, statement = ".".join(parts), f"create schema if not exists {quote(*parts[:-1])}"
    if not apart:
        try:
            connection.execute(statement)
        except native.Error as error:
            raise _refused(error, name) from None
        return
    with connection.cursor() as cursor:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                cursor.execute(statement)
            except native.Error as error:
                if attempt == _ATTEMPTS or not isinstance(error, native.TransactionException):
                    raise _refused(error, name) from None
            else:
                return


def _prepare(
    connection: DuckDBPyConnection,
    parts: Sequence[str],
    mode: str,
    table: _Table | None,
    incoming: Sequence[_Column],
    options: WriteOptions,
) -> Sequence[_Column]:
    """Makes the table, empties it, or makes sure that it takes the rows; gives the table's columns then."""
    name = ".".join(parts)
    if table is None or (mode == "replace" and not table.guarded):
        columns = [
            _Column(column.name, options.types.get(column.name) or _storable(column.type))
            for column in incoming
        ]
        listed = ", ".join(f"{quote(column.name)} {column.type}" for column in columns)
        key = f", primary key ({quote_all(options.key)})" if options.key else ""
        connection.execute(f"create or replace table {quote(*parts)} ({listed}{key})")
        if not options.types:
            return columns
        made = _look_up(connection, parts, options)
        columns = list(made.columns) if made is not None else columns
        check_columns(name, columns, incoming)
        return columns
    check_columns(name, table.columns, incoming)
    if mode == "replace":
        connection.execute(f"delete from {quote(*parts)}")
    return table.columns


def _insert(parts: Sequence[str], columns: Sequence[_Column], incoming: Sequence[_Column]) -> str:
    types = {column.name.casefold(): column.type for column in columns}
    values = ", ".join(f"cast({quote(item.name)} as {types[item.name.casefold()]})" for item in incoming)
    names = quote_all(item.name for item in incoming)
    return f"insert into {quote(*parts)} ({names}) select {values} from {quote(_STREAM)}"


def _storable(type_: str) -> str:
    """A column of nothing but nulls has no type of its own; DuckDB's own choice for such a column is INTEGER."""
    return "INTEGER" if type_ == '"NULL"' else type_


def _look_up(connection: DuckDBPyConnection, parts: Sequence[str], options: WriteOptions) -> _Table | None:
    schema = parts[-2] if len(parts) > 1 else "main"
    # Names as literals: with a bound value DuckDB's client imports pandas where that is installed, 0.5 s of processor.
    where = f"where database_name = current_database() and lower(schema_name) = lower({literal(schema)})"
    named = f"= lower({literal(parts[-1])})"
    if connection.execute(f"select 1 from duckdb_views() {where} and lower(view_name) {named}").fetchone():
        raise DestinationFailed(f"`{'.'.join(parts)}` is a view", hint="name a table")
    columns = connection.execute(
        "select column_name, data_type, column_default is not null from duckdb_columns() "
        f"{where} and lower(table_name) {named} order by column_index"
    ).fetchall()
    if not columns:
        return None
    own = "".join(  # made anew with the table
        f" and lower(index_name) <> lower({literal(index.name)})" for index in options.extras.indexes
    )
    guards = connection.execute(
        f"select (select count(*) from duckdb_constraints() {where} and lower(table_name) {named}) "
        f"+ (select count(*) from duckdb_indexes() {where} and lower(table_name) {named}{own})"
    ).fetchone()
    guarded = bool(guards and guards[0]) or any(column[2] for column in columns)
    return _Table(tuple(_Column(*column) for column in columns), guarded)


def _finish(connection: DuckDBPyConnection, parts: Sequence[str], extras: Extras) -> None:
    """Makes the indexes that are missing, and sets the comments that differ."""
    name = quote(*parts)
    schema = parts[-2] if len(parts) > 1 else "main"
    where = f"where database_name = current_database() and lower(schema_name) = lower({literal(schema)})"
    for index in extras.indexes:
        found = connection.execute(
            f"select table_name, is_unique, expressions from duckdb_indexes() {where} "
            f"and lower(index_name) = lower({literal(index.name)})"
        ).fetchone()
        if found is None:
            unique = "unique " if index.unique else ""
            connection.execute(
                f"create {unique}index {quote(index.name)} on {name} ({quote_all(index.columns)})"
            )
            continue
        other = None if found[0].casefold() == parts[-1].casefold() else found[0]
        check_same(".".join(parts), index, other, Index(index.name, _columns_in(found[2]), bool(found[1])))
    where += f" and lower(table_name) = lower({literal(parts[-1])})"
    if extras.comment:
        (now,) = connection.execute(f"select comment from duckdb_tables() {where}").fetchone() or (None,)
        if now != extras.comment:
            connection.execute(f"comment on table {name} is {literal(extras.comment)}")
    known: dict[str, str | None] = {}
    if extras.column_comments:
        known = dict(
            connection.execute(f"select column_name, comment from duckdb_columns() {where}").fetchall()
        )
    for column, comment in extras.column_comments.items():
        if known.get(column) != comment:
            connection.execute(f"comment on column {name}.{quote(column)} is {literal(comment)}")


def _columns_in(expressions: str) -> tuple[str, ...]:
    """The columns of an index, as DuckDB lists them: ``[a, '"b c"']``, with a backslash before a single quote."""
    found = re.findall(r"'((?:[^'\\]|\\.)*)'|([^\[\], ]+)", expressions)
    texts = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in found]
    return tuple(text[1:-1].replace('""', '"') if text.startswith('"') else text for text in texts)


def _refused(error: native.Error, name: str = "") -> DestinationFailed:
    if duckdb.no_room(error):
        return DestinationFailed(duckdb.no_room(error), hint="free some space, and run again")
    text = duckdb.first_lines(str(error))
    where = f" of `{name}`" if name else ""
    advice = ""
    if isinstance(error, native.TransactionException) or "write-write conflict" in text:
        advice = "another pipeline changed the same table at the same time; let one of them need the other"
    if isinstance(error, native.OutOfMemoryException):
        advice = "raise `memory_limit`"
    return DestinationFailed(f"DuckDB refused the rows{where}: {text}", hint=advice)


# ---------------------------------------------------------------------------------------------- types


def check_columns(name: str, table: Sequence[_Column], incoming: Sequence[_Column]) -> None:
    """Whether the incoming columns can be written into the table's without a changed value.

    Raises:
        DestinationFailed: a column is missing on either side, or its type does not hold the incoming values.
    """
    theirs = {column.name.casefold(): column for column in table}
    ours = {column.name.casefold() for column in incoming}
    for column in incoming:
        if column.name.casefold() not in theirs:
            raise DestinationFailed(
                f"the table `{name}` has no column `{column.name}`",
                hint=hint(column.name, [item.name for item in table], "it has")
                + f"; or add it: alter table {name} add column {quote(column.name)} {column.type}",
            )
    for column in table:
        if column.name.casefold() not in ours and not column.has_default:
            raise DestinationFailed(
                f"the data has no column `{column.name}`, which the table `{name}` has",
                hint=f"add it in the query (null as {column.name}), or give it a default in the table",
            )
    for column in incoming:
        target = theirs[column.name.casefold()].type
        if not fits(column.type, target):
            raise DestinationFailed(
                f"the column `{column.name}` is {column.type} in the data and {target} in the table `{name}`, "
                "which would change values",
                hint=f"cast it in the query, or change the table: alter table {name} alter {quote(column.name)} "
                f"type {column.type}",
            )


_INTEGERS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "HUGEINT": 39,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
    "UHUGEINT": 39,
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_FROM_TEXT = ("ENUM(", "UUID", "JSON")
_CLOCKS = {"DATE": 0, "TIMESTAMP_S": 1, "TIMESTAMP_MS": 2, "TIMESTAMP": 3, "TIMESTAMP_NS": 4}


def fits(source: str, target: str) -> bool:
    """Whether a cast from one DuckDB type to another keeps every value or fails: it never rounds or cuts."""
    if source == target or (target == "VARCHAR" and source in ("JSON", "UUID")) or source == '"NULL"':
        return True
    if source == "VARCHAR":
        return target.startswith(_FROM_TEXT)
    if source.startswith("ENUM("):
        return target == "VARCHAR" or target.startswith("ENUM(")
    if source in _CLOCKS and target in _CLOCKS:
        return _CLOCKS[source] <= _CLOCKS[target]
    if source == "FLOAT":
        return target == "DOUBLE"
    return _number_fits(source, target)


def _number_fits(source: str, target: str) -> bool:
    from_decimal, to_decimal = _DECIMAL.fullmatch(source), _DECIMAL.fullmatch(target)
    if source in _INTEGERS:
        exact_floats = {"FLOAT": 7, "DOUBLE": 15}
        return (
            target in _INTEGERS or to_decimal is not None or _INTEGERS[source] <= exact_floats.get(target, 0)
        )  # a number out of range is an error of DuckDB's
    if from_decimal is not None:
        scale = int(from_decimal[2])
        return (target in _INTEGERS and scale == 0) or (
            to_decimal is not None and scale <= int(to_decimal[2])
        )
    return False
