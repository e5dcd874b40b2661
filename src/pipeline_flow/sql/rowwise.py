"""Expressions of DuckDB's SQL over the rows of a stream, one value for each row, batch after batch.

Only the columns that the expressions name go to DuckDB, and only their results come back: what no expression touches
stays the Arrow data that it was, and rows keep their order.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import duckdb as native
import pyarrow as pa

from pipeline_flow.core.suggest import hint
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import QueryFailed, UnknownColumn
from pipeline_flow.sql import duckdb, expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline_flow.core.context import Context

_DATA = "data"
_GROUP_ROWS = duckdb.BATCH_ROWS
_GROUP_BYTES = 32 * 1024 * 1024
_PIECE_ROWS = 15 * 2048  # DuckDB gives a thread one batch at a time
_NOTHING = "_pipeline_flow_nothing"
_OF_A_VALUE = (native.ConversionException, native.OutOfRangeException, native.InvalidInputException)


class Rowwise:
    """Some expressions over the columns of one schema, computed in a sealed instance of DuckDB. Close it.

    Args:
        context: the step's.
        schema: what the tables have that it will be called with.
        expressions: SQL by the name of its result.
        keys: column indexes by the names under which SQL of our own knows them; without it, the expressions are a
            person's and see the columns by their own names.
        params: values for ``$name``.
        shown: what messages call an expression, by the name of its result.

    Attributes:
        schema: names and types of the results.

    Raises:
        UnknownColumn: an expression names a column that is not there.
        QueryFailed: DuckDB refuses an expression.
        ConversionFailed: DuckDB has no type for a column that an expression uses.
    """

    def __init__(
        self,
        context: Context,
        schema: pa.Schema,
        expressions: Mapping[str, str],
        *,
        keys: Mapping[str, int] | None = None,
        params: Mapping[str, Any] | None = None,
        shown: Mapping[str, str] | None = None,
    ) -> None:
        self._context = context
        self._names = schema.names
        self._params = dict(params or {})
        self._rows = 0
        self._shown = shown or {}
        self._columns = dict(keys) if keys is not None else _named(schema, expressions.values())
        self._given = pa.schema(
            [schema.field(index).with_name(key).remove_metadata() for key, index in self._columns.items()]
            or [pa.field(_NOTHING, pa.int8())]
        )
        self._connection = duckdb.sealed(context)
        self._take_back = context.on_cancel(self._connection.interrupt)
        try:
            duckdb.lock(self._connection)
            listed = [
                f"{self._checked(name, sql)} as r{number}"
                for number, (name, sql) in enumerate(expressions.items())
            ]
            self._query = f"select {', '.join(listed)} from {_DATA}"
            found = self._run(lambda: duckdb.table(self._connection, self._query, self._params), ())
        except BaseException:
            self.close()
            raise
        self.schema = pa.schema(
            [field.with_name(name) for field, name in zip(found.schema, expressions, strict=True)]
        )

    def _checked(self, name: str, sql: str) -> str:
        """The expression in parentheses, of a type that Arrow has; refused where it does not work."""
        query = f"select ({sql}\n) as r0 from {_DATA}"
        params = {key: value for key, value in self._params.items() if re.search(rf"\${key}\b", sql)}
        try:
            ((_, type_),) = self._run(lambda: _described(self._connection, query, params), ())
            rows = self._run(lambda: duckdb.table(self._connection, query, params), ()).num_rows
        except native.Error as error:
            raise self._refused(error, self._label(name)) from None
        if rows:
            raise _not_one_each(self._label(name))
        return f"cast({sql}\n as decimal(38, 0))" if type_ in duckdb.WIDE_INTEGERS else f"({sql}\n)"

    def __call__(self, table: pa.Table) -> pa.Table:
        """The results for each row of ``table``, in the order of its rows.

        Raises:
            QueryFailed: a value does not fit what an expression does with it.
        """
        columns = [table.column(index) for index in self._columns.values()]
        given = pa.table(columns or [pa.nulls(table.num_rows, pa.int8())], schema=self._given)
        try:
            found = self._computed(given)
        except native.Error as error:
            self._context.check()
            raise self._located(error, given) from None
        if found.num_rows != table.num_rows:
            raise _not_one_each(" and ".join(self._label(name) for name in self.schema.names))
        self._rows += table.num_rows
        return found.rename_columns(self.schema.names)

    def _computed(self, given: pa.Table) -> pa.Table:
        pieces = given.to_batches(max_chunksize=_PIECE_ROWS)
        return self._run(lambda: duckdb.table(self._connection, self._query, self._params), pieces)

    def _located(self, error: native.Error, given: pa.Table) -> Exception:
        """The error with the number of the first row that has it, found by halving."""
        if not isinstance(error, _OF_A_VALUE):
            return duckdb.failed(error)
        low, high = 0, given.num_rows
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._computed(given.slice(low, middle - low))
                low = middle
            except _OF_A_VALUE as first:
                error, high = first, middle
            except native.Error as other:
                return duckdb.failed(other)
        return QueryFailed(
            f"row {self._rows + low + 1:,}: {without_place(str(error))}",
            hint="`try_cast(… as …)` in place of a cast gives null for a value that does not fit"
            if isinstance(error, native.ConversionException)
            else "",
        )

    def _run(self, function: Callable[[], Any], batches: Iterable[pa.RecordBatch]) -> Any:
        feed = duckdb.register(self._connection, _DATA, BatchStream(self._given, batches))
        try:
            return function()
        except native.Error:
            if feed.error is not None:
                raise feed.error from None
            raise
        finally:
            feed.close()

    def _label(self, name: str) -> str:
        return self._shown.get(name) or f"`{name}`"

    def _refused(self, error: Exception, name: str) -> Exception:
        text = str(error)
        column = re.search(r'Referenced column "(.*?)" not found|does not have a column named "(.*?)"', text)
        if column:
            wanted = column[1] or column[2]
            return UnknownColumn(
                f"{name} uses the column `{wanted}`, which the data does not have",
                hint=hint(wanted, self._names, "it has"),
            )
        return QueryFailed(f"{name} cannot be computed: {without_place(text)}")

    def close(self) -> None:
        """Closes the instance."""
        self._take_back()
        with contextlib.suppress(native.Error):
            self._connection.close()


def groups(context: Context, stream: BatchStream) -> Iterator[pa.Table]:
    """The rows of a stream as tables large enough to be worth a query each, closing the stream at the end."""
    with stream:
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in stream:
            context.check()
            waiting.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                yield pa.Table.from_batches(waiting, stream.schema)
                waiting, rows, size = [], 0, 0
        if waiting:
            yield pa.Table.from_batches(waiting, stream.schema)


def mapped(
    context: Context,
    stream: BatchStream,
    rowwise: Rowwise,
    schema: pa.Schema,
    combine: Callable[[pa.Table, pa.Table], pa.Table],
    *,
    at_end: Callable[[], None] = lambda: None,
) -> BatchStream:
    """A stream of ``schema`` of what ``combine`` makes of each piece of ``stream`` and the results for its rows.

    It takes ``stream`` and ``rowwise`` over and closes them; ``at_end`` is called after the last row.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for table in groups(context, stream):
            yield from combine(table, rowwise(table)).to_batches()
        at_end()

    def close() -> None:
        rowwise.close()
        stream.close()

    return BatchStream(schema, batches(), on_close=close)


def _named(schema: pa.Schema, expressions: Iterable[str]) -> dict[str, int]:
    names = frozenset[str]().union(*(expression.names(sql) for sql in expressions))
    return {name: index for index, name in enumerate(schema.names) if name.casefold() in names}


def _described(connection: Any, query: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(f"describe {query}", dict(params)).fetchall()]


def _not_one_each(name: str) -> QueryFailed:
    return QueryFailed(
        f"{name} does not give one value for each row",
        hint="the transform `sql` takes a whole SELECT",
    )


def without_place(text: str) -> str:
    """DuckDB's message without the line of our own query that it shows."""
    return re.split(r"\n+LINE \d+:", duckdb.first_lines(text))[0].strip()
