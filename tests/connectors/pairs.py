"""Random tables moved by the `sql` plugins from database to database, and what must be true of what arrives.

A value arrives as it was, or the load is refused with a message that names its column and its row.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import struct
import uuid
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from pipeline_flow.errors import PipelineFlowError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.connectors.conftest import Bench

NUMBER = "n"
"""The column with the number of each row."""
_WIDE = Context(prec=80)
_EPOCH_YEARS = (dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999))


def _whole(bits: int, *, signed: bool) -> tuple[list[int], st.SearchStrategy[int]]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return [least, most, 0], st.integers(least, most)


def _decimals(precision: int, scale: int) -> tuple[list[Decimal], st.SearchStrategy[Decimal]]:
    most = 10**precision - 1

    def scaled(number: int) -> Decimal:
        return _WIDE.scaleb(Decimal(number), -scale)

    return [scaled(n) for n in (most, -most, 1, -1, 0)], st.integers(-most, most).map(scaled)


def invalid_text(data: bytes) -> pa.Array:
    """A text that is no text: Arrow's own constructors refuse it, other producers do not."""
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, len(data)], pa.int32()).buffers()[1], pa.py_buffer(data)]
    )


_FLOATS = [
    math.nan,
    math.inf,
    -math.inf,
    -0.0,
    0.0,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    0.1,
    1e22,
    2.0**53 + 2,
]
_FLOATS32 = [
    math.nan,
    math.inf,
    -math.inf,
    -0.0,
    1e-45,
    1.401298464324817e-45,
    3.4028234663852886e38,
    16777216.0,
    0.10000000149011612,
]
_TEXTS = [
    "",
    " ",
    "a ",
    "\0",
    "a\0b",
    "NULL",
    "\\N",
    "\\",
    "'",
    '"',
    "a,b\nc\r\n",
    "\t",
    "\ud7ff\ue000",
    "\ufffe\uffff",
    "😀\U0010ffff",
    "e\u0301",
    "\u202eabc",
    "{}",
    "\x1a",
    "\x7f\x80",
    "%s",
    "NaN",
    "\ufeffx",
]
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_BYTES = [b"", b"\0", b"\xff\xfe", b"'\"\\", b"\\x00", bytes(range(256)), b"\x00" * 70_000]
_DATES = [
    dt.date(1, 1, 1),
    dt.date(9999, 12, 31),
    dt.date(1582, 10, 10),
    dt.date(1970, 1, 1),
    dt.date(2000, 2, 29),
]
_MOMENTS = [
    *_EPOCH_YEARS,
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(2038, 1, 19, 3, 14, 8),
    dt.datetime(1970, 1, 1),
]
_TIMES = [dt.time(0), dt.time(23, 59, 59, 999999)]
_SPANS = [
    dt.timedelta(0),
    dt.timedelta(microseconds=-1),
    dt.timedelta(hours=24),
    dt.timedelta(hours=-838),
    dt.timedelta(days=99_999),
    dt.timedelta(days=-99_999, microseconds=7),
]
_UUIDS = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID("123e4567-e89b-12d3-a456-426655440000")]
_JSONS = [
    "null",
    "0",
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '{"a":1,"a":2}',
    "[1e400, -0.0, 12345678901234567890.10]",
    ' { "b" : [ ] } ',
    '"ä😀\\\\"',
    "[]",
    "true",
]
_UTC = dt.UTC


def _utc(moments: Sequence[dt.datetime]) -> list[dt.datetime]:
    return [moment.replace(tzinfo=_UTC) for moment in moments]


@dataclass(frozen=True)
class Kind:
    """A type, values at its edges, and any values."""

    type: pa.DataType
    edges: list[Any]
    any: st.SearchStrategy[Any]

    def values(self, *, rare: bool) -> st.SearchStrategy[Any]:
        nulls = [st.none()] * (10 if rare else 1)
        return st.one_of(*nulls, st.sampled_from(self.edges), self.any)


_RARE = ("day_far", "moment_far", "moment_ns", "instant", "instant_ns", "clock_ns", "months", "span")
"""Whose values many databases refuse: each is one more load."""


_I64, _I64S = _whole(64, signed=True)
_STRUCT = pa.struct(
    [
        ("i", pa.int64()),
        ("t", pa.string()),
        ("d", pa.decimal128(38, 10)),
        ("f", pa.float64()),
        ("day", pa.date32()),
    ]
)
_D38, _D38S = _decimals(38, 10)
_STRUCTS = st.fixed_dictionaries(
    {
        "i": st.none() | st.sampled_from(_I64),
        "t": st.none() | st.sampled_from(_TEXTS),
        "d": st.none() | st.sampled_from(_D38),
        "f": st.none() | st.sampled_from(_FLOATS),
        "day": st.none() | st.sampled_from(_DATES),
    }
)
_NS = [0, 1, -1, 2**63 - 1, -(2**63) + 1, 1_000, 1_700_000_000_123_456_789]

KINDS: dict[str, Kind] = {
    "truth": Kind(pa.bool_(), [True, False], st.booleans()),
    "i8": Kind(pa.int8(), *_whole(8, signed=True)),
    "i16": Kind(pa.int16(), *_whole(16, signed=True)),
    "i32": Kind(pa.int32(), *_whole(32, signed=True)),
    "i64": Kind(pa.int64(), _I64, _I64S),
    "u8": Kind(pa.uint8(), *_whole(8, signed=False)),
    "u16": Kind(pa.uint16(), *_whole(16, signed=False)),
    "u32": Kind(pa.uint32(), *_whole(32, signed=False)),
    "u64": Kind(pa.uint64(), *_whole(64, signed=False)),
    "half": Kind(pa.float16(), [math.nan, math.inf, -0.0, 65504.0, 5.960464477539063e-08], st.floats(width=16)),
    "single": Kind(pa.float32(), _FLOATS32, st.floats(width=32)),
    "double": Kind(pa.float64(), _FLOATS, st.floats()),
    "dec9": Kind(pa.decimal128(9, 2), *_decimals(9, 2)),
    "dec15": Kind(pa.decimal128(15, 2), *_decimals(15, 2)),
    "dec18": Kind(pa.decimal128(18, 0), *_decimals(18, 0)),
    "dec38": Kind(pa.decimal128(38, 10), _D38, _D38S),
    "dec_low": Kind(pa.decimal128(38, 38), *_decimals(38, 38)),
    "dec65": Kind(pa.decimal256(65, 30), *_decimals(65, 30)),
    "dec76": Kind(pa.decimal256(76, 40), *_decimals(76, 40)),
    "dec_over": Kind(pa.decimal128(5, -3), [Decimal(99_999_000), Decimal(-1000), Decimal(0)], st.integers(-99_999, 99_999).map(lambda n: Decimal(n) * 1000)),
    "text": Kind(pa.string(), _TEXTS, _TEXT),
    "large": Kind(pa.large_string(), _TEXTS, _TEXT),
    "view": Kind(pa.string_view(), _TEXTS, _TEXT),
    "words": Kind(pa.dictionary(pa.int32(), pa.string()), _TEXTS, _TEXT),
    "bytes": Kind(pa.binary(), _BYTES, st.binary(max_size=12)),
    "fixed": Kind(pa.binary(3), [b"\0\0\0", b"\xff\xff\xff", b"a  "], st.binary(min_size=3, max_size=3)),
    "day": Kind(pa.date32(), _DATES, st.dates()),
    "day64": Kind(pa.date64(), _DATES, st.dates()),
    "day_far": Kind(pa.date32(), [-719_163, 2_932_897, -(2**31) + 1, 2**31 - 1, 0], st.integers(-1_000_000, 3_000_000)),
    "clock": Kind(pa.time64("us"), _TIMES, st.times()),
    "clock_ms": Kind(pa.time32("ms"), [0, 86_399_999], st.integers(0, 86_399_999)),
    "clock_ns": Kind(pa.time64("ns"), [0, 1, 1000, 86_399_999_999_999], st.integers(0, 86_399_999_999_999)),
    "moment": Kind(pa.timestamp("us"), _MOMENTS, st.datetimes()),
    "moment_s": Kind(pa.timestamp("s"), [0, -1, -62_135_596_800, 253_402_300_799], st.integers(-62_135_596_800, 253_402_300_799)),
    "moment_ns": Kind(pa.timestamp("ns"), _NS, st.integers(-(2**62), 2**62)),
    "moment_far": Kind(pa.timestamp("us"), [-62_135_596_800_000_001, 253_402_300_800_000_000, -(2**60), 2**60], st.integers(-(2**60), 2**60)),
    "instant": Kind(pa.timestamp("us", "UTC"), _utc(_MOMENTS), st.datetimes(timezones=st.just(_UTC))),
    "instant_now": Kind(pa.timestamp("us", "UTC"), _utc(_MOMENTS[3:]), st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2038, 1, 1), timezones=st.just(_UTC))),
    "instant_ns": Kind(pa.timestamp("ns", "Europe/Berlin"), _NS, st.integers(-(2**62), 2**62)),
    "span": Kind(pa.duration("us"), _SPANS, st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838))),
    "uuid": Kind(pa.uuid(), _UUIDS, st.uuids(version=4)),
    "json": Kind(pa.json_(), _JSONS, st.dictionaries(_TEXT, _I64S | _TEXT, max_size=2).map(json.dumps)),
    "numbers": Kind(pa.list_(pa.int64()), [[], [None], _I64], st.lists(st.none() | _I64S, max_size=3)),
    "texts": Kind(pa.list_(pa.string()), [[], [None], ["NULL", "null", "", '"', "\\", "{,}"], ["\0"]], st.lists(st.none() | _TEXT, max_size=3)),
    "floats": Kind(pa.list_(pa.float64()), [[], [-0.0], [math.nan, math.inf]], st.lists(st.none() | st.floats(), max_size=3)),
    "pair": Kind(pa.list_(pa.int32(), 2), [[1, None]], st.lists(st.integers(-5, 5), min_size=2, max_size=2)),
    "blobs": Kind(pa.list_(pa.binary()), [[], [b"", None, b"\0"]], st.lists(st.binary(max_size=3), max_size=2)),
    "days": Kind(pa.list_(pa.date32()), [[], _DATES], st.lists(st.dates(), max_size=2)),
    "instants": Kind(pa.list_(pa.timestamp("us", "UTC")), [[], _utc(_MOMENTS)], st.lists(st.datetimes(timezones=st.just(_UTC)), max_size=2)),
    "deep": Kind(pa.list_(pa.list_(pa.int64())), [[], [[]], [None], [[None]]], st.lists(st.lists(_I64S, max_size=2), max_size=2)),
    "record": Kind(_STRUCT, [dict.fromkeys("itdf")], _STRUCTS),
    "records": Kind(pa.list_(_STRUCT), [[]], st.lists(_STRUCTS, max_size=2)),
    "map": Kind(pa.map_(pa.string(), pa.int64()), [[]], st.dictionaries(st.sampled_from(_TEXTS), _I64S, max_size=2).map(lambda d: list(d.items()))),
    "months": Kind(pa.month_day_nano_interval(), [pa.MonthDayNano([1, 2, 3000])], st.builds(lambda m, d, n: pa.MonthDayNano([m, d, n * 1000]), st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-(10**9), 10**9))),
    "nothing": Kind(pa.null(), [None], st.none()),
}  # fmt: skip


def array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Python's values as an array of any type."""
    if isinstance(type_, pa.UuidType):
        storage = pa.array([None if item is None else item.bytes for item in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(type_, storage)
    if pa.types.is_dictionary(type_):
        return pa.array(values, type_.value_type).dictionary_encode()
    return pa.array(values, type_)


@st.composite
def tables(draw: st.DrawFn, most_rows: int = 4) -> pa.Table:
    """Rows of every kind."""
    rows = draw(st.integers(0, most_rows))
    columns = {
        name: array(draw(st.lists(kind.values(rare=name in _RARE), min_size=rows, max_size=rows)), kind.type)
        for name, kind in KINDS.items()
    }
    return pa.table({NUMBER: pa.array(range(rows), pa.int64()), **columns})


# ---------------------------------------------------------------------------------------------- what a value is

_INTERVAL = re.compile(r"P(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?(?:0D)?")


def plain(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values, with what two types may share written in one way."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    type_ = column.type
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return plain(column.dictionary_decode())
    if isinstance(type_, pa.JsonType):
        return [None if item is None else str(item) for item in column.storage.to_pylist()]
    if kinds.is_timestamp(type_):
        step = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[type_.unit]
        kind = "moment" if type_.tz is None else "instant"
        return [None if item is None else (kind, item * step) for item in column.cast(pa.int64()).to_pylist()]
    if kinds.is_date(type_):
        days = (
            pc.divide(column.cast(pa.int64()), 86_400_000)
            if kinds.is_date64(type_)
            else column.cast(pa.int32())
        )
        return [None if item is None else ("day", item) for item in days.to_pylist()]
    if kinds.is_time(type_) or kinds.is_duration(type_):
        step = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[type_.unit]
        whole = column.cast(pa.int32()) if kinds.is_time32(type_) else column.cast(pa.int64())
        return [None if item is None else ("span", item * step) for item in whole.to_pylist()]
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        return [None if item.as_py() is None else plain(item.values) for item in column]
    if kinds.is_struct(type_):
        return [
            None
            if item.as_py() is None
            else {name: plain(pa.array([item[name].as_py()], item[name].type))[0] for name in item}
            for item in column
        ]
    return [_plain(item) for item in column.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal):
        return ("number", Decimal(value))
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("d", value))
    if isinstance(value, tuple) and not hasattr(value, "_fields") and not isinstance(value, pa.MonthDayNano):
        return tuple(_plain(item) for item in value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def same(found: Any, expected: Any, *, signless: bool) -> bool:
    """Whether a value has arrived. ``signless``: the destination has one zero, which is equal to -0.0."""
    if found == expected:
        return True
    if isinstance(expected, tuple) and isinstance(expected[0], str):
        if expected[0] == "float" and expected[1] == struct.pack("d", -0.0):
            return signless and found == ("float", struct.pack("d", 0.0))
        if expected[0] == "span" and isinstance(found, str):
            return _interval(found) == expected[1]
        if expected[0] == "span" and isinstance(found, pa.MonthDayNano):
            return found == pa.MonthDayNano([0, 0, expected[1]])
    if isinstance(found, str) and isinstance(expected, list | dict | pa.MonthDayNano):
        return _in_json(json.loads(found, parse_float=Decimal, parse_int=Decimal), expected)
    return False


def _interval(text: str) -> int | None:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = (Decimal(part or 0) for part in match.groups())
    return int(((hours * 60 + minutes) * 60 + seconds) * 10**9)


def _in_json(found: Any, expected: Any) -> bool:
    """Whether JSON says the value: numbers as numbers or texts, dates in ISO form, bytes in hexadecimal digits."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(_in_json(found[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list):
        if isinstance(found, dict):  # a map
            expected = dict(expected)
            return found.keys() == expected.keys() and all(
                _in_json(found[key], expected[key]) for key in expected
            )
        return isinstance(found, list) and len(found) == len(expected) and all(map(_in_json, found, expected))
    if isinstance(expected, bytes):
        return isinstance(found, str) and found.removeprefix("\\x") == expected.hex()
    if isinstance(expected, tuple) and expected and expected[0] == "number":
        return found is not None and Decimal(found) == expected[1]
    if isinstance(expected, tuple) and expected and expected[0] == "float":
        if expected[1] == "nan":
            return found == "NaN"
        value = struct.unpack("d", expected[1])[0]
        return found is not None and float(found) == value
    if isinstance(expected, tuple) and expected and expected[0] == "day":
        return isinstance(found, str) and found == str(dt.date(1970, 1, 1) + dt.timedelta(days=expected[1]))
    if isinstance(expected, tuple) and expected and expected[0] == "instant":
        if not isinstance(found, str):
            return False
        moment = dt.datetime(1970, 1, 1, tzinfo=_UTC) + dt.timedelta(microseconds=expected[1] // 1000)
        return dt.datetime.fromisoformat(re.sub(r"([+-]\d\d)$", r"\1:00", found)) == moment
    if isinstance(expected, tuple):
        return isinstance(found, list) and len(found) == len(expected) and all(map(_in_json, found, expected))
    return bool(found == expected)


# ---------------------------------------------------------------------------------------------- moving

_ROW = re.compile(r"\brow (\d[\d,]*)")
_COLUMN = re.compile(r"\bcolumn [`'\"](\w+)[`'\"]")


@dataclass
class Place:
    """A database, and the table in it that rows are moved to.

    With ``doubt``, each refused value is tried alone, else one of each column.
    """

    name: str
    url: str
    table: str = "t"
    doubt: bool = False
    proven: set[str] = field(default_factory=set)

    @property
    def signless(self) -> bool:
        """Whether its floats have one zero."""
        return self.name in ("mariadb", "sqlite")

    def load(self, bench: Bench, data: pa.Table) -> None:
        rows = bench.load("sql", data, url=self.url, table=self.table, mode="replace")
        assert rows == data.num_rows

    def extract(self, bench: Bench) -> pa.Table:
        return bench.extract("sql", url=self.url, table=self.table)

    def held(self, bench: Bench, schema: pa.Schema) -> list[str]:
        """The columns whose types the database has; a load with another is refused, and the message names it."""
        names: list[str] = list(schema.names)
        while True:
            empty = pa.schema([schema.field(name) for name in names]).empty_table()
            refusal = _refusal(functools.partial(self.load, bench, empty))
            if refusal is None:
                return names
            column = _named(refusal, names)
            assert column is not None, f"{self.name} refuses a type without its column: {refusal}"
            names.remove(column)

    def move(self, bench: Bench, data: pa.Table) -> pa.Table:
        """Loads ``data`` and gives what is read then, without the values that were refused.

        A value that is refused has to be named with column and row, and to be refused alone, too.
        """
        while True:
            step, rows = "load", data.num_rows
            try:
                self.load(bench, data)
                step = "extract"
                found = self.extract(bench).sort_by(NUMBER)
            except PipelineFlowError as error:
                data = self._without(bench, data, error, step)
                continue
            break
        assert found.num_rows == rows
        assert found.column_names == data.column_names
        for name in data.column_names:
            for row, (have, want) in enumerate(zip(plain(found[name]), plain(data[name]), strict=True)):
                assert same(have, want, signless=self.signless), (
                    f"{self.name} changed `{name}` ({data.schema.field(name).type}) in row {row + 1}: {want!r} became {have!r}"
                )
        return found

    def _without(self, bench: Bench, data: pa.Table, error: PipelineFlowError, step: str) -> pa.Table:
        place = blamed(error, data.column_names)
        assert place is not None, f"{self.name} refuses to {step} without column and row: {error}"
        name, row = place
        if step == "extract":
            # PostgreSQL fills the room that replaced rows leave, so that rows are not read as they were written.
            order = bench.extract("sql", url=self.url, query=f"select {NUMBER} from {self.table}")
            row = data[NUMBER].to_pylist().index(order[NUMBER][row - 1].as_py()) + 1
        assert data[name][row - 1].is_valid, f"{self.name} blames a null: {error}"
        if self.doubt or name not in self.proven:
            self._prove(bench, data, error, name, row)
        self.proven.add(name)
        index = data.column_names.index(name)
        values = data[name].combine_chunks()
        values = values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)
        pieces = [values.slice(0, row - 1), pa.nulls(1, values.type), values.slice(row)]
        return data.set_column(index, data.schema.field(index), pa.concat_arrays(pieces))

    def _through(self, bench: Bench, data: pa.Table) -> None:
        self.load(bench, data)
        self.extract(bench)

    def _prove(self, bench: Bench, data: pa.Table, error: PipelineFlowError, name: str, row: int) -> None:
        """The value that was blamed is refused alone, too."""
        kept = pa.table(
            [
                column.slice(row - 1, 1) if field.name in (NUMBER, name) else pa.nulls(1, field.type)
                for field, column in zip(data.schema, data.columns, strict=True)
            ],
            schema=data.schema,
        )
        alone = _refusal(functools.partial(self._through, bench, kept))
        assert alone is not None, f"{self.name} blames a value that it takes alone: {error}"
        assert blamed(alone, data.column_names) == (name, 1), f"{error}, and alone: {alone}"


def _refusal(action: Callable[[], object]) -> PipelineFlowError | None:
    try:
        action()
    except PipelineFlowError as error:
        return error
    return None


def _named(error: PipelineFlowError, names: Sequence[str]) -> str | None:
    found = _COLUMN.search(str(error))
    return found[1] if found and found[1] in names else None


def blamed(error: PipelineFlowError, names: Sequence[str]) -> tuple[str, int] | None:
    """Column and row that a message names."""
    column, row = _named(error, names), _ROW.search(str(error))
    return None if column is None or row is None else (column, int(row[1].replace(",", "")))
