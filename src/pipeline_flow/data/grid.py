"""Rows as text that people read: one line for each, columns aligned, nothing in it that steers a terminal."""

from __future__ import annotations

import json
import unicodedata
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NULL = "null"
WIDEST = 40
"""Characters of a cell; what is longer is cut and ends with ``…``."""


def cell(value: Any, widest: int = WIDEST) -> str:
    """A value as text without control characters.

    Null is ``null``. Text is in quotes where it could be taken for something else: empty, ``null`` itself, with a space
    at an end.
    """
    text = _text(value)
    if isinstance(value, str) and (text in ("", NULL) or text != text.strip()):
        text = f'"{text}"'
    shown = "".join(
        item if unicodedata.category(item)[0] != "C" else repr(item)[1:-1]
        for item in text[: widest * 4]  # the rest is cut anyway
    )
    return shown if len(shown) <= widest and len(text) <= widest * 4 else f"{shown[: widest - 1]}…"


def _text(value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, dict | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return str(value)


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON lacks (dates, decimals, bytes, infinity) as text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and value - value != 0:  # infinite, or no number
        return str(value)
    if isinstance(value, Decimal | UUID | timedelta):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def values(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as Python has their values; a value that Python has no type for is text."""
    columns = [[_value(item) for item in column] for column in table.columns]
    for number in range(table.num_rows):
        yield {name: column[number] for name, column in zip(table.column_names, columns, strict=True)}


def _value(item: pa.Scalar) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError, ImportError):  # a year past 9999, nanoseconds without pandas
        return str(item.cast(pa.string()))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type stand at the right of their column."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def lines(table: pa.Table, types: Sequence[str]) -> list[str]:
    """The table as aligned text: names, types, and a line for each row."""
    if not table.num_columns:
        return ["no columns"]
    right = [is_number(field.type) for field in table.schema]
    rows = [
        [cell(name) for name in table.column_names],
        [cell(kind) for kind in types],
        *([cell(value) for value in row.values()] for row in values(table)),
    ]
    widths = [max(width(row[column]) for row in rows) for column in range(table.num_columns)]
    rule = "  ".join("-" * size for size in widths)
    text = [
        "  ".join(
            " " * (size - width(item)) + item if to_right else item + " " * (size - width(item))
            for item, size, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [*text[:2], rule, *text[2:]]


def width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(item) else 2 if unicodedata.east_asian_width(item) in "WF" else 1
        for item in text
    )
