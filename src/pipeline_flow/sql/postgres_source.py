"""Reading from PostgreSQL: COPY's CSV, in one snapshot, decoded by Arrow while the next rows arrive."""

from __future__ import annotations

import contextlib
import io
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg.generators import fetch_many

from pipeline_flow.core.text import clipped
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed, QueryFailed, WrongArgument
from pipeline_flow.sql import misfit, params, postgres
from pipeline_flow.sql.dialect import POSTGRESQL
from pipeline_flow.sql.postgres_type import Reader, TypeInfo, reader
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.engine import Selection
    from pipeline_flow.sql.postgres import Connection
    from pipeline_flow.sql.url import Database

_PIECE_BYTES = 4 * 1024 * 1024
_ROWS = quote("_pipeline_flow_rows")


def stream(context: Context, database: Database, selection: Selection) -> BatchStream:
    """The rows of a table or a query as they come.

    Raises:
        WrongArgument: the query is not one SELECT, or lacks a value.
        SourceUnreadable: the database, or a table, is not there or may not be read.
        QueryFailed: PostgreSQL refuses the query.
        ConversionFailed: two columns have one name. While reading: a value has no exact form in Arrow.
    """
    text = _single(selection.sql(POSTGRESQL))
    params.check_used(text, selection.params)
    lease = postgres.lend(context, database)
    take_back = postgres.interruptible(context, lease.connection)

    def close() -> None:
        take_back()
        lease.release()

    try:
        begin(context, lease.connection, database)
        return read(context, lease.connection, database, selection, on_close=close)
    except BaseException:
        close()
        raise


def begin(context: Context, connection: Connection, database: Database) -> None:
    """Begins the transaction whose first statement takes the snapshot that everything in it reads.

    Raises:
        RetryableError: the connection was lost.
    """
    try:
        connection.execute("begin isolation level repeatable read, read only")
    except psycopg.Error as error:
        raise postgres.explain(error, database, write=False, context=context, connection=connection) from None


def read(
    context: Context,
    connection: Connection,
    database: Database,
    selection: Selection,
    *,
    on_close: Callable[[], object],
) -> BatchStream:
    """Like :func:`stream`, on a connection whose transaction has begun."""
    text = _single(selection.sql(POSTGRESQL))
    query = postgres.inlined(connection, text, selection.params)
    columns = _columns(context, connection, database, query, selection)
    schema = pa.schema([column.field for column in columns])
    batches = _Batches(context, connection, database, query, columns, schema)
    return BatchStream(schema, batches.read(), on_close=on_close)


def _single(text: str) -> str:
    found = list(postgres.statements(text))
    if not found:
        raise WrongArgument("the query is empty", hint="write one SELECT")
    if len(found) > 1:
        raise WrongArgument(f"the query must be exactly one SELECT, and here are {len(found)} statements")
    return found[0]


# ---------------------------------------------------------------------------------------------- columns

_TYPES = """
with recursive known as (
    select t.oid as asked, t.oid, -1 as modifier, false as is_array from pg_type t where t.oid = any(%(oids)s::oid[])
    union all
    select k.asked, case when t.typtype = 'd' then t.typbasetype else t.typelem end,
        case when t.typtype = 'd' then t.typtypmod else k.modifier end, k.is_array or t.typtype <> 'd'
    from known k join pg_type t on t.oid = k.oid
    where t.typtype = 'd' or (t.typcategory = 'A' and t.typelem <> 0 and t.typlen = -1 and not k.is_array)
)
select k.asked, t.typname, k.modifier, k.is_array, n.nspname = 'pg_catalog', t.typtype, t.oid
from known k join pg_type t on t.oid = k.oid join pg_namespace n on n.oid = t.typnamespace
where t.typtype <> 'd' and not (t.typcategory = 'A' and t.typelem <> 0 and t.typlen = -1 and not k.is_array)
"""


def infos(connection: Connection, types: Sequence[tuple[int, int]]) -> list[TypeInfo]:
    """The types behind pairs of a type's number and its modifier; domains are what they stand for.

    Raises:
        psycopg.Error: the catalogue cannot be read.
    """
    rows = connection.execute(_TYPES, {"oids": [oid for oid, _ in types]}).fetchall()
    found = {row[0]: row[1:] for row in rows}
    result = []
    for oid, own in types:
        name, base, is_array, built_in, kind, base_oid = found.get(
            oid, ("unknown", -1, False, True, "p", oid)
        )
        modifier = own if own >= 0 else base
        ((full,),) = connection.execute(
            "select format_type(%s::oid, %s)", (base_oid, modifier if modifier >= 0 else None)
        ).fetchall()
        full = f"{full}[]" if is_array else full
        result.append(TypeInfo(name, modifier, full, is_array, built_in, kind))
    return result


def _columns(
    context: Context, connection: Connection, database: Database, query: str, selection: Selection
) -> list[Reader]:
    """What the query gives."""
    head = "select * from (\n"
    try:
        cursor = connection.execute(f"{head}{query}\n) as {_ROWS} limit 0".encode())
        result = cursor.pgresult
        if result is None or not result.nfields:
            raise QueryFailed("the query gives no columns", hint="write a SELECT with some")
        names = [column.name for column in cursor.description or ()]
        found = infos(connection, [(result.ftype(i), result.fmod(i)) for i in range(result.nfields)])
    except psycopg.Error as error:
        missing = params.missing(query, selection.params) if error.sqlstate == "42601" else None
        raise missing or postgres.explain(
            error, database, write=False, context=context, connection=connection, text=query, shift=len(head)
        ) from None
    selection.check_names(names)
    return [reader(name, info, selection.types.get(name)) for name, info in zip(names, found, strict=True)]


# ---------------------------------------------------------------------------------------------- rows


class _Batches:
    """The rows of a query as record batches."""

    def __init__(
        self,
        context: Context,
        connection: Connection,
        database: Database,
        query: str,
        columns: Sequence[Reader],
        schema: pa.Schema,
    ) -> None:
        self._context = context
        self._connection = connection
        self._database = database
        self._columns = columns
        self._schema = schema
        self._rows = 0
        self._copy = f"copy (\n{_selected(query, columns)}\n) to stdout (format csv)"

    def read(self) -> Iterator[pa.RecordBatch]:
        """The batches. One piece is decoded while the next arrives."""
        try:
            with (
                ThreadPoolExecutor(1, "pipeline-flow-decode") as decoder,
                self._connection.cursor() as cursor,
                contextlib.closing(self._pieces(cursor)) as pieces,
            ):
                waiting: Future[pa.RecordBatch] | None = None
                for piece in pieces:
                    decoding = decoder.submit(self._decoded, piece)
                    if waiting is not None:
                        yield waiting.result()
                    waiting = decoding
                    self._context.check()
                if waiting is not None:
                    yield waiting.result()
        except psycopg.Error as error:
            raise postgres.explain(
                error, self._database, write=False, context=self._context, connection=self._connection
            ) from None

    def _pieces(self, cursor: psycopg.Cursor[Any]) -> Generator[bytes]:
        """The CSV in pieces of whole rows.

        The server sends each row in a message of its own. What libpq holds already is taken from it directly, and copied at
        once: the driver's own iterator takes three times as long, and a list of messages is work for the garbage collector.
        """
        server = self._connection.pgconn
        take = server.get_copy_data
        with cursor.copy(self._copy.encode()) as copy:
            size = 1
            while size > 0:
                piece, held = io.BytesIO(), 0
                row: bytes | bytearray | memoryview
                while held < _PIECE_BYTES:
                    size, row = take(1)
                    if size == 0:
                        row = copy.read()  # waits for the next message, or the end
                        size = len(row) or -1
                    elif size < 0:
                        self._end()
                    if size < 0:
                        break
                    held += piece.write(row)
                if held:
                    yield piece.getvalue()  # no copy, and no view that outlives its owner

    def _end(self) -> None:
        """What the server says after the last row.

        Raises:
            psycopg.Error: it was not the last one, and there comes no more.
        """
        for result in self._connection.wait(fetch_many(self._connection.pgconn)):
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(result)

    def _decoded(self, piece: bytes) -> pa.RecordBatch:
        try:
            table = _parsed(piece, [column.parsed for column in self._columns])
        except pa.ArrowInvalid as error:
            raise self._misread(piece, error) from None
        arrays = []
        for index, column in enumerate(self._columns):
            array = pa.concat_arrays(table.column(index).chunks)
            if column.convert is not None:
                try:
                    array = column.convert(array)
                except (pa.ArrowException, ValueError) as error:
                    raise self._bad_value(index, array, column.convert, error) from None
            arrays.append(array)
        self._rows += table.num_rows
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _misread(self, piece: bytes, error: pa.ArrowInvalid) -> ConversionFailed:
        """Arrow's CSV reader names column and often value; the row is where that value first stands."""
        found = re.search(r"In CSV column #(\d+): (.*)", str(error), re.DOTALL)
        if found is None:
            return ConversionFailed(f"what PostgreSQL sent cannot be read: {error}")
        index = int(found[1])
        texts = _parsed(
            piece,
            [pa.string() if i == index else column.parsed for i, column in enumerate(self._columns)],
            only=index,
        )
        shown = re.search(r"(?:invalid value '|The string ')(.*?)'(?: is not a valid|$)", found[2], re.DOTALL)
        type_ = self._columns[index].parsed
        row = -1
        if shown is not None:
            row = pc.index(texts, shown[1]).as_py()
        elif pa.types.is_decimal(type_):
            row = misfit.first(texts, lambda part: part.cast(type_))
        return self._unfit(index, texts, row, found[2])

    def _bad_value(self, index: int, array: pa.Array, convert: Any, error: Exception) -> ConversionFailed:
        return self._unfit(index, array, misfit.first(array, convert), str(error))

    def _unfit(self, index: int, texts: Any, row: int, reason: str) -> ConversionFailed:
        column = self._columns[index]
        if row >= 0:
            value = clipped(str(texts[row].as_py()))
            what = f"holds {value} in row {self._rows + row + 1:,}"
        else:
            what = f"holds a value that does not fit: {reason}"
        return ConversionFailed(
            f"the column `{column.field.name}` ({column.declared}) {what}, which is no {column.field.type}",
            hint=f"read it as text (`columns: {{{column.field.name}: VARCHAR}}`), or change the value in the query",
        )


def _selected(query: str, columns: Sequence[Reader]) -> str:
    if not any(column.expression for column in columns):
        return query
    listed = []
    for column in columns:
        # The server gave this name, so it is one, however long: a name of its own may be cut, never longer.
        name = quote(column.field.name, dialect=POSTGRESQL)
        listed.append(f"{column.expression.format(name)} as {name}" if column.expression else name)
    return f"select {', '.join(listed)} from (\n{query}\n) as {_ROWS}"


def _parsed(piece: bytes, types: Sequence[pa.DataType], only: int | None = None) -> Any:
    """A piece of CSV as a table; with ``only``, that column of it."""
    names = [str(index) for index in range(len(types))]
    column_types: Mapping[str, pa.DataType] = dict(zip(names, types, strict=True))
    table = pyarrow.csv.read_csv(
        pa.BufferReader(piece),
        read_options=pyarrow.csv.ReadOptions(
            column_names=names, block_size=len(piece) + 1, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=column_types,
            include_columns=None if only is None else [names[only]],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return table if only is None else pa.concat_arrays(table.column(0).chunks)
