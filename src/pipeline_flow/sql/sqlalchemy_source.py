"""Reading through SQLAlchemy: one query, its rows fetched as they come, value by value."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as native
from sqlalchemy import exc

from pipeline_flow.core.suggest import hint
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed, QueryFailed, SourceUnreadable
from pipeline_flow.sql import product, sqlalchemy
from pipeline_flow.sql.sqlalchemy import FAULTS, Opened, Text
from pipeline_flow.sql.sqlalchemy_type import Reader, reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.types import TypeEngine

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.engine import Selection
    from pipeline_flow.sql.url import Database

_BATCH_ROWS = 16_384  # at most; fewer where rows are long
_FIRST_ROWS = 512
_MOST_FIRST_ROWS = 8_192  # where a column has had no value so far
_BATCH_BYTES = 16 * 1024 * 1024
_MYSQL_FLOAT = 4  # the protocol's number


class _Open:
    """A query that runs."""

    def __init__(self, context: Context, database: Database, selection: Selection) -> None:
        self.opened = sqlalchemy.connect(database, write=False)
        self._take_back = sqlalchemy.interruptible(context, database, self.opened)
        self._context, self._database = context, database
        self.declared: dict[str, TypeEngine[Any]] = {}
        self.described: list[Sequence[Any]] = []  # by the driver; the cursor is gone with its last row
        self.result: native.CursorResult[Any] | None = None
        text = Text(database, selection.query)
        try:
            if selection.table:
                self.declared = columns_of(self.opened, database, selection.table)
                text = Text(database, _select(self.opened, selection, list(self.declared)))
            statement = sqlalchemy.single(database, text.text)
            statement.check_used(selection.params)
            options = {"stream_results": True, "max_row_buffer": _FIRST_ROWS}
            connection = self.opened.connection.execution_options(**options)
            self.result = connection.execute(statement.bound(selection.params))
            self.described = list(getattr(self.result.cursor, "description", None) or ())
        except FAULTS as error:
            raised = text.lacking(selection.params, error) or self.explained(error)
            self.close()
            raise raised from None
        except BaseException:
            self.close()
            raise

    def explained(self, error: BaseException) -> Exception:
        """The driver's error as ours."""
        return sqlalchemy.explain(error, self._database, write=False, context=self._context)

    def fetch(self, rows: int) -> Sequence[Any]:
        """The next rows.

        Raises:
            QueryFailed: the database has changed its mind.
        """
        assert self.result is not None
        self._context.check()
        try:
            return self.result.fetchmany(rows)
        except FAULTS as error:
            raise self.explained(error) from None

    def close(self) -> None:
        """Closes the connection; what was not fetched stays where it is."""
        self._take_back()
        if self.result is not None and self.opened.dialect not in ("mysql", "mariadb"):
            with contextlib.suppress(*FAULTS):
                self.result.close()
        elif self.result is not None:  # their drivers would read all the rest, to no end
            unread: Any = getattr(self.result.cursor, "_result", None)
            if hasattr(unread, "unbuffered_active"):
                unread.unbuffered_active = False
        self.opened.close()


def stream(context: Context, database: Database, selection: Selection) -> BatchStream:
    """The rows of a table or a query as they come.

    Raises:
        WrongArgument: the query is not one SELECT, or lacks a value.
        SourceUnreadable: the database, or a table, is not there or may not be read.
        QueryFailed: the database refuses the query.
        ConversionFailed: two columns have one name, or the first values no common type. While reading: a value does not fit.
    """
    running = _Open(context, database, selection)
    try:
        names = _names(running, selection)
        first = list(running.fetch(_FIRST_ROWS))
        while len(first) < _MOST_FIRST_ROWS and _has_unknown(running, names, first):
            more = running.fetch(len(first))
            if not more:
                break
            first += more
        columns = _readers(running, names, first, selection)
    except BaseException:
        running.close()
        raise
    schema = pa.schema([(column.name, column.type) for column in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        rows: Sequence[Any] = first
        done, size = 0, _FIRST_ROWS
        while rows:
            arrays = [
                column.read(values, done)
                for column, values in zip(columns, zip(*rows, strict=True), strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            done += len(rows)
            size = max(1, min(_BATCH_ROWS, size * 4, _BATCH_BYTES * len(rows) // max(batch.nbytes, 1)))
            yield batch
            rows = running.fetch(size)

    return BatchStream(schema, batches(), on_close=running.close)


def _select(opened: Opened, selection: Selection, known: Sequence[str]) -> str:
    for name in selection.columns:
        if known and name not in known:
            raise SourceUnreadable(
                f"the table `{'.'.join(selection.table)}` has no column `{name}`",
                hint=hint(name, known, "it has"),
            )
    listed = ", ".join(sqlalchemy.quote(opened, name) for name in selection.columns) or "*"
    condition = f" where (\n{selection.where}\n)" if selection.where else ""
    return f"select {listed} from {sqlalchemy.quote(opened, *selection.table)}{condition}"


def columns_of(opened: Opened, database: Database, table: Sequence[str]) -> dict[str, TypeEngine[Any]]:
    """The columns of a table or view with their types; empty where the dialect cannot tell.

    Raises:
        SourceUnreadable: there is no such table.
    """
    schema = table[0] if len(table) > 1 else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exc.SAWarning)  # a type that SQLAlchemy does not know
            found = native.inspect(opened.connection).get_columns(table[-1], schema)
    except exc.NoSuchTableError:
        near = ""
        with contextlib.suppress(*FAULTS, NotImplementedError):
            near = hint(table[-1], native.inspect(opened.connection).get_table_names(schema), "there are")
        raise SourceUnreadable(f"there is no table `{'.'.join(table)}` in {database}", hint=near) from None
    except NotImplementedError:
        return {}
    return {str(item["name"]): item["type"] for item in found}


def _names(running: _Open, selection: Selection) -> list[str]:
    result = running.result
    assert result is not None
    if not result.returns_rows:
        raise QueryFailed("the query gives no rows", hint="write a SELECT")
    names = list(map(str, result.keys()))
    selection.check_names(names)
    return names


def _has_unknown(running: _Open, names: Sequence[str], rows: Sequence[Any]) -> bool:
    open_ = [index for index, name in enumerate(names) if name not in running.declared]
    return bool(rows) and any(all(row[index] is None for row in rows) for index in open_)


def _readers(running: _Open, names: Sequence[str], rows: Sequence[Any], selection: Selection) -> list[Reader]:
    opened, described = running.opened, running.described
    text_type = getattr(opened.engine.dialect.dbapi, "STRING", None)
    columns = []
    for index, name in enumerate(names):
        told: Sequence[Any] = described[index] if len(described) == len(names) else (name, None)
        code = told[1]
        if opened.dialect in ("mysql", "mariadb") and code == _MYSQL_FLOAT and name not in selection.types:
            raise ConversionFailed(
                f"the column `{name}` is FLOAT, which {product.of(opened.dialect).label} sends with six digits only",
                hint=f"write cast({name} as double) as {name} in a query",
            )
        columns.append(
            reader(
                name,
                [row[index] for row in rows],
                opened.dialect,
                declared=running.declared.get(name),
                digits=_digits(told, opened.dialect),
                is_text=text_type is not None and code is not None and bool(text_type == code),
                wanted=selection.types.get(name),
            )
        )
    return columns


def _digits(told: Sequence[Any], dialect: str) -> tuple[int, int] | None:
    precision, scale = (told[4], told[5]) if len(told) > 5 else (None, None)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision:
        return None
    if dialect in ("mysql", "mariadb"):  # a length in characters: with the sign, and a point
        precision -= 1 if scale == 0 else 2
    return (precision, scale) if 0 < precision <= 76 and scale <= precision else None
