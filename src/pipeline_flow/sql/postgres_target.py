"""Loading into PostgreSQL: COPY, in one transaction for all loads of a commit group."""

from __future__ import annotations

import bisect
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import duckdb as native
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline_flow.core.suggest import hint
from pipeline_flow.core.text import clipped
from pipeline_flow.data import BatchStream
from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed, DestinationFailed, RetryableError
from pipeline_flow.sql import duckdb, misfit, postgres, postgres_binary
from pipeline_flow.sql.dialect import POSTGRESQL
from pipeline_flow.sql.engine import TableTransaction
from pipeline_flow.sql.index import Index, check_same
from pipeline_flow.sql.postgres_source import infos
from pipeline_flow.sql.postgres_type import Writer, note, writer
from pipeline_flow.sql.quote import quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.engine import WriteOptions
    from pipeline_flow.sql.index import Extras
    from pipeline_flow.sql.postgres import Connection
    from pipeline_flow.sql.postgres_type import TypeInfo
    from pipeline_flow.sql.url import Database

_PIECE_BYTES = 8 * 1024 * 1024  # of Arrow's data, made CSV at once
_CSV = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")


class PostgresTransaction(TableTransaction):
    """One transaction in a PostgreSQL database, on a connection of its own."""

    def __init__(self, context: Context, database: Database, connection: Connection) -> None:
        self.database = database
        self._context = context
        self._connection = connection

    @classmethod
    async def begin(cls, context: Context, database: Database) -> PostgresTransaction:
        """See :meth:`Engine.begin`."""

        def open_() -> Connection:
            connection = postgres.connect(database, write=True)
            try:
                # Keys that other tables refer to may be deleted and written again, where their constraints allow it.
                connection.execute("begin; set constraints all deferred")
            except psycopg.Error as error:
                connection.close()
                raise postgres.explain(error, database, write=True) from None
            return connection

        return cls(context, database, await context.to_thread(open_))

    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """See :meth:`TableTransaction.write`."""
        return await context.to_thread(self._write, context, table, mode, stream, options)

    def _write(
        self, context: Context, parts: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        connection = self._connection
        take_back = postgres.interruptible(context, connection)
        lines = _Lines()
        try:
            writers = [writer(field) for field in stream.schema]
            if not writers:
                raise DestinationFailed("the data has no columns, and a table needs one")
            with _Encoder(context, writers, lines) as encoder:
                table = self._prepared(parts, mode, writers, options)
                _check_columns(".".join(parts), table, writers)
                encoder.aim(table)
                rows = self._copy(context, parts, encoder, stream)
                self._finish(parts, table.oid, options.extras)
                return rows
        except psycopg.Error as error:
            raise postgres.explain(
                error, self.database, write=True, context=context, connection=connection, row_of=lines.row
            ) from None
        finally:
            take_back()
            stream.close()

    def _prepared(
        self, parts: Sequence[str], mode: str, writers: Sequence[Writer], options: WriteOptions
    ) -> _Table:
        """The table, made where it is missing, empty where it is to be replaced."""
        table = _look_up(self._connection, parts)
        if table is None:
            self._create(parts, writers, options)
            table = _look_up(self._connection, parts)
            assert table is not None
        elif mode == "replace":
            _check_cascades(self._connection, ".".join(parts), table)
            # Whoever else replaces it waits: after both had deleted, the rows of both would be there.
            self._connection.execute(f"lock table {_name(parts)} in share row exclusive mode")
            self._connection.execute(f"delete from {_name(parts)}")
        return table

    def _create(self, parts: Sequence[str], writers: Sequence[Writer], options: WriteOptions) -> None:
        listed = [
            f"{_quote(item.field.name)} {options.types.get(item.field.name, item.declared)}"
            for item in writers
        ]
        if options.key:
            listed.append(f"primary key ({quote_all(options.key, POSTGRESQL)})")
        try:
            if len(parts) > 1:
                known = self._connection.execute("select 1 from pg_namespace where nspname = %s", (parts[0],))
                if known.fetchone() is None:
                    self._connection.execute(f"create schema {_quote(parts[0])}")
            self._connection.execute(f"create table {_name(parts)} ({', '.join(listed)})".encode())
        except (
            psycopg.errors.UniqueViolation,
            psycopg.errors.DuplicateTable,
            psycopg.errors.DuplicateSchema,
        ):
            raise RetryableError(
                f"another transaction has just made `{'.'.join(parts)}` in {self.database}",
                hint="let one pipeline need the other",
            ) from None

    def _copy(self, context: Context, parts: Sequence[str], encoder: _Encoder, stream: BatchStream) -> int:
        """Sends the rows; one piece is encoded while the server takes the one before."""
        names = quote_all(stream.schema.names, POSTGRESQL)
        statement = f"copy {_name(parts)} ({names}) from stdin (format {encoder.format})"
        with ThreadPoolExecutor(1, "pipeline-flow-encode") as thread, self._connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                copy.write(encoder.head)
                waiting: Future[memoryview] | None = None
                for piece, done in _pieces(context, stream):
                    encoding = thread.submit(encoder.encode, piece, done)
                    if waiting is not None:
                        copy.write(waiting.result())
                    waiting = encoding
                if waiting is not None:
                    copy.write(waiting.result())
                copy.write(encoder.tail)
            return cursor.rowcount

    def _finish(self, parts: Sequence[str], oid: int, extras: Extras) -> None:
        """Makes the indexes that are missing, and sets the comments that differ: each takes a lock."""
        execute, name = self._connection.execute, _name(parts)
        for index in extras.indexes:
            found = execute(
                "select case when i.indrelid <> %s then i.indrelid::regclass::text end, i.indisunique, array(select "
                "coalesce(a.attname::text, '…') from unnest(i.indkey::int2[]) with ordinality k(n, place) left join "
                "pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n and k.n <> 0 order by place) "
                "from pg_index i join pg_class c on c.oid = i.indexrelid where c.relname = %s "
                "and c.relnamespace = (select relnamespace from pg_class where oid = %s)",
                (oid, index.name, oid),
            ).fetchone()
            if found is not None:
                check_same(".".join(parts), index, found[0], Index(index.name, tuple(found[2]), found[1]))
                continue
            unique = "unique " if index.unique else ""
            columns = quote_all(index.columns, POSTGRESQL)
            execute(f"create {unique}index {_quote(index.name)} on {name} ({columns})".encode())
        wanted = {f"table {name}": (0, extras.comment)} if extras.comment else {}
        numbers: dict[str, int] = {}
        if extras.column_comments:
            numbers = dict(
                execute(
                    "select attname::text, attnum from pg_attribute where attrelid = %s and attnum > 0 "
                    "and not attisdropped",
                    (oid,),
                ).fetchall()
            )
        for column, comment in extras.column_comments.items():
            wanted[f"column {name}.{_quote(column)}"] = numbers[column], comment
        for what, (number, comment) in wanted.items():
            ((now,),) = execute(
                "select case when %s = 0 then obj_description(%s, 'pg_class') else col_description(%s, %s) end",
                (number, oid, oid, number),
            ).fetchall()
            if now != comment:
                text = postgres.inlined(self._connection, ":comment", {"comment": comment})[1:-1]
                execute(f"comment on {what} is {text}".encode())

    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """See :meth:`TableTransaction.execute`."""
        return await context.to_thread(
            postgres.run, context, self._connection, self.database, statements, params
        )

    async def commit(self) -> None:
        """Makes the rows visible.

        Raises:
            DestinationFailed: PostgreSQL refused, such as for a foreign key that is checked at the end; or the connection
                was lost meanwhile, and nobody knows.
        """

        def commit() -> None:
            try:
                self._connection.execute("commit")
            except psycopg.Error as error:
                found = postgres.explain(error, self.database, write=True, connection=self._connection)
                if postgres.is_lost(error, self._connection):
                    raise DestinationFailed(
                        f"the connection to {self.database} was lost during the commit: whether the rows are there is not known",
                        hint="look into the table before you run again",
                    ) from None
                raise DestinationFailed(str(found), hint=getattr(found, "hint", "")) from None
            self._connection.close()

        await self._context.to_thread(commit)

    async def abort(self) -> None:
        """Takes everything back."""

        def abort() -> None:
            with contextlib.suppress(psycopg.Error):
                if not self._connection.closed:
                    self._connection.execute("rollback")
            self._connection.close()

        await self._context.to_thread(abort)


def _pieces(context: Context, stream: BatchStream) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The rows in pieces of a size, each with the number of rows before it."""
    done = 0
    for batch in stream:
        context.check()
        at_once = max(1, _PIECE_BYTES * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, at_once):
            yield batch.slice(start, at_once), done + start
        done += batch.num_rows


def _quote(name: str) -> str:
    return quote(name, dialect=POSTGRESQL)


def _name(parts: Sequence[str]) -> str:
    return quote(*parts, dialect=POSTGRESQL)


# ---------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    info: TypeInfo
    optional: bool


@dataclass(frozen=True, slots=True)
class _Table:
    oid: int
    columns: tuple[_Column, ...]


def _look_up(connection: Connection, parts: Sequence[str]) -> _Table | None:
    row = connection.execute(
        "select oid, relkind from pg_class where oid = to_regclass(%s)", (_name(parts),)
    ).fetchone()
    if row is None:
        return None
    oid, kind = row
    if kind not in ("r", "p", "f"):
        what = {"v": "a view", "m": "a materialized view"}.get(kind, "no table")
        raise DestinationFailed(f"`{'.'.join(parts)}` is {what}", hint="name a table")
    rows = connection.execute(
        "select attname, atttypid, atttypmod, atthasdef or attidentity <> '' or attgenerated <> '' from pg_attribute "
        "where attrelid = %s and attnum > 0 and not attisdropped order by attnum",
        (oid,),
    ).fetchall()
    types = infos(connection, [(row[1], row[2]) for row in rows])
    return _Table(oid, tuple(_Column(row[0], info, row[3]) for row, info in zip(rows, types, strict=True)))


def _check_cascades(connection: Connection, name: str, table: _Table) -> None:
    """Refuses to empty a table where that would delete or change rows of others."""
    rows = connection.execute(
        "select conname, conrelid::regclass::text from pg_constraint "
        "where confrelid = %s and contype = 'f' and confdeltype in ('c', 'n', 'd') and conrelid <> confrelid",
        (table.oid,),
    ).fetchall()
    if rows:
        raise DestinationFailed(
            f"`{name}` cannot be replaced: its rows take those of `{rows[0][1]}` with them (the foreign key "
            f"`{rows[0][0]}` deletes or changes them)",
            hint="append to it, or make that foreign key NO ACTION DEFERRABLE",
        )


def _check_columns(name: str, table: _Table, writers: Sequence[Writer]) -> None:
    """Whether the data's columns can be written into the table's without a changed value.

    Raises:
        DestinationFailed: a column is missing on either side, or its type does not hold the data's values.
    """
    theirs = {column.name: column for column in table.columns}
    ours = {item.field.name for item in writers}
    for item in writers:
        column = theirs.get(item.field.name)
        if column is None:
            raise DestinationFailed(
                f"the table `{name}` has no column `{item.field.name}`",
                hint=hint(item.field.name, theirs, "it has")
                + f"; or add it: alter table {name} add column {_quote(item.field.name)} {item.declared}",
            )
        if not fits(item, column.info):
            raise DestinationFailed(
                f"the column `{item.field.name}` is {item.field.type} in the data and {column.info.full} in the table "
                f"`{name}`, which would change values",
                hint=f"cast it before, or change the table: alter table {name} alter {_quote(item.field.name)} type "
                f"{item.declared}",
            )
    for column in table.columns:
        if column.name not in ours and not column.optional:
            raise DestinationFailed(
                f"the data has no column `{column.name}`, which the table `{name}` has",
                hint=f"add it in the query (null as {column.name}), or give it a default in the table",
            )


_WHOLE = ("int2", "int4", "int8")
_FROM_TEXT = ("text", "citext", "uuid", "json", "jsonb", "xml")
_CLOCKS = ("time", "timestamp", "timestamptz")
_EXACT_BITS = {"float4": 24, "float8": 53}


def fits(item: Writer, target: TypeInfo) -> bool:
    """Whether every value of a column is kept in one of type ``target``, or refused by the server."""
    return _fits(item.field.type, target, target.is_array, note(item.field))


def _fits(type_: pa.DataType, target: TypeInfo, is_array: bool, noted: str) -> bool:
    kinds = pa.types
    if kinds.is_dictionary(type_) or kinds.is_run_end_encoded(type_):
        return _fits(type_.value_type, target, is_array, noted)
    if kinds.is_null(type_) or (kinds.is_string(type_) and noted and noted == target.full):
        return True
    if is_array:
        is_list = kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_)
        return bool(is_list) and target.length is None and _fits(type_.value_type, target, False, "")
    if isinstance(type_, pa.UuidType):
        return target.name == "uuid"
    if isinstance(type_, pa.JsonType):
        return target.name in ("json", "jsonb", "text")
    if isinstance(type_, pa.BaseExtensionType):
        return _fits(type_.storage_type, target, is_array, noted)
    if kinds.is_nested(type_):
        return target.name in ("json", "jsonb")
    if kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return target.name in _FROM_TEXT or target.kind == "e" or target.name in ("varchar", "bpchar")
    if kinds.is_boolean(type_):
        return target.name == "bool"
    if kinds.is_integer(type_):
        exact = type_.bit_width - kinds.is_signed_integer(type_) <= _EXACT_BITS.get(target.name, 0)
        return target.name in _WHOLE or exact or _scale_fits(0, target) or (target.name == "oid")
    if kinds.is_decimal(type_):
        return _scale_fits(type_.scale, target) or (target.name in _WHOLE and type_.scale == 0)
    if kinds.is_floating(type_):
        return target.name == "float8" or (target.name == "float4" and type_.bit_width <= 32)
    if kinds.is_date(type_):
        return target.name == "date" or (target.name == "timestamp" and target.modifier < 0)
    if kinds.is_timestamp(type_):
        wanted = "timestamp" if type_.tz is None else "timestamptz"
        return target.name == wanted
    if kinds.is_time(type_):
        return target.name == "time"
    if kinds.is_duration(type_):
        return target.name == "interval" and target.modifier < 0
    return target.name == "bytea"


def _scale_fits(scale: int, target: TypeInfo) -> bool:
    return target.name == "numeric" and (target.modifier < 4 or _scale(target) >= scale)


def _scale(target: TypeInfo) -> int:
    return (((target.modifier - 4) & 0x7FF) ^ 1024) - 1024


# ---------------------------------------------------------------------------------------------- values


_FIRST_PLAIN = 14  # the byte from which on there is no null character and no line break
_MOST_BROKEN = 1_000_000  # rows with line breaks of which we remember where they are


class _Lines:
    """Which row a line of what COPY reads belongs to: a text with line breaks makes several lines of a row."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._ends: list[int] = []  # the last line of each of these rows
        self._extra = 0

    def add(self, arrays: Sequence[pa.Array], done: int) -> None:
        """Remembers the rows with line breaks; ``done`` rows came before."""
        total = None
        for array in arrays:
            found = pc.fill_null(pc.count_substring(array, "\n"), 0).cast(pa.int64())
            if not done:  # in its first row, the server does not know yet how lines end
                found = pa.concat_arrays(
                    [pc.fill_null(pc.count_substring(array[:1], "\r"), 0).cast(pa.int64()), found[1:]]
                )
            total = found if total is None else pc.add(total, found)
        if total is None:
            return
        for row in pc.indices_nonzero(total)[: _MOST_BROKEN - len(self._rows)].to_pylist():
            self._extra += total[row].as_py()
            self._rows.append(done + row)
            self._ends.append(done + row + 1 + self._extra)

    def row(self, line: int) -> int:
        """The row, counted from 1."""
        index = bisect.bisect_left(self._ends, line)
        before = self._ends[index - 1] - self._rows[index - 1] - 1 if index else 0
        if index < len(self._rows) and line - before > self._rows[index]:
            return self._rows[index] + 1
        return line - before


def _checked_text(array: pa.Array) -> None:
    misfit.valid_text(array)
    if pc.any(pc.match_substring(array, "\0")).as_py():
        raise ValueError("its text has no null character")


def _is_raw(type_: pa.DataType) -> bool:
    """Whether CSV takes a column's values in digits, and the binary form as they are."""
    return isinstance(type_, pa.UuidType) or is_binary(type_)


class _Encoder:
    """Batches as COPY reads them: in its binary form where every column has one, else as CSV.

    ``with`` closes what nested values need.
    """

    def __init__(self, context: Context, writers: Sequence[Writer], lines: _Lines) -> None:
        self._context = context
        self._lines = lines
        self._writers = writers
        self._lengths: list[int | None] = [None] * len(writers)
        self._widened: list[bool] = [False] * len(writers)
        self._steps: list[int] = [1] * len(writers)
        self._forms: list[postgres_binary.Form] = []
        self._stack = contextlib.ExitStack()
        self._json: DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def aim(self, table: _Table) -> None:
        """Minds what the table's columns would do to values without a word."""
        theirs = {column.name: column.info for column in table.columns}
        for index, item in enumerate(self._writers):
            info = theirs[item.field.name]
            self._lengths[index] = None if info.is_array else info.length
            self._widened[index] = item.field.type == pa.float32() and info.name == "float8"
            if info.name in _CLOCKS and not info.is_array and 0 <= info.modifier < 6:
                self._steps[index] = 10 ** (6 - info.modifier)
        forms = [
            postgres_binary.form(self._type(index), theirs[item.field.name])
            for index, item in enumerate(self._writers)
        ]
        self._forms = [form for form in forms if form is not None] if None not in forms else []

    def _type(self, index: int) -> pa.DataType:
        """The type of a column as :meth:`_converted` gives it for the binary form."""
        item = self._writers[index]
        if item.nested or _is_raw(item.field.type):
            return pa.string() if item.nested else item.field.type
        return self._converted(index, pa.nulls(0, item.field.type), 0).type

    @property
    def format(self) -> str:
        """COPY's name of the form."""
        return "binary" if self._forms else "csv"

    @property
    def head(self) -> bytes:
        """What stands before the first row."""
        return postgres_binary.HEAD if self._forms else b""

    @property
    def tail(self) -> bytes:
        """What stands behind the last row."""
        return postgres_binary.TAIL if self._forms else b""

    def encode(self, batch: pa.RecordBatch, done: int) -> memoryview:
        """The rows of a batch, of which there is at least one; ``done`` rows came before.

        Raises:
            ConversionFailed: PostgreSQL has no such value.
        """
        columns = list(enumerate(batch.columns))
        if not self._forms:
            arrays = [self._converted(index, column, done) for index, column in columns]
            odd = self._checked(arrays, done)
            self._lines.add(odd, done)
            return self._csv(arrays)
        arrays = [
            column if _is_raw(column.type) else self._converted(index, column, done)
            for index, column in columns
        ]
        self._checked(arrays, done)
        try:
            return postgres_binary.rows(arrays, self._forms)
        except (pa.ArrowException, ValueError) as error:
            raise self._misfit(arrays, done) or ConversionFailed(
                f"the rows cannot be written for PostgreSQL: {error}"
            ) from None

    def _misfit(self, arrays: Sequence[pa.Array], done: int) -> ConversionFailed | None:
        """Which value has no binary form."""
        for item, array, form in zip(self._writers, arrays, self._forms, strict=True):
            try:
                form(array)
            except (pa.ArrowException, ValueError):
                return misfit.refused("PostgreSQL", item.field, array, form, done)
        return None

    def _converted(self, index: int, column: pa.Array, done: int) -> pa.Array:
        item = self._writers[index]
        array = self._as_json(item, column, done) if item.nested else item.text(column, done)
        if self._widened[index]:
            array = array.cast(pa.float64())  # its own shortest text would be another number there
        self._check_length(index, array, done)
        self._check_step(index, array, done)
        return array

    def _checked(self, arrays: Sequence[pa.Array], done: int) -> list[pa.Array]:
        """The texts with characters beyond the plain ones, each of which PostgreSQL takes."""
        odd = []
        for item, array in zip(self._writers, arrays, strict=True):
            if not misfit.is_plain(array, _FIRST_PLAIN):
                try:
                    _checked_text(array)
                except ValueError:
                    raise misfit.refused("PostgreSQL", item.field, array, _checked_text, done) from None
                odd.append(array)
        return odd

    def _csv(self, arrays: Sequence[pa.Array]) -> memoryview:
        """The rows as CSV: nothing is null, and quotes around nothing an empty text."""
        names = [str(index) for index in range(len(arrays))]
        sink = pa.BufferOutputStream()
        try:
            pyarrow.csv.write_csv(pa.RecordBatch.from_arrays(arrays, names), sink, _CSV)
        except pa.ArrowException as error:
            raise ConversionFailed(f"the rows cannot be written for PostgreSQL: {error}") from None
        return memoryview(sink.getvalue())

    def _check_length(self, index: int, array: pa.Array, done: int) -> None:
        """PostgreSQL cuts spaces that are too many at the end of a text, and refuses only what else is too long."""
        most = self._lengths[index]
        if (
            most is None
            or not len(array)
            or not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type))
        ):
            return
        lengths = pc.utf8_length(array)
        longest = pc.max(lengths).as_py()
        if longest is not None and longest > most:
            row = pc.index(pc.greater(lengths, most), True).as_py()
            value = array[row].as_py()
            raise DestinationFailed(
                f"the column `{self._writers[index].field.name}` takes {most} characters, and row {done + row + 1:,} "
                f"holds {clipped(value)!r} with {len(value)}",
                hint="make the column wider, or shorten the value before",
            )

    def _check_step(self, index: int, array: pa.Array, done: int) -> None:
        """PostgreSQL rounds what is finer than the column."""
        step = self._steps[index]
        if step == 1 or pa.types.is_date(array.type):
            return
        count = array.cast(pa.int64())
        rounded = pc.multiply(pc.divide(count, step), step)
        finer = pc.index(pc.not_equal(count, rounded), True).as_py()
        if finer >= 0:
            raise DestinationFailed(
                f"the column `{self._writers[index].field.name}` would round {array[finer]} in row {done + finer + 1:,}",
                hint="give the column in the table more digits, or cast it before",
            )

    def _as_json(self, item: Writer, array: pa.Array, done: int) -> pa.Array:
        try:
            return self._json_texts(array)
        except ValueError:
            raise misfit.refused("PostgreSQL", item.field, array, self._json_texts, done) from None

    def _json_texts(self, array: pa.Array) -> pa.Array:
        if self._json is None:
            self._json = duckdb.sealed(self._context)
            self._stack.callback(self._json.close)
        schema = pa.schema([("v", array.type)])
        rows: Iterator[pa.RecordBatch] = iter([pa.RecordBatch.from_arrays([array], schema=schema)])
        feed = duckdb.register(self._json, "data", BatchStream(schema, rows))
        try:
            found: Any = duckdb.table(self._json, "select to_json(v)::varchar as v from data")
        except native.Error as error:
            raise ValueError(str(feed.error or duckdb.first_lines(str(error)))) from None
        finally:
            self._json.unregister("data")
            feed.close()
        return found.column(0).combine_chunks()
