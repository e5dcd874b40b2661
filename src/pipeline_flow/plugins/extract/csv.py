"""CSV files as a source."""

from __future__ import annotations

import codecs
import re
import secrets
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeVar

from pydantic import Field, field_validator

from pipeline_flow.core.suggest import hint
from pipeline_flow.core.text import clipped
from pipeline_flow.errors import SourceMalformed, WrongArgument
from pipeline_flow.files import csv_text, partition, source
from pipeline_flow.files.field import Columns, FileColumn, FolderPaths, OnTypeError
from pipeline_flow.plugins.base import IExtractPlugin, PluginConfig
from pipeline_flow.sql import type_name, written
from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.csv_plain import Layout
    from pipeline_flow.files.csv_text import Dialect
    from pipeline_flow.files.source import File, Files

SAMPLE_ROWS = 20_480
_QUICK_ROWS = 256
_SAMPLE = "_pipeline_flow_sample"
_SAMPLE_FILES = 10
_LINE_BYTES = 2 * 1024 * 1024  # the longest record
_BUFFERS = 4  # of the longest record: DuckDB holds a few of these buffers at a time; its own default is 32 MB
_MISFIT = "pipeline-flow:"
_SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
_Key = TypeVar("_Key", str, tuple[str, str])
_INVALID_STATE = "state machine reached an invalid state"
_NOT_WHOLE = "does not support a full read"
_TEXTS = ("VARCHAR", "TEXT", "STRING")


class CsvExtract(IExtractPlugin, plugin_name="csv"):
    """Reads CSV files, one after the other, without changing a value.

    Types come from `columns`, and for the others from the first 20,480 rows (all rows, with `on_type_error: widen` or
    `text`). A column is an integer only if each value is written as an integer would be (`007`, `+5`, `-0`, ` 5` are text)
    and has at most 18 digits (38 with `widen`, as DECIMAL(38,0)); a DOUBLE only if no value has more than 15 significant
    digits (unless it is a double's own shortest text); a DATE, TIMESTAMP or TIMESTAMPTZ only in ISO form; a BOOLEAN only of
    true and false; anything else is text. With `on_type_error: fail`, a value after the sample that breaks its column's
    type is an error that names file, line, column and value.

    An empty field is null, an empty text in quotes (`""`) is an empty text. Every file has the same header; names must
    differ; a column without a name is called by its place (`column_3`). A row with too many or too few fields is an
    error, but for one more delimiter at its end; blank lines are no rows, unless there is one column alone. A first line
    `sep=;` names the delimiter. Files ending in `.gz` and `.zst` are unpacked on the way.
    """

    class Config(PluginConfig):
        path: FolderPaths
        columns: Columns = Field(default_factory=dict)
        on_type_error: OnTypeError = "fail"
        file_column: FileColumn = None
        delimiter: str | None = Field(
            default=None,
            description="One character between the fields. By default the one of `,` `;` tab `|` that the header holds most often.",
            examples=[";"],
        )
        quote: str = Field(
            default='"', description="The character around fields; empty for none.", examples=["'"]
        )
        escape: str | None = Field(
            default=None,
            description="The character before a quote inside a quoted field; by default the quote itself, doubled.",
            examples=["\\"],
        )
        header: bool = Field(
            default=True,
            description="Whether the first line holds the names. Without it they are column_1, column_2, …",
            examples=[False],
        )
        skip: int = Field(
            default=0, ge=0, description="Lines to leave out at the start of each file.", examples=[2]
        )
        comment: str | None = Field(
            default=None,
            description="A character; lines that begin with it are left out. The file is copied first.",
            examples=["#"],
        )
        short_rows: Literal["fail", "null"] = Field(
            default="fail",
            description="What happens to a row with too few fields: an error, or `null` for the fields that are missing "
            "(in one thread). A row with too many is always an error.",
            examples=["null"],
        )
        line_ends: Literal["same", "mixed"] = Field(
            default="same",
            description="`mixed` where LF, CR LF and CR end lines in one file; the file is copied first. Found by itself "
            "where the first rows show it.",
            examples=["mixed"],
        )
        longest_row: int = Field(
            default=_LINE_BYTES,
            ge=1024,
            le=256 * 1024 * 1024,
            description="The longest row in bytes. Some sixteen times as much memory is used.",
            examples=[16000000],
        )
        encoding: str = Field(
            default="utf-8",
            description="The text encoding, by any name that Python knows. A byte order mark of UTF-16 or UTF-32 is seen.",
            examples=["cp1252"],
        )
        null: list[str] = Field(
            default_factory=list,
            description="Texts that mean null where they stand without quotes. An empty field always does.",
            examples=[["NA", "\\N"]],
        )
        date_format: str | None = Field(
            default=None,
            description="How columns that `columns` declares as DATE are written; ISO by default.",
            examples=["%d.%m.%Y"],
        )
        timestamp_format: str | None = Field(
            default=None,
            description="How columns that `columns` declares as TIMESTAMP or TIMESTAMPTZ are written; ISO by default.",
            examples=["%d/%m/%Y %H:%M"],
        )

        @field_validator("columns")
        @classmethod
        def _types(cls, value: dict[str, str]) -> dict[str, str]:
            for text in value.values():
                type_name.check(text)
            return value

        @field_validator("delimiter", "quote", "escape", "comment")
        @classmethod
        def _one_character(cls, value: str | None) -> str | None:
            if value is not None and len(value) > 1:
                raise ValueError(f"{value!r} is not one character")
            if value in ("\n", "\r"):
                raise ValueError("a line break cannot separate or quote fields")
            return value

        @field_validator("encoding")
        @classmethod
        def _known(cls, value: str) -> str:
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError(f"{value!r} is not a text encoding that Python knows") from None
            return value

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of all files."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        from pipeline_flow.files import unpack

        found = source.find(self.config.path, _SUFFIXES)
        if not found.files:
            return self._no_rows(found)
        for file in found.files:
            unpack.check(file.path, self.context.check)
        sources: list[_Source] = []
        try:
            names, dialect = self._header(found.files, sources)
            try:
                return self._stream(found, sources, names, dialect)
            except _MixedLineEnds:
                return self._stream(found, self._tidied(sources), names, dialect)
        except BaseException:
            _clean(sources)
            raise

    def _stream(
        self, found: Files, sources: list[_Source], names: list[str], dialect: Dialect
    ) -> BatchStream:
        from pipeline_flow.sql import duckdb

        connection = duckdb.in_memory(self.context)
        try:
            reading = _Reading(self.config, sources, dialect, names, connection)
            columns = reading.columns()
            constants = self._constants(found.files, names)
            if any(constants):
                return self._file_by_file(reading, columns, constants, found)
            layout = reading.layout(columns)
            if layout is not None:
                return self._read_blocks(reading, columns, layout)
        except BaseException:
            connection.close()
            raise
        return duckdb.stream(
            connection,
            reading.query(columns, sources),
            context=self.context,
            on_close=lambda: _clean(sources),
            translate=lambda error: reading.malformed(error, columns),
        )

    def _read_blocks(self, reading: _Reading, columns: Sequence[_Column], layout: Layout) -> BatchStream:
        """The rows, read by Arrow as far as they are plainly written, and then by DuckDB."""
        from pipeline_flow.data import BatchStream
        from pipeline_flow.files import csv_plain

        def batches() -> Iterator[pa.RecordBatch]:
            for number, item in enumerate(reading.sources):
                rows = 0
                try:
                    for batch in csv_plain.batches(layout, item.read_from, item.skip):
                        self.context.check()
                        rows += batch.num_rows
                        yield batch
                    continue
                except (csv_plain.NotPlain, OSError):  # the general reader says what is wrong with the file
                    query = f"{reading.query(columns, reading.sources[number:])} offset {rows}"
                with reading.run(self.context, query, columns) as rest:
                    yield from rest
                return

        def close() -> None:
            reading.connection.close()
            _clean(reading.sources)

        no_rows = f"{reading.query(columns, reading.sources)} limit 0"
        with reading.run(self.context, no_rows, columns) as empty:
            schema = empty.schema
        return BatchStream(schema, batches(), on_close=close)

    # ------------------------------------------------------------------------------------------ columns beside the text

    def _constants(self, files: Sequence[File], names: Sequence[str]) -> list[dict[str, Any]]:
        """For each file the columns that are the same in all of its rows: partition columns, and the file's name."""
        added = self.config.file_column
        source.check_file_column(added, [*names, *files[0].partition])
        return [
            {name: value for name, value in file.partition.items() if name not in names}
            | ({} if added is None else {added: partition.text(str(file.path))})
            for file in files
        ]

    def _file_by_file(
        self,
        reading: _Reading,
        columns: Sequence[_Column],
        constants: Sequence[dict[str, Any]],
        found: Files,
    ) -> BatchStream:
        """The rows, a query for each file, with the columns that the file's place adds."""
        import pyarrow as pa

        from pipeline_flow.data import BatchStream

        def opened(item: _Source) -> BatchStream:
            return reading.run(self.context, reading.query(columns, [item]), columns)

        first = opened(reading.sources[0])
        fields = {field.name: field for field in first.schema} | {
            name: pa.field(name, value.type) for name, value in constants[0].items()
        }
        order = list(fields)
        if found.schema is not None and set(found.schema.names) <= set(fields):
            order = [*found.schema.names, *(name for name in fields if name not in found.schema.names)]
        schema = pa.schema([fields[name] for name in order])

        def batches() -> Iterator[pa.RecordBatch]:
            for number, (item, added) in enumerate(zip(reading.sources, constants, strict=True)):
                with first if number == 0 else opened(item) as rows:
                    for batch in rows:
                        self.context.check()
                        arrays = [
                            pa.repeat(added[name], batch.num_rows) if name in added else batch.column(name)
                            for name in order
                        ]
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        def close() -> None:
            first.close()
            reading.connection.close()
            _clean(reading.sources)

        return BatchStream(schema, batches(), on_close=close)

    def _no_rows(self, found: Files) -> BatchStream:
        """The columns of a folder whose manifest lists no file; text, but for declared and partition columns."""
        import pyarrow as pa

        from pipeline_flow.data import BatchStream
        from pipeline_flow.sql import duckdb

        assert found.schema is not None
        types = {name: self.config.columns.get(name, "VARCHAR") for name in found.schema.names}
        listed = ", ".join(f"cast(null as {type_}) as {quote(name)}" for name, type_ in types.items())
        query = f"select {listed} where false"
        with duckdb.stream(duckdb.in_memory(self.context), query, context=self.context) as empty:
            fields = [pa.field(f.name, found.partitions.get(f.name, f.type)) for f in empty.schema]
        if self.config.file_column is not None:
            fields.append(pa.field(self.config.file_column, pa.string()))
        return BatchStream(pa.schema(fields), iter(()))

    # ------------------------------------------------------------------------------------------ the files as text

    def _header(self, files: Sequence[File], sources: list[_Source]) -> tuple[list[str], Dialect]:
        """The names of the columns and the dialect, by the first file; the others must have the same header.

        ``sources`` receives the files as DuckDB can read them.
        """
        dialect = self._dialect(files[0].path)
        expected: list[str] = []
        for file in files:
            path, encoding = file.path, csv_text.encoding_of(file.path, self.config.encoding)
            marked = csv_text.separator(path, encoding, dialect.skip) is not None
            own = replace(dialect, skip=dialect.skip + marked)
            head = csv_text.head(path, encoding, own)
            if not sources:
                expected = head.names
            elif head.names != expected:
                raise SourceMalformed(
                    f"{path} has other columns than {files[0].path}: {', '.join(head.names)} instead of {', '.join(expected)}",
                    hint="read them in two steps and bring them together with `concat`",
                )
            sources.append(self._source(_Source(path, path, encoding, head.skip, own)))
        for name in self.config.columns:
            if name not in expected:
                raise WrongArgument(
                    f"`columns` declares `{name}`, which {files[0].path} does not have",
                    hint=hint(name, expected, "it has"),
                )
        return expected, dialect

    def _dialect(self, path: Path) -> Dialect:
        config = self.config
        dialect = csv_text.Dialect(
            "\0", config.quote, config.escape, config.header, config.skip, config.comment, config.longest_row
        )
        if config.delimiter is not None:
            return replace(dialect, delimiter=config.delimiter)
        encoding = csv_text.encoding_of(path, config.encoding)
        named = csv_text.separator(path, encoding, config.skip)
        return replace(dialect, delimiter=named or csv_text.guess(path, encoding, dialect))

    def _source(self, item: _Source) -> _Source:
        """The file as UTF-8: DuckDB's own decoders know few encodings, and a wrong byte must not pass."""
        if self.config.comment is not None or self.config.line_ends == "mixed":
            return self._tidy(item)
        if csv_text.is_misleading(item.path, item.encoding, item.dialect, item.skip):
            return self._tidy(item)
        if item.encoding.lower() not in csv_text.UTF8:
            copy = self._copy_path()
            try:
                csv_text.copy(item.path, item.encoding, copy, self.context.check)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise
            item = replace(item, read_from=copy)
        if item.packing == "none" and csv_text.ends_too_long(item.read_from, self.config.longest_row):
            _clean([item])
            raise _too_long(item, self.config.longest_row)
        return item

    def _tidied(self, sources: list[_Source]) -> list[_Source]:
        """Copies with one kind of line end; they take the place of the others in ``sources``."""
        for number, item in enumerate(sources):
            _clean([item])
            sources[number] = self._tidy(item)
        return sources

    def _tidy(self, item: _Source) -> _Source:
        copy = self._copy_path()
        try:
            csv_text.tidy_copy(item.path, item.encoding, item.dialect, copy, self.context.check)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return replace(item, read_from=copy, skip=0, tidy=True)

    def _copy_path(self) -> Path:
        return self.context.resources.folder() / f"csv-{secrets.token_hex(6)}.csv"


class _MixedLineEnds(Exception):
    """The sample shows lines that end in different ways."""


def _clean(sources: Sequence[_Source]) -> None:
    for item in sources:
        if item.read_from != item.path:
            item.read_from.unlink(missing_ok=True)


def _too_long(item: _Source, longest: int) -> SourceMalformed:
    line = csv_text.long_line(item.path, item.encoding, item.dialect)
    where = f"{item.path}, line {line}," if line else f"{item.path}"
    return SourceMalformed(
        f"{where} has a row of more than {longest:,} bytes",
        hint="set `longest_row`; a quote that does not end makes long rows too",
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """A file: where its text is read from as UTF-8, its own encoding and dialect, and the lines before the header.

    ``tidy`` is true where what is read is a copy without comments, in which every record ends in the same way.
    """

    path: Path
    read_from: Path
    encoding: str
    skip: int
    dialect: Dialect
    tidy: bool = False

    @property
    def packing(self) -> str:
        """How what DuckDB reads is packed. It would not know by a name in capitals."""
        from pipeline_flow.files import unpack

        return unpack.by_name(self.read_from) or "none"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its name, the name that it has in our queries, its type, and whether a person declared that."""

    name: str
    key: str
    type: str
    declared: bool


class _Reading:
    """How the files are read: the dialect, the columns, and what to say when a value does not fit."""

    def __init__(
        self,
        config: CsvExtract.Config,
        sources: Sequence[_Source],
        dialect: Dialect,
        names: Sequence[str],
        connection: DuckDBPyConnection,
    ) -> None:
        self._config = config
        self.sources = sources
        self._dialect = dialect
        self._names = names
        self.connection = connection

    def columns(self) -> list[_Column]:
        """The columns with their types: declared, or found in the sample."""
        import duckdb as native

        from pipeline_flow.sql import duckdb

        keys = {name: f"c{index}" for index, name in enumerate(self._names)}
        for name, type_ in self._config.columns.items():
            try:
                self.connection.execute(f"select null::{type_}")
            except native.Error as error:
                raise WrongArgument(
                    f"`columns` declares `{name}` as `{type_}`, which is no type of DuckDB's: "
                    f"{duckdb.first_lines(str(error)).splitlines()[0]}",
                    hint="such as VARCHAR, BIGINT, DOUBLE, DECIMAL(10,2), DATE, TIMESTAMP, BOOLEAN",
                ) from None
        open_ = [name for name in self._names if name not in self._config.columns]
        found = self._inferred([keys[name] for name in open_])
        types = dict(zip(open_, found, strict=True))
        declared = self._config.columns
        return [
            _Column(name, keys[name], declared.get(name) or types[name], name in declared)
            for name in self._names
        ]

    def _inferred(self, keys: Sequence[str]) -> list[str]:
        """For each column the first type that every value of the sample is written as; text where there is none.

        With `on_type_error: widen` all rows are the sample; with `text` a column whose type breaks later is text.
        """
        import duckdb as native

        found = dict.fromkeys(keys, "VARCHAR")
        mode = self._config.on_type_error
        try:
            if mode != "widen":
                self._infer_from_sample(found)
            if mode == "text":
                self._make_text(found)
            elif mode == "widen":
                self._infer_from_all(found)
        except native.Error as error:
            self._raise(error)
        return [found[key] for key in keys]

    def _infer_from_sample(self, found: dict[str, str]) -> None:
        sampled = self.sources[:_SAMPLE_FILES]
        rows = max(1, SAMPLE_ROWS // len(sampled))
        sample = " union all ".join(f"(select * from {self._read([item])} limit {rows})" for item in sampled)
        self.connection.execute(f"create temp table {_SAMPLE} as {sample}")
        for type_, check in written.INFERRED.items():
            tried = [key for key in found if found[key] == "VARCHAR"]
            held = self._held({key: check(key) for key in tried}, f"(from {_SAMPLE} limit {_QUICK_ROWS})")
            # Most types are out after a few rows.
            held = self._held({key: check(key) for key in tried if held[key] is not False}, _SAMPLE)
            found |= {key: type_ for key, holds in held.items() if holds}
        self.connection.execute(f"drop table {_SAMPLE}")

    def _make_text(self, found: dict[str, str]) -> None:
        typed = {key: written.INFERRED[type_](key) for key, type_ in found.items() if type_ != "VARCHAR"}
        held = self._held(typed, self._read(self.sources))
        found |= {key: "VARCHAR" for key, holds in held.items() if holds is False}

    def _infer_from_all(self, found: dict[str, str]) -> None:
        """In one pass over all rows: every type that a column's first rows leave open is tried on all of them."""
        rows = f"(select * from {self._read(self.sources)})"
        first = f"(select * from {self._read(self.sources)} limit {_QUICK_ROWS})"
        tests = {
            (key, type_): check(key) for key in found for type_, check in written.INFERRED_BY_ALL.items()
        }
        held = self._held(tests, first)
        held = self._held({pair: test for pair, test in tests.items() if held[pair] is not False}, rows)
        for (key, type_), holds in held.items():
            if holds and found[key] == "VARCHAR":
                found[key] = type_

    def _held(self, tests: Mapping[_Key, str], rows: str) -> dict[_Key, bool | None]:
        """Whether every value in ``rows`` passes the test of its column; ``None`` where all are null.

        The key of a test is the column, or a pair that begins with it.
        """
        if not tests:
            return {}
        columns = [key if isinstance(key, str) else key[0] for key in tests]  # type: ignore[redundant-expr] # mypy sees one of the two
        listed = ", ".join(
            f"bool_and({test}) filter (where {column} is not null)"
            for column, test in zip(columns, tests.values(), strict=True)
        )
        found = self.connection.execute(f"select {listed} from {rows}").fetchone() or ()
        return dict(zip(tests, found, strict=True))

    def _raise(self, error: Exception) -> NoReturn:
        from pipeline_flow.sql import duckdb

        if self._is_odd(str(error)) and not all(item.tidy for item in self.sources):
            raise _MixedLineEnds from None
        raise (self.malformed(error, ()) or duckdb.failed(error)) from None

    def _read(self, sources: Sequence[_Source]) -> str:
        """The call of ``read_csv`` over ``sources``, every column as text: only then can a guard see what was written."""
        groups = groupby(sources, key=lambda item: (item.skip, item.packing))
        calls = [self._call(list(group), *common) for common, group in groups]
        if len(calls) == 1:
            return calls[0]
        return f"({' union all '.join(f'(select * from {call})' for call in calls)})"

    def _call(self, sources: Sequence[_Source], skip: int, packing: str) -> str:
        config = self._config
        listed = ", ".join(literal(str(item.read_from)) for item in sources)
        columns = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(self._names)))
        nulls = ", ".join(literal(text) for text in dict.fromkeys(["", *config.null]))
        options = [
            f"columns = {{{columns}}}",
            "auto_detect = false",
            f"header = {str(config.header).lower()}",
            f"skip = {skip}",
            f"compression = {literal(packing)}",
            f"delim = {literal(self._dialect.delimiter)}",
            f"quote = {literal(config.quote)}",
            f"escape = {literal(config.quote if config.escape is None else config.escape)}",
            f"nullstr = [{nulls}]",
            "allow_quoted_nulls = false",
            f"max_line_size = {config.longest_row}",
            f"buffer_size = {_BUFFERS * config.longest_row}",
        ]
        pads = config.short_rows == "null"
        if pads:
            options.append("null_padding = true")
        if pads or packing != "none":
            # In parallel, a last row that is longer than a buffer is lost without a word; of an unpacked file we looked.
            options.append("parallel = false")
        return f"read_csv([{listed}], {', '.join(options)})"

    def query(self, columns: Sequence[_Column], sources: Sequence[_Source]) -> str:
        """The SELECT over ``sources``, with a guard around every type that would silently change a text."""
        listed = ", ".join(f"{self._value(column)} as {quote(column.name)}" for column in columns)
        return f"select {listed} from {self._read(sources)}"

    def run(self, context: Context, query: str, columns: Sequence[_Column]) -> BatchStream:
        """The rows of one query among others, on a cursor of its own."""
        from pipeline_flow.sql import duckdb

        return duckdb.stream(
            self.connection.cursor(),
            query,
            context=context,
            translate=lambda error: self.malformed(error, columns),
        )

    def layout(self, columns: Sequence[_Column]) -> Layout | None:
        """How the files are written, if that is how :mod:`~pipeline_flow.files.csv_plain` reads."""
        from pipeline_flow.files import csv_plain

        config, delimiter = self._config, self._dialect.delimiter
        if (
            config.quote not in ("", '"')
            or config.escape not in (None, config.quote)
            or config.short_rows == "null"
            or len(columns) == 1  # a blank line is a row then
            or not delimiter.isascii()
            or any(item.packing != "none" for item in self.sources)
            or any(column.declared and self._parsed(column) for column in columns)
        ):
            return None
        try:
            converts = {
                column.name: None
                if column.type.upper() in _TEXTS
                else csv_plain.convert(column.type, declared=column.declared)
                for column in columns
            }
        except csv_plain.NotPlain:
            return None
        return csv_plain.Layout(
            self._names,
            converts,
            delimiter,
            bool(config.quote),
            config.header,
            list(dict.fromkeys(["", *config.null])),
            config.longest_row,
        )

    def _value(self, column: _Column) -> str:
        key, type_ = column.key, column.type
        if type_.upper() in _TEXTS:
            return key
        if column.declared and (parsed := self._parsed(column)):
            return parsed
        cast = f"cast({key} as {type_})"
        misfit = self._misfit(column, cast)
        return (
            cast
            if misfit is None
            else f"case when {misfit} then error({literal(_MISFIT + key)}) else {cast} end"
        )

    def _parsed(self, column: _Column) -> str | None:
        word = column.type.upper()
        form = None
        if word == "DATE":
            form = self._config.date_format
        elif word.startswith(("TIMESTAMP", "DATETIME")):
            form = self._config.timestamp_format
        return f"cast(strptime({column.key}, {literal(form)}) as {column.type})" if form else None

    def _misfit(self, column: _Column, cast: str) -> str | None:
        """What a value must not be, as SQL; ``None`` where the cast itself knows."""
        if column.declared:
            check = written.declared_check(column.key, column.type)
            return check and f"not {check}"
        guard = written.GUARDS.get(column.type)
        return guard and guard(column.key, cast)

    # ------------------------------------------------------------------------------------------ errors

    def malformed(self, error: Exception, columns: Sequence[_Column]) -> Exception | None:
        """DuckDB's complaint about a file as ours: file, line, column, value, and what to do."""
        text = str(error)
        if self._is_odd(text) and not all(item.tidy for item in self.sources):
            return SourceMalformed(
                f"{self._shown()} has lines that end in different ways (LF, CR LF, CR)",
                hint="line_ends: mixed",
            )
        if _MISFIT not in text and ("CSV Error" in text or "unicode" in text.lower() or _NOT_WHOLE in text):
            broken = self._broken(text)
            if broken is not None:
                return broken
        if _MISFIT in text or "Conversion Error" in text or "Could not" in text or "CSV Error" in text:
            found = self._first_misfit(columns)
            if found is not None:
                return found
        if "CSV Error" in text or "Invalid unicode" in text or "Conversion" in text or _NOT_WHOLE in text:
            return SourceMalformed(f"{self._shown()} cannot be read as CSV: {_short(text)}")
        return None

    def _is_odd(self, text: str) -> bool:
        """Whether DuckDB complains about a file in which another parser finds nothing: then its line ends differ."""
        if _INVALID_STATE in text:
            return True
        return (
            "CSV Error on Line" in text
            and _MISFIT not in text
            and "converting" not in text
            and self._broken(text) is None
        )

    def _shown(self) -> str:
        first = str(self.sources[0].path)
        return first if len(self.sources) == 1 else f"one of {len(self.sources)} files ({first}, …)"

    def _broken(self, text: str) -> SourceMalformed | None:
        """What is wrong with the text of a file. DuckDB counts records, so the line is looked for by another parser."""
        named = re.search(r"^\s*file\s*=\s*(.+?)\s*$", text, re.MULTILINE)
        chosen = [item for item in self.sources if named and str(item.read_from) == named[1]]
        for item in chosen or self.sources:
            try:
                wrong = self._broken_file(item, text)
            except SourceMalformed as error:
                return error
            if wrong is not None:
                return wrong
        return None

    def _broken_file(self, item: _Source, text: str) -> SourceMalformed | None:
        if "unicode" in text.lower() or "utf-8" in text.lower():
            for _ in csv_text.records(item.path, item.encoding, item.dialect):
                pass
            return None
        width = len(self._names)
        short = self._config.short_rows == "fail"
        found = csv_text.fault(item.path, item.encoding, item.dialect, width, short=short)
        if found is not None and found.broken:
            return SourceMalformed(
                f"{item.path}, line {found.line}: a quoted field does not end, or is followed by more than the delimiter",
                hint="close the quote, double a quote inside, or set `quote` or `escape`",
            )
        if found is not None:
            advice = (
                f"the delimiter is {self._dialect.delimiter!r}; a field with it inside must stand in quotes"
            )
            if found.fields < width:
                advice += "; `short_rows: null` takes rows with too few"
            return SourceMalformed(
                f"{item.path}, line {found.line} has {found.fields} fields instead of {width}", hint=advice
            )
        if csv_text.long_line(item.path, item.encoding, item.dialect):
            return _too_long(item, self._config.longest_row)
        return None

    def _first_misfit(self, columns: Sequence[_Column]) -> SourceMalformed | None:
        """The first value that does not fit its column, found by reading the files once more as text."""
        for item in self.sources:
            for column in columns:
                test = self._test(column)
                if test is None:
                    continue
                try:
                    row = (
                        self.connection.cursor()
                        .execute(
                            f"select n, {column.key} from (select row_number() over () as n, {column.key} from {self._read([item])}) "
                            f"where {column.key} is not null and not coalesce({test}, false) limit 1"
                        )
                        .fetchone()
                    )
                except Exception:  # noqa: BLE001 - the first error says more than one about looking for its place
                    return None
                if row is not None:
                    return self._error(item, column, int(row[0]), str(row[1]))
        return None

    def _test(self, column: _Column) -> str | None:
        if column.type.upper() in _TEXTS:
            return None
        if column.declared and (parsed := self._parsed(column)):
            return parsed.replace("strptime(", "try_strptime(") + " is not null"
        cast = f"try_cast({column.key} as {column.type})"
        misfit = self._misfit(column, cast)
        return f"{cast} is not null" + ("" if misfit is None else f" and not {misfit}")

    def _error(self, item: _Source, column: _Column, record: int, value: str) -> SourceMalformed:
        start = record - 1 + int(self._config.header)
        is_row = 1 if len(self._names) > 1 else 0  # blank lines are rows where there is one column alone
        found = csv_text.records(item.path, item.encoding, item.dialect)
        line = next(islice((at for at, fields, _ in found if len(fields) >= is_row), start, None), 0)
        shown = clipped(value)
        where = f"{item.path}, line {line}" if line else f"{item.path}, row {record}"
        if column.declared:
            return SourceMalformed(
                f"{where}: the column `{column.name}` is declared {column.type}, and here is {shown!r}",
                hint=f"correct the file, or declare {column.name}: VARCHAR",
            )
        return SourceMalformed(
            f"{where}: the column `{column.name}` is {column.type} in the first {SAMPLE_ROWS:,} rows, and here is {shown!r}",
            hint=f"declare it: columns: {{{column.name}: VARCHAR}}; or on_type_error: widen; or, where it means nothing, "
            f"`null: [{shown!r}]`",
        )


def _short(text: str) -> str:
    from pipeline_flow.sql import duckdb

    return duckdb.first_lines(text).splitlines()[0]
