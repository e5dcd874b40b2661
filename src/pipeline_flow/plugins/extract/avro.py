"""Avro files as a source."""

from __future__ import annotations

import contextlib
import decimal
import json
import lzma
import struct
import uuid
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import Field

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SourceMalformed, SourceUnreadable, WrongArgument
from pipeline_flow.files import local
from pipeline_flow.files.extra import library
from pipeline_flow.files.field import FileColumn, Paths
from pipeline_flow.plugins.base import IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream

_BATCH_ROWS = 50_000
_BATCH_BYTES = 16 * 1024 * 1024  # of Avro, which is a few times as much in Python
_WIDEST_128, _WIDEST = 38, 76  # digits of Arrow's decimals
_VALUE = "value"
_Read: TypeAlias = Callable[[Any], Any]


class AvroExtract(IExtractPlugin, plugin_name="avro"):
    """Reads Avro files, one after the other, types as their schema says.

    Decimals, dates, times, timestamps and UUIDs are exact, to the nanosecond; records are structs, arrays lists, maps
    maps, enums text. A union with null is the other type with nulls; a union of numbers is the type that holds all
    of them; another union is JSON text where its branches are JSON's, else an error. All files must have the
    columns of the first one, with the same types.

    Needs `pip install "pipeline-flow[avro]"`; of the codecs, snappy, zstandard and lz4 need a library of their own.
    """

    class Config(PluginConfig):
        path: Paths
        columns: list[str] | None = Field(
            default=None,
            description="The columns to read, in this order; all by default.",
            examples=[["id", "day"]],
        )
        file_column: FileColumn = None

        def follow_columns(self, _: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            if self.columns is None:
                return None
            return (*self.columns, self.file_column) if self.file_column is not None else tuple(self.columns)

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of all files."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        import pyarrow as pa

        from pipeline_flow.data import BatchStream

        library("fastavro", "avro")
        paths = local.find(self.config.path)
        schema = _Reading(paths[0], self.config.columns).schema
        for path in paths[1:]:
            self._check_same(schema, _Reading(path, schema.names).schema, path)
        column = self.config.file_column
        if column is not None and column in schema.names:
            raise WrongArgument(
                f"`file_column` is `{column}`, which {paths[0]} has already", hint="give it another name"
            )
        full = schema if column is None else schema.append(pa.field(column, pa.string()))

        def batches() -> Iterator[pa.RecordBatch]:
            for path in paths:
                for batch in _Reading(path, schema.names).batches(self.context.check):
                    columns = batch.columns
                    if column is not None:
                        columns.append(pa.array([str(path)] * batch.num_rows, pa.string()))
                    yield pa.RecordBatch.from_arrays(columns, schema=full)

        return BatchStream(full, batches())

    @staticmethod
    def _check_same(expected: pa.Schema, found: pa.Schema, path: Path) -> None:
        for field in expected:
            other = found.field(field.name).type
            if not other.equals(field.type):
                raise SourceMalformed(
                    f"the column `{field.name}` is {other} in {path} and {field.type} in the first file",
                    hint="read them in two steps and bring them together with `concat`",
                )


class _Reading:
    """Some columns of one file: their types, and their rows.

    Args:
        path: the file.
        names: the columns wanted; all by default.
    """

    def __init__(self, path: Path, names: Sequence[str] | None = None) -> None:
        import pyarrow as pa

        self._path = path
        with _opened(path) as blocks:
            self._written = blocks.writer_schema
        self._is_record = isinstance(self._written, dict) and self._written.get("type") in ("record", "error")
        fields = (
            {field["name"]: field["type"] for field in self._written["fields"]}
            if self._is_record
            else {_VALUE: self._written}
        )
        if not fields:
            raise SourceMalformed(f"the records of {path} have no fields, so there are no columns")
        types = _Types(path, self._written)
        for name in names or ():
            if name not in fields:
                raise SourceMalformed(f"{path} has no column `{name}`", hint=hint(name, fields, "it has"))
        self._columns = [(name, *types.column(fields[name], name)) for name in names or fields]
        self.schema = pa.schema([(name, type_) for name, type_, _ in self._columns])

    def batches(self, check: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        """The rows in batches."""
        from fastavro import parse_schema, schemaless_reader

        rows: list[Any] = []
        size = 0
        with _opened(self._path) as blocks:
            # Its own readers of logical types know nothing finer than Python's times.
            bare = parse_schema(_without_logic(self._written), _force=True)
            for block in blocks:
                check()
                data = block.bytes_
                rows += [schemaless_reader(data, bare, None) for _ in range(block.num_records)]
                size += block.size
                if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
                    yield self._batch(rows)
                    rows, size = [], 0
            if rows:
                yield self._batch(rows)

    def _batch(self, rows: list[Any]) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = []
        for name, type_, read in self._columns:
            values = [row[name] for row in rows] if self._is_record else rows
            try:
                arrays.append(pa.array(values if read is None else [read(value) for value in values], type_))
            except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
                raise SourceMalformed(
                    f"the column `{name}` ({type_}) of {self._path} holds a value that does not fit: {error}"
                ) from None
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The blocks of a file; what goes wrong inside is told in our words."""
    import fastavro
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        with path.open("rb") as file:
            yield fastavro.block_reader(file)
    except OSError as error:
        raise SourceUnreadable(f"the file {path} cannot be read: {local.reason(error)}") from None
    except (EOFError, IndexError, struct.error):
        raise SourceMalformed(f"{path} ends within a record", hint="the file was cut off") from None
    except UnicodeDecodeError as error:
        raise SourceMalformed(f"{path} holds a text that is not UTF-8: {error.reason}") from None
    except (SchemaParseException, UnknownType, json.JSONDecodeError, KeyError) as error:
        raise SourceMalformed(f"{path} has a schema that cannot be read: {error}") from None
    except ValueError as error:
        text = str(error)
        if "need to install" in text:
            raise SourceUnreadable(f"{path} cannot be unpacked: {text}", hint="install it") from None
        if "avro file" in text:
            raise SourceMalformed(f"{path} is not an Avro file") from None
        raise SourceMalformed(f"{path} is damaged: {text}") from None
    except (zlib.error, lzma.LZMAError) as error:
        raise SourceMalformed(f"{path} is damaged: {error}") from None


def _without_logic(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logic(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_without_logic(item) for item in schema]
    return schema


# ---------------------------------------------------------------------------------------------- types

_PLAIN = {"boolean", "int", "long", "float", "double", "string", "enum", "array", "map", "record", "null"}


class _Types:
    """Arrow's types for Avro's, and what has to be done to a value as it is stored."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._path = path
        self._named: dict[str, Any] = {}
        self._inside: list[str] = [schema["name"]] if isinstance(schema, dict) and "name" in schema else []
        self._collect(schema)

    def _collect(self, schema: Any) -> None:
        """Remembers the types that have names; the parser has made the names whole."""
        for part in schema if isinstance(schema, list) else [schema]:
            if isinstance(part, dict):
                if "name" in part:
                    self._named[part["name"]] = part
                for inner in ("type", "items", "values"):
                    self._collect(part.get(inner))
                for field in part.get("fields", ()):
                    self._collect(field["type"])

    def _fields(self, schema: dict[str, Any], at: str) -> list[tuple[str, pa.DataType, _Read | None]]:
        """The fields of a record: name, type, and reader."""
        name = schema.get("name", "")
        if name in self._inside:
            raise SourceMalformed(f"`{at}` of {self._path} holds records that hold themselves ({name})")
        self._inside.append(name)
        found = [
            (field["name"], *self.column(field["type"], f"{at}.{field['name']}"))
            for field in schema["fields"]
        ]
        self._inside.pop()
        return found

    def column(self, schema: Any, at: str) -> tuple[pa.DataType, _Read | None]:
        """The type of what stands at ``at``, and how a stored value becomes one of it; ``None`` where it is one."""
        import pyarrow as pa

        if isinstance(schema, list):
            return self._union(schema, at)
        if isinstance(schema, str):
            if schema in self._inside:
                raise SourceMalformed(f"`{at}` of {self._path} holds records that hold themselves ({schema})")
            if schema in self._named:
                return self.column(self._named[schema], at)
            schema = {"type": schema}
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.column(kind, at)
        logical = self._logical(schema, kind)
        if logical is not None:
            return logical
        if kind in ("record", "error"):
            fields = self._fields(schema, at)
            if not fields:
                return pa.string(), lambda value: None if value is None else "{}"
            return pa.struct([(name, type_) for name, type_, _ in fields]), _record(fields)
        if kind == "array":
            item, read = self.column(schema["items"], at)
            return pa.list_(item), read and _each(read)
        if kind == "map":
            item, read = self.column(schema["values"], at)
            return pa.map_(pa.string(), item), read and _each_value(read)
        simple = {
            "null": pa.string(),
            "boolean": pa.bool_(),
            "int": pa.int32(),
            "long": pa.int64(),
            "float": pa.float32(),
            "double": pa.float64(),
            "bytes": pa.binary(),
            "fixed": pa.binary(),
            "string": pa.string(),
            "enum": pa.string(),
        }
        return simple.get(kind) or self.column(kind, at)[0], None

    def _logical(self, schema: dict[str, Any], kind: str) -> tuple[pa.DataType, _Read | None] | None:
        """The same for a logical type; ``None`` for a plain one, and for one that is not known or does not stand on its type."""
        import pyarrow as pa

        logical = schema.get("logicalType")
        if logical == "decimal" and kind in ("bytes", "fixed"):
            precision, scale = schema.get("precision", 0), schema.get("scale", 0)
            if not 0 < precision <= _WIDEST or not 0 <= scale <= precision:
                return None
            make = pa.decimal128 if precision <= _WIDEST_128 else pa.decimal256
            return make(precision, scale), _decimal(scale)
        if logical == "uuid" and kind == "fixed":
            return pa.string(), lambda value: None if value is None else str(uuid.UUID(bytes=value))
        types = {
            ("date", "int"): pa.date32(),
            ("time-millis", "int"): pa.time32("ms"),
            ("time-micros", "long"): pa.time64("us"),
            ("timestamp-millis", "long"): pa.timestamp("ms", "UTC"),
            ("timestamp-micros", "long"): pa.timestamp("us", "UTC"),
            ("timestamp-nanos", "long"): pa.timestamp("ns", "UTC"),
            ("local-timestamp-millis", "long"): pa.timestamp("ms"),
            ("local-timestamp-micros", "long"): pa.timestamp("us"),
            ("local-timestamp-nanos", "long"): pa.timestamp("ns"),
        }
        found = types.get((str(logical), kind))
        return None if found is None else (found, None)

    def _union(self, branches: list[Any], at: str) -> tuple[pa.DataType, _Read | None]:
        import pyarrow as pa

        others = [branch for branch in branches if branch != "null"]
        if not others:
            return pa.string(), None
        if len(others) == 1:
            return self.column(others[0], at)
        for kinds, type_ in (({"int", "long"}, pa.int64()), ({"int", "float", "double"}, pa.float64())):
            if all(isinstance(branch, str) and branch in kinds for branch in others):
                return type_, None
        for branch in others:
            kind = self._not_json(branch)
            if kind:
                raise SourceMalformed(
                    f"`{at}` of {self._path} is a union with {kind}, for which no column has a type: {json.dumps(branches)[:200]}",
                    hint="leave it out: `columns` lists the columns to read",
                )
        return pa.string(), _json_text

    def _not_json(self, schema: Any, seen: tuple[str, ...] = ()) -> str:
        """The first part of a type that JSON has no values for; empty without one."""
        if isinstance(schema, list):
            return next(filter(None, (self._not_json(branch, seen) for branch in schema)), "")
        if isinstance(schema, str):
            if schema in _PLAIN or schema in seen:
                return ""
            return self._not_json(self._named[schema], (*seen, schema)) if schema in self._named else schema
        kind = schema["type"]
        if not isinstance(kind, str):
            return self._not_json(kind, seen)
        if schema.get("logicalType") and self._logical(schema, kind):
            return str(schema["logicalType"])
        if kind not in _PLAIN:
            return self._not_json(kind, seen)
        seen = (*seen, schema.get("name", ""))
        parts = [
            schema.get("items"),
            schema.get("values"),
            *(field["type"] for field in schema.get("fields", ())),
        ]
        return next(filter(None, (self._not_json(part, seen) for part in parts if part is not None)), "")


def _record(fields: list[tuple[str, pa.DataType, _Read | None]]) -> _Read | None:
    reads = [(name, read) for name, _, read in fields if read is not None]
    if not reads:
        return None

    def read_all(value: Any) -> Any:
        return value if value is None else {**value, **{name: read(value[name]) for name, read in reads}}

    return read_all


def _each(read: _Read) -> _Read:
    return lambda value: value if value is None else [read(item) for item in value]


def _each_value(read: _Read) -> _Read:
    return lambda value: value if value is None else {name: read(item) for name, item in value.items()}


def _decimal(scale: int) -> _Read:
    def read(value: Any) -> Any:
        if value is None:
            return None
        number = int.from_bytes(value, "big", signed=True)
        # Not scaleb: it rounds to the digits of the current context.
        return decimal.Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))

    return read


def _json_text(value: Any) -> Any:
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)
