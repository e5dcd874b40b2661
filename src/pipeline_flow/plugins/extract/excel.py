"""Excel workbooks as a source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SourceMalformed, WrongArgument
from pipeline_flow.files import local
from pipeline_flow.files.extra import library
from pipeline_flow.files.field import Columns, FileColumn, OnTypeError, Paths
from pipeline_flow.plugins.base import IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.data import BatchStream

SAMPLE_ROWS = 20_480
_BATCH_ROWS = 122_880
_WHOLE_DOUBLE = 2**53
_DAY = 86_400_000  # milliseconds
_DAY_ZERO = -25_568  # days from 1970 to 1899-12-31, the day of times without a date
_MIXED = "mixed"


class ExcelExtract(IExtractPlugin, plugin_name="excel"):
    """Reads one sheet of each workbook (xlsx, xlsm, xlsb, xls, ods), one file after the other.

    Columns and types: numbers are BIGINT where all of them are whole, else DOUBLE; dates are DATE where none has a time of
    day, else TIMESTAMP; times without a date are TIME; durations are INTERVAL; a column with cells of several kinds in its
    first 20,480 rows is text. A cell after them that does not fit is an error with file, sheet, row and column, unless
    `on_type_error` says otherwise: `widen` and `text` both make the column text.

    Empty cells are null; rows without any value are left out. A formula is the value that was stored with it.
    Names must differ; a column without a name is called by its place (`column_3`). A workbook is in memory as a whole.
    Needs `pip install "pipeline-flow[excel]"`.
    """

    class Config(PluginConfig):
        path: Paths
        sheet: str | int = Field(
            default=1, description="The sheet's name, or its number from 1.", examples=["Orders", 2]
        )
        skip: int = Field(
            default=0, ge=0, description="Rows of the sheet to leave out at its start.", examples=[2]
        )
        header: bool = Field(
            default=True,
            description="Whether the first row that is not empty holds the names. Without it they are column_1, column_2, …",
            examples=[False],
        )
        columns: Columns = Field(default_factory=dict)
        on_type_error: OnTypeError = "fail"
        error_cells: Literal["fail", "empty"] = Field(
            default="fail",
            description="What a cell with an error such as #DIV/0! is: an error that names the cell, or an empty cell.",
            examples=["empty"],
        )
        file_column: FileColumn = None

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of all sheets."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        import pyarrow as pa

        from pipeline_flow.data import BatchStream

        fastexcel = library("fastexcel", "excel")
        paths = local.find(self.config.path)
        declared = _declared(self.config.columns)
        sheet = self._sheet(fastexcel, paths[0])
        names = sheet.names
        for name in declared:
            if name not in names:
                raise WrongArgument(
                    f"`columns` declares `{name}`, which {sheet.shown} does not have",
                    hint=hint(name, names, "it has"),
                )
        types = sheet.types(declared)
        for path in paths[1:]:
            self.context.check()
            other = self._sheet(fastexcel, path)
            if other.names != names:
                raise SourceMalformed(
                    f"{other.shown} has other columns than {sheet.shown}: {', '.join(other.names)} instead of {', '.join(names)}",
                    hint="read them in two steps and bring them together with `concat`",
                )
            types = [_common(*pair) for pair in zip(types, other.types(declared), strict=True)]
        types = [pa.string() if type_ == pa.null() else type_ for type_ in types]
        schema = pa.schema(list(zip(names, types, strict=True)))
        column = self.config.file_column
        if column is not None and column in names:
            raise WrongArgument(
                f"`file_column` is `{column}`, which {sheet.shown} has already", hint="give it another name"
            )
        full = schema if column is None else schema.append(pa.field(column, pa.string()))

        def batches() -> Iterator[pa.RecordBatch]:
            for number, path in enumerate(paths):
                self.context.check()
                read = sheet if number == 0 else self._sheet(fastexcel, path)
                arrays = read.columns(schema, declared)
                if column is not None:
                    arrays.append(pa.array([str(path)] * read.rows, pa.string()))
                whole = pa.RecordBatch.from_arrays(arrays, schema=full)
                for start in range(0, read.rows, _BATCH_ROWS):
                    yield whole.slice(start, _BATCH_ROWS)

        return BatchStream(full, batches())

    def _sheet(self, fastexcel: Any, path: Path) -> _Sheet:
        try:
            book = fastexcel.read_excel(str(path))
            which = self.config.sheet
            named: list[str] = book.sheet_names
            if isinstance(which, str) and which not in named:
                raise SourceMalformed(f"{path} has no sheet `{which}`", hint=hint(which, named, "it has"))
            if isinstance(which, int) and not 1 <= which <= len(named):
                raise SourceMalformed(
                    f"{path} has no sheet {which}", hint=f"it has {len(named)}: {', '.join(named)}"
                )
            name = which if isinstance(which, str) else named[which - 1]
            return _Sheet(self.config, path, name, book)
        except fastexcel.FastExcelError as error:
            raise SourceMalformed(
                f"{path} is not a workbook that can be read: {str(error).splitlines()[0]}"
            ) from None


def _declared(columns: dict[str, str]) -> dict[str, pa.DataType]:
    from pipeline_flow.files import declared

    found = {}
    for name, word in columns.items():
        type_ = declared.scalar(declared.parsed(name, word))
        if type_ is None:
            raise WrongArgument(
                f"`columns` declares `{name}` as `{word}`, which is not read from Excel",
                hint="declare it VARCHAR and cast it in a transform",
            )
        found[name] = type_
    return found


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type of a column that is one in one file and another in another; a column of nulls is text."""
    import pyarrow as pa

    kinds = {first, second}
    if len(kinds) == 1:
        return first
    if pa.null() in kinds:
        return (kinds - {pa.null()}).pop()
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    if kinds == {pa.date32(), pa.timestamp("ms")}:
        return pa.timestamp("ms")
    return pa.string()


@dataclass(frozen=True, slots=True)
class _Fault:
    """A cell that is not what its column is: its row from 0 in the sheet, its column from 0, and what it is."""

    row: int
    column: int
    what: str


class _Sheet:
    """One sheet: its cells as texts, and as what Excel says that they are."""

    def __init__(self, config: ExcelExtract.Config, path: Path, name: str, book: Any) -> None:
        import pyarrow.compute as pc

        self._config = config
        self._path = path
        self._name = name
        self._book = book
        texts, faults = self._load(config.skip, dtypes="string")
        self.shown = f"the sheet `{name}` of {path}"
        first = _first_row(texts)
        if texts.num_columns == 0 or (first is None and config.header):
            raise SourceMalformed(f"{self.shown} is empty", hint="a sheet has at least a row with the names")
        self._start = config.skip + ((first or 0) + 1 if config.header else 0)
        head = texts.slice(first or 0, 1).to_pylist()[0] if config.header else {}
        self._texts = texts.slice(self._start - config.skip)
        self._faults = [fault for fault in faults if fault.row >= self._start]
        self._kept = [
            index
            for index in range(texts.num_columns)
            if head.get(f"c{index}") or self._texts.column(index).null_count < self._texts.num_rows
        ]
        self.names = self._named(head)
        self._check_errors()
        filled = None
        for index in self._kept:
            valid = pc.is_valid(self._texts.column(index))
            filled = valid if filled is None else pc.or_(filled, valid)
        self._filled = filled
        self.rows = int(pc.sum(filled).as_py() or 0)
        self._values: Any = None

    def _load(self, skip: int, **options: Any) -> tuple[pa.RecordBatch, list[_Fault]]:
        width = self._book.load_sheet(
            self._name, header_row=None, skip_rows=0, n_rows=1, dtypes="string"
        ).width
        sheet = self._book.load_sheet(
            self._name,
            header_row=None,
            skip_rows=skip,
            column_names=[f"c{index}" for index in range(width)],
            **options,
        )
        batch, errors = sheet.to_arrow_with_errors()
        return batch, [
            _Fault(error.position[0], error.position[1], error.detail)
            for error in (errors.errors if errors else ())
        ]

    def _named(self, head: dict[str, str | None]) -> list[str]:
        names = [(head.get(f"c{index}") or "").strip() or f"column_{index + 1}" for index in self._kept]
        for name in names:
            if names.count(name) > 1:
                raise SourceMalformed(
                    f"{self.shown} has {names.count(name)} columns called `{name}`",
                    hint="rename one in the file, or leave the names out: header: false, skip: 1",
                )
        return names

    def _check_errors(self) -> None:
        for fault in self._faults:
            if self._config.error_cells == "fail" and fault.column in self._kept:
                raise SourceMalformed(
                    f"{self._place(fault)} holds the error {_error_text(fault.what)}",
                    hint="correct the workbook, or set error_cells: empty",
                )

    def _place(self, fault: _Fault) -> str:
        name = self.names[self._kept.index(fault.column)]
        return f"{self._path}, sheet `{self._name}`, row {fault.row + 1}, column `{name}`"

    # ------------------------------------------------------------------------------------------ types

    def _loaded(self) -> pa.RecordBatch:
        """The cells as what they are; a column of several kinds is text."""
        if self._values is None:
            self._values, _ = self._load(self._start, schema_sample_rows=None, dtypes=self._empty())
            self._hold_sample()
        return self._values

    def _empty(self, rows: int | None = None) -> dict[str, str]:
        """The columns without a value in the first rows, as text: about guessing them the library writes to the log."""
        first = self._texts.slice(0, rows)
        return {
            name: "string"
            for name, column in zip(first.schema.names, first.columns, strict=True)
            if column.null_count == len(column)
        }

    def _hold_sample(self) -> None:
        """Raises where a column is one thing in the sample and another in all rows."""
        if self._config.on_type_error != "fail" or self._texts.num_rows <= SAMPLE_ROWS:
            return
        sampled, faults = self._load(
            self._start, schema_sample_rows=SAMPLE_ROWS, dtypes=self._empty(SAMPLE_ROWS)
        )
        for fault in faults:
            index = fault.column
            if index not in self._kept or "Error(" in fault.what:
                continue
            type_ = sampled.schema.field(index).type
            name = self.names[self._kept.index(index)]
            if sampled.column(index).null_count < sampled.num_rows and name not in self._config.columns:
                value = self._texts.column(index)[fault.row - self._start].as_py()
                raise SourceMalformed(
                    f"{self._place(fault)}: it is {_word(type_)} in the first {SAMPLE_ROWS:,} rows, and here is {value!r}",
                    hint=f"declare it: columns: {{{name}: VARCHAR}}, or set on_type_error: text",
                )

    def types(self, declared: dict[str, pa.DataType]) -> list[pa.DataType]:
        """The type of each column."""
        values = self._loaded()
        return [
            declared.get(name) or self._type(values.column(index), self._texts.column(index))
            for name, index in zip(self.names, self._kept, strict=True)
        ]

    def _type(self, values: pa.Array, texts: pa.Array) -> pa.DataType:
        import pyarrow as pa
        import pyarrow.compute as pc

        if texts.null_count == len(texts):
            return pa.null()
        if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
            if pc.any(pc.is_in(texts, pa.array(["true", "false"]))).as_py():  # truth values among numbers
                return pa.string()
            whole = pc.all(
                pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), _WHOLE_DOUBLE))
            )
            return pa.int64() if whole.as_py() else pa.float64()
        if pa.types.is_timestamp(values.type):
            numbers = values.cast(pa.int64())
            days = pc.cast(pc.floor(pc.divide(numbers.cast(pa.float64()), _DAY)), pa.int64())
            if pc.all(pc.equal(days, _DAY_ZERO)).as_py():
                return pa.time32("ms")
            at_midnight = pc.equal(numbers, pc.multiply(days, _DAY))
            return pa.date32() if pc.all(at_midnight).as_py() else pa.timestamp("ms")
        return values.type

    # ------------------------------------------------------------------------------------------ rows

    def columns(self, schema: pa.Schema, declared: dict[str, pa.DataType]) -> list[pa.Array]:
        """The cells with the types of ``schema``, without the rows that are empty."""
        values = self._loaded()
        arrays = []
        for field, index in zip(schema, self._kept, strict=True):
            texts = self._texts.column(index).filter(self._filled)
            if field.name in declared:
                arrays.append(self._declared(texts, index, field.name, field.type))
            else:
                arrays.append(_as(values.column(index).filter(self._filled), texts, field.type))
        return arrays

    def _declared(self, texts: pa.Array, index: int, name: str, type_: pa.DataType) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        from pipeline_flow.files import declared

        if pa.types.is_date(type_):
            texts = pc.replace_substring_regex(texts, "^([0-9-]{10}) 00:00:00$", r"\1")
        elif pa.types.is_time(type_):
            texts = pc.replace_substring_regex(texts, "^1899-12-3[01] ", "")
        if declared.fits(texts, type_):
            return declared.from_text(texts, type_)
        at = declared.first_misfit(texts, type_)
        row = pc.indices_nonzero(self._filled)[at].as_py() + self._start
        raise SourceMalformed(
            f"{self._place(_Fault(row, index, ''))}: it is declared {self._config.columns[name]}, and here is {texts[at].as_py()!r}",
            hint=f"correct the workbook, or declare {name}: VARCHAR",
        )


def _as(values: pa.Array, texts: pa.Array, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(type_):
        return texts
    if pa.types.is_time(type_):
        return values.cast(pa.timestamp("ms")).cast(type_)
    if values.null_count == len(values):
        return pa.nulls(len(values), type_)
    return values.cast(type_)


def _first_row(texts: pa.RecordBatch) -> int | None:
    """The first row with a value."""
    import pyarrow.compute as pc

    starts = [pc.index(pc.is_valid(column), True).as_py() for column in texts.columns]
    return min((start for start in starts if start >= 0), default=None)


_ERRORS = {
    "Div0": "#DIV/0!",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
}


def _error_text(detail: str) -> str:
    found = re.search(r"Error\((\w+)\)", detail)
    return _ERRORS.get(found[1], found[1]) if found else detail


def _word(type_: pa.DataType) -> str:
    import pyarrow as pa

    for is_kind, word in (
        (pa.types.is_floating, "a number"),
        (pa.types.is_timestamp, "a date"),
        (pa.types.is_boolean, "a truth value"),
        (pa.types.is_duration, "a duration"),
    ):
        if is_kind(type_):
            return word
    return str(type_)
