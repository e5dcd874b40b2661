"""Reading from MariaDB: one query in a transaction that can only read, its rows fetched as they come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pymysql  # type: ignore[import-untyped] # it has no annotations
from pymysql.cursors import SSCursor  # type: ignore[import-untyped] # the same

from pipeline_flow.core.suggest import hint
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed, QueryFailed, WrongArgument
from pipeline_flow.sql import mariadb
from pipeline_flow.sql.dialect import MARIADB
from pipeline_flow.sql.engine import Selection
from pipeline_flow.sql.mariadb_packets import Packets
from pipeline_flow.sql.mariadb_type import Meta, Reader, reader
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.url import Database

    _Ask = Callable[[], AbstractContextManager[Any]]

_BATCH_BYTES = 4 * 1024 * 1024
_FIRST_BYTES = 8 * 1024  # the server sends 16 KB at a time
_READS = ("SELECT", "WITH", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "TABLE")
_ROWS = quote("_pipeline_flow_rows", dialect=MARIADB)


class _Rows(SSCursor):  # type: ignore[misc] # it has no annotations
    """The rows of a query as they come."""

    @property
    def fields(self) -> Sequence[Any]:
        """What the server tells of the columns."""
        return () if self._result is None else getattr(self._result, "fields", ())

    def packets(self) -> Packets:
        """The rows; nothing else may be fetched then."""
        return Packets(self.connection, self._result)

    def leave(self) -> bool:
        """Forgets the rows that are still to come: the driver would read them all, to no end. Whether there are none."""
        ended = self._result is None or not self._result.unbuffered_active
        if self._result is not None:
            self._result.unbuffered_active = False
        self.connection = None
        return ended


class Reading:
    """A transaction that only reads, in one snapshot: its connection, the rows under way, and how it is cancelled."""

    def __init__(self, context: Context, database: Database) -> None:
        self._context = context
        self._database = database
        self._lease = mariadb.lend(context, database)
        self.connection = self._lease.connection
        self._take_back = mariadb.interruptible(context, database, self.connection)
        self._cursor: _Rows | None = None
        self._fit = True
        self.query = ""

    def begin(self) -> None:
        """Takes the snapshot."""
        self.run("start transaction with consistent snapshot, read only")

    def run(self, statement: str) -> Any:
        """Runs a statement and gives the cursor, with all its rows."""
        try:
            return mariadb.run(self.connection, statement)
        except pymysql.Error as error:
            raise self._explained(error, statement) from None

    def rows(self, query: str) -> _Rows:
        """Runs a query whose rows come as they are fetched."""
        self.query = query
        self._cursor = self.connection.cursor(_Rows)
        try:
            self._cursor.execute(query)
        except pymysql.Error as error:
            raise self._explained(error, query) from None
        return self._cursor

    def _explained(self, error: Exception, text: str) -> Exception:
        return mariadb.explain(
            error, self._database, write=False, context=self._context, connection=self.connection, text=text
        )

    def leave(self) -> None:
        """Ends the query that runs, if any. One whose rows were not all fetched leaves the connection of no use."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None and not cursor.leave():
            self._fit = False

    def close(self) -> None:
        """Ends everything."""
        self._take_back()
        self.leave()
        was_open = self.connection.open
        self._lease.release(fit=self._fit)
        if was_open and not self._fit:  # the server would find out when it has rows to send
            mariadb.end(self.connection, self._database)


def stream(context: Context, database: Database, selection: Selection) -> BatchStream:
    """The rows of a table or a query as they come.

    Raises:
        WrongArgument: the query is not one SELECT, or lacks a value.
        SourceUnreadable: the database, or a table, is not there or may not be read.
        QueryFailed: MariaDB refuses the query.
        ConversionFailed: two columns have one name. While reading: a value has no exact form in Arrow.
    """
    text = _single(selection.sql(MARIADB))
    mariadb.check_used(text, selection.params)
    query = mariadb.inlined(text, selection.params)
    running = Reading(context, database)
    try:
        running.begin()
        cursor = running.rows(query)
    except QueryFailed as error:
        running.close()
        missing = [name for name in mariadb.names(text) if name not in selection.params]
        if not missing:
            raise
        raise WrongArgument(
            f"the query has `:{missing[0]}`, and `params` does not give it",
            hint=hint(missing[0], selection.params, "it gives"),
        ) from error
    except BaseException:
        running.close()
        raise
    try:
        fields = list(cursor.fields)
        columns = _columns(lambda: _beside(context, database), database, fields, selection)
        if any(_meta(item, "").is_float for item in fields):
            running.close()
            running = Reading(context, database)
            running.begin()
            cursor = running.rows(_exact(query, fields, selection))
        return _batches(context, database, running, cursor, columns, on_close=running.close)
    except BaseException:
        running.close()
        raise


def read(
    context: Context,
    database: Database,
    reading: Reading,
    table: Sequence[str],
    *,
    on_close: Callable[[], object],
) -> BatchStream:
    """The rows of a table, in the snapshot of ``reading``; one table after the other.

    Raises:
        SourceUnreadable: it is not there any more, or may not be read.
        ConversionFailed: while reading: a value has no exact form in Arrow.
    """
    selection = Selection(table=tuple(table))
    query = selection.sql(MARIADB)
    try:
        cursor = reading.rows(f"{query} limit 0")
        fields = list(cursor.fields)
        cursor.fetchall()
        reading.leave()
        columns = _columns(lambda: contextlib.nullcontext(reading.connection), database, fields, selection)
        if any(_meta(item, "").is_float for item in fields):
            query = _exact(query, fields, selection)
        return _batches(context, database, reading, reading.rows(query), columns, on_close=on_close)
    except pymysql.Error as error:
        raise mariadb.explain(error, database, write=False, context=context) from None


def _single(text: str) -> str:
    found = list(mariadb.statements(text))
    if not found:
        raise WrongArgument("the query is empty", hint="write one SELECT")
    if len(found) > 1:
        raise WrongArgument(f"the query must be exactly one SELECT, and here are {len(found)} statements")
    first = mariadb.words(found[0])[:1]
    if not first or first[0] not in _READS:
        raise WrongArgument(
            "the query is no SELECT", hint="statements that change something are for transform_at_load"
        )
    return found[0]


def _exact(query: str, fields: Sequence[Any], selection: Selection) -> str:
    """The query with its FLOATs as DOUBLEs, since the server writes a FLOAT with six digits.

    Rows of a query within a query have no order.
    """
    names = [item.name for item in fields if _meta(item, "").is_float]
    if not selection.table and "ORDER" in mariadb.words(query):
        raise ConversionFailed(
            f"the column `{names[0]}` is FLOAT, which MariaDB sends with six digits only",
            hint=f"write cast({names[0]} as double) as {names[0]} in the query, or leave `order by` out",
        )
    listed = []
    for item in fields:
        name = f"`{item.name.replace('`', '``')}`"
        listed.append(f"cast({name} as double) as {name}" if item.name in names else name)
    return f"select {', '.join(listed)} from (\n{query}\n) as {_ROWS}"


@contextlib.contextmanager
def _beside(context: Context, database: Database) -> Iterator[Any]:
    """Another connection, for where rows are already on their way on the first."""
    lease = mariadb.lend(context, database, beside=True)
    try:
        yield lease.connection
    finally:
        lease.release()


def _columns(ask: _Ask, database: Database, fields: Sequence[Any], selection: Selection) -> list[Reader]:
    names = [item.name for item in fields]
    if not names:
        raise QueryFailed("the query gives no columns", hint="write a SELECT with some")
    selection.check_names(names)
    declared = _declared(ask, database, fields)
    return [reader(item.name, _meta(item, declared(item)), selection.types.get(item.name)) for item in fields]


def _meta(item: Any, declared: str) -> Meta:
    return Meta(item.type_code, item.flags, item.length, item.scale, item.charsetnr, declared)


def _declared(ask: _Ask, database: Database, fields: Sequence[Any]) -> Callable[[Any], str]:
    """What the catalogue knows better: a JSON is a text to the protocol, and a UUID too."""

    def place(item: Any) -> tuple[str, str, str]:
        database = item.db.decode() if isinstance(item.db, bytes) else str(item.db)
        return database, item.org_table, item.org_name

    texts = {
        place(item) for item in fields if item.org_table and item.charsetnr != 63 and item.type_code > 245
    }
    if not texts:
        return lambda _item: ""
    found: dict[tuple[str, str, str], str] = {}
    try:
        with ask() as connection:
            for schema, table in {(schema, table) for schema, table, _ in texts}:
                for column, kind in _kinds(connection, schema, table):
                    found[schema, table, column] = kind
    except pymysql.Error as error:
        raise mariadb.explain(error, database, write=False) from None
    return lambda item: found.get(place(item), "")


def _kinds(connection: Any, schema: str, table: str) -> Iterator[tuple[str, str]]:
    for column, kind in mariadb.rows(
        connection,
        "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s",
        schema,
        table,
    ):
        yield column, str(kind)
    if not mariadb.is_mariadb(connection):
        return
    for column, clause in mariadb.rows(
        connection,
        "select constraint_name, check_clause from information_schema.check_constraints "
        "where constraint_schema = %s and table_name = %s and level = 'Column'",
        schema,
        table,
    ):
        if column and str(clause) == f"json_valid({quote(column, dialect=MARIADB)})":
            yield column, "json"


def _batches(
    context: Context,
    database: Database,
    reading: Reading,
    cursor: _Rows,
    columns: Sequence[Reader],
    *,
    on_close: Callable[[], object],
) -> BatchStream:
    schema = pa.schema([column.field for column in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        packets, done, goal = cursor.packets(), 0, _FIRST_BYTES
        while True:
            context.check()
            try:
                arrays = packets.read(goal)
            except pymysql.Error as error:
                raise mariadb.explain(
                    error, database, write=False, context=context, connection=reading.connection
                ) from None
            if arrays is None:
                return
            read = [column.read(array, done) for column, array in zip(columns, arrays, strict=True)]
            done += len(arrays[0])
            goal = min(4 * goal, _BATCH_BYTES)
            yield pa.RecordBatch.from_arrays(read, schema=schema)

    return BatchStream(schema, batches(), on_close=on_close)
