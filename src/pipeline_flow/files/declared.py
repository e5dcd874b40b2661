"""Types that people declare for columns, and texts as values of them: exact, or refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.errors import WrongArgument
from pipeline_flow.files.number import LONG, is_exact

WIDEST = 38  # digits of a decimal
_TRIMMED = " \t\r\n"
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_NUMBER = r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|-?Infinity|NaN"

_SCALARS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "utinyint": pa.uint8(),
    "usmallint": pa.uint16(),
    "uinteger": pa.uint32(),
    "ubigint": pa.uint64(),
    "hugeint": pa.decimal128(WIDEST, 0),
    "float": pa.float32(),
    "double": pa.float64(),
    "varchar": pa.string(),
    "blob": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamp_s": pa.timestamp("s"),
    "timestamp_ms": pa.timestamp("ms"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


class Misfit(Exception):
    """A value does not fit its type."""


def parsed(name: str, word: str) -> Any:
    """What DuckDB makes of the type that is declared for ``name``.

    Raises:
        WrongArgument: DuckDB has no such type.
    """
    import duckdb

    try:
        return duckdb.sqltype(word)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
    raise WrongArgument(
        f"`columns` declares `{name}` as `{word}`, which is no type of DuckDB's: {reason}",
        hint="such as VARCHAR, BIGINT, DOUBLE, DECIMAL(10,2), DATE, TIMESTAMP, BOOLEAN",
    )


def scalar(found: Any) -> pa.DataType | None:
    """The Arrow type of one of DuckDB's; ``None`` for those that are not read from text here."""
    if found.id == "decimal":
        parts = dict(found.children)
        return pa.decimal128(parts["precision"], parts["scale"])
    if str(found).upper() == "JSON":
        return None
    return _SCALARS.get(found.id)


def from_text(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Texts as values of ``wanted``; nothing is rounded or cut.

    Raises:
        Misfit: a text is no such value.
        pa.ArrowInvalid: the same.
    """
    if pa.types.is_string(wanted):
        return array
    if pa.types.is_binary(wanted):
        return _bytes(array)
    text = pc.utf8_trim(array, _TRIMMED)
    if pa.types.is_integer(wanted):
        _must_match(text, "[+-]?[0-9]+")
        return pc.utf8_ltrim(text, "+").cast(wanted)
    if pa.types.is_boolean(wanted):
        lower = pc.utf8_lower(text)
        _must_match(lower, "true|false")
        return pc.equal(lower, "true")
    if pa.types.is_floating(wanted):
        return _floats(text, wanted)
    if pa.types.is_date(wanted):
        _must_match(text, _DATE)
    elif pa.types.is_time(wanted):
        _must_match(text, _CLOCK)
        return (
            pc.binary_join_element_wise("1970-01-01", text, " ").cast(pa.timestamp(wanted.unit)).cast(wanted)
        )
    elif pa.types.is_timestamp(wanted):
        _must_match(text, f"{_DATE}[ T]{_CLOCK}{_ZONE}" if wanted.tz else f"{_DATE}([ T]{_CLOCK})?")
    return text.cast(wanted)


def first_misfit(array: pa.Array, wanted: pa.DataType) -> int:
    """Where the first text of ``array`` stands that :func:`from_text` refuses; the array holds one."""
    low, high = 0, len(array)
    while low + 1 < high:
        middle = (low + high) // 2
        if fits(array.slice(low, middle - low), wanted):
            low = middle
        else:
            high = middle
    return low


def fits(array: pa.Array, wanted: pa.DataType) -> bool:
    """Whether :func:`from_text` takes all of ``array``."""
    try:
        from_text(array, wanted)
    except (Misfit, pa.ArrowException):
        return False
    return True


def _must_match(text: pa.Array, pattern: str) -> None:
    if pc.all(pc.match_substring_regex(text, f"^(?:{pattern})$")).as_py() is False:
        raise Misfit("a text has another form than its type")


def _floats(text: pa.Array, wanted: pa.DataType) -> pa.Array:
    _must_match(text, _NUMBER)
    text = pc.utf8_ltrim(text, "+")
    doubles = text.cast(pa.float64())
    long = pc.or_(pc.greater_equal(pc.binary_length(text), LONG), pc.match_substring_regex(text, "[eE]"))
    if not all_exact(text.filter(long), doubles.filter(long)):
        raise Misfit("a number has more digits than its type")
    if wanted == pa.float64():
        return doubles
    narrow = doubles.cast(wanted)
    if pc.all(pc.equal(narrow.cast(pa.string()), doubles.cast(pa.string()))).as_py() is False:
        raise Misfit("a number has more digits than its type")
    return narrow


def all_exact(text: pa.Array, doubles: pa.Array) -> bool:
    """Whether ``doubles``, made of ``text``, keep every number."""
    same = pc.equal(doubles.cast(pa.string()), text.cast(pa.string()))
    others = text.filter(pc.invert(same)).unique()
    return all(is_exact(other) for other in others.to_pylist() if other is not None)


def _bytes(array: pa.Array) -> pa.Array:
    import duckdb

    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        connection.register("texts", pa.table({"v": array}))
        try:
            found = connection.execute("select v::blob as v from texts").to_arrow_table()["v"]
        except duckdb.Error as error:
            raise Misfit(str(error)) from None
    return found.cast(pa.binary()).combine_chunks()
