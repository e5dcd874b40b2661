"""Python's values, as drivers give and take them, as Arrow's and back, exactly; and the types of SQLAlchemy that belong to them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as native
from sqlalchemy import types as kinds
from sqlalchemy.dialects import mssql, mysql, oracle

from pipeline_flow.core.text import clipped
from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed, WrongArgument
from pipeline_flow.sql import misfit

Read = Callable[[Sequence[Any]], pa.Array]
_WIDEST = 76  # digits of a decimal in Arrow
_MYSQL = ("mysql", "mariadb")
_WITHOUT_ZONES = (*_MYSQL, "sqlite")  # where an instant is its clock time in UTC
_WITHOUT_TIMES = ("oracle",)
_WITH_SPANS = ("postgresql", "oracle")  # elsewhere SQLAlchemy would make moments of them


# ---------------------------------------------------------------------------------------------- out of a database


@dataclass(frozen=True, slots=True)
class Reader:
    """How the values of a column become an array.

    Attributes:
        name: the column.
        type: its type in Arrow.
        convert: makes the array.
        why: where the type comes from, for messages.
    """

    name: str
    type: pa.DataType
    convert: Read
    why: str

    def read(self, values: Sequence[Any], done: int) -> pa.Array:
        """The values as an array; ``done`` rows were read before them.

        Raises:
            ConversionFailed: a value does not fit.
        """
        try:
            return self.convert(values)
        except misfit.REFUSALS:
            row = misfit.first(values, self.convert)
        shown = clipped(repr(values[row]))
        raise ConversionFailed(
            f"the column `{self.name}` is {self.type} {self.why}, and row {done + row + 1:,} holds {shown}",
            hint=f"say its type (`columns: {{{self.name}: …}}`), or cast it in the query",
        )


def reader(
    name: str,
    values: Sequence[Any],
    dialect: str,
    *,
    declared: kinds.TypeEngine[Any] | None = None,
    digits: tuple[int, int] | None = None,
    is_text: bool = False,
    wanted: str | None = None,
) -> Reader:
    """How a column is read.

    Args:
        name: the column.
        values: its first ones.
        dialect: SQLAlchemy's name of the database.
        declared: its type in the table, where that is known.
        digits: precision and scale, where the driver tells them of a decimal.
        is_text: the driver says that it holds text.
        wanted: the type that the user asks for, as DuckDB writes it.

    Raises:
        WrongArgument: the type that the user asks for cannot be had.
        ConversionFailed: the first values have no common type.
    """
    if wanted is not None:
        type_ = _asked(name, wanted)
        return Reader(name, type_, _convert(type_), "as `columns` says")
    found = None if declared is None else from_declared(declared, dialect)
    if found is not None:
        return Reader(name, found, _convert(found), "in the table")
    type_ = _from_values(name, values, digits)
    if pa.types.is_null(type_) and is_text:
        type_ = pa.string()
    return Reader(name, type_, _convert(type_), "by its first rows")


def decimal(precision: int, scale: int) -> pa.DataType:
    """Arrow's decimal of so many digits."""
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def from_declared(kind: kinds.TypeEngine[Any], dialect: str) -> pa.DataType | None:
    """The Arrow type of a column by its type in the table; ``None`` where only its values tell."""
    if isinstance(kind, kinds.Integer):
        return _whole(kind, dialect)
    if isinstance(kind, kinds.Boolean):
        return pa.bool_()
    if isinstance(kind, kinds.Float):
        return pa.float64() if dialect != "oracle" else None
    if isinstance(kind, kinds.Numeric):
        precision, scale = kind.precision, kind.scale or 0
        sized = precision is not None and 0 <= scale <= precision <= _WIDEST and precision
        return decimal(precision, scale) if sized and precision is not None else None
    if isinstance(kind, kinds.Uuid):
        return pa.uuid()
    if isinstance(kind, kinds.JSON):
        return pa.json_()
    if isinstance(kind, kinds.String):
        return pa.string()
    if isinstance(kind, kinds._Binary):  # noqa: SLF001 - the base of BINARY, VARBINARY and BLOB has no other name
        return pa.binary()
    if dialect == "oracle":  # its DATE has a time
        return None
    if isinstance(kind, kinds.DateTime):
        return pa.timestamp("us", "UTC") if _has_zone(kind) else pa.timestamp("us")
    if isinstance(kind, kinds.Date):
        return pa.date32()
    if isinstance(kind, kinds.Time):
        return None if _has_zone(kind) else pa.time64("us")
    return pa.duration("us") if isinstance(kind, kinds.Interval) else None


def _whole(kind: kinds.Integer, dialect: str) -> pa.DataType | None:
    if dialect == "sqlite":
        return pa.int64()
    if dialect == "oracle":
        return None
    bits = 64 if isinstance(kind, kinds.BigInteger) else 16 if isinstance(kind, kinds.SmallInteger) else 32
    unsigned = bool(getattr(kind, "unsigned", False))
    if type(kind).__name__ == "TINYINT":
        if getattr(kind, "display_width", None) == 1 and not unsigned:
            return pa.bool_()  # what MariaDB and MySQL make of BOOLEAN
        bits, unsigned = 8, unsigned or dialect == "mssql"
    found: pa.DataType = getattr(pa, f"{'u' if unsigned else ''}int{bits}")()
    return found


def _has_zone(kind: kinds.TypeEngine[Any]) -> bool:
    return bool(getattr(kind, "timezone", False)) or bool(
        re.search("OFFSET|_TZ|_LTZ", type(kind).__name__.upper())
    )


def _from_values(name: str, values: Sequence[Any], digits: tuple[int, int] | None) -> pa.DataType:
    found = {_family(value) for value in values if value is not None}
    if not found:
        return pa.null()
    if found == {"whole"}:
        least, most = (pick(value for value in values if value is not None) for pick in (min, max))
        return pa.int64() if least >= -(2**63) and most < 2**63 else decimal(38, 0)
    if found <= {"decimal", "whole"}:
        return _decimal_of(values, digits)
    if found == {"float", "whole"}:
        return pa.float64()
    if len(found) == 1:
        (family,) = found
        if family in _SIMPLE:
            return _SIMPLE[family]
    odd = next(item for item in values if item is not None and _family(item) not in _SIMPLE) if not (
        found <= _SIMPLE.keys() | {"decimal", "whole"}
    ) else None  # fmt: skip
    text = (
        f"the column `{name}` holds values of several kinds: {', '.join(sorted(found))}"
        if odd is None
        else f"the column `{name}` holds a {type(odd).__module__}.{type(odd).__name__}, which has no exact form"
    )
    raise ConversionFailed(text, hint=f"cast it in the query: cast({name} as varchar(100)) as {name}")


_SIMPLE = {
    "boolean": pa.bool_(), "whole": pa.int64(), "float": pa.float64(), "text": pa.string(), "bytes": pa.binary(),
    "moment": pa.timestamp("us"), "instant": pa.timestamp("us", "UTC"), "date": pa.date32(), "time": pa.time64("us"),
    "span": pa.duration("us"), "uuid": pa.uuid(), "nested": pa.json_(),
}  # fmt: skip
_FAMILIES = {
    bool: "boolean", int: "whole", float: "float", Decimal: "decimal", str: "text", bytes: "bytes", bytearray: "bytes",
    memoryview: "bytes", dt.date: "date", dt.timedelta: "span", uuid.UUID: "uuid", list: "nested", tuple: "nested",
    dict: "nested",
}  # fmt: skip
_ADDRESSES = (
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Interface, ipaddress.IPv6Interface,
    ipaddress.IPv4Network, ipaddress.IPv6Network,
)  # fmt: skip


def _family(value: Any) -> str:
    known = _FAMILIES.get(type(value))
    if known is not None:
        return known
    if isinstance(value, dt.datetime):
        return "moment" if value.tzinfo is None else "instant"
    if isinstance(value, dt.time):
        return "time" if value.tzinfo is None else "time with a zone"
    if isinstance(value, _ADDRESSES):
        return "text"
    for kind, family in _FAMILIES.items():  # a driver's own subclasses
        if isinstance(value, kind):
            return family
    return type(value).__name__


def _decimal_of(values: Sequence[Any], digits: tuple[int, int] | None) -> pa.DataType:
    scale, whole = 0, 0
    for value in values:
        if isinstance(value, Decimal | int):
            _, figures, exponent = Decimal(value).as_tuple()
            if isinstance(exponent, int):  # NaN has a letter there; the reader refuses it
                scale = max(scale, -exponent)
                whole = max(whole, len(figures) + exponent)
    if digits is not None and scale <= digits[1] and whole + digits[1] <= digits[0]:
        return decimal(*digits)
    precision = 38 if whole + scale <= 38 else _WIDEST
    return decimal(precision, min(scale, precision))


_ASKED = {
    "VARCHAR": pa.string(), "TEXT": pa.string(), "BOOLEAN": pa.bool_(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(), "INT": pa.int32(), "BIGINT": pa.int64(), "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(), "DOUBLE": pa.float64(), "DATE": pa.date32(), "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"), "TIMESTAMPTZ": pa.timestamp("us", "UTC"), "INTERVAL": pa.duration("us"),
    "BLOB": pa.binary(), "JSON": pa.json_(), "UUID": pa.uuid(),
}  # fmt: skip
_SIZED = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def _asked(column: str, wanted: str) -> pa.DataType:
    word = wanted.strip().upper()
    sized = _SIZED.fullmatch(word)
    if sized is not None and int(sized[2] or 0) <= int(sized[1]) <= _WIDEST and int(sized[1]):
        return decimal(int(sized[1]), int(sized[2] or 0))
    if word not in _ASKED:
        raise WrongArgument(
            f"`columns` gives `{column}` the type {wanted}, which cannot be read through SQLAlchemy",
            hint=f"it can be DECIMAL(p, s) of up to {_WIDEST} digits, {', '.join(_ASKED)}",
        )
    return _ASKED[word]


def _convert(type_: pa.DataType) -> Read:
    """What makes an array of ``type_``. It refuses what would be rounded, cut, or taken for something else."""
    test = pa.types
    if test.is_boolean(type_):
        return lambda values: pa.array([_boolean(value) for value in values], type_)
    if test.is_integer(type_):
        return lambda values: pa.array(_only(values, "whole"), type_)
    if test.is_floating(type_):
        return lambda values: pa.array(_only(values, "float", "whole"), type_)
    if test.is_decimal(type_):
        return lambda values: pa.array([_decimal(value) for value in values], type_)
    if test.is_string(type_):
        return lambda values: pa.array([_text(value) for value in values], type_)
    if test.is_binary(type_):
        return lambda values: pa.array(
            [None if value is None else bytes(value) for value in _only(values, "bytes")], type_
        )
    if test.is_date(type_):
        return lambda values: pa.array([_date(value) for value in values], type_)
    if test.is_timestamp(type_):
        zone = type_.tz is not None
        return lambda values: pa.array([_moment(value, zone) for value in values], type_)
    if test.is_time(type_):
        return lambda values: pa.array([_time(value) for value in values], type_)
    if test.is_duration(type_):
        return lambda values: pa.array(_only(values, "span"), type_)
    if test.is_null(type_):
        return lambda values: pa.array(_only(values), type_)
    if isinstance(type_, pa.UuidType):
        return lambda values: pa.ExtensionArray.from_storage(
            type_, pa.array([_uuid(value) for value in values], pa.binary(16))
        )
    return lambda values: pa.ExtensionArray.from_storage(
        type_, pa.array([_json(value) for value in values], pa.string())
    )


def _only(values: Sequence[Any], *families: str) -> Sequence[Any]:
    for kind in set(map(type, values)):
        if kind is not type(None):
            value = next(item for item in values if type(item) is kind)
            if _family(value) not in families:
                raise TypeError(kind.__name__)
    return values


def _boolean(value: Any) -> bool | None:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int | Decimal) and value in (0, 1):
        return bool(value)
    if value in (b"\0", b"\1"):  # a BIT(1) of MySQL's
        return bool(value == b"\1")
    raise ValueError("a boolean is 0 or 1")


def _decimal(value: Any) -> Decimal | None:
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, bool):
        raise TypeError("bool")
    if isinstance(value, float):  # its shortest text is the number that was written, up to 15 digits
        found = Decimal(repr(value))
        if len(found.as_tuple().digits) > 15:
            raise ValueError("a float of more digits than it keeps")
        return found
    if isinstance(value, int | str):
        return Decimal(value)
    raise TypeError(type(value).__name__)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    family = _family(value)
    if family == "nested":
        return _json(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if family == "bytes":
        raise TypeError("bytes are no text")
    return str(value)


def _date(value: Any) -> dt.date | None:
    if isinstance(value, str):
        return dt.date.fromisoformat(value)
    if value is not None and (isinstance(value, dt.datetime) or not isinstance(value, dt.date)):
        raise TypeError(type(value).__name__)
    return value


def _moment(value: Any, zone: bool) -> dt.datetime | None:
    if isinstance(value, str):
        if re.search(r"\.\d{7,}", value):
            raise ValueError("finer than a microsecond")
        value = dt.datetime.fromisoformat(value)
    if value is None:
        return None
    if not isinstance(value, dt.datetime) or (value.tzinfo is not None) != zone:
        raise TypeError(type(value).__name__)
    return value.astimezone(dt.UTC) if zone else value


def _time(value: Any) -> dt.time | None:
    if isinstance(value, str):
        value = dt.time.fromisoformat(value)
    if isinstance(value, dt.timedelta):
        if not dt.timedelta(0) <= value < dt.timedelta(days=1):
            raise ValueError("no time of a day")
        value = (dt.datetime(1970, 1, 1) + value).time()  # noqa: DTZ001 - only its clock counts
    if value is not None and (not isinstance(value, dt.time) or value.tzinfo is not None):
        raise TypeError(type(value).__name__)
    return value


def _uuid(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.bytes if isinstance(value, uuid.UUID) else uuid.UUID(value).bytes


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    return json.dumps(value, default=_json_value, ensure_ascii=False, allow_nan=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return str(value)


# ---------------------------------------------------------------------------------------------- into a database


@dataclass(frozen=True, slots=True)
class Writer:
    """How a column goes into an INSERT.

    Attributes:
        field: the column in Arrow.
        kind: the type of the column that a load makes for it.
        family: what the values are: ``boolean``, ``whole``, ``float``, ``decimal``, ``text``, ``bytes``, ``date``, ``clock``,
            ``span``, ``moment``, ``instant``, ``uuid``, ``json`` or ``null``.
        convert: makes Python's values of an array.
    """

    field: pa.Field
    kind: kinds.TypeEngine[Any]
    family: str
    convert: Callable[[pa.Array], list[Any]]

    def values(self, array: pa.Array) -> list[Any]:
        """The values of ``array`` as the driver takes them.

        Raises:
            ConversionFailed: the database has no such value.
        """
        try:
            return self.convert(array)
        except (*misfit.REFUSALS, AttributeError) as error:
            raise ConversionFailed(
                f"the column `{self.field.name}` ({self.field.type}) has a value that cannot be written exactly: {error}"
            ) from None


class Literally(kinds.UserDefinedType[Any]):
    """A type in the database's own words; its values are the driver's."""

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **_: Any) -> str:
        """The words."""
        return self.text


_LONG_TEXT = (
    native.UnicodeText()
    .with_variant(mysql.LONGTEXT(), *_MYSQL)
    .with_variant(native.Text(), "sqlite", "postgresql")
)
_KEY_TEXT = native.Unicode(255).with_variant(native.Text(), "sqlite", "postgresql")
_BYTES = native.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)
_KEY_BYTES = native.VARBINARY(255).with_variant(native.LargeBinary(), "sqlite", "postgresql", "oracle")
_DOUBLE: kinds.TypeEngine[Any] = native.Double().with_variant(oracle.BINARY_DOUBLE(), "oracle")
_MOMENT = (
    native.DateTime()
    .with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    .with_variant(mssql.DATETIME2(6), "mssql")  # type: ignore[no-untyped-call] # it has no annotations
    .with_variant(native.TIMESTAMP(), "oracle")
)
_INSTANT = (
    native.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    .with_variant(mssql.DATETIMEOFFSET(6), "mssql")  # type: ignore[no-untyped-call] # the same
    .with_variant(native.TIMESTAMP(timezone=True), "oracle")
)
_CLOCK = native.Time().with_variant(mysql.TIME(fsp=6), *_MYSQL)


def writer(field: pa.Field, dialect: str, *, key: bool = False) -> Writer:
    """How a column is written, and of what type a load makes it.

    Args:
        field: the column.
        dialect: SQLAlchemy's name of the database.
        key: it is part of the key, where many databases take no text without a length.

    Raises:
        ConversionFailed: there is no exact form for it.
    """
    kind, family, convert = _writing(field.type, field.name, dialect)
    if key and family in ("text", "bytes"):
        kind = _KEY_TEXT if family == "text" else _KEY_BYTES
    return Writer(field, kind, family, convert)


def _listed(array: pa.Array) -> list[Any]:
    return list(array.to_pylist())


def _cast(type_: pa.DataType) -> Callable[[pa.Array], list[Any]]:
    return lambda array: _listed(array.cast(type_))


def _writing(
    type_: pa.DataType, name: str, dialect: str
) -> tuple[kinds.TypeEngine[Any], str, Callable[[pa.Array], list[Any]]]:
    test = pa.types
    if test.is_dictionary(type_):
        kind, family, convert = _writing(type_.value_type, name, dialect)
        return kind, family, lambda array: convert(array.dictionary_decode())
    if test.is_run_end_encoded(type_):
        kind, family, convert = _writing(type_.value_type, name, dialect)
        return kind, family, lambda array: convert(pc.run_end_decode(array))
    if test.is_boolean(type_):
        return native.Boolean(), "boolean", _listed
    if test.is_uint64(type_):
        return _numeric(20, 0, dialect)
    if test.is_integer(type_):
        size = type_.bit_width * (2 if test.is_unsigned_integer(type_) else 1)
        kind = (
            native.SmallInteger() if size <= 16 else native.Integer() if size <= 32 else native.BigInteger()
        )
        return kind, "whole", _listed
    if test.is_floating(type_):
        return _DOUBLE, "float", lambda array: _floats(array.cast(pa.float64()), dialect)
    if test.is_decimal(type_):
        return _numeric(type_.precision - min(type_.scale, 0), max(type_.scale, 0), dialect)
    if test.is_date(type_):
        return native.Date(), "date", _cast(pa.date32())
    if test.is_time(type_) and dialect not in _WITHOUT_TIMES:
        return _CLOCK, "clock", _cast(pa.time64("us"))
    if test.is_duration(type_) and dialect in _WITH_SPANS:
        return native.Interval(), "span", _cast(pa.duration("us"))
    if test.is_timestamp(type_):
        if type_.tz is None:
            return _MOMENT, "moment", _cast(pa.timestamp("us"))
        return _INSTANT, "instant", _cast(pa.timestamp("us", "UTC"))
    if isinstance(type_, pa.UuidType):
        return native.Uuid(), "uuid", _listed
    if isinstance(type_, pa.JsonType):
        return _LONG_TEXT, "json", lambda array: _listed(array.storage)
    if test.is_string(type_) or test.is_large_string(type_) or test.is_string_view(type_):
        return _LONG_TEXT, "text", _listed
    if is_binary(type_):
        return _BYTES, "bytes", _listed
    if test.is_null(type_):
        return _LONG_TEXT, "null", _listed
    if test.is_nested(type_) and not test.is_union(type_):
        return _LONG_TEXT, "json", lambda array: [_json(value) for value in array.to_pylist()]
    raise ConversionFailed(
        f"there is no exact form for the column `{name}` ({type_})", hint="cast it to text in the query"
    )


def _numeric(
    precision: int, scale: int, dialect: str
) -> tuple[kinds.TypeEngine[Any], str, Callable[[pa.Array], list[Any]]]:
    if dialect == "sqlite":  # it would keep them as floats
        return (
            _LONG_TEXT,
            "decimal",
            lambda array: [None if item is None else f"{item:f}" for item in array.to_pylist()],
        )
    return native.Numeric(precision, scale), "decimal", _listed


def _floats(array: pa.Array, dialect: str) -> list[Any]:
    if dialect == "sqlite" and pc.any(pc.is_nan(array)).as_py():
        raise ValueError("NaN, which SQLite would store as null")
    return _listed(array)


def fits(item: Writer, kind: kinds.TypeEngine[Any], dialect: str) -> bool:
    """Whether a column of the table keeps every value of the data, or the database refuses it: nothing is rounded or cut."""
    family, type_ = item.family, item.field.type
    if isinstance(kind, kinds.NullType) or family == "null":
        return True  # a type that SQLAlchemy does not know: the database decides
    if family == "decimal" and dialect == "sqlite":
        return isinstance(kind, kinds.String)
    is_decimal = isinstance(kind, kinds.Numeric) and not isinstance(kind, kinds.Float)
    if family in ("boolean", "whole"):
        if isinstance(kind, kinds.Float):
            return family == "whole" and type_.bit_width <= (16 if _is_single(kind, dialect) else 32)
        return (
            isinstance(kind, kinds.Integer)
            or is_decimal
            or (family == "boolean" and isinstance(kind, kinds.Boolean))
        )
    if family == "decimal":
        scale = max(type_.scale, 0) if pa.types.is_decimal(type_) else 0
        if isinstance(kind, kinds.Integer):
            return scale == 0
        precision, theirs = getattr(kind, "precision", None), getattr(kind, "scale", None)
        return is_decimal and (precision is theirs is None or scale <= (theirs or 0))
    if family == "float":
        return isinstance(kind, kinds.Float) and (
            not _is_single(kind, dialect) or type_ in (pa.float32(), pa.float16())
        )
    if family in ("moment", "instant"):
        if not isinstance(kind, kinds.DateTime):
            return False
        return _has_zone(kind) == (family == "instant") or (family == "instant" and dialect in _WITHOUT_ZONES)
    wanted: dict[str, tuple[type[Any], ...]] = {
        "text": (kinds.String, kinds.JSON),
        "bytes": (kinds._Binary,),  # noqa: SLF001 - see above
        "date": (kinds.Date,),
        "clock": (kinds.Time,),
        "span": (kinds.Interval,),
        "uuid": (kinds.Uuid, kinds.String),
        "json": (kinds.JSON, kinds.String),
    }
    return isinstance(kind, wanted[family])


def _is_single(kind: kinds.Float[Any], dialect: str) -> bool:
    """Whether a column is a float of 32 bits."""
    word = type(kind).__name__.upper()
    if word == "REAL":
        return dialect not in ("sqlite", *_MYSQL)
    if word == "FLOAT":
        return dialect in _MYSQL or (kind.precision or 53) <= 24
    return False


def into(item: Writer, kind: kinds.TypeEngine[Any], dialect: str) -> Writer:
    """``item`` as the table's column takes it, with the checks of what that would change without a word."""
    before = item.convert
    convert = before
    if item.family == "instant" and not _has_zone(kind):
        convert = lambda array: [  # noqa: E731 - one step of several
            None if value is None else value.replace(tzinfo=None) for value in before(array)
        ]
    if item.family == "uuid" and not isinstance(kind, kinds.Uuid):
        convert = lambda array: [None if value is None else str(value) for value in before(array)]  # noqa: E731 - the same
    digits = _fineness(kind, dialect)
    if digits < 6 and item.family in ("moment", "instant", "clock"):
        exact = convert
        convert = lambda array: _coarse(exact(array), digits)  # noqa: E731 - the same
    if isinstance(kind, kinds.JSON) and dialect != "postgresql":
        kind = _LONG_TEXT
    return replace(item, kind=kind, convert=convert)


def _fineness(kind: kinds.TypeEngine[Any], dialect: str) -> int:
    """How many digits a column keeps behind the seconds."""
    word = type(kind).__name__.upper()
    if dialect in _MYSQL and word in ("DATETIME", "TIMESTAMP", "TIME"):
        return int(getattr(kind, "fsp", None) or 0)
    if dialect == "mssql" and word in ("DATETIME", "SMALLDATETIME"):
        return 2 if word == "DATETIME" else 0
    precision = getattr(kind, "precision", None)
    return precision if isinstance(precision, int) else 6


def _coarse(values: list[Any], digits: int) -> list[Any]:
    step = 10 ** (6 - digits)
    for value in values:
        if value is not None and value.microsecond % step:
            raise ValueError(
                f"{value} is finer than the table's column, with {digits} digits behind the seconds"
            )
    return values
