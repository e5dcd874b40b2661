"""What counts as tabular data, and how it becomes a stream; and a stream, what a plugin asks for.

Nothing here imports pandas, polars or duckdb: a value or an annotation of theirs means that somebody else did.
"""

from __future__ import annotations

import functools
import itertools
import types
import typing
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pyarrow as pa

from pipeline_flow.data import row
from pipeline_flow.data import schema as schemas
from pipeline_flow.data.stream import BatchStream, producer_errors
from pipeline_flow.errors import ConversionFailed, NotTabular

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_ROWS = 122_880  # a row group of DuckDB's, and of what it writes to Parquet
_GATHER_BYTES = 64 * 2**20  # of text and binary values; single rows are not gathered beyond this

_ACCEPTED = (
    "accepted are a BatchStream, anything with __arrow_c_stream__ or __arrow_c_array__ (pyarrow, pandas, polars, duckdb), "
    "a list of dicts, and iterators or asynchronous iterators of these"
)


class Tables(Mapping[str, Any]):
    """Several named streams or values, such as the results of several extract steps by step id."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, name: str) -> Any:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"Tables({', '.join(self._tables)})"


# ---------------------------------------------------------------------------------------------- what is tabular


def is_tabular(value: Any) -> bool:
    """Whether ``value`` itself has rows and columns. Iterators of pieces do not count: see :func:`is_iterator`.

    Nothing is read. Of a list or tuple the first item decides; an empty one is a table without rows.
    """
    if isinstance(value, list | tuple):
        return not value or isinstance(value[0], Mapping) or (not _is_rows(value[0]) and is_tabular(value[0]))
    if isinstance(value, pa.Array):
        return bool(pa.types.is_struct(value.type))
    if isinstance(value, pa.ChunkedArray) or _is(value, "pandas", "Series") or _is(value, "polars", "Series"):
        return False
    return (
        isinstance(value, BatchStream)
        or hasattr(value, "__arrow_c_stream__")
        or hasattr(value, "__arrow_c_array__")
        or _is(value, "polars", "LazyFrame")
        or _is(value, "pandas", "DataFrame")
    ) and not isinstance(value, type)


def is_iterator(value: Any) -> bool:
    """Whether ``value`` is an iterator or asynchronous iterable, such as a generator, and not tabular itself."""
    return isinstance(value, Iterator | AsyncIterable) and not is_tabular(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is(value: Any, library: str, name: str) -> bool:
    return any(_names(cls, library, name) for cls in type(value).__mro__)


def _names(cls: Any, library: str, name: str) -> bool:
    """Whether ``cls`` is that class of that library, without importing it."""
    return (
        getattr(cls, "__name__", "") == name
        and getattr(cls, "__module__", "").split(".")[0].lstrip("_") == library
    )


# ---------------------------------------------------------------------------------------------- to a stream

# Producers here give their schema first, then their batches. The stream asks for the schema before the first batch,
# and only once, so one generator can do both, and nothing is converted before it is asked for.
_Parts = Generator[Any, None, None]


def to_stream(value: Any, *, schema: pa.Schema | None = None, batch_rows: int = BATCH_ROWS) -> BatchStream:
    """``value`` as a stream; a stream as it is. Work is left to the first read, and done by the reader's thread.

    pandas: labels of the index become columns where they are named, or are anything but numbers (then named
    ``index``); NaN is null there. polars: text comes as Arrow's plain text type. Lists of dicts: a column per key, in
    the order of appearance, and a missing key is null; the type is found over all rows, and values that have no
    common type are an error. Iterators: every piece must have the columns and types of the first; null stands for any
    type, and rows may also lack columns. Iterators may give rows (dicts) one by one.

    Args:
        value: see above, and ``NotTabular``'s message.
        schema: the columns and types wanted; by default what the value has. Values that it cannot hold are an error.
        batch_rows: larger batches are cut, without copying.

    Raises:
        NotTabular: at once, or by the first read where only that can tell.
        ConversionFailed: by the reads; names the column, and the row or piece, counted from 1.
    """
    stream = _to_stream(value, batch_rows, "")
    if schema is None:
        return stream
    return stream.map(
        schema,
        lambda batch: schemas.cast(
            batch, schema, f"rows {stream.rows - batch.num_rows + 1} to {stream.rows}"
        ),
    )


def _to_stream(value: Any, batch_rows: int, where: str) -> BatchStream:
    if isinstance(value, BatchStream):
        return value
    if isinstance(value, list | tuple) and is_tabular(value):
        if not value or isinstance(value[0], Mapping):
            return _stream(_rows(value, batch_rows, where))
        return _stream(_pieces(iter(value), batch_rows))
    if is_tabular(value):
        # A reader that was never read still holds what it reads from.
        on_close = value.close if isinstance(value, pa.RecordBatchReader) else None
        return _stream(_arrow(value, batch_rows, where), on_close)
    if isinstance(value, AsyncIterable):
        return _async_stream(value, batch_rows)
    if isinstance(value, Iterator):
        return _stream(_pieces(value, batch_rows), on_close=getattr(value, "close", None))
    raise _not_tabular(value, where)


def _stream(parts: _Parts, on_close: Callable[[], object] | None = None) -> BatchStream:
    return BatchStream(lambda: next(parts), parts, on_close=on_close)


def _not_tabular(value: Any, where: str) -> NotTabular:
    if isinstance(value, Mapping) and any(
        is_tabular(table) or is_iterator(table) for table in value.values()
    ):
        names = ", ".join(f"`{name}`" for name in value)
        return NotTabular(
            f"{where}several tables ({names}) where one stream is wanted",
            hint="merge them, or pick one with `input:`",
        )
    if isinstance(value, Mapping):
        return NotTabular(f"{where}one dict where rows are wanted", hint="give a list of dicts, one per row")
    found = f"a value of type {type(value).__name__}" if value is not None else "nothing (None)"
    if type(value).__name__ in ("Series", "ChunkedArray", "Array") or isinstance(
        value, pa.Array | pa.ChunkedArray
    ):
        return NotTabular(
            f"{where}{found} is one column, not a table",
            hint="make a table of it, such as with `.to_frame()`",
        )
    if isinstance(value, list | tuple) and value:
        found += f" of {type(value[0]).__name__}"
    return NotTabular(f"{where}{found} has no rows and columns", hint=_ACCEPTED)


def _arrow(value: Any, batch_rows: int, where: str) -> _Parts:
    """The parts of anything that is one table."""
    if _is(value, "pandas", "DataFrame"):
        value = _from_pandas(value, where)
    if _is(value, "polars", "DataFrame") or _is(value, "polars", "LazyFrame"):
        yield from _from_polars(value, batch_rows, where)
        return
    if isinstance(value, pa.StructArray):
        value = pa.RecordBatch.from_struct_array(value)
    if isinstance(value, pa.Table | pa.RecordBatch):
        yield value.schema
        batches = value.to_batches() if isinstance(value, pa.Table) else [value]
        yield from _cut(batches, batch_rows)
        return
    with _reader(value, batch_rows, where) as reader:
        yield reader.schema
        yield from _cut(reader, batch_rows)


def _cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows <= rows:
            yield batch
            continue
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _reader(value: Any, batch_rows: int, where: str) -> pa.RecordBatchReader:
    if isinstance(value, pa.RecordBatchReader):
        return value
    if _is(value, "duckdb", "DuckDBPyRelation") and hasattr(value, "to_arrow_reader"):
        return value.to_arrow_reader(batch_rows)
    try:
        if hasattr(value, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(value)
        batch = pa.record_batch(value)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except pa.ArrowInvalid as error:
        if "non-struct" in str(error):
            raise NotTabular(
                f"{where}a {type(value).__name__} is one column, not a table", hint=_ACCEPTED
            ) from error
        raise


def _from_polars(frame: Any, batch_rows: int, where: str) -> _Parts:
    import polars as pl  # the value's own library, so it is imported already

    # Text as plain Arrow text: a slice of a view column drags all the text of its parent along, into memory and files.
    oldest = pl.CompatLevel.oldest()
    columns = frame.collect_schema() if isinstance(frame, pl.LazyFrame) else frame.schema
    objects = [name for name, dtype in columns.items() if dtype == pl.Object]
    if objects:
        raise ConversionFailed(
            f"{where}column `{objects[0]}` holds Python objects", hint="give the column a type of polars"
        )
    schema = pl.DataFrame(schema=columns).to_arrow(compat_level=oldest).schema
    yield schema
    if isinstance(frame, pl.DataFrame):
        slices = frame.iter_slices(batch_rows)
    elif hasattr(frame, "collect_batches"):
        slices = frame.collect_batches(chunk_size=batch_rows, maintain_order=True)
    else:
        slices = iter([frame.collect(engine="streaming")])
    for piece in slices:
        yield from _cut(piece.to_arrow(compat_level=oldest).to_batches(), batch_rows)


def _from_pandas(frame: Any, where: str) -> pa.Table:
    """A table of ``frame`` with the labels worth keeping, and without pandas' own metadata."""
    if frame.columns.nlevels > 1:
        raise ConversionFailed(
            f"{where}the columns have {frame.columns.nlevels} levels of names",
            hint="give each column one name",
        )
    index = frame.index
    named = [level is not None for level in index.names]
    if any(named):
        frame = frame.reset_index(level=[number for number, has_name in enumerate(named) if has_name])
    elif index.nlevels > 1 or index.inferred_type not in ("integer", "empty"):
        frame = frame.reset_index()
    arrays = []
    for number, name in enumerate(frame.columns):
        series = frame.iloc[:, number]
        if series.dtype == object:
            empty = series.isna().to_numpy()
            values = [None if null else value for value, null in zip(series, empty, strict=True)]
            arrays.append(row.column(values, str(name), where))
        else:
            arrays.append(pa.array(series, from_pandas=True))
    names = [str(name) for name in frame.columns]
    schemas.check_names(pa.schema([(name, array.type) for name, array in zip(names, arrays, strict=True)]))
    if not names:
        return row.without_columns(len(frame))
    return pa.table(arrays, names=names)


def _rows(rows: Sequence[Any], batch_rows: int, where: str, first: int = 1) -> _Parts:
    """The parts of a list of dicts."""
    table = row.table(rows, where, first)
    yield table.schema
    yield from _cut(table.to_batches(), batch_rows)


# ---------------------------------------------------------------------------------------------- pieces


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of an iterator: its name in messages, its batches, and whether it was Python rows."""

    name: str
    stream: BatchStream
    rows: bool


class _Gather:
    """Numbers the pieces of an iterator, and makes lists of rows that come one by one."""

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._rows: list[Any] = []
        self._bytes = 0
        self._seen = 0  # rows given out before those in _rows
        self._pieces = 0

    def add(self, piece: Any) -> Iterator[_Piece]:
        """What is complete now that ``piece`` has come."""
        if isinstance(piece, Mapping):
            self._rows.append(piece)
            self._bytes += sum(len(value) for value in piece.values() if isinstance(value, str | bytes))
            if len(self._rows) >= self._batch_rows or self._bytes >= _GATHER_BYTES:
                yield from self.rest()
            return
        yield from self.rest()
        self._pieces += 1
        name = f"piece {self._pieces}"
        if not is_tabular(piece):
            raise _not_tabular(piece, f"{name}: ")
        is_list = isinstance(piece, list | tuple)
        if is_list and not piece:  # an empty page says nothing about columns
            return
        yield _Piece(
            name,
            _to_stream(piece, self._batch_rows, f"{name}: "),
            rows=is_list and isinstance(piece[0], Mapping),
        )

    def rest(self) -> Iterator[_Piece]:
        """The rows that still wait."""
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            first = self._seen + 1
            self._seen += len(rows)
            yield _Piece(
                f"rows {first} to {self._seen}", _stream(_rows(rows, self._batch_rows, "", first)), rows=True
            )


def _pieces(pieces: Iterable[Any], batch_rows: int) -> _Parts:
    """The parts of an iterator of pieces."""
    gather = _Gather(batch_rows)
    schema: pa.Schema | None = None
    ready = itertools.chain.from_iterable(map(gather.add, pieces))
    for piece in itertools.chain(ready, gather.rest()):
        with piece.stream as stream:
            if schema is None:
                schema = stream.schema
                yield schema
            for batch in stream:
                yield schemas.conform(batch, schema, piece.name, rows=piece.rows)
    if schema is None:
        yield pa.schema([])


async def _async_pieces(
    pieces: AsyncIterable[Any], batch_rows: int, outer: list[weakref.ref[BatchStream]]
) -> AsyncIterator[Any]:
    """The parts of an asynchronous iterator of pieces. Each piece is converted in a thread of the ``outer`` stream."""
    gather = _Gather(batch_rows)
    schema: pa.Schema | None = None
    async with _closing(pieces), aclosing(_each(pieces, gather)) as ready:
        async for piece in ready:
            async with piece.stream as stream:
                owner = outer[0]()
                if owner is not None:
                    stream.run_in_thread = owner.run_in_thread
                found = await stream.ready()
                if schema is None:
                    schema = found
                    yield schema
                async for batch in stream:
                    yield schemas.conform(batch, schema, piece.name, rows=piece.rows)
    if schema is None:
        yield pa.schema([])


@asynccontextmanager
async def _closing(pieces: AsyncIterable[Any]) -> AsyncIterator[None]:
    """Closes what the user gave, if it can be closed: a generator, but not every asynchronous iterator."""
    try:
        yield
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _each(pieces: AsyncIterable[Any], gather: _Gather) -> AsyncGenerator[_Piece, None]:
    async for piece in pieces:
        for ready in gather.add(piece):
            yield ready
    for ready in gather.rest():
        yield ready


def _async_stream(pieces: AsyncIterable[Any], batch_rows: int) -> BatchStream:
    # The producer must not keep its own stream alive: a forgotten stream ends its producer.
    outer: list[weakref.ref[BatchStream]] = []
    parts = _async_pieces(pieces, batch_rows, outer)
    stream = BatchStream(lambda: anext(parts), parts)
    outer.append(weakref.ref(stream))
    return stream


# ---------------------------------------------------------------------------------------------- to what a plugin asks for


def convert(value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` asks; as it is where it already fits, or where the annotation says nothing.

    Known are ``pd.DataFrame``, ``pl.DataFrame``, ``pl.LazyFrame``, ``pa.Table``, ``pa.RecordBatchReader``,
    ``list[dict]`` and ``list``, ``BatchStream``, ``Iterator[pa.RecordBatch]`` (also asynchronous, or ``Iterable``),
    and ``dict[str, X]`` with any of these as ``X`` for tables. Of a union the first known member counts. Frames and
    lists hold everything in memory, so this may block for long: call it off the event loop.

    pandas gets its usual types wherever they hold every value; integers and truth values among nulls get its nullable
    types, and what pandas has no exact type for (nested values, times with nanoseconds) Arrow's own.

    Raises:
        NotTabular: the value has no rows and columns.
        ConversionFailed: a column has no exact counterpart there; names the column.
        Exception: what the producer of a stream raised.
    """
    for wanted in _members(annotation):
        if _is_instance(value, wanted):
            return value
    for wanted in _members(annotation):
        converter = _converter(wanted)
        if converter is not None:
            return converter(value)
    return value


def asks(annotation: Any) -> bool:
    """Whether :func:`convert` knows what to make of ``annotation``; where it does not, every value stays as it is."""
    return any(_converter(wanted) is not None for wanted in _members(annotation))


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is typing.Annotated:
        return _members(get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is typing.Union:
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _is_instance(value: Any, wanted: Any) -> bool:
    """Whether ``value`` already is what ``wanted`` says. What an iterator holds cannot be seen, so only a type counts."""
    origin = get_origin(wanted)
    if origin is None:
        return isinstance(wanted, type) and wanted not in (object, Any) and isinstance(value, wanted)
    if origin is list:
        return isinstance(value, list)
    return False


def _converter(wanted: Any) -> Callable[[Any], Any] | None:
    origin, args = get_origin(wanted), get_args(wanted)
    if (origin or wanted) is dict or (origin or wanted) is Mapping:
        return functools.partial(_to_dict, each=args[1] if len(args) == 2 else Any)
    if wanted is list or (origin is list and _is_row(args[0])):
        return lambda value: _to_table(value).to_pylist()
    if origin in (Iterator, Iterable, AsyncIterator, AsyncIterable) and args and args[0] is pa.RecordBatch:
        return to_stream
    for matches, converter in (
        (wanted is BatchStream, to_stream),
        (wanted is pa.Table, _to_table),
        (wanted is pa.RecordBatchReader, lambda value: to_stream(value).to_reader()),
        (_names(wanted, "pandas", "DataFrame"), _to_pandas),
        (_names(wanted, "polars", "DataFrame"), _to_polars),
        (_names(wanted, "polars", "LazyFrame"), lambda value: _to_polars(value).lazy()),
    ):
        if matches:
            return converter
    return None


def _is_row(wanted: Any) -> bool:
    return wanted is Any or (get_origin(wanted) or wanted) in (dict, Mapping)


def _to_dict(value: Any, each: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    converted = {name: convert(table, each) for name, table in value.items()}
    fits = isinstance(value, dict) and all(converted[name] is table for name, table in value.items())
    return value if fits else converted


def _to_table(value: Any) -> pa.Table:
    if isinstance(value, pa.Table):
        return value
    with to_stream(value) as stream:
        return stream.to_table()


def _to_polars(value: Any) -> Any:
    import polars as pl  # the annotation's own library, so it is imported already

    with to_stream(value) as stream, producer_errors(stream):
        try:
            return pl.DataFrame(stream.to_reader())
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise ConversionFailed(f"polars cannot hold these columns: {error}") from error


def _to_pandas(value: Any) -> Any:
    import pandas as pd  # the annotation's own library, so it is imported already

    table = _to_table(value)
    nullable = {
        pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }  # fmt: skip
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        mapper: Callable[[pa.DataType], Any] | None = None
        if _only_arrow_holds(field.type):
            mapper = pd.ArrowDtype
        elif field.type in nullable and column.null_count:
            mapper = nullable.get
        try:
            columns[field.name] = column.to_pandas(types_mapper=mapper)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ConversionFailed(
                f"pandas cannot hold the column `{field.name}` ({field.type}): {error}"
            ) from error
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def _only_arrow_holds(kind: pa.DataType) -> bool:
    return (
        (pa.types.is_nested(kind) and not pa.types.is_dictionary(kind))
        or (pa.types.is_time(kind) and kind.unit == "ns")
        or isinstance(kind, pa.BaseExtensionType)
    )
