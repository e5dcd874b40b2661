"""Loading into a SQLite file: rows wait in a private file, and the write lock is held for the commit alone."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.core.suggest import hint
from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed, DestinationFailed
from pipeline_flow.sql import misfit, sqlite, value_text
from pipeline_flow.sql.engine import TableTransaction
from pipeline_flow.sql.index import Index, check_same
from pipeline_flow.sql.misfit import has_opaque
from pipeline_flow.sql.moment import in_day, in_years
from pipeline_flow.sql.quote import quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import WriteOptions
    from pipeline_flow.sql.url import Database

_SLICE_ROWS = 16_384  # rows at a time as Python objects
_FLOAT_DIGITS = 15  # decimal digits that a float keeps exactly
_INTEGER_DIGITS = 18


@dataclass(slots=True)
class _Staged:
    """One load's rows in the private file, and where they go."""

    table: str
    mode: str
    parts: Sequence[str]
    columns: list[tuple[str, str]]
    options: WriteOptions
    rows: int = 0


@dataclass(slots=True)
class SQLiteTransaction(TableTransaction):
    """The loads of one commit group into a SQLite file.

    Staging writes a private database file; the commit attaches it and copies all tables in one transaction. With a hook that
    transaction begins earlier: with a ``pre`` before anything is staged, with a ``post`` when everything is.
    """

    context: Context
    database: Database
    target: sqlite3.Connection
    stage: sqlite3.Connection
    path: Path
    existed: bool
    staged: list[_Staged] = field(default_factory=list)

    @classmethod
    async def begin(cls, context: Context, database: Database) -> SQLiteTransaction:
        """Opens the file and the private one.

        Raises:
            TargetUnwritable: the file cannot be written.
            SourceMalformed: the file is no SQLite database.
        """

        def open_() -> SQLiteTransaction:
            existed = database.path.exists()
            target = sqlite.connect(database, write=True)
            path = context.resources.folder() / f"stage-{secrets.token_hex(6)}.sqlite"
            stage = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            stage.execute("pragma journal_mode = off")  # the file is thrown away if anything fails
            stage.execute("pragma synchronous = off")
            return cls(context, database, target, stage, path, existed)

        return await context.to_thread(open_)

    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """See :meth:`TableTransaction.write`."""
        return await context.to_thread(self._write, context, table, mode, stream, options)

    def _write(
        self, context: Context, parts: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        if len(parts) > 1 and parts[0].casefold() != "main":
            raise DestinationFailed(f"SQLite has no schema `{parts[0]}`", hint=f"write {parts[-1]} alone")
        name = parts[-1]
        columns = [_column(item) for item in stream.schema]
        staged = _Staged(
            f"stage_{len(self.staged)}",
            mode,
            parts,
            [(item.name, item.declared) for item in columns],
            options,
        )
        _check_types(name, staged)
        self._check(staged, self.target)
        # No declared types here: whatever is written stays as it is until the target's own affinity sees it.
        self.stage.execute(f"create table {staged.table} ({quote_all(item.name for item in columns)})")
        marks = ", ".join("?" * len(columns))
        take_back = context.on_cancel(self.stage.interrupt)
        try:
            self.stage.execute("begin")
            for batch in stream:
                context.check()
                for start in range(0, batch.num_rows, _SLICE_ROWS):
                    part = batch.slice(start, _SLICE_ROWS)
                    done = staged.rows + start
                    values = [
                        item.values(array, done) for item, array in zip(columns, part.columns, strict=True)
                    ]
                    self.stage.executemany(
                        f"insert into {staged.table} values ({marks})", zip(*values, strict=True)
                    )
                staged.rows += batch.num_rows
            self.stage.execute("commit")
        except sqlite3.Error as error:
            context.check()
            if sqlite.is_full(error):
                raise DestinationFailed(
                    f"the disk is full: the rows of `{name}` wait in {self.path.parent} until the commit",
                    hint="free some space, or name another folder in PIPELINE_FLOW_TMP",
                ) from None
            raise DestinationFailed(f"the rows of `{name}` cannot be staged: SQLite: {error}") from None
        finally:
            take_back()
            stream.close()
        self.staged.append(staged)
        return staged.rows

    def _check(self, staged: _Staged, connection: sqlite3.Connection) -> None:
        table = _look_up(connection, staged)
        if table is not None and (staged.mode == "append" or table.guarded):
            _check_columns(staged.parts[-1], table, staged.columns)

    async def commit(self) -> None:
        """Copies the rows into their tables, in one transaction.

        Raises:
            DestinationFailed: SQLite refused; nothing is visible.
        """
        await self.context.to_thread(self._commit)

    def _commit(self) -> None:
        try:
            self._copy()
            self.target.execute("commit")
        except sqlite3.Error as error:
            raise _refused(error, self.database) from None
        self.existed = True
        self._close()

    def _copy(self) -> None:
        """Puts the staged rows into their tables, inside the transaction."""
        target = self.target
        self.stage.close()
        if not target.in_transaction:
            target.execute("begin immediate")
        if self.staged:
            target.execute("attach ? as _pipeline_flow_stage", (str(self.path),))
        for staged in self.staged:
            self._check(staged, target)
            for statement in _statements(staged, _look_up(target, staged)):
                target.execute(statement)
            for index in staged.options.extras.indexes:
                _make_index(target, staged.parts[-1], index)
        self.staged.clear()

    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """See :meth:`TableTransaction.execute`."""

        def execute() -> int | None:
            try:
                if self.staged:
                    self._copy()
                elif not self.target.in_transaction:
                    self.target.execute("begin immediate")
            except sqlite3.Error as error:
                context.check()
                raise _refused(error, self.database) from None
            return sqlite.run(context, self.database, self.target, statements, params)

        return await context.to_thread(execute)

    async def abort(self) -> None:
        """Takes everything back."""

        def abort() -> None:
            with contextlib.suppress(sqlite3.Error):
                if self.target.in_transaction:
                    self.target.execute("rollback")
            self._close()

        await self.context.to_thread(abort)

    def _close(self) -> None:
        for connection in (self.stage, self.target):
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self.path.unlink(missing_ok=True)
        if not self.existed and self.database.path.exists() and self.database.path.stat().st_size == 0:
            self.database.path.unlink()


def _refused(error: sqlite3.Error, database: Database) -> DestinationFailed:
    if sqlite.is_full(error):
        return DestinationFailed(
            f"the disk is full: {database.path} cannot hold the rows", hint="free some space, and run again"
        )
    advice = (
        "another process holds the database; run again when it has ended" if "locked" in str(error) else ""
    )
    return DestinationFailed(f"SQLite refused the rows: {error}", hint=advice)


# ---------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it stands. ``guarded`` is true where making it anew would lose constraints, indexes or triggers."""

    columns: dict[str, tuple[str, str, bool]]
    guarded: bool


def _look_up(connection: sqlite3.Connection, staged: _Staged) -> _Table | None:
    name = staged.parts[-1]
    row = connection.execute(
        "select type, name from main.sqlite_master where type in ('table', 'view') and lower(name) = lower(?)",
        (name,),
    ).fetchone()
    if row is None:
        return None
    if row[0] == "view":
        raise DestinationFailed(f"`{name}` is a view", hint="name a table")
    columns = connection.execute(f"pragma main.table_info({quote(row[1])})").fetchall()
    own = {index.name.casefold() for index in staged.options.extras.indexes}  # made anew with the table
    attached = [
        found
        for (found,) in connection.execute(
            "select name from main.sqlite_master where type in ('index', 'trigger') and tbl_name = ?",
            (row[1],),
        )
        if found.casefold() not in own
    ]
    keys = connection.execute(f"pragma main.foreign_key_list({quote(row[1])})").fetchall()
    guarded = bool(attached or keys or any(item[3] or item[4] is not None or item[5] for item in columns))
    return _Table(
        {item[1].casefold(): (item[1], item[2], item[4] is not None or bool(item[5])) for item in columns},
        guarded,
    )


def _statements(staged: _Staged, table: _Table | None) -> list[str]:
    name = quote("main", staged.parts[-1])
    names = quote_all(column for column, _ in staged.columns)
    statements = []
    if table is not None and staged.mode == "replace":
        statements.append(f"delete from {name}" if table.guarded else f"drop table {name}")
    if table is None or (staged.mode == "replace" and not table.guarded):
        types = staged.options.types
        declared = ", ".join(
            f"{quote(column)} {types.get(column, type_)}" for column, type_ in staged.columns
        )
        key = f", primary key ({quote_all(staged.options.key)})" if staged.options.key else ""
        statements.append(f"create table {name} ({declared}{key})")
    source = quote("_pipeline_flow_stage", staged.table)
    return [*statements, f"insert into {name} ({names}) select {names} from {source}"]


def _make_index(connection: sqlite3.Connection, table: str, index: Index) -> None:
    row = connection.execute(
        "select name, tbl_name from main.sqlite_master where type = 'index' and lower(name) = lower(?)",
        (index.name,),
    ).fetchone()
    if row is None:
        unique = "unique " if index.unique else ""
        connection.execute(
            f"create {unique}index {quote('main', index.name)} on {quote(table)} ({quote_all(index.columns)})"
        )
        return
    columns = [found[2] or "…" for found in connection.execute(f"pragma main.index_info({quote(row[0])})")]
    uniques = {found[1]: found[2] for found in connection.execute(f"pragma main.index_list({quote(row[1])})")}
    other = None if row[1].casefold() == table.casefold() else row[1]
    check_same(table, index, other, Index(row[0], tuple(columns), bool(uniques.get(row[0]))))


def _check_types(name: str, staged: _Staged) -> None:
    """Whether the types that the step sets keep the values."""
    for column, type_ in staged.columns:
        wanted = staged.options.types.get(column, type_)
        if not fits(type_, wanted):
            raise DestinationFailed(
                f"`columns` makes `{column}` of `{name}` {wanted}, which would change values that are {type_}",
                hint="cast it in the query, or choose another type",
            )


def _check_columns(name: str, table: _Table, incoming: Sequence[tuple[str, str]]) -> None:
    known = [column for column, _, _ in table.columns.values()]
    for column, type_ in incoming:
        if column.casefold() not in table.columns:
            raise DestinationFailed(
                f"the table `{name}` has no column `{column}`",
                hint=hint(column, known, "it has")
                + f"; or add it: alter table {name} add column {quote(column)} {type_}",
            )
        theirs = table.columns[column.casefold()][1]
        if not fits(type_, theirs):
            raise DestinationFailed(
                f"the column `{column}` is {type_} in the data and {theirs} in the table `{name}`, which would change values",
                hint="cast it in the query, or make the table anew with that type",
            )
    ours = {column.casefold() for column, _ in incoming}
    for key, (column, _, optional) in table.columns.items():
        if key not in ours and not optional:
            raise DestinationFailed(
                f"the data has no column `{column}`, which the table `{name}` has",
                hint=f"add it in the query (null as {column}), or give it a default in the table",
            )


def _affinity(declared: str) -> str:
    """SQLite's own five rules, in their order."""
    word = declared.upper()
    if "INT" in word:
        return "integer"
    if any(part in word for part in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if "BLOB" in word or not word:
        return "blob"
    return "real" if any(part in word for part in ("REAL", "FLOA", "DOUB")) else "numeric"


def fits(source: str, target: str) -> bool:
    """Whether values written under the declared type ``source`` stay as they are in a column declared ``target``."""
    kind, theirs = source.partition("(")[0].upper(), _affinity(target)
    same_name = kind == target.partition("(")[0].upper()
    if theirs == "blob" or source.upper() == target.upper():
        return True
    if kind == "INTEGER":
        return theirs in ("integer", "numeric")
    if kind == "REAL":
        return theirs in ("real", "numeric")
    if kind in ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "UUID"):
        return theirs == "text" or same_name or (kind == "TIMESTAMP" and target.upper() == "DATETIME")
    if kind == "BOOLEAN":
        return theirs in ("integer", "numeric")
    if kind == "DECIMAL":
        return theirs == "numeric" and _scale(source) <= _scale(target)
    return theirs == "text" and kind != "BLOB"


def _scale(declared: str) -> int:
    _, _, inner = declared.partition(",")
    return int(inner.strip(" )") or 0) if inner else (38 if "(" not in declared else 0)


# ---------------------------------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class _Column:
    """How one column is declared, and how its arrays become values for SQLite."""

    field: pa.Field
    declared: str
    convert: Callable[[pa.Array], pa.Array]

    @property
    def name(self) -> str:
        """The column's."""
        return str(self.field.name)

    def values(self, array: pa.Array, done: int) -> list[Any]:
        """The values of ``array`` as SQLite takes them; ``done`` rows were written before them.

        Raises:
            ConversionFailed: SQLite has no such value.
        """
        try:
            return self._values(array)
        except misfit.REFUSALS:
            raise misfit.refused("SQLite", self.field, array, self._values, done) from None

    def _values(self, array: pa.Array) -> list[Any]:
        return list(self.convert(array).to_pylist())


def _same(array: pa.Array) -> pa.Array:
    return array


def _text(array: pa.Array) -> pa.Array:
    return array.cast(pa.string())


def _column(field: pa.Field) -> _Column:
    """The mapping of Arrow's types; the `sql` extract reads the declared types back.

    Raises:
        ConversionFailed: there is no exact form in SQLite.
    """
    return _Column(field, *_declared(field.type, field.name))


def _declared(type_: pa.DataType, name: str) -> tuple[str, Callable[[pa.Array], pa.Array]]:
    kinds = pa.types
    if kinds.is_dictionary(type_):
        declared, convert = _declared(type_.value_type, name)
        return declared, lambda array: convert(array.dictionary_decode())
    if kinds.is_boolean(type_):
        return "BOOLEAN", _same
    if kinds.is_uint64(type_):
        return "DECIMAL_TEXT(20,0)", _text
    if kinds.is_integer(type_):
        return "INTEGER", _same
    if kinds.is_floating(type_):
        return "REAL", lambda array: _without_nan(array.cast(pa.float64()))
    if kinds.is_decimal(type_):
        return _decimal(type_)
    if kinds.is_date(type_):
        return "DATE", lambda array: _text(in_years(array.cast(pa.date32())))
    if kinds.is_time(type_):
        return "TIME", lambda array: _text(in_day(array.cast(pa.time64("us"))))
    if kinds.is_timestamp(type_):
        return _timestamp(type_)
    if isinstance(type_, pa.UuidType):
        return "UUID", value_text.uuids
    if isinstance(type_, pa.JsonType):
        return "JSON_TEXT", lambda array: _text(array.storage)
    if kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return "TEXT", _same
    if is_binary(type_):
        return "BLOB", _same
    if kinds.is_null(type_):
        return "TEXT", _same
    if kinds.is_nested(type_) and not has_opaque(type_):
        return "JSON_TEXT", value_text.json_of
    raise ConversionFailed(
        f"SQLite has no form for the column `{name}` ({type_})", hint="cast it to text in the query"
    )


def _without_nan(array: pa.Array) -> pa.Array:
    if pc.any(pc.is_nan(array)).as_py():
        raise ValueError("NaN (SQLite would store null)")
    return array


def _decimal(type_: pa.DataType) -> tuple[str, Callable[[pa.Array], pa.Array]]:
    size = f"({type_.precision},{max(type_.scale, 0)})"
    if type_.scale == 0 and type_.precision <= _INTEGER_DIGITS:
        return f"DECIMAL{size}", lambda array: array.cast(pa.int64())
    if type_.scale > 0 and type_.precision <= _FLOAT_DIGITS:
        return f"DECIMAL{size}", lambda array: _text(array).cast(pa.float64())
    return f"DECIMAL_TEXT{size}", _text


def _timestamp(type_: pa.DataType) -> tuple[str, Callable[[pa.Array], pa.Array]]:
    unit = "ns" if type_.unit == "ns" else "us"
    if type_.tz is None:
        return ("TIMESTAMP_NS" if unit == "ns" else "TIMESTAMP"), lambda array: _text(
            array.cast(pa.timestamp(unit)) if unit == "ns" else in_years(array.cast(pa.timestamp("us")))
        )
    # Without its zone Arrow writes an instant as its UTC clock time.
    return "TIMESTAMPTZ", lambda array: pc.binary_join_element_wise(
        _text(in_years(array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")))), "+00:00", ""
    )
