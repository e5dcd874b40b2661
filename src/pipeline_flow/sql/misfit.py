"""Which value of a column it is that a database cannot hold: its row, and how a message shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.core.text import clipped
from pipeline_flow.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)
"""What a conversion raises that cannot keep a value."""
_DAYS = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def first(values: Any, convert: Callable[[Any], object]) -> int:
    """The index of the first value of an array or a sequence that ``convert`` refuses; it refuses them all together."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(values[low:middle])
        except REFUSALS:
            high = middle
        else:
            low = middle
    return low


def refused(
    database: str,
    field: pa.Field,
    array: pa.Array,
    convert: Callable[[pa.Array], object],
    done: int = 0,
    hint: str = "",
) -> ConversionFailed:
    """The error of a load for the first value of ``array`` that ``convert`` refuses.

    Args:
        database: what cannot hold it, as people call it.
        field: the column.
        array: its values.
        convert: makes what the database takes.
        done: rows of the load before those of ``array``.
        hint: what to do.
    """
    row = first(array, convert)
    reason = ""
    try:
        convert(array.slice(row, 1))
    except REFUSALS as error:
        reason = f": {str(error).splitlines()[0]}" if str(error) else ""
    return ConversionFailed(
        f"the column `{field.name}` ({field.type}) holds {shown(array[row])} in row {done + row + 1:,}, a value that "
        f"{database} cannot hold exactly{reason}",
        hint=hint or "leave the row out, or change the value before",
    )


def is_plain(array: pa.Array, first: int = 0, last: int = 127) -> bool:
    """Whether texts hold no byte but these; found at 15 GB a second, where looking for a single one takes ten times as long."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return True
    data = array.buffers()[2]
    if data is None or not data.size:
        return True
    least, most = pc.min_max(pa.Array.from_buffers(pa.uint8(), data.size, [None, data])).values()
    return bool(first <= least.as_py() and most.as_py() <= last)


def valid_text(array: pa.Array) -> pa.Array:
    """The texts themselves, which are UTF-8: producers other than Arrow may hand over anything.

    Raises:
        pa.ArrowInvalid: one is not.
    """
    if not is_plain(array):
        array.validate(full=True)
    return array


def has_opaque(type_: pa.DataType) -> bool:
    """Whether values are some database's own bytes, such as DuckDB's BIT, or hold such values."""
    if isinstance(type_, pa.OpaqueType):
        return True
    if isinstance(type_, pa.BaseExtensionType):
        return has_opaque(type_.storage_type)
    return any(has_opaque(type_.field(index).type) for index in range(type_.num_fields))


def is_utf8(data: bytes) -> bool:
    """Whether bytes are text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(value: pa.Scalar) -> str:
    """A value for a message, shortened."""
    if (pa.types.is_timestamp(value.type) or pa.types.is_date32(value.type)) and value.is_valid:
        infinite = 2 ** (value.type.bit_width - 1) - 1
        if abs(value.value) == infinite:  # as DuckDB has it
            return "infinity" if value.value > 0 else "-infinity"
    if pa.types.is_time(value.type) and value.is_valid and value.value == _DAYS[value.type.unit]:
        return "24:00:00"
    try:
        text = repr(value.as_py()) if pa.types.is_string(value.type) else str(value.as_py())
    except (*REFUSALS, ImportError):
        try:
            text = str(value.cast(pa.string()).as_py())
            if text.startswith("<"):  # Arrow has no words for it
                text = f"{value.value} {getattr(value.type, 'unit', 'days')} from 1970"
        except REFUSALS:
            text = repr(value.as_buffer().to_pybytes()) if hasattr(value, "as_buffer") else "a value"
    return clipped(text)
