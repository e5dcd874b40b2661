"""DuckDB: one instance per file and run, instances in memory, and Arrow in both directions without a changed value."""

from __future__ import annotations

import contextlib
import operator
import os
import re
import secrets
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from pipeline_flow.core.context import CancelledByRun
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
from pipeline_flow.sql import misfit, params, script
from pipeline_flow.sql.dialect import DUCKDB
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context, Resources
    from pipeline_flow.sql.url import Database

BATCH_ROWS = 122_880  # one row group of DuckDB
# With its default of 1 MB, DuckDB fills a streamed result with one thread only (6 M rows of CSV: 5.5 s instead of 2.9 s).
_READING_BUFFER = "32MB"
_SEALED_BUFFER = "8MB"  # its input comes as batches, and waits for others less than it is waited for
# DuckDB draws a progress bar on stdout after two seconds, wherever that goes.
_PER_CONNECTION = (
    "set TimeZone = 'UTC'",
    "set enable_progress_bar = false",
)
_ALWAYS: dict[str, Any] = {
    "python_enable_replacements": False,  # a query must not find the variables of our own code
    "autoinstall_known_extensions": False,
    "arrow_lossless_conversion": True,
}
_SEALED: dict[str, Any] = {"autoload_known_extensions": False, "allow_community_extensions": False}
_NO_ROWS = "_pipeline_flow_no_rows"
_PART_ROWS = 16 * BATCH_ROWS
_PART_BYTES = 256 * 1024 * 1024
_GROUP_BYTES = 64 * 1024 * 1024
# What an INSERT that keeps the order of rows must be able to claim, for each column of the table, per thread beside the
# first: it may claim a quarter of the memory limit, and wants 4 MiB (PhysicalBatchInsert in DuckDB 1.3 to 1.5).
_CLAIM = 16 * 1024 * 1024
_GROUPS_OF_A_THREAD = 3  # row groups that a thread may hold: as they came, in DuckDB's form, compressed
_GROUPS_AT_LEAST = 1.5  # and holds, under DuckDB's limit
_LEAST_LIMIT = 64 * 1024 * 1024
_COUNTED = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE")
WIDE_INTEGERS = ("HUGEINT", "UHUGEINT", "BIGNUM")  # Arrow has none; they travel as decimals, or overflow
_WIDEST_DECIMAL = 38  # digits


# ---------------------------------------------------------------------------------------------- instances


def _config(resources: Resources) -> dict[str, Any]:
    return {
        **_ALWAYS,
        "memory_limit": _kib(resources.memory_bytes),
        # One folder each: the files in it have the same names in every instance, and two would write into one.
        "temp_directory": str(resources.folder() / f"duckdb-{secrets.token_hex(6)}"),
    }


def _kib(size: int) -> str:
    return f"{size // 1024}KiB"


def in_memory(context: Context) -> DuckDBPyConnection:
    """An instance of its own without a file, for reading and writing files. Close it."""
    return prepared(duckdb.connect(config=_config(context.resources)))


def sealed(context: Context) -> DuckDBPyConnection:
    """An instance of its own that reaches nothing outside itself, for the SQL that people write. Close it.

    It reads no file, no network, no variable of this process and loads no extension; give it data, then
    :func:`lock` it.
    """
    return prepared(duckdb.connect(config={**_config(context.resources), **_SEALED}), buffer=_SEALED_BUFFER)


def lock(connection: DuckDBPyConnection) -> None:
    """Closes the doors of a sealed instance for good: no external access, and no setting can be changed any more."""
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def prepared(connection: DuckDBPyConnection, *, buffer: str = _READING_BUFFER) -> DuckDBPyConnection:
    """``connection`` with the settings that each connection needs for itself; ``buffer`` is how much of a result waits."""
    for statement in _PER_CONNECTION:
        connection.execute(statement)
    connection.execute(f"set streaming_buffer_size = '{buffer}'")
    return connection


def connect(context: Context, database: Database, *, write: bool) -> DuckDBPyConnection:
    """A connection of its own to the run's one instance of a DuckDB file. Close it.

    Args:
        context: the step's.
        database: the file.
        write: the step writes; a missing file is made. Without it the file must be there.

    Raises:
        SourceUnreadable: the file does not exist, may not be read, or another process holds it.
        SourceMalformed: the file is no DuckDB database.
        TargetUnwritable: the step writes and the file cannot be written.
    """
    if not write and not database.path.exists():
        raise SourceUnreadable(f"the database {database.path} does not exist", hint=_start(database))
    try:
        root = context.resources.get(database.url, lambda: _opened(database, context.resources))
    except (duckdb.Error, OSError) as error:
        raise _not_opened(error, database, write=write) from None
    if write and _is_read_only(root):
        raise TargetUnwritable(f"the database {database.path} can only be read: no permission to write it")
    return prepared(root.cursor())


def probe(database: Database) -> tuple[str, str]:
    """DuckDB's version, and why the file cannot be written; empty where it can. Makes no file.

    Raises:
        SourceUnreadable: the file does not exist, may not be read, or another process holds it.
        SourceMalformed: the file is no DuckDB database.
    """
    if not database.path.exists():
        raise SourceUnreadable(f"the database {database.path} does not exist", hint=_start(database))
    _check_magic(database.path)
    try:
        with _open(str(database.path), True, {"threads": 1}) as connection:
            refusal = "the file can only be read" if _is_read_only(connection) else ""
    except (duckdb.Error, OSError) as error:
        raise _not_opened(error, database, write=False) from None
    return duckdb.__version__, refusal


@contextlib.contextmanager
def _opened(database: Database, resources: Resources) -> Iterator[DuckDBPyConnection]:
    existed = database.path.exists()
    if existed:
        _check_magic(database.path)
    else:
        database.path.parent.mkdir(parents=True, exist_ok=True)  # only a step that writes comes here then
    root = _open(str(database.path), existed, _config(resources))
    try:
        yield root
    finally:
        left_empty = not existed and _is_empty(root)
        root.close()
        if left_empty:
            for leftover in (database.path, database.path.with_name(database.path.name + ".wal")):
                leftover.unlink(missing_ok=True)


def _check_magic(path: Path) -> None:
    """DuckDB also opens CSV, JSON and Parquet files, as views in memory; what is loaded there would be lost."""
    with (
        contextlib.suppress(OSError),
        path.open("rb") as file,
    ):  # what may not be read, DuckDB refuses in its own words
        head = file.read(12)
        if head and head[8:] != b"DUCK":
            raise _no_database(path)


def _no_database(path: Path) -> SourceMalformed:
    return SourceMalformed(f"{path} is not a DuckDB database", hint="a SQLite file has a URL with sqlite:///")


def _open(path: str, existed: bool, config: dict[str, Any]) -> DuckDBPyConnection:
    try:
        return duckdb.connect(path, config=config)
    except (duckdb.Error, OSError):
        if existed:
            # Reading needs no permission to write, and goes on while other processes only read.
            with contextlib.suppress(duckdb.Error, OSError):
                return duckdb.connect(path, read_only=True, config=config)
        raise


def _is_empty(root: DuckDBPyConnection) -> bool:
    with contextlib.suppress(duckdb.Error):
        found = root.execute(
            "select count(*) from (select 1 from duckdb_tables() union all select 1 from duckdb_views() where not internal)"
        ).fetchone()
        return found == (0,)
    return False


def _is_read_only(root: DuckDBPyConnection) -> bool:
    cursor = root.cursor()
    try:
        found = cursor.execute(
            "select readonly from duckdb_databases() where database_name = current_database()"
        ).fetchone()
    finally:
        cursor.close()
    return found == (True,)


def _start(database: Database) -> str:
    return "" if database.path.parent.exists() else f"its folder {database.path.parent} does not exist either"


def _not_opened(error: Exception, database: Database, *, write: bool) -> RunError:
    text = str(error)
    path: Path = database.path
    failed = TargetUnwritable if write else SourceUnreadable
    if "Conflicting lock" in text or "being used by another process" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        return failed(
            f"the database {path} is locked by {who}",
            hint="end that process, or let it open the file read-only",
        )
    if "not a valid DuckDB database file" in text or "not a DuckDB database" in text:
        return _no_database(path)
    if is_damaged(text):
        return SourceMalformed(f"{path} is damaged: {first_lines(text)}", hint="take a backup")
    if not path.parent.exists():
        return failed(
            f"the folder {path.parent} of the database does not exist", hint="make it, or correct the URL"
        )
    if path.exists() and not os.access(path, os.R_OK):
        return failed(f"the database {path} cannot be read: no permission")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return failed(f"the database {path} cannot be written: no permission")
    return failed(f"the database {path} cannot be opened: {first_lines(text)}")


def first_lines(text: str) -> str:
    """A database's message without the parts that only its developers read."""
    return text.split("\n\nStack Trace:", maxsplit=1)[0].strip()


# ---------------------------------------------------------------------------------------------- data in


class Feed:
    """A stream as DuckDB reads it: under a name, once, with every value that DuckDB could not hold exactly refused.

    Raises:
        ConversionFailed: DuckDB has no type for a column, or two columns differ only in upper and lower case.
    """

    def __init__(self, name: str, stream: BatchStream) -> None:
        self.name = name
        self._stream = stream
        self._next: pa.RecordBatch | None = None
        self._rows = 0
        self._error: ConversionFailed | None = None
        self.schema = accepted(stream.schema)
        _check_folded(self.schema.names, name)

    @property
    def error(self) -> BaseException | None:
        """What the stream's producer raised, or our own conversion, if anything did."""
        return self._error or self._stream.error

    def capsule(self) -> object:
        """The stream in Arrow's C form, bare.

        An object that has one would do as well, but DuckDB reads such an object through pyarrow's scanner, which runs
        ahead of the query until the whole input is in memory, and filters by pyarrow's rules instead of DuckDB's.
        """
        if not self.schema.equals(self._stream.schema):
            self._stream = self._stream.map(self.schema, self._converted)
        return self._stream.to_reader().__arrow_c_stream__()

    def has_more(self) -> bool:
        """Whether there are rows for another part. Raises what the producer raises."""
        if self._next is None:
            self._next = next(self._stream, None)
        return self._next is not None

    def part(self, begun: Callable[[], None]) -> object:
        """The next whole row groups as :meth:`capsule` gives all; ``begun`` is called when DuckDB asks for the first."""
        return pa.RecordBatchReader.from_batches(self.schema, self._part(begun)).__arrow_c_stream__()

    def _part(self, begun: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        begun()
        rows, size = 0, 0
        while rows < _PART_ROWS and size < _PART_BYTES and self.has_more():
            for batch in self._group():
                rows += batch.num_rows
                size += batch.nbytes
                self._check_texts(batch)
                yield self._converted(batch)

    def _group(self) -> list[pa.RecordBatch]:
        """The rows of one row group, as one batch where that can be made: DuckDB's threads share work by batches."""
        found: list[pa.RecordBatch] = []
        rows, size = 0, 0
        while rows < BATCH_ROWS and size < _GROUP_BYTES and self.has_more():
            batch, self._next = self._next, None
            assert batch is not None
            if batch.num_rows > BATCH_ROWS - rows:
                batch, self._next = batch.slice(0, BATCH_ROWS - rows), batch.slice(BATCH_ROWS - rows)
            found.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
        if len(found) > 1:
            # Dictionaries inside of nested values, or together larger than their index; more text than offsets reach.
            with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
                return [pa.concat_batches(found)]
        return found

    @property
    def row_bytes(self) -> int:
        """What a row takes, judged by the next rows; see :meth:`has_more`."""
        return 0 if self._next is None else -(-self._next.nbytes // self._next.num_rows)

    def _check_texts(self, batch: pa.RecordBatch) -> None:
        for field, column in zip(batch.schema, batch.columns, strict=True):
            try:
                misfit.valid_text(column)
            except pa.ArrowInvalid:
                self._error = misfit.refused("DuckDB", field, column, misfit.valid_text, self._rows)
                raise self._error from None

    def _converted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = []
        for field, column in zip(self.schema, batch.columns, strict=True):
            try:
                columns.append(column if column.type.equals(field.type) else column.cast(field.type))
            except pa.ArrowInvalid:
                given = field.with_type(column.type)
                self._error = misfit.refused(
                    "DuckDB", given, column, operator.methodcaller("cast", field.type), self._rows
                )
                raise self._error from None
        self._rows += batch.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()


def register(connection: DuckDBPyConnection, name: str, stream: BatchStream) -> Feed:
    """Makes ``stream`` a table called ``name`` for this connection; it can be read once.

    Raises:
        ConversionFailed: DuckDB has no type for a column.
    """
    feed = Feed(name, stream)
    try:
        connection.register(name, feed.capsule())
    except duckdb.Error as error:
        raise ConversionFailed(f"DuckDB cannot take this data: {first_lines(str(error))}") from None
    return feed


def insert(
    context: Context, connection: DuckDBPyConnection, feed: Feed, statement: str, *, columns: int
) -> int:
    """Runs an INSERT that reads ``feed`` under its name, for part after part; gives the number of rows.

    ``columns`` is how many the table has. With as little memory as a run gives it, DuckDB takes twice the time for one
    statement that is long (6 M rows of lineitem in 128 MB: 18 s of processor instead of 9.6 s).
    """
    rows = 0
    with _Claim(connection, context.resources.memory_bytes, columns) as claim:
        while feed.has_more():
            context.check()
            if not context.resources.are_shared:
                claim.raise_for(feed.row_bytes)
            connection.register(feed.name, feed.part(claim.lower))
            found = connection.execute(statement).fetchone()
            connection.unregister(feed.name)
            rows += int(found[0]) if found else 0
    return rows


class _Claim:
    """The memory limit of an instance while rows are inserted; ``limit`` is the one that it has otherwise, in bytes.

    An INSERT that keeps the order of rows gets one thread for each 16 MiB of the limit and column of the table: a table of
    16 columns and a limit of 128 MiB make one. So the limit is raised for the moment in which DuckDB decides that. Before it
    has taken the first row the limit is what its threads need: what it had beyond that it would fill with blocks that are
    written already, and memory would grow with the number of rows.

    Only for an instance that nobody else uses meanwhile: the limit is that of all its connections.
    """

    def __init__(self, connection: DuckDBPyConnection, limit: int, columns: int) -> None:
        self._limit = limit
        self._needed = limit
        self._raised = False
        self._columns = columns
        self._aside = connection.cursor()
        found = self._aside.execute("select current_setting('threads')").fetchone()
        self._threads = int(found[0]) if found else 1

    def raise_for(self, row_bytes: int) -> None:
        """Raises the limit as far as the threads need that fit into it, with rows of as many bytes as the next ones have."""
        group = BATCH_ROWS * max(1, row_bytes)
        threads = max(1, min(self._threads, self._limit // (_GROUPS_OF_A_THREAD * group)))
        self._needed = min(self._limit, max(_LEAST_LIMIT, int(_GROUPS_AT_LEAST * group * threads)))
        self._raised = True
        self._set(max(self._limit, _CLAIM * (self._columns * (threads - 1) + 1)))

    def lower(self) -> None:
        """Sets what is needed. May be called in the midst of the INSERT, by DuckDB's own threads."""
        if self._raised and not self._set(self._needed):
            self._set(self._limit)

    def _set(self, limit: int) -> bool:
        """Sets a limit; whether no more than that is held at this moment."""
        try:
            self._aside.execute(f"set memory_limit = '{_kib(limit)}'")
        except duckdb.Error:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raised:
            self._set(self._limit)
        self._aside.close()


def _check_folded(names: Sequence[str], stream: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise ConversionFailed(
                f"the columns `{other}` and `{name}` of `{stream}` are one name in SQL",
                hint="rename one of them",
            )


def accepted(schema: pa.Schema) -> pa.Schema:
    """``schema`` with the types in which DuckDB reads its columns without changing a value.

    Raises:
        ConversionFailed: DuckDB has no type for a column.
    """
    return pa.schema([accepted_field(field) for field in schema], schema.metadata)


def accepted_field(field: pa.Field) -> pa.Field:
    """``field`` with the nearest type that DuckDB reads without changing a value.

    Raises:
        ConversionFailed: there is none.
    """
    accepted = _accepted_type(field.type, field.name)
    return field if accepted is field.type else field.with_type(accepted)


def _accepted_type(type_: pa.DataType, column: str) -> pa.DataType:
    """The nearest type that DuckDB reads without changing a value; the same object where it reads ``type_`` itself."""
    if pa.types.is_float16(type_):
        return pa.float32()
    if pa.types.is_decimal256(type_) or (pa.types.is_decimal(type_) and type_.scale < 0):
        precision = type_.precision - min(type_.scale, 0)
        if precision > _WIDEST_DECIMAL:
            raise ConversionFailed(
                f"the column `{column}` has {precision} digits, and DuckDB's decimals have {_WIDEST_DECIMAL}",
                hint="make it text, or a decimal of fewer digits",
            )
        return pa.decimal128(precision, max(type_.scale, 0))
    if pa.types.is_timestamp(type_) and type_.unit == "ns" and type_.tz is not None:
        return pa.timestamp("us", type_.tz)
    if pa.types.is_duration(type_) and type_.unit == "ns":
        return pa.duration("us")
    if pa.types.is_list(type_):
        inner = accepted_field(type_.value_field)
        return type_ if inner is type_.value_field or inner.equals(type_.value_field) else pa.list_(inner)
    if pa.types.is_struct(type_):
        fields = [accepted_field(type_.field(index)) for index in range(type_.num_fields)]
        changed = any(not field.equals(type_.field(index)) for index, field in enumerate(fields))
        return pa.struct(fields) if changed else type_
    return type_


# ---------------------------------------------------------------------------------------------- data out


def single_select(query: str) -> str:
    """``query`` without what follows its only statement.

    Raises:
        WrongArgument: it cannot be parsed, or is anything but one SELECT.
    """
    try:
        statements = _parser().extract_statements(query)
    except duckdb.Error as error:
        raise WrongArgument(f"the query cannot be read: {first_lines(str(error))}") from None
    if len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT:
        return _without_end(query)
    if not statements:
        raise WrongArgument("the query is empty", hint="write one SELECT")
    if [str(item.type) for item in statements] == [
        "StatementType.CREATE",
        "StatementType.SELECT",
    ] and re.search(r"\bpivot\b", query, re.IGNORECASE):
        raise WrongArgument(
            "a PIVOT has to know its columns before it runs",
            hint="list them: PIVOT … ON column IN ('a', 'b')",
        )
    kinds = " and ".join(dict.fromkeys(statement_kind(item) for item in statements))
    raise WrongArgument(
        f"the query must be exactly one SELECT, and here are {len(statements)} statements"
        if len(statements) > 1
        else f"the query must be a SELECT, and this is {kinds}"
    )


def _without_end(query: str) -> str:
    """``query``, which is one statement, without its semicolon and what stands behind it: spaces and comments."""
    for position in reversed([index for index, char in enumerate(query) if char == ";"]):
        with contextlib.suppress(duckdb.Error):
            if len(_parser().extract_statements(query[:position])) == 1 and not _parser().extract_statements(
                query[position + 1 :]
            ):
                return query[:position].strip()
    return query.strip()


def statement_kind(statement: duckdb.Statement) -> str:
    """What a statement does, as SQL calls it: ``INSERT``."""
    return str(statement.type).rpartition(".")[2]


def _parser() -> DuckDBPyConnection:
    global _parsing  # noqa: PLW0603 - parsing needs a connection, which takes 10 ms to open
    if _parsing is None:
        _parsing = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    return _parsing.cursor()


_parsing: DuckDBPyConnection | None = None


def columns_of(
    connection: DuckDBPyConnection, query: str, params: Mapping[str, Any] | None = None
) -> list[tuple[str, str]]:
    """Names and DuckDB types of what ``query`` gives, without running it.

    Raises:
        QueryFailed: DuckDB refuses the query.
    """
    try:
        rows = connection.execute(f"describe {query}", dict(params or {})).fetchall()
    except duckdb.Error as error:
        raise failed(error) from None
    return [(row[0], row[1]) for row in rows]


def types_of(connection: DuckDBPyConnection, schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and DuckDB types of the columns of an Arrow schema.

    Raises:
        ConversionFailed: DuckDB has no type for a column.
    """
    try:
        connection.register(_NO_ROWS, pa.RecordBatchReader.from_batches(schema, ()).__arrow_c_stream__())
        return columns_of(connection, f"select * from {_NO_ROWS}")
    except duckdb.Error as error:
        raise ConversionFailed(f"DuckDB cannot take this data: {first_lines(str(error))}") from None
    finally:
        with contextlib.suppress(duckdb.Error):
            connection.unregister(_NO_ROWS)


def type_names(schema: pa.Schema) -> list[str]:
    """The types of the columns as `columns:` takes them: DuckDB's names, or Arrow's where DuckDB has none."""
    found = []
    with _parser().cursor() as cursor:
        for field in schema:
            try:
                ((_, name),) = types_of(cursor, pa.schema([field.with_name("_")]))
            except ConversionFailed:
                name = str(field.type)
            found.append(name)
    return found


def run(context: Context, connection: DuckDBPyConnection, text: str, given: Mapping[str, Any]) -> int | None:
    """Runs a script inside the connection's transaction; see :meth:`Engine.execute` for the rest."""
    affected: list[int] = []
    bound = params.bind(text, given, DUCKDB.marker)
    take_back = context.on_cancel(connection.interrupt)
    try:
        for statement in connection.extract_statements(bound):
            context.check()
            kind = statement_kind(statement)
            if kind == "TRANSACTION":
                raise script.own_transaction()
            own = {name: given[name] for name in statement.named_parameters if name in given}
            row = connection.execute(statement, own).fetchone()
            if kind in _COUNTED and row and isinstance(row[0], int):
                affected.append(row[0])
    except duckdb.Error as error:
        context.check()
        raise params.missing(text, given) or failed(error) from None
    finally:
        take_back()
    return sum(affected) if affected else None


def stream(
    connection: DuckDBPyConnection,
    query: str,
    params: Mapping[str, Any] | None = None,
    *,
    context: Context,
    feeds: Sequence[Feed] = (),
    keep: bool = False,
    on_close: Callable[[], object] = lambda: None,
    translate: Callable[[Exception], Exception | None] = lambda _: None,
) -> BatchStream:
    """Runs one SELECT and gives its rows as they come, every type kept.

    HUGEINT becomes decimal(38, 0) and a value beyond that is an error; UUID and JSON stay what they are; timestamps
    with a zone are in UTC.

    Args:
        connection: closed with the stream, unless it shall be kept.
        query: one SELECT, without a semicolon.
        params: values for ``$name``.
        context: the step's; its cancellation interrupts the query.
        feeds: what the query reads; an error of their producers is raised as it is. Closed with the stream.
        keep: the connection stays open; it has a transaction for several streams, one after the other.
        on_close: called when the stream is closed.
        translate: makes a better error of DuckDB's, or gives ``None``.

    Raises:
        QueryFailed: DuckDB refuses the query.
        ConversionFailed: two columns have one name.
    """
    take_back = context.on_cancel(connection.interrupt)

    def close() -> None:
        take_back()
        if not keep:
            with contextlib.suppress(duckdb.Error):
                connection.close()
        for feed in feeds:
            feed.close()
        on_close()

    def explain(error: Exception) -> BaseException:
        if context.cancelled:
            return CancelledByRun()
        for feed in feeds:
            if feed.error is not None:
                return feed.error
        return error if isinstance(error, ConversionFailed) else translate(error) or failed(error)

    columns: list[tuple[str, str]] = []
    try:
        columns = columns_of(connection, query, params)
        _check_duplicates([name for name, _ in columns])
        _check_arrow_has(columns)
        reader = connection.execute(_exact(query, columns), dict(params or {})).to_arrow_reader(BATCH_ROWS)
        schema = pa.schema([_plain_field(field) for field in reader.schema])
    except (duckdb.Error, pa.ArrowException) as error:
        better = explain(_too_wide(connection, query, params, columns) or error)
        close()
        raise better from None
    except BaseException:
        close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        same = schema.equals(reader.schema)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise explain(_too_wide(connection, query, params, columns) or error) from None
            yield batch if same else _plain_batch(batch, schema)

    return BatchStream(schema, batches(), on_close=close)


def table(connection: DuckDBPyConnection, query: str, params: Mapping[str, Any] | None = None) -> pa.Table:
    """What one SELECT gives, in memory, every type kept but integers wider than 64 bits: cast those in the query.

    Raises:
        duckdb.Error: DuckDB refuses the query.
    """
    found = connection.execute(query, dict(params or {})).to_arrow_table()
    schema = pa.schema([_plain_field(field) for field in found.schema])
    if schema.equals(found.schema):
        return found
    return pa.Table.from_batches([_plain_batch(batch, schema) for batch in found.to_batches()], schema)


def is_damaged(text: str) -> bool:
    """Whether a message of DuckDB's says that a file is not what was written."""
    return "Could not read enough bytes" in text or "does not match stored checksum" in text


def no_room(error: Exception) -> str:
    """What to say of an error where the disk is full; empty for any other."""
    text = str(error)
    if "No space left on device" not in text:
        return ""
    found = re.search(r'file "([^"]+)"', text)
    return f"the disk is full: DuckDB cannot write {found[1] if found else 'its files'}"


def failed(error: Exception) -> Exception:
    """DuckDB's error as ours."""
    text = first_lines(str(error))
    if is_damaged(text):
        found = re.search(r'file "([^"]+)"', text)
        return SourceMalformed(f"{found[1] if found else 'a file'} is damaged: {text}", hint="take a backup")
    if no_room(error):
        return QueryFailed(no_room(error), hint="free some space, and run again")
    if isinstance(error, duckdb.OutOfMemoryException) or text.startswith("Out of Memory Error"):
        return QueryFailed(
            f"DuckDB ran out of memory: {text}", hint="raise `memory_limit`, or let the query keep less"
        )
    if isinstance(error, duckdb.InterruptException):
        return QueryFailed("the query was interrupted")
    return QueryFailed(text)


def _check_duplicates(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConversionFailed(
                f"the query gives the column `{name}` twice", hint=f"rename one: … as other_{name}"
            )
        seen.add(name)


def _exact(query: str, columns: Sequence[tuple[str, str]]) -> str:
    """``query`` with integers wider than 64 bits as decimals: Arrow has no such integers, and unchecked they overflow."""
    if not any(type_ in WIDE_INTEGERS for _, type_ in columns):
        return query
    listed = ", ".join(
        f"cast({_castable(name, type_)} as decimal(38, 0)) as {quote(name)}"
        if type_ in WIDE_INTEGERS
        else quote(name)
        for name, type_ in columns
    )
    return f"select {listed} from (\n{query}\n)"


def _castable(name: str, type_: str) -> str:
    """DuckDB casts a BIGNUM to no decimal but by way of its text."""
    return f"cast({quote(name)} as varchar)" if type_ == "BIGNUM" else quote(name)


def _too_wide(
    connection: DuckDBPyConnection,
    query: str,
    params: Mapping[str, Any] | None,
    columns: Sequence[tuple[str, str]],
) -> ConversionFailed | None:
    """The first wide integer that a decimal cannot hold, looked for once a query has failed."""
    for name, type_ in columns:
        if type_ not in WIDE_INTEGERS:
            continue
        misfits = (
            f"{quote(name)} is not null and try_cast({_castable(name, type_)} as decimal(38, 0)) is null"
        )
        with contextlib.suppress(duckdb.Error):
            found = connection.execute(
                f"select place, value from (select row_number() over () as place, cast({quote(name)} as varchar) as value, "
                f"({misfits}) as misfit from (\n{query}\n)) where misfit order by place limit 1",
                dict(params or {}),
            ).fetchone()
            if found is not None:
                return ConversionFailed(
                    f"the column `{name}` ({type_}) holds {found[1]} in row {found[0]:,}, which has more than 38 digits",
                    hint=f"read it as text: cast({quote(name)} as varchar) as {quote(name)}",
                )
    return None


def _check_arrow_has(columns: Sequence[tuple[str, str]]) -> None:
    for name, type_ in columns:
        if re.search(r"\bVARIANT\b", re.sub(r'"(?:[^"]|"")*"', "", type_)):
            raise ConversionFailed(
                f"the column `{name}` is {type_}, which Arrow does not have",
                hint=f"read it as JSON: cast({quote(name)} as json) as {quote(name)}",
            )


def _plain_field(field: pa.Field) -> pa.Field:
    type_ = _plain_type(field.type)
    return field if type_ is field.type else pa.field(field.name, type_, field.nullable)


def _plain_type(type_: pa.DataType) -> pa.DataType:
    """``type_`` with Arrow's booleans where DuckDB's lossless mode writes bytes."""
    if isinstance(type_, pa.Bool8Type):
        return pa.bool_()
    if pa.types.is_list(type_):
        inner = _plain_field(type_.value_field)
        return type_ if inner is type_.value_field or inner.equals(type_.value_field) else pa.list_(inner)
    if pa.types.is_fixed_size_list(type_):
        inner = _plain_field(type_.value_field)
        return type_ if inner.equals(type_.value_field) else pa.list_(inner, type_.list_size)
    if pa.types.is_struct(type_):
        fields = [_plain_field(type_.field(index)) for index in range(type_.num_fields)]
        changed = any(not field.equals(type_.field(index)) for index, field in enumerate(fields))
        return pa.struct(fields) if changed else type_
    if pa.types.is_map(type_):
        key, item = _plain_type(type_.key_type), _plain_type(type_.item_type)
        return type_ if key is type_.key_type and item is type_.item_type else pa.map_(key, item)
    return type_


def _plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_plain(column, field.type) for field, column in zip(schema, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if array.type.equals(type_):
        return array
    if isinstance(array.type, pa.Bool8Type):
        return array.storage.cast(pa.bool_())
    return _rebuilt(array, type_)


def _rebuilt(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """``array`` with its children made plain; nested booleans are rare, so this may copy what a slice hides."""
    if array.offset:
        array = pa.concat_arrays([array])
    buffers = array.buffers()
    validity = buffers[:1]
    if pa.types.is_struct(type_):
        children = [_plain(array.field(index), type_.field(index).type) for index in range(type_.num_fields)]
        return pa.StructArray.from_buffers(type_, len(array), validity, array.null_count, 0, children)
    if pa.types.is_fixed_size_list(type_):
        child = _plain(array.values, type_.value_type)
        return pa.Array.from_buffers(type_, len(array), validity, array.null_count, 0, [child])
    if pa.types.is_map(type_):
        entries = pa.StructArray.from_arrays(
            [_plain(array.keys, type_.key_type), _plain(array.items, type_.item_type)],
            fields=[type_.key_field, type_.item_field],
        )
        return pa.Array.from_buffers(type_, len(array), buffers[:2], array.null_count, 0, [entries])
    child = _plain(array.values, type_.value_type)
    return pa.Array.from_buffers(type_, len(array), buffers[:2], array.null_count, 0, [child])
