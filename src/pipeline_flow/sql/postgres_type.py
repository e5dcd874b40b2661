"""PostgreSQL's types as Arrow's, and the text in between: what COPY writes and reads in its CSV form.

Where Arrow has no exact type, a value travels as PostgreSQL's own text, and the column's metadata say of what type it is
(:data:`NOTE`), so that a load into PostgreSQL gives it back that type.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed, WrongArgument
from pipeline_flow.sql import misfit
from pipeline_flow.sql.misfit import has_opaque
from pipeline_flow.sql.moment import in_day, in_years

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTE = b"postgresql.type"
"""The metadata of a column under which its type in PostgreSQL stands, where the Arrow type does not tell it."""
_WIDEST = 76  # digits of Arrow's decimals
_DATE_LIMITS = "dates are from year 1 to 9999, without infinity"

Convert = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of types.

    Attributes:
        names: PostgreSQL's names of the types.
        arrow: the Arrow type; ``None`` where it depends on the digits.
        note: what is to be known.
    """

    names: tuple[str, ...]
    arrow: pa.DataType | None
    note: str = ""


RULES = (
    Rule(("bool",), pa.bool_()),
    Rule(("int2",), pa.int16()),
    Rule(("int4",), pa.int32()),
    Rule(("int8",), pa.int64()),
    Rule(("oid",), pa.uint32()),
    Rule(("float4",), pa.float32(), "with NaN, infinities and -0"),
    Rule(("float8",), pa.float64(), "with NaN, infinities and -0"),
    Rule(
        ("numeric",),
        None,
        f"with digits, numeric(p, s): decimal(p, s), up to {_WIDEST} digits, NaN is an error. Without, or with more: text, "
        "unless `columns` gives a DECIMAL. Never a float",
    ),
    Rule(("text", "varchar", "bpchar", "name", "char", "citext"), pa.string(), "char(n) with its spaces"),
    Rule(("bytea",), pa.binary()),
    Rule(("date",), pa.date32(), f"{_DATE_LIMITS}: others are an error"),
    Rule(("time",), pa.time64("us"), "24:00:00 is an error"),
    Rule(("timestamp",), pa.timestamp("us"), f"{_DATE_LIMITS}: others are an error"),
    Rule(("timestamptz",), pa.timestamp("us", "UTC"), f"{_DATE_LIMITS}: others are an error"),
    Rule(("uuid",), pa.uuid()),
    Rule(("json", "jsonb"), pa.json_(), "the text as the server writes it"),
)
ARRAYS = "arrays of the types above: lists; arrays of other types: text. More dimensions, or a first index other than 1, are an error"
AS_TEXT = (
    "interval (ISO 8601), timetz, money, inet, cidr, macaddr, bit, varbit, xml, ranges and multiranges, geometric types, "
    "tsvector, enums, composite types, and whatever extensions add"
)
_SCALARS = {name: rule for rule in RULES for name in rule.names}


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """A type as the catalogue has it: of a column, or what its domain stands for.

    Attributes:
        name: its short name (``int4``), of an array's elements with ``is_array``.
        modifier: digits or length, packed as PostgreSQL packs them; -1 without.
        full: as SQL writes it: ``numeric(10,2)``, ``character varying(5)[]``.
        is_array: whether it is an array of ``name``.
        built_in: whether every PostgreSQL has it.
        kind: ``e`` for an enum, ``c`` for a composite, ``b`` for most.
    """

    name: str
    modifier: int
    full: str
    is_array: bool = False
    built_in: bool = True
    kind: str = "b"

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale of a numeric, both as Arrow wants them; ``None`` without."""
        if self.name != "numeric" or self.modifier < 4:
            return None
        packed = self.modifier - 4
        precision, scale = packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
        # numeric(3, -2) has five digits before the point, numeric(2, 5) five behind it.
        return max(precision - min(scale, 0), scale), max(scale, 0)

    @property
    def length(self) -> int | None:
        """The most characters of a varchar or char; ``None`` without a limit."""
        return self.modifier - 4 if self.name in ("varchar", "bpchar") and self.modifier >= 4 else None


@dataclass(frozen=True, slots=True)
class Reader:
    """How a column comes out of COPY.

    Attributes:
        field: the column in Arrow.
        parsed: the type that the CSV's text is read as.
        convert: makes the field's type of it; ``None`` where it is that already.
        expression: SQL for the value, in which ``{}`` stands for the column; empty for the column itself.
        declared: the type in PostgreSQL's words.
    """

    field: pa.Field
    parsed: pa.DataType
    convert: Convert | None = None
    expression: str = ""
    declared: str = ""


def reader(column: str, info: TypeInfo, wanted: str | None) -> Reader:
    """How a column is read.

    Args:
        column: its name.
        info: its type.
        wanted: the type that the user asks for, as DuckDB writes it; ``None`` for the one that fits best.

    Raises:
        WrongArgument: the type that the user asks for is none that can be had.
    """
    if wanted is not None:
        type_ = _asked(column, wanted)
        noted = type_ == pa.string()
        field = pa.field(column, type_, metadata=_noted(info) if noted else None)
        parsed, convert = _parsing(type_)
        return Reader(field, parsed, convert, declared=info.full)
    type_ = _scalar(info)
    if info.is_array and type_ is not None:
        item = type_
        field = pa.field(column, pa.list_(item), metadata=_noted(info))
        # A dimension more, or another first index, would be lost in JSON: such a value is left as no JSON at all.
        expression = (
            "case when array_ndims({0}) > 1 or array_lower({0}, 1) <> 1 then {0}::text "
            "else array_to_json({0}::text[])::text end"
        )
        return Reader(field, pa.string(), lambda array: _lists(array, item), expression, info.full)
    if type_ is None or info.is_array:
        return Reader(pa.field(column, pa.string(), metadata=_noted(info)), pa.string(), declared=info.full)
    parsed, convert = _parsing(type_)
    return Reader(pa.field(column, type_, metadata=_noted(info)), parsed, convert, declared=info.full)


def _scalar(info: TypeInfo) -> pa.DataType | None:
    """Arrow's exact type, ``None`` where there is none."""
    rule = _SCALARS.get(info.name) if info.built_in or info.name == "citext" else None
    if rule is None:
        return None
    if info.name != "numeric":
        return rule.arrow
    return None if info.digits is None or info.digits[0] > _WIDEST else decimal(*info.digits)


def decimal(precision: int, scale: int) -> pa.DataType:
    """Arrow's decimal of so many digits."""
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _noted(info: TypeInfo) -> dict[bytes, bytes] | None:
    """What to note of a type that a load would not make of the Arrow type alone."""
    if not info.built_in:
        return None
    if info.name == "numeric" and _scalar(info) is not None:
        return None
    plain = {"bool", "int2", "int4", "int8", "float4", "float8", "text", "bytea", "date", "uuid", "json"}
    if info.name in plain or (info.name in ("time", "timestamp", "timestamptz") and info.modifier < 0):
        return None
    return {NOTE: info.full.encode()}


def note(field: pa.Field) -> str:
    """The type in PostgreSQL that a column says it came from; empty where it says nothing."""
    found: bytes = (field.metadata or {}).get(NOTE, b"")
    return found.decode("utf-8", "replace")


_ASKED = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_ASKED_NAMES = {
    "VARCHAR": pa.string(), "TEXT": pa.string(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "INT": pa.int32(),
    "BIGINT": pa.int64(),
}  # fmt: skip


def _asked(column: str, wanted: str) -> pa.DataType:
    word = wanted.strip().upper()
    sized = _ASKED.fullmatch(word)
    if sized is not None:
        precision, scale = int(sized[1]), int(sized[2] or 0)
        if 1 <= precision <= _WIDEST and scale <= precision:
            return decimal(precision, scale)
    elif word in _ASKED_NAMES:
        return _ASKED_NAMES[word]
    raise WrongArgument(
        f"`columns` gives `{column}` the type {wanted}, which cannot be read from PostgreSQL's text",
        hint=f"it can be DECIMAL(p, s) of up to {_WIDEST} digits, BIGINT, INTEGER, SMALLINT or VARCHAR; cast to others in a query",
    )


def _parsing(type_: pa.DataType) -> tuple[pa.DataType, Convert | None]:
    """The type in which Arrow's CSV reader reads a column, and what makes ``type_`` of that."""
    if isinstance(type_, pa.UuidType):
        return pa.binary(), _uuids
    if isinstance(type_, pa.JsonType):
        return pa.string(), lambda array: pa.ExtensionArray.from_storage(type_, array)
    if type_ == pa.binary():
        return pa.binary(), lambda array: unhexed(pc.replace_substring(array, b"\\x", b""))
    if pa.types.is_decimal256(type_):
        return pa.string(), lambda array: array.cast(type_)
    return type_, None


def _lists(array: pa.Array, item: pa.DataType) -> pa.Array:
    """Arrays that came as JSON, as lists of ``item``."""
    import pyarrow.json

    wrapped = pc.binary_join_element_wise('{"v":', pc.fill_null(array, "null"), "}\n", "")
    text = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), wrapped), "")
    if not len(array):
        return pa.array([], pa.list_(item))
    data = text.buffers()[2]
    parsed = pyarrow.json.read_json(
        pa.BufferReader(data),
        read_options=pyarrow.json.ReadOptions(block_size=data.size + 1, use_threads=False),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([("v", pa.list_(pa.string()))]), unexpected_field_behavior="error"
        ),
    )
    lists = pa.concat_arrays(parsed["v"].chunks)
    return pa.Array.from_buffers(
        pa.list_(item), len(lists), lists.buffers()[:2], lists.null_count, 0, [_items(lists.values, item)]
    )


def _items(texts: pa.Array, item: pa.DataType) -> pa.Array:
    """The texts of an array's elements as their type."""
    if pa.types.is_boolean(item):
        return pc.if_else(pc.equal(texts, "true"), True, pc.if_else(pc.equal(texts, "false"), False, None))
    if pa.types.is_timestamp(item) or pa.types.is_string(item):
        return texts.cast(item)
    if pa.types.is_time(item):
        return pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp("us")).cast(item)
    parsed, convert = _parsing(item)
    array = texts.cast(parsed)
    return array if convert is None else convert(array)


# ---------------------------------------------------------------------------------------------- bytes


def unhexed(array: pa.Array) -> pa.Array:
    """Bytes of their hexadecimal digits, two to a byte.

    Raises:
        ValueError: something else stands there.
    """
    validity = _validity(array)
    offsets, data = _contents(pc.fill_null(array, b""), pa.int32())
    values = pa.py_buffer(binascii.unhexlify(data))
    halves = pc.divide(offsets, 2).cast(pa.int32())
    return pa.Array.from_buffers(
        pa.binary(), len(array), [validity, halves.buffers()[1], values], array.null_count
    )


def hexed(array: pa.Array) -> pa.Array:
    """The hexadecimal digits of bytes, as large strings."""
    validity = _validity(array)
    offsets, data = _contents(pc.fill_null(array.cast(pa.large_binary()), b""), pa.int64())
    digits = pa.py_buffer(binascii.hexlify(data))
    doubled = pc.multiply(offsets, 2)
    return pa.Array.from_buffers(
        pa.large_string(), len(array), [validity, doubled.buffers()[1], digits], array.null_count
    )


def _validity(array: pa.Array) -> pa.Buffer | None:
    return pa.concat_arrays([pc.is_valid(array)]).buffers()[1] if array.null_count else None


def _contents(array: pa.Array, offset: pa.DataType) -> tuple[pa.Array, memoryview]:
    """The offsets of an array without nulls, from 0, and the bytes between the first and the last."""
    array = pa.concat_arrays([array])
    _, offsets, data = array.buffers()
    places = pa.Array.from_buffers(offset, len(array) + 1, [None, offsets], offset=array.offset)
    first, last = places[0].as_py(), places[-1].as_py()
    return pc.subtract(places, first), memoryview(data or b"")[first:last]


def _uuids(array: pa.Array) -> pa.Array:
    digits = pc.replace_substring(array, b"-", b"")
    filled = pc.fill_null(digits, b"0" * 32)
    _, data = _contents(filled, pa.int32())
    storage = pa.Array.from_buffers(
        pa.binary(16),
        len(array),
        [_validity(array), pa.py_buffer(binascii.unhexlify(data))],
        array.null_count,
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


# ---------------------------------------------------------------------------------------------- into PostgreSQL


@dataclass(frozen=True, slots=True)
class Writer:
    """How a column goes into COPY.

    Attributes:
        field: the column in Arrow.
        declared: the type of the column that a load makes for it.
        convert: makes what Arrow's CSV writer writes as PostgreSQL reads it; ``None`` for the array itself.
        nested: the value is written as JSON, by DuckDB.
    """

    field: pa.Field
    declared: str
    convert: Convert | None = None
    nested: bool = False

    def text(self, array: pa.Array, done: int = 0) -> pa.Array:
        """``array`` for the CSV writer; ``done`` rows were written before them.

        Raises:
            ConversionFailed: PostgreSQL has no such value.
        """
        if self.convert is None:
            return array
        try:
            return self.convert(array)
        except misfit.REFUSALS:
            raise misfit.refused("PostgreSQL", self.field, array, self.convert, done) from None


_NOTED = re.compile(
    r"(?:interval|time(?:\(\d\))? (?:with|without) time zone|timestamp(?:\(\d\))? (?:with|without) time zone|money|inet|cidr|"
    r'macaddr8?|bit(?: varying)?|xml|numeric|jsonb|character varying|character|"char"|name|oid|point|line|lseg|box|path|polygon|'
    r"circle|tsvector|tsquery|pg_lsn|(?:int4|int8|num|ts|tstz|date)(?:multi)?range)"
    r"(?:\([\d, -]+\))?(?: (?:year|month|day|hour|minute|second|to)\b[a-z ]*(?:\(\d\))?)?(?:\[\])?"
)


def writer(field: pa.Field) -> Writer:
    """How a column is written, and of what type a load makes it.

    Raises:
        ConversionFailed: PostgreSQL has no type for it.
    """
    declared, convert, nested = _writing(field.type, field.name)
    noted = note(field)
    # Types may have changed on the way: a note counts where the column is still what is read of such a type.
    if _NOTED.fullmatch(noted) and reader("", _info(noted), None).field.type == field.type:
        declared = noted
    return Writer(field, declared, convert, nested)


_LONG_NAMES = {
    "character varying": "varchar", "character": "bpchar", '"char"': "char", "time without time zone": "time",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}  # fmt: skip


def _info(full: str) -> TypeInfo:
    """A built-in type by how SQL writes it, as far as reading depends on it."""
    bare = full.removesuffix("[]")
    digits = re.search(r"\((\d+)(?:,(-?\d+))?\)", bare)
    name = re.sub(r"\([\d,-]*\)", "", bare)
    modifier = -1
    if digits is not None and name == "numeric":
        modifier = (int(digits[1]) << 16 | int(digits[2] or 0) & 0x7FF) + 4
    return TypeInfo(_LONG_NAMES.get(name, name), modifier, full, full.endswith("[]"))


def _writing(type_: pa.DataType, column: str) -> tuple[str, Convert | None, bool]:
    """The declared type, what converts, and whether the value goes as JSON."""
    kinds = pa.types
    if has_opaque(type_):
        raise _no_type(type_, column)
    if isinstance(type_, pa.UuidType):
        return "uuid", lambda array: hexed(_storage(array)), False
    if isinstance(type_, pa.JsonType):
        return "json", _storage, False
    if isinstance(type_, pa.BaseExtensionType):
        declared, convert, nested = _writing(type_.storage_type, column)
        if nested:
            raise _no_type(type_, column)
        return declared, lambda array: _or_same(convert, _storage(array)), False
    if kinds.is_dictionary(type_):
        declared, convert, nested = _writing(type_.value_type, column)
        return declared, lambda array: _or_same(convert, array.dictionary_decode()), nested
    if kinds.is_run_end_encoded(type_):
        declared, convert, nested = _writing(type_.value_type, column)
        return declared, lambda array: _or_same(convert, pc.run_end_decode(array)), nested
    simple = SIMPLE.get(type_)
    if simple is not None:
        return simple, None, False
    if kinds.is_float16(type_):
        return "real", lambda array: array.cast(pa.float32()), False
    if kinds.is_decimal(type_):
        precision, scale = type_.precision - min(type_.scale, 0), max(type_.scale, 0)
        return f"numeric({precision},{scale})", None, False
    if kinds.is_date(type_):
        return "date", lambda array: _in_years(array.cast(pa.date32())), False
    if kinds.is_time(type_):
        return "time without time zone", lambda array: in_day(array.cast(pa.time64("us"))), False
    if kinds.is_timestamp(type_):
        zone = None if type_.tz is None else "UTC"
        declared = f"timestamp {'without' if zone is None else 'with'} time zone"
        return declared, lambda array: _in_years(array.cast(pa.timestamp("us", zone))), False
    if kinds.is_duration(type_):
        return "interval", _intervals, False
    if kinds.is_string_view(type_):
        return "text", lambda array: array.cast(pa.large_string()), False
    if is_binary(type_):
        return "bytea", lambda array: _prefixed(hexed(array)), False
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        if not kinds.is_nested(type_.value_type):
            declared, convert, _ = _writing(type_.value_type, column)
            return f"{declared}[]", lambda array: _array_texts(array, convert), False
        return "jsonb", None, True
    if kinds.is_struct(type_) or kinds.is_map(type_):
        return "jsonb", None, True
    raise _no_type(type_, column)


SIMPLE: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "integer",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.null(): "text",
}


WRITTEN = (
    ("`halffloat`", "`real`"),
    ("`decimal(p, s)`", "`numeric(p, s)`"),
    ("`date`, `time`", "`date`, `time`"),
    ("`timestamp`", "`timestamp`; with a zone `timestamp with time zone`"),
    ("`duration`", "`interval`"),
    ("`binary` of all kinds", "`bytea`"),
    ("`arrow.uuid`", "`uuid`"),
    ("`arrow.json`", "`json`"),
    ("dictionaries, run-end encoded", "what their values are"),
    ("lists", "arrays; of lists, structs or maps `jsonb`"),
    ("structs, maps", "`jsonb`"),
)
"""The rest of the table of types: what depends on more than the type's name. For people."""


def _no_type(type_: pa.DataType, column: str) -> ConversionFailed:
    return ConversionFailed(
        f"PostgreSQL has no form for the column `{column}` ({type_})", hint="cast it to text before"
    )


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _or_same(convert: Convert | None, array: pa.Array) -> pa.Array:
    return array if convert is None else convert(array)


def _prefixed(digits: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.scalar("\\x", pa.large_string()), digits, pa.scalar("", pa.large_string())
    )


def _in_years(array: pa.Array) -> pa.Array:
    """Refuses years before the first, and those of more digits than Arrow writes."""
    return in_years(array, 32_767)


def _intervals(array: pa.Array) -> pa.Array:
    number = array.cast(pa.duration("us")).cast(pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(number, "microseconds", " ")


def _array_texts(array: pa.Array, convert: Convert | None) -> pa.Array:
    """Lists as PostgreSQL writes arrays: ``{"a",NULL}``."""
    if not pa.types.is_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    array = pa.concat_arrays([array])
    texts = _or_same(convert, array.values).cast(pa.string())
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    quoted = pc.fill_null(pc.binary_join_element_wise('"', escaped, '"', ""), "NULL")
    lists = pa.Array.from_buffers(
        pa.list_(pa.string()), len(array), array.buffers()[:2], array.null_count, array.offset, [quoted]
    )
    return pc.binary_join_element_wise("{", pc.binary_join(lists, ","), "}", "")
