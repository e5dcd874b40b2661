"""Loading into MariaDB: one transaction for the rows of all loads of a commit group, and tables made beforehand.

MariaDB commits by itself at every CREATE TABLE. Tables that are missing are made on a connection of their own, so that
nothing of the transaction is committed early; where it is taken back, they are dropped again if they are still empty.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pymysql  # type: ignore[import-untyped] # it has no annotations

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import DestinationFailed, RetryableError
from pipeline_flow.sql import mariadb, mariadb_bulk, mariadb_type
from pipeline_flow.sql.dialect import MARIADB
from pipeline_flow.sql.engine import TableTransaction
from pipeline_flow.sql.index import Index, check_same
from pipeline_flow.sql.mariadb_type import Column, Writer
from pipeline_flow.sql.quote import quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.engine import WriteOptions
    from pipeline_flow.sql.url import Database

_SLICE_BYTES = 8 * 1024 * 1024  # of rows that are written as literals at a time
_STATEMENT_BYTES = 4 * 1024 * 1024
_SPARE_BYTES = 64
# Errors that do not say which row they are about: a key that is there already, a foreign key, a check.
_WITHOUT_ROW = (1062, 1452, 3819, 4025)
_LOCK_SECONDS = 10  # how long to wait for a table, to give it an index: what holds it may be this very load
# Warnings and notes that tell of a changed value: truncated, out of range, not a number, null, not in the character set.
_CHANGED = (1048, 1264, 1265, 1292, 1365, 1366, 1406, 1411, 1441, 3988)


class MariaDBTransaction(TableTransaction):
    """One transaction at a MariaDB server, on a connection of its own; others see nothing before the commit."""

    def __init__(self, context: Context, database: Database, connection: Any) -> None:
        self.database = database
        self._context = context
        self._connection = connection
        self._made: list[Sequence[str]] = []
        self._wrote = False
        self._packet_bytes = 0
        self._last_timestamp = ""

    @classmethod
    async def begin(cls, context: Context, database: Database) -> MariaDBTransaction:
        """Connects and begins.

        Raises:
            TargetUnwritable: there is no way in.
            RetryableError: the connection was refused, or the server is not ready.
        """

        def open_() -> MariaDBTransaction:
            connection = mariadb.connect(database, write=True)
            self = cls(context, database, connection)
            try:
                ((packet,),) = mariadb.rows(connection, "select @@max_allowed_packet")
                self._packet_bytes = int(packet)
                is_long = mariadb.is_mariadb(connection) and mariadb.version(connection) >= (11, 5)
                self._last_timestamp = (
                    "2106-02-07 06:28:15.999999" if is_long else "2038-01-19 03:14:07.999999"
                )
                mariadb.run(connection, "start transaction")
            except pymysql.Error as error:
                connection.close()
                raise mariadb.explain(error, database, write=True) from None
            return self

        return await context.to_thread(open_)

    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """See :meth:`TableTransaction.write`."""
        return await context.to_thread(self._write, context, table, mode, stream, options)

    def _write(
        self, context: Context, parts: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        name = ".".join(parts)
        done = 0
        take_back = mariadb.interruptible(context, self.database, self._connection)
        try:
            check_names([*parts, *stream.schema.names])
            has_uuid = mariadb.is_mariadb(self._connection) and mariadb.version(self._connection) >= (10, 7)
            writers = [
                mariadb_type.writer(field, key=field.name in options.indexed, has_uuid=has_uuid)
                for field in stream.schema
            ]
            columns = self._look_up(parts)
            if columns is None:
                self._make(parts, writers, options)
                columns = self._look_up(parts) or []
            self._make_indexes(parts, options.extras.indexes)
            check_columns(name, columns, writers)
            self._wrote = True
            if mode == "replace":
                self._check_cascades(parts)
                mariadb.run(self._connection, f"delete from {quote(*parts, dialect=MARIADB)}")
            known = {column.name.casefold(): column for column in columns}
            writers = [
                mariadb_type.into(item, known[item.field.name.casefold()], self._last_timestamp)
                for item in writers
            ]
            if options.bulk:
                targets = [known[item.field.name.casefold()] for item in writers]
                text = mariadb_bulk.statement(parts, writers, targets)
                for part in _slices(stream):
                    context.check()
                    rows = mariadb_bulk.lines(part, writers, done)
                    mariadb_bulk.load(self._connection, text, rows, part.num_rows, done, name)
                    done += part.num_rows
                return done
            head = f"insert into {quote(*parts, dialect=MARIADB)} ({quote_all(stream.schema.names, MARIADB)}) values "
            for part in _slices(stream):
                for rows in _pieces(head.encode(), part, writers, self._packet_bytes, done):
                    context.check()
                    cursor = self._insert(head.encode(), rows)
                    if cursor.warning_count:
                        self._check_warnings(name, done)
                    done += len(rows)
        except pymysql.Error as error:
            if options.bulk and error.args[:1] and error.args[0] in mariadb_bulk.OFF:
                raise DestinationFailed(
                    f"{self.database} takes no LOAD DATA LOCAL: {error.args[-1]}",
                    hint="leave `bulk` out, or have the server's administrator set local_infile = 1",
                ) from None
            raise mariadb.explain(
                error, self.database, write=True, context=context, connection=self._connection, done=done
            ) from None
        finally:
            take_back()
            stream.close()
        return done

    def _insert(self, head: bytes, rows: pa.Array) -> Any:
        try:
            return mariadb.run(self._connection, _statement(head, rows))
        except pymysql.Error as error:
            if error.args[:1][0] not in _WITHOUT_ROW:
                raise
            row = self._first_refused(head, rows) + 1
            raise type(error)(error.args[0], f"{_with_column(str(error.args[1]))} at row {row}") from None

    def _first_refused(self, head: bytes, rows: pa.Array) -> int:
        """The row that the server refuses without saying so. Those before it are written; the load fails anyway."""
        low, high = 0, len(rows)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                mariadb.run(self._connection, _statement(head, rows[low:middle]))
            except (pymysql.IntegrityError, pymysql.OperationalError):
                high = middle
            else:
                low = middle
        return low

    def _check_warnings(self, name: str, done: int) -> None:
        for _, code, text in mariadb.run(self._connection, "show warnings").fetchall():
            if int(code) in _CHANGED:
                said = re.sub(r" at row (\d+)$", lambda match: f" at row {done + int(match[1]):,}", text)
                raise DestinationFailed(
                    f"a value does not fit the table `{name}`, and MariaDB would change it: {said}",
                    hint="cast it in the query, or change the table's column",
                )

    def _look_up(self, parts: Sequence[str]) -> list[Column] | None:
        schema = parts[0] if len(parts) > 1 else self.database.name
        found = mariadb.rows(
            self._connection,
            "select table_name, table_type, engine from information_schema.tables "
            "where table_schema = %s and table_name = %s",
            schema,
            parts[-1],
        )
        exact = [row for row in found if row[0] == parts[-1]]
        if not exact and found:
            ((folding,),) = mariadb.rows(self._connection, "select @@lower_case_table_names")
            exact = found if folding != "0" else []
        if not exact:
            return None
        table, kind, engine = exact[0]
        if "VIEW" in str(kind):
            raise DestinationFailed(f"`{'.'.join(parts)}` is a view", hint="name a table")
        if str(engine).lower() not in ("innodb", "rocksdb"):
            raise DestinationFailed(
                f"the table `{'.'.join(parts)}` is kept by {engine}, which has no transactions",
                hint=f"alter table {'.'.join(parts)} engine = InnoDB",
            )
        rows = mariadb.rows(
            self._connection,
            "select column_name, lower(data_type), column_type, numeric_scale, datetime_precision, character_maximum_length, "
            "column_default, extra from information_schema.columns where table_schema = %s and table_name = %s "
            "order by ordinal_position",
            schema,
            table,
        )
        return [_column(row) for row in rows]

    def _check_cascades(self, parts: Sequence[str]) -> None:
        """Refuses to empty a table where that would delete or change rows of others."""
        schema = parts[0] if len(parts) > 1 else self.database.name
        rows = mariadb.rows(
            self._connection,
            "select constraint_name, concat(constraint_schema, '.', table_name) from information_schema.referential_constraints "
            "where unique_constraint_schema = %s and referenced_table_name = %s and delete_rule in ('CASCADE', 'SET NULL') "
            "and not (constraint_schema = unique_constraint_schema and table_name = referenced_table_name)",
            schema,
            parts[-1],
        )
        if rows:
            raise DestinationFailed(
                f"`{'.'.join(parts)}` cannot be replaced: its rows take those of `{rows[0][1]}` with them (the foreign key "
                f"`{rows[0][0]}` deletes or changes them)",
                hint="append to it, or make that foreign key ON DELETE RESTRICT",
            )

    def _make(self, parts: Sequence[str], writers: Sequence[Writer], options: WriteOptions) -> None:
        """Makes a missing table, and its database."""
        extras = options.extras
        listed = [
            f"{quote(item.field.name, dialect=MARIADB)} {options.types.get(item.field.name, item.declared)} "
            f"{'not null' if item.field.name in options.key else 'null'}"
            f"{_comment(extras.column_comments.get(item.field.name, ''))}"
            for item in writers
        ]
        if options.key:
            listed.append(f"primary key ({quote_all(options.key, MARIADB)})")
        listed += map(_index, extras.indexes)
        # Names and texts that differ in case are two to all that data comes from.
        statement = (
            f"create table {quote(*parts, dialect=MARIADB)} ({', '.join(listed)}) "
            f"engine = InnoDB default charset = utf8mb4 collate = utf8mb4_bin{_comment(extras.comment)}"
        )
        connection = mariadb.connect(self.database, write=True)
        try:
            if len(parts) > 1:
                mariadb.run(connection, f"create database if not exists {quote(parts[0], dialect=MARIADB)}")
            mariadb.run(connection, statement)
            self._made.append(parts)
        except pymysql.Error as error:
            if error.args[:1] != (1050,):  # another one made it meanwhile
                raise mariadb.explain(error, self.database, write=True, text=statement) from None
        finally:
            connection.close()

    def _make_indexes(self, parts: Sequence[str], indexes: Sequence[Index]) -> None:
        """Makes the indexes that a table lacks, on a connection of its own: MariaDB commits where it makes one."""
        missing = [index for index in indexes if not self._has_index(parts, index)]
        if not missing:
            return
        connection = mariadb.connect(self.database, write=True)
        statement = f"alter table {quote(*parts, dialect=MARIADB)} {', '.join(f'add {_index(item)}' for item in missing)}"
        try:
            mariadb.run(connection, f"set session lock_wait_timeout = {_LOCK_SECONDS}")
            mariadb.run(connection, statement)
        except pymysql.Error as error:
            if error.args[:1] == (1205,):
                name = ".".join(parts)
                raise RetryableError(
                    f"the index `{missing[0].name}` of `{name}` cannot be made while a transaction works on the table",
                    hint="perhaps a `pre` or another load of this pipeline has written it: make the index beforehand, by hand",
                ) from None
            raise mariadb.explain(error, self.database, write=True, text=statement) from None
        finally:
            connection.close()

    def _has_index(self, parts: Sequence[str], index: Index) -> bool:
        rows = mariadb.rows(
            self._connection,
            "select index_name, non_unique, coalesce(column_name, '…') from information_schema.statistics "
            "where table_schema = %s and table_name = %s order by index_name, seq_in_index",
            parts[0] if len(parts) > 1 else self.database.name,
            parts[-1],
        )
        found = [row for row in rows if row[0].casefold() == index.name.casefold()]
        if found:
            columns = tuple(str(row[2]) for row in found)
            check_same(".".join(parts), index, None, Index(found[0][0], columns, str(found[0][1]) == "0"))
        return bool(found)

    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """See :meth:`TableTransaction.execute`.

        Raises:
            WrongArgument: rows have been written, and a statement would commit them.
        """

        def execute() -> int | None:
            return mariadb.execute(
                context, self._connection, self.database, statements, params, whole=self._wrote
            )

        return await context.to_thread(execute)

    async def commit(self) -> None:
        """Makes the rows visible.

        Raises:
            DestinationFailed: MariaDB refused; or the connection was lost, and nobody knows.
        """

        def commit() -> None:
            try:
                mariadb.run(self._connection, "commit")
            except pymysql.Error as error:
                if self._connection.open and not mariadb.is_lost(error):
                    raise mariadb.explain(error, self.database, write=True) from None
                self._made.clear()  # they may hold the rows
                raise DestinationFailed(
                    f"the connection to {self.database} was lost during the commit: whether the rows are there is not known",
                    hint="look into the table before you run again",
                ) from None
            self._made.clear()
            self._connection.close()

        await self._context.to_thread(commit)

    async def abort(self) -> None:
        """Takes everything back."""

        def abort() -> None:
            if self._connection.open:
                with contextlib.suppress(pymysql.Error):
                    mariadb.run(self._connection, "rollback")
                with contextlib.suppress(pymysql.Error):
                    self._connection.close()
            self._unmake()

        await self._context.to_thread(abort)

    def _unmake(self) -> None:
        made, self._made = self._made, []
        if not made:
            return
        with contextlib.suppress(pymysql.Error, DestinationFailed, RetryableError):
            connection = mariadb.connect(self.database, write=True)
            try:
                for parts in made:
                    name = quote(*parts, dialect=MARIADB)
                    with contextlib.suppress(pymysql.Error):
                        if not mariadb.run(connection, f"select 1 from {name} limit 1").fetchall():
                            mariadb.run(connection, f"drop table {name}")
            finally:
                connection.close()


def _index(index: Index) -> str:
    """An index as a part of CREATE TABLE or, after ADD, of ALTER TABLE."""
    name, columns = quote(index.name, dialect=MARIADB), quote_all(index.columns, MARIADB)
    return f"{'unique ' if index.unique else ''}index {name} ({columns})"


def _comment(text: str) -> str:
    return f" comment {mariadb.literal(text)}" if text else ""


def _column(row: Sequence[Any]) -> Column:
    name, kind, declared, scale, fineness, length, default, extra = row
    declared, extra = str(declared), str(extra).lower()
    fixed = kind not in ("float", "double") or "(" in declared
    made_up = any(word in extra for word in ("auto_increment", "generated", "default_generated"))
    return Column(
        name,
        kind,
        declared,
        int(scale) if scale is not None and fixed else None,
        int(fineness) if fineness is not None else None,
        int(length) if length is not None else None,
        default not in (None, "NULL") or made_up,
    )


def check_names(names: Iterable[str]) -> None:
    """Whether these can be names of a table and its columns.

    Raises:
        DestinationFailed: one is longer than 64 characters, ends in a space, or has a character beyond U+FFFF.
    """
    for name in names:
        fault = MARIADB.fault(name)
        if not fault and name.endswith(" "):
            fault = f"the name `{name}` ends in a space, and MariaDB's names do not"
        if not fault and any(char > "\uffff" for char in name):
            fault = f"the name `{name}` has a character beyond U+FFFF, which MariaDB's names cannot have"
        if fault:
            raise DestinationFailed(fault, hint="rename it")


def check_columns(name: str, columns: Sequence[Column], writers: Sequence[Writer]) -> None:
    """Whether the data can be written into the table's columns without a changed value.

    Raises:
        DestinationFailed: a column is missing on either side, or its type does not hold the data's values.
    """
    theirs = {column.name.casefold(): column for column in columns}
    ours = {item.field.name.casefold() for item in writers}
    for item in writers:
        column = item.field.name
        if column.casefold() not in theirs:
            raise DestinationFailed(
                f"the table `{name}` has no column `{column}`",
                hint=hint(column, [known.name for known in columns], "it has")
                + f"; or add it: alter table {name} add column {quote(column, dialect=MARIADB)} {item.declared}",
            )
    for key, known in theirs.items():
        if key not in ours and not known.optional:
            raise DestinationFailed(
                f"the data has no column `{known.name}`, which the table `{name}` has",
                hint=f"add it in the query (null as {known.name}), or give it a default in the table",
            )
    for item in writers:
        known = theirs[item.field.name.casefold()]
        if not mariadb_type.fits(item, known):
            raise DestinationFailed(
                f"the column `{item.field.name}` is {item.field.type} in the data and {known.declared} in the table `{name}`, "
                "which would change values",
                hint=f"cast it in the query, or change the table: alter table {name} modify "
                f"{quote(item.field.name, dialect=MARIADB)} {item.declared}",
            )


# ---------------------------------------------------------------------------------------------- rows


def _statement(head: bytes, rows: pa.Array) -> bytes:
    listed = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), pa.concat_arrays([rows]))
    return head + bytes(pc.binary_join(listed, b",")[0].as_py())


def _with_column(said: str) -> str:
    """The server calls what a column must be by table and column: CONSTRAINT `t.a` failed."""
    found = re.match(r"CONSTRAINT `[^`]*\.([^`.]+)` failed", said)
    return f"column `{found[1]}`: {said}" if found else said


def _slices(stream: BatchStream) -> Iterator[pa.RecordBatch]:
    """The rows in pieces that are few bytes each."""
    for batch in stream:
        if batch.num_rows:
            step = max(1, batch.num_rows * _SLICE_BYTES // max(batch.nbytes, 1))
            yield from (batch.slice(start, step) for start in range(0, batch.num_rows, step))


def _pieces(
    head: bytes, batch: pa.RecordBatch, writers: Sequence[Writer], packet_bytes: int, done: int
) -> Iterator[pa.Array]:
    """The rows of a batch in SQL, as many at a time as one INSERT may have; ``done`` rows came before."""
    room = packet_bytes - len(head) - _SPARE_BYTES
    wanted = min(room, _STATEMENT_BYTES)
    values = [item.literals(array, done) for item, array in zip(writers, batch.columns, strict=True)]
    rows = pc.binary_join_element_wise(b"(", pc.binary_join_element_wise(*values, b","), b")", b"")
    ends = pc.cumulative_sum(pc.add(pc.binary_length(rows).cast(pa.int64()), 1))
    first = 0
    while first < len(rows):
        before = ends[first - 1].as_py() if first else 0
        last = max(pc.sum(pc.less_equal(ends, before + wanted)).as_py(), first + 1)
        if ends[last - 1].as_py() - before > room:
            raise DestinationFailed(
                f"row {done + first + 1:,} is {ends[last - 1].as_py() - before:,} bytes long as SQL, and the server "
                f"takes {packet_bytes:,}",
                hint="raise the server's max_allowed_packet",
            )
        yield rows[first:last]
        first = last
