"""Python values as Arrow columns, exactly: the type is found over all values, and nothing is bent to fit."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import numbers
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipeline_flow.errors import ConversionFailed, NotTabular


def table(rows: Sequence[Any], where: str = "", first: int = 1) -> pa.Table:
    """A list of dicts as a table: a column per key, in the order of appearance; a missing key is null.

    Args:
        rows: one dict per row.
        where: stands before every message, such as ``piece 3: ``.
        first: the number of the first row, for messages.

    Raises:
        NotTabular: a row is no dict.
        ConversionFailed: the values of a column have no common type; names the column and the row.
    """
    for number, row in enumerate(rows, first):
        if not isinstance(row, Mapping):
            raise NotTabular(
                f"{where}row {number} is a {type(row).__name__}, expected a dict like the rows before it"
            )
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for name in names:
        if not isinstance(name, str):
            raise ConversionFailed(
                f"{where}a row has the key {name!r} ({type(name).__name__}), expected text"
            )
    if not names:
        return without_columns(len(rows))
    return pa.table(
        [column([row.get(name) for row in rows], name, where, first) for name in names], names=names
    )


def without_columns(rows: int) -> pa.Table:
    """A table of ``rows`` rows and no column."""
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))])


def column(values: list[Any], name: str, where: str, first: int = 1) -> pa.Array | pa.ChunkedArray:
    """An Arrow column of Python values.

    Raises:
        ConversionFailed: the values have no common type; names the first row that does not fit.
    """
    try:
        return _array(values)
    except _CANNOT as error:
        failed = error
    # The shortest beginning that fails ends with the row to blame.
    low, high = 0, len(values)
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            _array(values[:middle])
            low = middle
        except _CANNOT as error:
            high, failed = middle, error
    value = values[high - 1]
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    raise ConversionFailed(
        f"{where}column `{name}`, row {first + high - 1}: {shown} ({type(value).__name__}) does not fit: {failed}",
        hint="make the column's values one type, such as text, before they get here",
    ) from failed


_CANNOT = (pa.ArrowException, TypeError, ValueError, OverflowError)


def _array(values: list[Any]) -> pa.Array | pa.ChunkedArray:
    kinds = set(map(type, values))
    if any(kind.__name__ in ("NaTType", "NAType") for kind in kinds):
        values = [None if type(value).__name__ in ("NaTType", "NAType") else value for value in values]
    _check_kinds(values)
    array = pa.array(values)
    if pa.types.is_decimal128(array.type):
        # The precision found is that of today's longest number; tomorrow's may be longer.
        array = array.cast(pa.decimal128(38, array.type.scale))
    return array


def _check_kinds(values: Iterable[Any], inside: str = "") -> None:
    """Raises where Arrow would bring values of different kinds to one type without a word.

    It cuts the time off datetimes among dates, takes a time without a zone for UTC, makes bytes of text and numbers of
    truth values, and drops a pandas Timestamp's nanoseconds.
    """
    values = [value for value in values if value is not None]
    kinds = {_kind(cls) for cls in set(map(type, values))}
    if len(kinds) > 1 and kinds not in ({"int", "float"}, {"int", "decimal"}):
        raise TypeError(f"{inside}{' and '.join(sorted(kinds))} values have no common type")
    if kinds == {"datetime"}:
        if len({value.tzinfo is None for value in values}) > 1:
            raise TypeError(f"{inside}times with and without a time zone have no common type")
        if any(getattr(value, "nanosecond", 0) for value in values):
            raise TypeError(f"{inside}nanoseconds would be lost; hand over the DataFrame itself")
    elif kinds == {"dict"}:
        for key in dict.fromkeys(itertools.chain.from_iterable(values)):
            _check_kinds(
                (value.get(key) for value in values),
                f"{inside}.{key}: " if not inside else f"{inside[:-2]}.{key}: ",
            )
    elif kinds == {"list"}:
        _check_kinds(itertools.chain.from_iterable(values), inside)


_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (numbers.Integral, "int"),
    (Decimal, "decimal"),
    (numbers.Real, "float"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "timedelta"),
    (Mapping, "dict"),
    ((list, tuple, set, frozenset), "list"),
)


@functools.lru_cache(maxsize=256)
def _kind(cls: type) -> str:
    for base, name in _KINDS:
        if issubclass(cls, base):
            return name
    return {"bool_": "bool", "ndarray": "list"}.get(cls.__name__, cls.__name__)
