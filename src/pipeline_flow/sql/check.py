"""Checks of data: what they are, as the `validate` step is given them, and how they are made while rows pass."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb as native
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.data import BatchStream, pick
from pipeline_flow.errors import QueryFailed, WrongArgument
from pipeline_flow.sql import carrier, duckdb, rowwise, verb
from pipeline_flow.sql.quote import quote_all
from pipeline_flow.sql.value import scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline_flow.core.context import Context

FAIL, WARN, DROP = "fail", "warn", "drop"
_EXAMPLES = 3
_COLUMNS_SHOWN = 6
_LONGEST_SHOWN = 60
_TABLE = "data"


@dataclass(slots=True)
class Outcome:
    """What became of one check: how many of the rows that it saw failed it, and a few of them as text."""

    number: int
    name: str
    on_failure: str
    rows: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)
    text: str = ""
    """What to say instead of the number of rows."""

    def __str__(self) -> str:
        told = self.text or f"{self.failed:,} of {verb.rows(self.rows)}"
        return f"{self.name}: {told}" + (f", such as {'; '.join(self.examples)}" if self.examples else "")


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A check of each row by itself: SQL that is true for a row that passes; ``columns`` are shown with a row that fails.

    ``keys`` and ``params`` are as for :class:`~pipeline_flow.sql.rowwise.Rowwise`; with ``strict``, null is not passed.
    """

    outcome: Outcome
    sql: str
    columns: tuple[int, ...] = ()
    keys: Mapping[str, int] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


# ---------------------------------------------------------------------------------------------- each row by itself


def by_row(context: Context, stream: BatchStream, checks: Sequence[RowCheck]) -> BatchStream:
    """The stream, with ``checks`` made on its rows; those that fail a check with ``drop`` are left out.

    The checks must be such that none comes after one with ``drop``.
    """
    schema = stream.schema
    ours = {f"k{number}": check for number, check in enumerate(checks)}
    evaluators: list[tuple[rowwise.Rowwise, dict[str, RowCheck]]] = []

    def close() -> None:
        for evaluator, _ in evaluators:
            evaluator.close()
        stream.close()

    try:
        for names in (
            [name for name, check in ours.items() if check.keys is not None],
            [name for name, check in ours.items() if check.keys is None],
        ):
            if names:
                part = {name: ours[name] for name in names}
                evaluators.append((_evaluator(context, schema, part), part))
    except BaseException:
        close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        for table in rowwise.groups(context, stream):
            passed = {name: evaluator(table).column(name) for evaluator, part in evaluators for name in part}
            kept: pa.ChunkedArray | None = None
            for name, check in ours.items():
                good = pc.fill_null(passed[name], not check.strict)
                _note(check.outcome, table, good, check.columns)
                if check.outcome.on_failure == DROP:
                    kept = good
            if kept is None:
                yield from table.to_batches()
                continue
            start = 0
            for batch in table.to_batches():
                piece = kept.slice(start, batch.num_rows)
                start += batch.num_rows
                yield pick.keep(batch, pa.concat_arrays(piece.chunks))

    return BatchStream(schema, batches(), on_close=close)


def _evaluator(context: Context, schema: pa.Schema, checks: Mapping[str, RowCheck]) -> rowwise.Rowwise:
    keys: dict[str, int] | None = None
    params: dict[str, Any] = {}
    for check in checks.values():
        params |= check.params
        if check.keys is not None:
            keys = {**(keys or {}), **check.keys}
    expressions = {name: check.sql for name, check in checks.items()}
    shown = {name: check.outcome.name for name, check in checks.items()}
    evaluator = rowwise.Rowwise(context, schema, expressions, keys=keys, params=params, shown=shown)
    for result, name in zip(evaluator.schema, checks, strict=True):
        if not pa.types.is_boolean(result.type):
            evaluator.close()
            raise QueryFailed(f"the check {shown[name]} gives {result.type} and is to be true or false")
    return evaluator


def _note(outcome: Outcome, table: pa.Table, good: pa.ChunkedArray, columns: Sequence[int]) -> None:
    outcome.rows += table.num_rows
    failed = table.num_rows - (pc.sum(good).as_py() or 0)
    if not failed:
        return
    outcome.failed += failed
    wanted = _EXAMPLES - len(outcome.examples)
    if wanted > 0:
        bad = pc.indices_nonzero(pc.invert(good)).slice(0, wanted)
        outcome.examples += [_shown_row(table.slice(index.as_py(), 1), columns) for index in bad]


def _shown_row(row: pa.Table, first: Sequence[int]) -> str:
    """One row as text: the columns that matter, then others until there are enough."""
    order = [*first, *(index for index in range(row.num_columns) if index not in first)]
    shown = order[: max(len(first), _COLUMNS_SHOWN)]
    parts = [f"{row.schema.names[index]}: {_shown(row.column(index)[0].as_py())}" for index in shown]
    return "{" + ", ".join([*parts, *(["…"] if len(order) > len(shown) else [])]) + "}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    # Whole or not at all: the redactor does not know a secret by its beginning.
    text = repr(value) if isinstance(value, str | bytes | list | dict) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"a value of {len(text)} characters"


# ---------------------------------------------------------------------------------------------- what a row must be


def not_null(schema: pa.Schema, outcome: Outcome, columns: Sequence[str]) -> RowCheck:
    """No null in any of the columns."""
    indexes = verb.find_all(schema, columns, "not_null")
    keys = {verb.key(index): index for index in indexes}
    return RowCheck(outcome, " and ".join(f"{key} is not null" for key in keys), tuple(indexes), keys)


def between(schema: pa.Schema, outcome: Outcome, column: str, low: Any, high: Any) -> RowCheck:
    """Values from ``low`` to ``high``, both included; NaN is outside."""
    index = verb.find(schema, column, "range")
    key, kind = verb.key(index), schema.field(index)
    parts: list[str] = []
    params: dict[str, Any] = {}
    for sign, bound, name in ((">=", low, "min"), ("<=", high, "max")):
        if bound is not None:
            sql, value = _bound(bound, kind, f"{outcome.name}: {name}")
            parameter = f"p{outcome.number}_{name}"
            parts.append(f"{key} {sign} {sql.format(name=parameter)}")
            params |= {parameter: value} if value is not None else {}
    if pa.types.is_floating(_value_type(kind.type)):
        parts.append(f"not isnan({key})")
    return RowCheck(outcome, " and ".join(parts), (index,), {key: index}, params)


def one_of(schema: pa.Schema, outcome: Outcome, column: str, values: Sequence[Any]) -> RowCheck:
    """One of the values."""
    index = verb.find(schema, column, "set")
    key = verb.key(index)
    listed: list[str] = []
    params: dict[str, Any] = {}
    for number, value in enumerate(values):
        sql, bound = _bound(value, schema.field(index), f"{outcome.name}: values")
        name = f"p{outcome.number}_{number}"
        listed.append(sql.format(name=name))
        params |= {name: bound} if bound is not None else {}
    return RowCheck(outcome, f"{key} in ({', '.join(listed)})", (index,), {key: index}, params)


def pattern(schema: pa.Schema, outcome: Outcome, column: str, regex: str) -> RowCheck:
    """Text that the regular expression matches from its first character to its last."""
    index = verb.find(schema, column, "pattern")
    kind = schema.field(index)
    if not _is_text(_value_type(kind.type)):
        raise WrongArgument(
            f"{outcome.name}: a pattern is for text, and the column `{kind.name}` is {kind.type}",
            hint="cast it to VARCHAR before, or use a `sql` check",
        )
    key = verb.key(index)
    name = f"p{outcome.number}_regex"
    return RowCheck(outcome, f"regexp_full_match({key}, ${name})", (index,), {key: index}, {name: regex})


def _value_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_text(type_: pa.DataType) -> bool:
    kinds = pa.types
    return bool(kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_))


def _bound(value: Any, column: pa.Field, where: str) -> tuple[str, Any]:
    """SQL for a value to compare with a column, with ``{name}`` for its parameter, and the parameter."""
    kinds = pa.types
    type_ = _value_type(column.type)
    number = kinds.is_integer(type_) or kinds.is_floating(type_) or kinds.is_decimal(type_)
    if number and isinstance(value, int | float) and not isinstance(value, bool):
        return f"({value!r})" if math.isfinite(value) else f"'{value}'::double", None
    if number or isinstance(value, int | float):
        found = scalar(value, column, where)  # a truth value, or an error
        return "${name}", found.as_py()
    if _is_text(type_) and isinstance(value, str):
        return "${name}", value
    scalar(value, column.with_type(type_), where)
    if kinds.is_date(type_):
        return "cast(${name} as date)", value
    if kinds.is_time(type_):
        return "cast(${name} as time)", value
    if kinds.is_timestamp(type_):
        return f"cast(${{name}} as {'timestamp' if type_.tz is None else 'timestamptz'})", value
    return "${name}", value


# ---------------------------------------------------------------------------------------------- all rows together


def row_count(stream: BatchStream, outcome: Outcome, low: int | None, high: int | None) -> BatchStream:
    """The stream; at its end, the number of rows has to be in the bounds."""

    def batches() -> Iterator[pa.RecordBatch]:
        with stream:
            for batch in stream:
                outcome.rows += batch.num_rows
                yield batch
        if (low is not None and outcome.rows < low) or (high is not None and outcome.rows > high):
            outcome.failed = 1
            wanted = " and ".join(
                text
                for text in (
                    f"at least {low:,}" if low is not None else "",
                    f"at most {high:,}" if high is not None else "",
                )
                if text
            )
            outcome.text = f"{verb.rows(outcome.rows)}, expected {wanted}"

    return BatchStream(stream.schema, batches(), on_close=stream.close)


def _failed(error: native.Error, label: str) -> Exception:
    if isinstance(error, native.OutOfMemoryException):
        return duckdb.failed(error)
    return QueryFailed(f"the check {label}: {rowwise.without_place(str(error))}")


def unique(context: Context, stream: BatchStream, outcome: Outcome, columns: Sequence[str]) -> BatchStream:
    """The stream; no two rows may have the same values in all of the columns. Rows with a null among them pass."""
    schema = stream.schema
    indexes = verb.find_all(schema, columns, "unique")
    keys = [verb.key(index) for index in indexes]
    listed = quote_all(keys)
    complete = " and ".join(f"{key} is not null" for key in keys)
    if outcome.on_failure == DROP:

        def at_end(rows: int, kept: int) -> None:
            outcome.rows, outcome.failed = rows, rows - kept

        return carrier.whole(
            context,
            stream,
            lambda all_: (
                f"select {all_} from data where not ({complete}) or {carrier.PLACE} in "
                f"(select min({carrier.PLACE}) from data where {complete} group by {listed}) order by {carrier.PLACE}"
            ),
            keys=indexes,
            at_end=at_end,
        )
    narrow = pa.schema([schema.field(index) for index in indexes])

    def judge(connection: Any, rows: int) -> None:
        outcome.rows = rows
        row = connection.execute(
            f"select coalesce(sum(times - 1), 0) from (select count(*) as times from {_TABLE} where {complete} "
            f"group by {listed} having count(*) > 1)"
        ).fetchone()
        outcome.failed = int(row[0])
        if outcome.failed:
            found = duckdb.table(
                connection,
                f"select {listed} from {_TABLE} where {complete} group by {listed} having count(*) > 1 "
                f"order by min({carrier.PLACE}) limit {_EXAMPLES}",
            )
            for number in range(found.num_rows):
                batch = found.slice(number, 1).combine_chunks().to_batches()[0]
                (own,) = carrier.decoded(batch, narrow)
                outcome.examples.append(_shown_row(pa.Table.from_batches([own]), range(len(indexes))))

    names = dict(zip(keys, indexes, strict=True))
    return _beside(context, stream, names, judge, carried=True, label=outcome.name)


def query(context: Context, stream: BatchStream, outcome: Outcome, text: str) -> BatchStream:
    """The stream; at its end a query over all rows, the table ``data``, gives the bad ones, or one truth value."""

    def judge(connection: Any, rows: int) -> None:
        outcome.rows = rows
        columns = connection.execute(f"describe {text}").fetchall()
        if len(columns) == 1 and columns[0][1] == "BOOLEAN":
            found = connection.execute(text).fetchmany(2)
            if len(found) == 1:
                if found[0][0] is not True:
                    outcome.failed = 1
                    outcome.text = f"the query gives {'null' if found[0][0] is None else 'false'}"
                return
        row = connection.execute(f"select count(*) from (\n{text}\n)").fetchone()
        outcome.failed = int(row[0])
        if outcome.failed:
            outcome.text = f"the query gives {verb.rows(outcome.failed)}"
            bad = duckdb.table(connection, f"select * from (\n{text}\n) limit {_EXAMPLES}")
            outcome.examples += [_shown_row(bad.slice(number, 1), ()) for number in range(bad.num_rows)]

    names = {name: index for index, name in enumerate(stream.schema.names)}
    return _beside(context, stream, names, judge, carried=False, label=outcome.name, query=text)


def _beside(
    context: Context,
    stream: BatchStream,
    columns: Mapping[str, int],
    judge: Callable[[Any, int], None],
    *,
    carried: bool,
    label: str,
    query: str = "",
) -> BatchStream:
    """The stream, while some of its columns are also written into a table; ``judge`` looks at that at the end.

    The table lies in a sealed instance of DuckDB, on disk where memory does not suffice.
    """
    schema = stream.schema
    fields = [schema.field(index).with_name(name) for name, index in columns.items()]
    if carried:
        fields = [field.with_type(carrier.type_of(field.type, field.name, key=True)) for field in fields]
        fields.append(pa.field(carrier.PLACE, pa.int64()))
    given = pa.schema(fields)
    connection = duckdb.sealed(context)
    take_back = context.on_cancel(connection.interrupt)

    def close() -> None:
        take_back()
        with contextlib.suppress(native.Error):
            connection.close()
        stream.close()

    @contextlib.contextmanager
    def errors() -> Iterator[None]:
        try:
            yield
        except native.Error as error:
            context.check()
            raise _failed(error, label) from None

    def write(statement: str, batches: Sequence[pa.RecordBatch]) -> None:
        feed = duckdb.register(connection, "_pipeline_flow_rows", BatchStream(given, batches))
        try:
            connection.execute(f"{statement} select * from _pipeline_flow_rows")
        except native.Error:
            if feed.error is not None:
                raise feed.error from None
            raise
        finally:
            feed.close()

    def narrowed(batch: pa.RecordBatch, before: int) -> pa.RecordBatch:
        found = [batch.column(index) for index in columns.values()]
        if carried:
            found = [carrier.encoded(array, kind.type) for array, kind in zip(found, fields, strict=False)]
            found.append(pa.array(range(before, before + batch.num_rows), pa.int64()))
        return pa.RecordBatch.from_arrays(found, schema=given)

    try:
        duckdb.lock(connection)
        with errors():
            write(f"create table {_TABLE} as", [])
            if query:
                connection.execute(f"explain {query}")
    except BaseException:
        close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        rows = 0
        for table in rowwise.groups(context, stream):
            with errors():
                pieces = []
                for batch in table.to_batches():
                    pieces.append(narrowed(batch, rows))
                    rows += batch.num_rows
                write(f"insert into {_TABLE}", pieces)
            yield from table.to_batches()
        with errors():
            judge(connection, rows)

    return BatchStream(schema, batches(), on_close=close)
