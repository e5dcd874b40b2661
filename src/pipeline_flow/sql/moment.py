"""Dates and times of day that databases have, in arrays: what lies beyond Arrow would write as no date at all."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_DAY = 86_400
_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def in_years(array: pa.Array, last: int = 9999) -> pa.Array:
    """The dates or moments themselves, where all are from year 1 to ``last``.

    Raises:
        ValueError: one is not.
    """
    if array.null_count < len(array):
        steps = _DAY * _PER_SECOND[array.type.unit] if pa.types.is_timestamp(array.type) else 1
        least, most = (item.value for item in pc.min_max(array).values())
        if least < _first_day(1) * steps or most >= _first_day(last + 1) * steps:
            raise ValueError(f"it is not from year 1 to {last}")
    return array


def _first_day(year: int) -> int:
    """Days from 1970-01-01 to the first of a year."""
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 - 719_162


def in_day(array: pa.Array) -> pa.Array:
    """The times of day in microseconds themselves, where all are before midnight.

    Raises:
        ValueError: one is not: some databases have 24:00:00, which Arrow writes as no time at all.
    """
    if array.null_count < len(array):
        least, most = (item.value for item in pc.min_max(array).values())
        if least < 0 or most >= _DAY * 1_000_000:
            raise ValueError("it is not from 00:00:00 to 23:59:59.999999")
    return array
