"""SQLite: opening files, and reading rows under the types that their columns declare."""

from __future__ import annotations

import datetime as dt
import os
import re
import sqlite3
import uuid
from decimal import Context as Precision
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.core.text import clipped
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import (
    ConversionFailed,
    QueryFailed,
    RunError,
    SourceMalformed,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.sql import params as binding
from pipeline_flow.sql import script
from pipeline_flow.sql.misfit import is_utf8
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.url import Database

_FETCH_ROWS = 16_384  # rows at a time as Python objects, about 100 bytes a value
_BUSY_SECONDS = 60.0  # how long to wait for other writers
_TRANSACTIONS = ("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE")
_WIDE = Precision(prec=100)  # the default context rounds at 28 digits


def connect(database: Database, *, write: bool) -> sqlite3.Connection:
    """A connection without implicit transactions; it may be used by one thread after the other. Close it.

    Args:
        database: the file.
        write: the file may be changed, and a missing one is made. Without it the file must be there.

    Raises:
        SourceUnreadable: the file does not exist or may not be read.
        SourceMalformed: the file is no SQLite database.
        TargetUnwritable: ``write``, and the file cannot be written.
    """
    path = database.path
    if not write and not path.exists():
        raise SourceUnreadable(f"the database {path} does not exist")
    if write and not path.parent.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetUnwritable(
                f"the folder {path.parent} of the database cannot be made: {error.strerror}"
            ) from None
    if write and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise TargetUnwritable(f"the database {path} cannot be written: no permission")
    if not write and not os.access(path, os.R_OK):
        raise SourceUnreadable(f"the database {path} cannot be read: no permission")
    try:
        try:
            return _opened(path, "rwc" if write else "ro")
        except sqlite3.OperationalError as error:
            if write or getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # Somebody was killed in a commit, or had no room for it. Whoever may write the file takes that back.
            _opened(path, "rw").close()
            return _opened(path, "ro")
    except sqlite3.Error as error:
        raise _not_opened(error, database, write=write) from None


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _not_opened(error: sqlite3.Error, database: Database, *, write: bool) -> RunError:
    path = database.path
    if "malformed" in str(error):
        return _damaged(error, path)
    if "not a database" in str(error):
        return SourceMalformed(
            f"{path} is not a SQLite database", hint="a DuckDB file has a URL with duckdb:///"
        )
    failed = TargetUnwritable if write else SourceUnreadable
    if "locked" in str(error):
        return failed(
            f"the database {path} is locked by another process", hint="end that process and run again"
        )
    return failed(f"the database {path} cannot be opened: {error}")


def _damaged(error: sqlite3.Error, path: Path | None) -> SourceMalformed:
    return SourceMalformed(
        f"{path or 'the database'} is damaged: SQLite: {error}",
        hint="take a backup; the program sqlite3 saves what can be saved: .recover",
    )


def is_full(error: sqlite3.Error) -> bool:
    """Whether an error says that there is no room on the disk."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL


def failed(error: sqlite3.Error, path: Path | None = None) -> RunError:
    """SQLite's error as ours; ``path`` is the database's file."""
    if "malformed" in str(error):
        return _damaged(error, path)
    if is_full(error):
        return QueryFailed(
            f"the disk of {path or 'the database'} is full", hint="free some space, and run again"
        )
    hint = (
        "another process writes the database; run again when it has ended" if "locked" in str(error) else ""
    )
    return QueryFailed(f"SQLite: {error}", hint=hint)


def bindable(value: Any) -> Any:
    """A parameter as SQLite stores such values: dates and times as ISO text, decimals as text."""
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, bool) or value is None or isinstance(value, int | float | str | bytes):
        return value
    raise WrongArgument(f"`params` holds a {type(value).__name__}, which SQLite cannot bind")


def run(
    context: Context, database: Database, connection: sqlite3.Connection, text: str, given: Mapping[str, Any]
) -> int | None:
    """Runs a script inside the connection's transaction; see :meth:`Engine.execute` for the rest."""
    affected: list[int] = []
    take_back = context.on_cancel(connection.interrupt)
    try:
        for statement in statements(text):
            context.check()
            if statement.split(None, 1)[0].upper().rstrip(";") in _TRANSACTIONS:
                raise script.own_transaction()
            own = {name: bindable(given[name]) for name in binding.names(statement) if name in given}
            count = connection.execute(statement, own).rowcount
            if count >= 0:
                affected.append(count)
    except sqlite3.Error as error:
        context.check()
        raise binding.missing(text, given) or failed(error, database.path) from None
    finally:
        take_back()
    return sum(affected) if affected else None


def statements(text: str) -> Iterator[str]:
    """The statements of a script, as SQLite itself tells them apart (a trigger's body holds semicolons too)."""
    pending = ""
    for piece in text.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \t\r\n;"):
                yield pending.strip()
            pending = ""
    if pending.strip(" \t\r\n;"):
        raise QueryFailed("a statement does not end", hint="a quote, a comment or a trigger's END is missing")


def stream(context: Context, database: Database, query: str, params: Mapping[str, Any]) -> BatchStream:
    """Runs one SELECT and gives its rows as they come.

    Args:
        context: the step's; its cancellation interrupts the query.
        database: the file.
        query: one SELECT.
        params: values for ``:name``.

    Raises:
        QueryFailed: SQLite refuses the query.
        ConversionFailed: two columns have one name. While reading: a value does not fit its column's type.
    """
    connection = connect(database, write=False)
    take_back = context.on_cancel(connection.interrupt)

    def close() -> None:
        take_back()
        connection.close()

    try:
        connection.execute("begin")  # one state of the database for the types and the rows
        return read(context, database, connection, query, params, on_close=close)
    except BaseException:
        close()
        raise


def read(
    context: Context,
    database: Database,
    connection: sqlite3.Connection,
    query: str,
    params: Mapping[str, Any],
    *,
    on_close: Callable[[], object],
) -> BatchStream:
    """Like :func:`stream`, on a connection whose transaction has begun."""
    values = {name: bindable(value) for name, value in params.items()}

    def explain(error: sqlite3.Error) -> Exception:
        if context.cancelled:
            return CancelledByRun()
        if "decode to UTF-8" in str(error):
            return _no_text(connection, query, values)
        return failed(error, database.path)

    try:
        declared = _declared(connection, query, values)
        cursor = connection.execute(query, values)
        if cursor.description is None:
            raise QueryFailed("the query gives no rows", hint="write a SELECT")
        names = [item[0] for item in cursor.description]
        _check_duplicates(names)
        first = cursor.fetchmany(_FETCH_ROWS)
    except sqlite3.Error as error:
        raise explain(error) from None
    columns = [
        _reader(name, declared.get(name, ""), [row[index] for row in first])
        for index, name in enumerate(names)
    ]
    schema = pa.schema([(column.name, column.type) for column in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        rows, done = first, 0
        while rows:
            context.check()
            yield pa.RecordBatch.from_arrays(
                [
                    column.read(list(part), done)
                    for column, part in zip(columns, zip(*rows, strict=True), strict=True)
                ],
                schema=schema,
            )
            done += len(rows)
            try:
                rows = cursor.fetchmany(_FETCH_ROWS)
            except sqlite3.Error as error:
                raise explain(error) from None

    return BatchStream(schema, batches(), on_close=on_close)


def _no_text(connection: sqlite3.Connection, query: str, values: Mapping[str, Any]) -> ConversionFailed:
    """The first text of a query that is no UTF-8, which the driver refuses without its row."""
    connection.text_factory = bytes
    cursor = connection.execute(query, values)
    # Blobs are bytes too, and may be anything.
    kinds = connection.execute(
        f"select {', '.join(f'typeof({quote(item[0])})' for item in cursor.description)} from ({query.strip().rstrip(';')}\n)",
        values,
    )
    for number, (row, types) in enumerate(zip(cursor, kinds, strict=True), 1):
        for column, value, kind in zip(cursor.description, row, types, strict=True):
            if kind == b"text" and not is_utf8(value):
                return ConversionFailed(
                    f"the column `{column[0]}` holds {value[:60]!r} in row {number:,}, which is no UTF-8",
                    hint=f"read it as blob: cast({quote(column[0])} as blob) as {quote(column[0])}",
                )
    return ConversionFailed("a text is no UTF-8", hint="read it as blob: cast(… as blob)")


def _check_duplicates(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConversionFailed(
                f"the query gives the column `{name}` twice", hint=f"rename one: … as other_{name}"
            )


def _declared(connection: sqlite3.Connection, query: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The declared type of each column of ``query`` that comes straight from a table.

    SQLite tells it for the columns of a view, so the query becomes one for a moment, in the connection's own
    temporary database. Views take no parameters; nulls in their place give the same columns.
    """
    text = query.strip().rstrip(";")
    for name in values:
        text = re.sub(rf":{re.escape(name)}\b", "null", text)
    view = quote("temp", "_pipeline_flow_types")
    try:
        connection.execute(f"create temp view _pipeline_flow_types as {text}")
        rows = connection.execute("pragma temp.table_info(_pipeline_flow_types)").fetchall()
        connection.execute(f"drop view {view}")
    except sqlite3.Error:
        return {}  # the query itself will say what is wrong, or it is a statement without declared types
    return {row[1]: row[2] for row in rows}


# ---------------------------------------------------------------------------------------------- types

_SIZED = re.compile(r"^\s*([A-Za-z_ ]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*$")
_TEXT_WORDS = ("CHAR", "CLOB", "TEXT", "STRING")
_UTC_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?")


class _Column:
    """Makes Arrow arrays of one column's values. ``declared`` is the type in the database's own words, if any."""

    def __init__(
        self, name: str, type_: pa.DataType, declared: str, convert: Callable[[list[Any]], pa.Array]
    ) -> None:
        self.name = name
        self.type = type_
        self._declared = declared
        self._convert = convert

    def read(self, values: list[Any], done: int) -> pa.Array:
        """The values as an array; ``done`` rows were read before them."""
        try:
            return self._convert(values)
        except (ValueError, TypeError, OverflowError, ArithmeticError, pa.ArrowException):
            pass
        for index, value in enumerate(values):
            try:
                self._convert([value])
            except (ValueError, TypeError, OverflowError, ArithmeticError, pa.ArrowException):
                shown = clipped(repr(value))
                what = f"declared {self._declared}" if self._declared else f"{self.type} by its first values"
                readable = "blob" if isinstance(value, bytes) else "text"
                raise ConversionFailed(
                    f"the column `{self.name}` is {what}, and row {done + index + 1} holds {shown}",
                    hint=f"read it as {readable}: cast({quote(self.name)} as {readable}) as {quote(self.name)}",
                ) from None
        raise ConversionFailed(f"the column `{self.name}` cannot be read as {self.type}")


def _reader(name: str, declared: str, sample: list[Any]) -> _Column:
    found = _from_declared(declared)
    if found is not None:
        return _Column(name, found[0], declared, found[1])
    type_, convert = _from_values(sample)
    return _Column(name, type_, "", convert)


def _from_declared(declared: str) -> tuple[pa.DataType, Callable[[list[Any]], pa.Array]] | None:
    match = _SIZED.match(declared)
    if match is None or not declared.strip():
        return None
    word = match[1].upper()
    if word in ("DECIMAL", "NUMERIC", "DECIMAL_TEXT") and match[2]:
        return _decimal(int(match[2]), int(match[3] or 0))
    if word in ("BOOLEAN", "BOOL"):
        return pa.bool_(), _booleans
    if word == "DATE":
        return pa.date32(), lambda values: _iso(values, _DATE, pa.date32())
    if word == "TIME":
        return pa.time64("us"), _times
    if word in ("TIMESTAMP", "DATETIME", "TIMESTAMP WITHOUT TIME ZONE"):
        return pa.timestamp("us"), lambda values: _iso(values, _STAMP, pa.timestamp("us"))
    if word == "TIMESTAMP_NS":
        return pa.timestamp("ns"), lambda values: _iso(values, _STAMP, pa.timestamp("ns"))
    if word in ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"):
        return pa.timestamp("us", "UTC"), _instants
    if word == "UUID":
        return pa.uuid(), _uuids
    if "INT" in word:
        return pa.int64(), lambda values: pa.array(_only(values, int), pa.int64())
    if any(part in word for part in _TEXT_WORDS):
        return pa.string(), lambda values: pa.array(_only(values, str), pa.string())
    if "BLOB" in word:
        return pa.binary(), lambda values: pa.array(_only(values, bytes), pa.binary())
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return pa.float64(), lambda values: pa.array(_only(values, float), pa.float64())
    return None


def _from_values(sample: list[Any]) -> tuple[pa.DataType, Callable[[list[Any]], pa.Array]]:
    """By the values of the first rows: one type of SQLite's, or text where they are mixed."""
    kinds = {type(value) for value in sample if value is not None}
    if kinds == {int}:
        return pa.int64(), lambda values: pa.array(_only(values, int), pa.int64())
    if kinds == {float}:
        return pa.float64(), lambda values: pa.array(_only(values, float), pa.float64())
    if kinds == {bytes}:
        return pa.binary(), lambda values: pa.array(_only(values, bytes), pa.binary())
    if kinds == {str}:
        return pa.string(), lambda values: pa.array(_only(values, str), pa.string())
    return pa.string(), _texts


def _only(values: list[Any], kind: type) -> list[Any]:
    if not set(map(type, values)) <= {kind, type(None)}:
        raise TypeError(kind.__name__)
    return values


def _texts(values: list[Any]) -> pa.Array:
    return pa.array(
        [value if value is None or isinstance(value, str) else _as_text(value) for value in values],
        pa.string(),
    )


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes are no text")
    return repr(value)


def _booleans(values: list[Any]) -> pa.Array:
    if not set(values) <= {0, 1, None}:
        raise ValueError("a boolean is 0 or 1")
    return pa.array([None if value is None else bool(value) for value in values], pa.bool_())


def _iso(values: list[Any], form: re.Pattern[str], type_: pa.DataType) -> pa.Array:
    matches = form.fullmatch
    for value in values:
        if value is not None and not matches(value):
            raise ValueError(value)
    return pa.array(values, pa.string()).cast(type_)


def _times(values: list[Any]) -> pa.Array:
    for value in values:
        if value is not None and not _TIME.fullmatch(value):
            raise ValueError(value)
    return pa.array(
        [None if value is None else dt.time.fromisoformat(value) for value in values], pa.time64("us")
    )


def _instants(values: list[Any]) -> pa.Array:
    for value in values:
        if value is not None:
            offset = _UTC_OFFSET.search(value, 10)
            if offset is None or not _STAMP.fullmatch(value[: offset.start()]):
                raise ValueError(value)
    return pa.array(values, pa.string()).cast(pa.timestamp("us", "UTC"))


def _uuids(values: list[Any]) -> pa.Array:
    storage = pa.array([None if value is None else uuid.UUID(value).bytes for value in values], pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _decimal(precision: int, scale: int) -> tuple[pa.DataType, Callable[[list[Any]], pa.Array]] | None:
    if not 1 <= precision <= 76 or scale > precision:
        return None
    type_ = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    step = Decimal(1).scaleb(-scale)

    def convert(values: list[Any]) -> pa.Array:
        return pa.array([None if value is None else _exact_decimal(value, step) for value in values], type_)

    return type_, convert


def _exact_decimal(value: Any, step: Decimal) -> Decimal:
    # SQLite keeps a number in a DECIMAL column as a float; its shortest text is the number that was written.
    if isinstance(value, float):
        value = repr(value)
    elif not isinstance(value, int | str):
        raise TypeError(value)
    try:
        number = Decimal(value)
        rounded = number.quantize(step, context=_WIDE)
    except InvalidOperation:
        raise ValueError(value) from None
    if rounded != number:
        raise ValueError(value)
    return rounded
