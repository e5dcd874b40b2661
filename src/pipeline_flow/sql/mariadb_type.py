"""MariaDB's types as Arrow's, and the text in between: what its protocol sends, and the literals of an INSERT."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.core.text import clipped
from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed, WrongArgument
from pipeline_flow.sql import misfit, value_text
from pipeline_flow.sql.misfit import has_opaque
from pipeline_flow.sql.moment import in_day, in_years

Convert = Callable[[pa.Array], pa.Array]

_WIDEST, _FINEST = 65, 38  # digits of a DECIMAL, and behind its point
_BINARY = 63  # the number of the character set of bytes
_UNSIGNED, _ENUM = 32, 256  # flags of a column
_KEY_LENGTH = 255  # characters, of a text in a key
_DAY_MICROSECONDS = 86_400_000_000
_LONGEST_TIME = ((838 * 60 + 59) * 60 + 59) * 1_000_000 + 999_999

# The protocol's numbers of types.
_INTEGERS = {1: 8, 2: 16, 9: 32, 3: 32, 8: 64}
_DECIMAL, _FLOAT, _DOUBLE, _TIMESTAMP, _DATE, _TIME, _DATETIME, _YEAR, _BIT, _JSON = (
    246,
    4,
    5,
    7,
    10,
    11,
    12,
    13,
    16,
    245,
)
_OLD_DECIMAL, _NULL, _GEOMETRY = 0, 6, 255


@dataclass(frozen=True, slots=True)
class Meta:
    """What the protocol tells of a column of a result.

    Attributes:
        code: the number of the type.
        flags: such as unsigned.
        length: how many bytes its text can have at most.
        scale: digits behind the point.
        charset: the number of the character set.
        declared: ``json``, ``uuid``, … where the catalogue knows the type better than the protocol; else empty.
    """

    code: int
    flags: int = 0
    length: int = 0
    scale: int = 0
    charset: int = _BINARY
    declared: str = ""

    @property
    def is_text(self) -> bool:
        """Whether values are text, not bytes."""
        return self.charset != _BINARY

    @property
    def is_float(self) -> bool:
        """Whether it is FLOAT, of which the server sends no more than six digits."""
        return self.code == _FLOAT


@dataclass(frozen=True, slots=True)
class Reader:
    """How a column comes out of a result.

    Attributes:
        field: the column in Arrow.
        given: the Arrow type of what the server sends, text or bytes.
        convert: makes the field's type of it; ``None`` where it is that already.
        advice: what to do about a value that does not fit.
    """

    field: pa.Field
    given: pa.DataType
    convert: Convert | None = None
    advice: str = ""

    def read(self, values: pa.Array, done: int) -> pa.Array:
        """The bytes that the server sent as values; ``done`` rows were read before them.

        Raises:
            ConversionFailed: a value does not fit.
        """
        try:
            return self._converted(values)
        except misfit.REFUSALS:
            row = misfit.first(values, self._converted)
        value = values[row].as_py()
        where = f"in row {done + row + 1:,}"
        if self.given == pa.string() and not misfit.is_utf8(value):  # MariaDB takes half of a surrogate pair
            raise ConversionFailed(
                f"the column `{self.field.name}` holds {value[:60]!r} {where}, which is no UTF-8",
                hint="read it as bytes: cast(… as binary) in a query",
            )
        shown = clipped(repr(value.decode() if self.given == pa.string() else value))
        raise ConversionFailed(
            f"the column `{self.field.name}` holds {shown} {where}, which is no {self.field.type}",
            hint=self.advice
            or f"read it as text (`columns: {{{self.field.name}: VARCHAR}}`), or change the value in the query",
        )

    def _converted(self, values: pa.Array) -> pa.Array:
        array = values.cast(self.given)
        return array if self.convert is None else self.convert(array)


def reader(column: str, meta: Meta, wanted: str | None = None) -> Reader:
    """How a column is read.

    Args:
        column: its name.
        meta: what the server tells of it.
        wanted: the type that the user asks for, as DuckDB writes it; ``None`` for the one that fits best.

    Raises:
        WrongArgument: the type that the user asks for is none that can be had.
    """
    type_, given, convert, advice = _reading(column, meta)
    if wanted is not None:
        type_, convert = _asked(column, wanted, given)
        advice = ""
    return Reader(pa.field(column, type_), given, convert, advice)


def _reading(column: str, meta: Meta) -> tuple[pa.DataType, pa.DataType, Convert | None, str]:
    text = pa.string()
    if meta.code in _INTEGERS:
        return _integer(column, meta)
    if meta.code == _BIT:
        if meta.length == 1:
            return pa.bool_(), pa.binary(), lambda array: pc.not_equal(array, b"\0"), ""
        return pa.uint64(), pa.binary(), _bits, ""
    if meta.code in (_DECIMAL, _OLD_DECIMAL):
        precision = meta.length - (meta.scale > 0) - (not meta.flags & _UNSIGNED)
        type_ = decimal(max(precision, meta.scale, 1), meta.scale)
        return type_, text, lambda array: array.cast(type_), ""
    if meta.code in (_FLOAT, _DOUBLE):
        type_ = pa.float32() if meta.code == _FLOAT else pa.float64()
        return type_, text, lambda array: array.cast(pa.float64()).cast(type_), ""
    if meta.code == _YEAR:
        return pa.int16(), text, lambda array: array.cast(pa.int16()), ""
    if meta.code in (_DATE, _DATETIME, _TIMESTAMP):
        type_ = {_DATE: pa.date32(), _DATETIME: pa.timestamp("us"), _TIMESTAMP: pa.timestamp("us", "UTC")}[
            meta.code
        ]
        zero = "0000-00-00" if meta.code == _DATE else "0000-00-00 00:00:00"
        advice = (
            f"make it null in the query (nullif({column}, '{zero}') as {column}), or read it as text "
            f"(`columns: {{{column}: VARCHAR}}`)"
        )
        return type_, text, lambda array: _moments(array, type_), advice
    if meta.code == _TIME:
        advice = f"read it as a span of time (`columns: {{{column}: INTERVAL}}`) or as text (`columns: {{{column}: VARCHAR}}`)"
        return pa.time64("us"), text, _clock, advice
    if meta.code == _NULL:
        return pa.null(), text, lambda array: pa.nulls(len(array)), ""
    if meta.code == _JSON or meta.declared == "json":
        return pa.json_(), text, lambda array: pa.ExtensionArray.from_storage(pa.json_(), array), ""
    if meta.declared == "uuid":
        return pa.uuid(), text, _uuids, ""
    if meta.is_text and meta.code != _GEOMETRY:
        return text, text, None, ""
    return pa.binary(), pa.binary(), None, ""


def _integer(column: str, meta: Meta) -> tuple[pa.DataType, pa.DataType, Convert | None, str]:
    unsigned = bool(meta.flags & _UNSIGNED)
    if meta.code == 1 and meta.length == 1 and not unsigned:  # TINYINT(1) is what MariaDB makes of BOOLEAN
        advice = f"it is a TINYINT(1), which is read as a boolean; read numbers with `columns: {{{column}: TINYINT}}`"
        return pa.bool_(), pa.string(), _booleans, advice
    bits = _INTEGERS[meta.code]
    signed_types = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
    unsigned_types = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
    type_ = (unsigned_types if unsigned else signed_types)[bits]
    return type_, pa.string(), lambda array: array.cast(type_), ""


def decimal(precision: int, scale: int) -> pa.DataType:
    """Arrow's decimal of so many digits."""
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


_ASKED = {
    "VARCHAR": pa.string(), "TEXT": pa.string(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(),
    "INT": pa.int32(), "BIGINT": pa.int64(), "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(), "DOUBLE": pa.float64(), "INTERVAL": pa.duration("us"), "JSON": pa.json_(), "UUID": pa.uuid(),
}  # fmt: skip
_SIZED = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def _asked(column: str, wanted: str, given: pa.DataType) -> tuple[pa.DataType, Convert | None]:
    word = wanted.strip().upper()
    type_ = _ASKED.get(word)
    sized = _SIZED.fullmatch(word)
    if sized is not None and int(sized[2] or 0) <= int(sized[1]) <= 76 and int(sized[1]):
        type_ = decimal(int(sized[1]), int(sized[2] or 0))
    if type_ is None or given != pa.string():
        kinds = "DECIMAL(p, s), whole numbers, DOUBLE, INTERVAL, JSON, UUID or VARCHAR"
        raise WrongArgument(
            f"`columns` gives `{column}` the type {wanted}, which cannot be read from what MariaDB sends",
            hint=f"it can be {kinds}, and bytes stay bytes; cast to others in a query",
        )
    if pa.types.is_string(type_):
        return type_, None
    if pa.types.is_duration(type_):
        return type_, _spans
    if isinstance(type_, pa.UuidType):
        return type_, _uuids
    if isinstance(type_, pa.JsonType):
        return type_, lambda array: pa.ExtensionArray.from_storage(type_, array)
    return type_, lambda array: array.cast(type_)


def _booleans(array: pa.Array) -> pa.Array:
    known = pc.is_in(array, pa.array(["0", "1", None], pa.string()))
    if not pc.all(known).as_py() and len(array):
        raise ValueError("a boolean is 0 or 1")
    return pc.equal(array, "1")


def _bits(array: pa.Array) -> pa.Array:
    # The bytes come with the highest first, as many as the column needs.
    filled = pc.fill_null(array, b"\0")
    padded = pc.binary_join_element_wise(b"\0" * 8, filled, b"")
    padded = pc.binary_reverse(pc.binary_slice(padded, -8))
    return _fixed(padded, array, pa.uint64())


def _fixed(values: pa.Array, like: pa.Array, type_: pa.DataType) -> pa.Array:
    """Values of one length without nulls as ``type_``, null where ``like`` is."""
    values = pa.concat_arrays([values])
    _, offsets, data = values.buffers()
    start = (
        pa.Array.from_buffers(pa.int32(), 1, [None, offsets], offset=values.offset)[0].as_py()
        if len(values)
        else 0
    )
    validity = pa.concat_arrays([pc.is_valid(like)]).buffers()[1] if like.null_count else None
    data = pa.py_buffer(b"") if data is None else data.slice(start)
    return pa.Array.from_buffers(type_, len(values), [validity, data], like.null_count)


def _moments(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if pc.any(pc.starts_with(array, "0000-")).as_py():
        raise ValueError("there is no year 0")
    if pa.types.is_timestamp(type_):
        return array.cast(pa.timestamp("us")).cast(type_)
    return array.cast(type_)


def _clock(array: pa.Array) -> pa.Array:
    # A day makes a moment of it, which Arrow can read; hours beyond 23 and a sign it refuses then.
    moments = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp("us"))
    return moments.cast(pa.int64()).cast(pa.time64("us"))


def _spans(array: pa.Array) -> pa.Array:
    parts = pc.extract_regex(array, r"^(?P<sign>-?)(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)(?:\.(?P<f>\d{1,6}))?$")
    if parts.null_count != array.null_count:
        raise ValueError("no time")

    def number(name: str) -> pa.Array:
        return pc.struct_field(parts, name).cast(pa.int64())

    fraction = pc.utf8_rpad(pc.struct_field(parts, "f"), 6, "0").cast(pa.int64())
    seconds = pc.add(pc.multiply(pc.add(pc.multiply(number("h"), 60), number("m")), 60), number("s"))
    total = pc.add(pc.multiply(seconds, 1_000_000), fraction)
    return pc.if_else(pc.equal(pc.struct_field(parts, "sign"), "-"), pc.negate(total), total).cast(
        pa.duration("us")
    )


def _uuids(array: pa.Array) -> pa.Array:
    import binascii

    filled = pc.fill_null(pc.replace_substring(array, "-", ""), "0" * 32)
    if not pc.all(pc.equal(pc.binary_length(filled), 32)).as_py() and len(array):
        raise ValueError("no UUID")
    digits = _fixed(filled, pa.nulls(0), pa.binary(32)).slice(0, len(array)) if len(array) else None
    data = b"" if digits is None else binascii.unhexlify(memoryview(digits.buffers()[1])[: 32 * len(array)])
    validity = pa.concat_arrays([pc.is_valid(array)]).buffers()[1] if array.null_count else None
    storage = pa.Array.from_buffers(
        pa.binary(16), len(array), [validity, pa.py_buffer(data)], array.null_count
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of types: MariaDB's names, an example of what the protocol tells, and what is to be known."""

    names: tuple[str, ...]
    meta: Meta
    note: str = ""
    shown: str = ""

    @property
    def arrow(self) -> str:
        """The Arrow type as the reader chooses it."""
        return self.shown or str(reader("", self.meta).field.type)


_TEXT_CHARSET = 45
_YEARS = "from year 1 to 9999; a zero date or a day 0 is an error that says how to read it as null or text"
RULES = (
    Rule(
        ("boolean", "tinyint(1)"),
        Meta(1, length=1),
        "0 and 1; other numbers are an error (`columns: {a: TINYINT}`)",
    ),
    Rule(("tinyint",), Meta(1, length=4)),
    Rule(("smallint",), Meta(2, length=6)),
    Rule(("mediumint", "int"), Meta(3, length=11)),
    Rule(("bigint",), Meta(8, length=20)),
    Rule(("tinyint unsigned",), Meta(1, _UNSIGNED, 3)),
    Rule(("smallint unsigned",), Meta(2, _UNSIGNED, 5)),
    Rule(("mediumint unsigned", "int unsigned"), Meta(3, _UNSIGNED, 10), "zerofill without its zeros"),
    Rule(("bigint unsigned",), Meta(8, _UNSIGNED, 20)),
    Rule(
        ("decimal(p, s)",),
        Meta(_DECIMAL, 0, 12, 2),
        "up to 38 digits decimal128, up to 65 decimal256",
        "decimal(p, s)",
    ),
    Rule(
        ("float",),
        Meta(_FLOAT, length=12),
        "exact: it is fetched as a double, since MariaDB sends six digits; in a `query` with ORDER BY an error",
    ),
    Rule(("double",), Meta(_DOUBLE, length=22), "-0 is 0 in MariaDB"),
    Rule(("bit(1)",), Meta(_BIT, length=1)),
    Rule(("bit(n)",), Meta(_BIT, length=10), "the bits as a number"),
    Rule(("year",), Meta(_YEAR, length=4)),
    Rule(("date",), Meta(_DATE, length=10), _YEARS),
    Rule(("datetime",), Meta(_DATETIME, length=26), _YEARS),
    Rule(("timestamp",), Meta(_TIMESTAMP, length=26), f"sessions are in UTC; {_YEARS}"),
    Rule(
        ("time",),
        Meta(_TIME, length=17),
        "from 00:00 to 24:00; others are an error, unless `columns: {a: INTERVAL}` reads spans of time (duration[us])",
    ),
    Rule(
        ("char", "varchar", "tinytext", "text", "mediumtext", "longtext"),
        Meta(253, length=40, charset=_TEXT_CHARSET),
        "any character set; char(n) without its spaces at the end, as MariaDB gives it",
    ),
    Rule(("enum", "set", "inet4", "inet6"), Meta(254, _ENUM, 40, charset=_TEXT_CHARSET), "as text"),
    Rule(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"),
        Meta(252, length=40),
        "binary(n) with its zeros",
    ),
    Rule(
        ("json",),
        Meta(252, length=40, charset=_TEXT_CHARSET, declared="json"),
        "a column of a table; JSON that an expression makes is text",
    ),
    Rule(
        ("uuid",),
        Meta(254, length=36, charset=_TEXT_CHARSET, declared="uuid"),
        "a column of a table; else text",
    ),
    Rule(("point", "geometry", "…"), Meta(_GEOMETRY, length=40), "MariaDB's own form: SRID and WKB"),
)
WRITTEN = (
    (pa.bool_(), ""),
    (pa.int8(), "and so on: smallint, int, bigint"),
    (pa.uint64(), "and so on: tinyint unsigned, smallint unsigned, int unsigned"),
    (pa.float32(), "float16 too; NaN and infinities are an error"),
    (pa.float64(), "NaN and infinities are an error; -0 becomes 0"),
    (
        pa.decimal128(38, 10),
        f"up to {_WIDEST} digits, {_FINEST} of them behind the point; wider ones are an error",
    ),
    (pa.string(), f"varchar({_KEY_LENGTH}) in a key"),
    (pa.binary(), f"varbinary({_KEY_LENGTH}) in a key"),
    (pa.date32(), "from year 1 to 9999"),
    (pa.time64("us"), "nanoseconds are an error"),
    (pa.duration("us"), "up to 838:59:59 hours either way"),
    (pa.timestamp("us"), "from year 1 to 9999; nanoseconds are an error"),
    (
        pa.timestamp("us", "UTC"),
        "from 1970 to 2038 (MariaDB 11.5: to 2106); others are an error; `columns` with datetime(6) keeps their clock time in UTC",
    ),
    (
        pa.uuid(),
        "char(36) where the server has no UUID: MariaDB before 10.7, MySQL. MariaDB refuses some whose version and variant do not fit; `columns` with char(36) takes any",
    ),
    (pa.json_(), ""),
    (pa.list_(pa.int64()), "structs and maps too: JSON text"),
    (pa.null(), ""),
)
"""Examples of Arrow's types for the table of types, with what is to be known."""


# ---------------------------------------------------------------------------------------------- into MariaDB


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table as the catalogue has it.

    Attributes:
        name: its name.
        kind: the type alone, in lower case: ``decimal``.
        declared: the type with all that belongs to it: ``decimal(10,2) unsigned``.
        scale: digits behind the point, where the type has any.
        fineness: digits behind the seconds.
        length: characters or bytes at most.
        optional: an INSERT may leave it out.
    """

    name: str
    kind: str
    declared: str
    scale: int | None = None
    fineness: int | None = None
    length: int | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Writer:
    """How a column goes into an INSERT.

    Attributes:
        field: the column in Arrow.
        declared: the type of the column that a load makes for it.
        family: what the values are: ``boolean``, ``whole``, ``float``, ``double``, ``decimal``, ``text``, ``bytes``,
            ``date``, ``clock``, ``span``, ``moment``, ``instant``, ``uuid``, ``json`` or ``null``.
        convert: makes text or bytes of an array.
    """

    field: pa.Field
    declared: str
    family: str
    convert: Convert

    def values(self, array: pa.Array, done: int) -> pa.Array:
        """``array`` as text in UTF-8, or as the bytes that it holds, nulls as they are.

        ``done`` rows were written before them.

        Raises:
            ConversionFailed: MariaDB has no such value.
        """
        try:
            return self.convert(array).cast(pa.binary())
        except misfit.REFUSALS:
            raise misfit.refused("MariaDB", self.field, array, self.convert, done) from None

    def literals(self, array: pa.Array, done: int) -> pa.Array:
        """``array`` as the literals of an INSERT, as bytes; ``done`` rows were written before them.

        Raises:
            ConversionFailed: MariaDB has no such value.
        """
        values = self.values(array, done)
        if self.family in ("text", "json", "bytes"):
            values = pc.replace_substring(values, b"\\", b"\\\\")
            values = pc.replace_substring(values, b"'", b"\\'")
        if self.family not in ("boolean", "whole"):
            head = b"_binary'" if self.family == "bytes" else b"'"
            values = pc.binary_join_element_wise(head, values, b"'", b"")
        return pc.fill_null(values, b"NULL")


def writer(field: pa.Field, *, key: bool = False, has_uuid: bool = True) -> Writer:
    """How a column is written, and of what type a load makes it.

    Args:
        field: the column.
        key: it is part of the key, where MariaDB takes no text without a length.
        has_uuid: the server has the type UUID.

    Raises:
        ConversionFailed: MariaDB has no type for it.
    """
    declared, family, convert = _writing(field.type, field.name)
    if key and family in ("text", "bytes"):
        declared = f"{'varchar' if family == 'text' else 'varbinary'}({_KEY_LENGTH})"
    if family == "uuid" and not has_uuid:
        declared = "char(36)"
    return Writer(field, declared, family, convert)


def _writing(type_: pa.DataType, name: str) -> tuple[str, str, Convert]:
    kinds = pa.types
    text = pa.string()
    if kinds.is_dictionary(type_):
        declared, family, convert = _writing(type_.value_type, name)
        return declared, family, lambda array: convert(array.dictionary_decode())
    if kinds.is_run_end_encoded(type_):
        declared, family, convert = _writing(type_.value_type, name)
        return declared, family, lambda array: convert(pc.run_end_decode(array))
    if kinds.is_boolean(type_):
        return "boolean", "boolean", lambda array: array.cast(pa.int8()).cast(text)
    if kinds.is_integer(type_):
        word = {8: "tinyint", 16: "smallint", 32: "int", 64: "bigint"}[type_.bit_width]
        unsigned = " unsigned" if kinds.is_unsigned_integer(type_) else ""
        return f"{word}{unsigned}", "whole", lambda array: array.cast(text)
    if kinds.is_floating(type_):
        # A FLOAT's own shortest text may be beyond its largest number; a DOUBLE's is exact.
        single = type_ != pa.float64()
        return (
            "float" if single else "double",
            "float" if single else "double",
            lambda array: _finite(array.cast(pa.float64())).cast(text),
        )
    if kinds.is_decimal(type_):
        return _decimal(type_, name)
    if kinds.is_date(type_):
        return "date", "date", lambda array: in_years(array.cast(pa.date32())).cast(text)
    if kinds.is_time(type_):
        return "time(6)", "clock", lambda array: in_day(array.cast(pa.time64("us"))).cast(text)
    if kinds.is_duration(type_):
        return "time(6)", "span", lambda array: _span_texts(array.cast(pa.duration("us")))
    if kinds.is_timestamp(type_):
        if type_.tz is None:
            return "datetime(6)", "moment", lambda array: in_years(array.cast(pa.timestamp("us"))).cast(text)
        return "timestamp(6)", "instant", _instants
    if isinstance(type_, pa.UuidType):
        return "uuid", "uuid", value_text.uuids
    if isinstance(type_, pa.JsonType):
        return "json", "json", lambda array: array.storage.cast(text)
    if kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return "longtext", "text", lambda array: misfit.valid_text(array.cast(text))
    if is_binary(type_):
        return "longblob", "bytes", lambda array: array.cast(pa.binary())
    if kinds.is_null(type_):
        return "longtext", "null", lambda array: array.cast(text)
    if kinds.is_nested(type_) and not kinds.is_union(type_) and not has_opaque(type_):
        return "json", "json", value_text.json_of
    raise ConversionFailed(
        f"MariaDB has no form for the column `{name}` ({type_})", hint="cast it to text in the query"
    )


def _decimal(type_: pa.DataType, name: str) -> tuple[str, str, Convert]:
    precision, scale = type_.precision - min(type_.scale, 0), max(type_.scale, 0)
    if precision > _WIDEST or scale > _FINEST:
        raise ConversionFailed(
            f"the column `{name}` is {type_}, and MariaDB's DECIMAL has {_WIDEST} digits, {_FINEST} of them behind the point",
            hint="cast it to fewer digits, or to text, before",
        )
    plain = decimal(precision, scale)
    return f"decimal({precision},{scale})", "decimal", lambda array: array.cast(plain).cast(pa.string())


def _finite(array: pa.Array) -> pa.Array:
    if not pc.all(pc.fill_null(pc.is_finite(array), True)).as_py() and len(array):
        raise ValueError("NaN or infinity")
    return array


def _instants(array: pa.Array) -> pa.Array:
    # Without its zone Arrow writes an instant as its UTC clock time, and that is the session's zone.
    clock = array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return in_years(clock).cast(pa.string())


def _in_epoch(texts: pa.Array, last: str) -> pa.Array:
    """Clock times in UTC, where a TIMESTAMP can hold them."""
    if texts.null_count < len(texts):
        least, most = (item.as_py() for item in pc.min_max(texts).values())
        if least < "1970-01-01 00:00:01" or most > last:
            wrong = least if least < "1970-01-01 00:00:01" else most
            raise ValueError(
                f"{wrong} UTC; a TIMESTAMP is from 1970-01-01 00:00:01 to {last[:19]} UTC, a DATETIME is not "
                "(`columns`, or alter table, makes it datetime(6), with the clock time in UTC)"
            )
    return texts


def _span_texts(array: pa.Array) -> pa.Array:
    total = array.cast(pa.int64())
    size = pc.abs(total)
    if array.null_count < len(array) and pc.max(size).as_py() > _LONGEST_TIME:
        raise ValueError("a TIME is up to 838:59:59 hours")

    def part(value: pa.Array, digits: int) -> pa.Array:
        return pc.utf8_lpad(value.cast(pa.string()), digits, "0")

    def rest(value: pa.Array, by: int) -> pa.Array:
        return pc.subtract(value, pc.multiply(pc.divide(value, by), by))

    seconds = pc.divide(size, 1_000_000)
    clock = pc.binary_join_element_wise(
        part(pc.divide(seconds, 3600), 2),
        part(rest(pc.divide(seconds, 60), 60), 2),
        part(rest(seconds, 60), 2),
        ":",
    )
    sign = pc.if_else(pc.less(total, 0), "-", "")
    return pc.binary_join_element_wise(sign, clock, ".", part(rest(size, 1_000_000), 6), "")


# ---------------------------------------------------------------------------------------------- into a table that is there

_WHOLE = ("tinyint", "smallint", "mediumint", "int", "bigint")
_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
_BLOBS = ("varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_FITS: dict[str, tuple[str, ...]] = {
    "boolean": (*_WHOLE, "decimal", "bit"),
    "whole": (*_WHOLE, "decimal"),
    "float": ("float", "double"),
    "double": ("double",),
    "decimal": ("decimal",),
    "text": (*_TEXTS, "enum", "json"),
    "bytes": (*_BLOBS, "binary"),
    "date": ("date", "datetime"),
    "clock": ("time",),
    "span": ("time",),
    "moment": ("datetime",),
    "instant": ("timestamp", "datetime"),
    "uuid": ("uuid", *_TEXTS),
    "json": ("json", *_TEXTS[1:]),
}


def fits(writer: Writer, column: Column) -> bool:
    """Whether the column keeps every value of the data, or MariaDB or :func:`into` refuses it: nothing is rounded or cut."""
    type_ = writer.field.type
    if writer.family == "null":
        return True
    if writer.family == "whole" and column.kind in ("double", "float"):
        return column.scale is None and type_.bit_width <= {"double": 32, "float": 16}[column.kind]
    if writer.family == "decimal":
        scale = max(type_.scale, 0)
        return (column.kind == "decimal" and scale <= (column.scale or 0)) or (
            column.kind in _WHOLE and scale == 0
        )
    if writer.family in ("float", "double") and column.scale is not None:
        return False  # FLOAT(7,2) rounds
    return column.kind in _FITS[writer.family]


def into(writer: Writer, column: Column, last_timestamp: str) -> Writer:
    """``writer`` with the checks of what the table's column would change without a word.

    Args:
        writer: the data's column.
        column: the table's, which :func:`fits`.
        last_timestamp: the last moment of a TIMESTAMP at this server.
    """
    convert = writer.convert
    if column.kind == "timestamp" and writer.family == "instant":
        instants = convert
        convert = lambda array: _in_epoch(instants(array), last_timestamp)  # noqa: E731 - one step of several
    if (
        column.fineness is not None
        and column.fineness < 6
        and writer.family in ("clock", "moment", "instant", "span")
    ):
        before, digits = convert, column.fineness
        convert = lambda array: _coarse(before(array), digits)  # noqa: E731 - one step of several
    if column.kind == "char":
        texts = convert
        convert = lambda array: _without_last_spaces(texts(array))  # noqa: E731 - one step of several
    if column.kind == "binary":
        size, data = column.length, convert
        convert = lambda array: _of_length(data(array), size)  # noqa: E731 - one step of several
    if column.kind == "enum":
        labels = pa.array(
            [_unquoted(label) for label in re.findall(r"'((?:[^']|'')*)'", column.declared)], pa.string()
        )
        words = convert
        convert = lambda array: _known(words(array), labels)  # noqa: E731 - one step of several
    return writer if convert is writer.convert else replace(writer, convert=convert)


def _unquoted(label: str) -> str:
    return label.replace("''", "'")


def _coarse(texts: pa.Array, digits: int) -> pa.Array:
    point = r"\.\d*[1-9]" if digits == 0 else rf"\.\d{{{digits}}}\d*[1-9]"
    if pc.any(pc.match_substring_regex(texts, point)).as_py():
        raise ValueError(f"the column has {digits} digits behind the seconds; alter table makes more: (6)")
    return texts


def _without_last_spaces(texts: pa.Array) -> pa.Array:
    if pc.any(pc.ends_with(texts, " ")).as_py():
        raise ValueError("a CHAR drops spaces at the end; a VARCHAR does not")
    return texts


def _of_length(values: pa.Array, size: int | None) -> pa.Array:
    if not pc.all(pc.fill_null(pc.equal(pc.binary_length(values), size), True)).as_py() and len(values):
        raise ValueError(f"a BINARY({size}) fills up shorter values; a VARBINARY does not")
    return values


def _known(texts: pa.Array, labels: pa.Array) -> pa.Array:
    unknown = pc.drop_null(texts.filter(pc.invert(pc.is_in(texts, labels))))
    if len(unknown):
        raise ValueError(f"{unknown[0].as_py()!r} is none of the ENUM's labels")
    return texts
