"""Record batches in COPY's binary form, which the server reads in two thirds of the time that it needs for CSV.

A row is the number of its fields, then of each field its length in bytes (-1 for null) and its value, all big-endian.
What is as wide in every row stands side by side in a record of numpy's, and Arrow joins the records with the texts in
between: no loop over rows. Only types are here whose value is certainly the same in both forms; a load with any other
column goes as CSV.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.data.schema import is_binary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_flow.sql.postgres_type import TypeInfo

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_DAYS = 10_957  # from 1970 to 2000, where PostgreSQL's time begins
_MICROSECONDS = _DAYS * 86_400_000_000
_BITS = {"int2": 16, "int4": 32, "int8": 64, "float4": 24, "float8": 53}  # whole numbers that all fit
_KINDS = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float4": ">f4", "float8": ">f8"}
_TEXTS = ("text", "varchar", "bpchar", "json", "jsonb")
_NEGATIVE = 0x4000
_BASE = 10_000  # a numeric's digits stand in groups of four

Values = np.ndarray[Any, Any]
Form = Callable[[pa.Array], Values | pa.Array]
"""What makes a column's bytes: an array of numpy's where all are as wide (of nulls it may hold anything), or one of Arrow's."""


def form(type_: pa.DataType, target: TypeInfo) -> Form | None:
    """How a column is written into one of type ``target``; ``None`` where that is not certain.

    Args:
        type_: the type in Arrow, after what :class:`~pipeline_flow.sql.postgres_type.Writer` makes of it, except that UUIDs
            and bytes are as they were.
        target: a type that holds all values, or refuses them.
    """
    kinds, name = pa.types, target.name
    if kinds.is_null(type_):
        return _bytes
    if target.is_array or not target.built_in or target.kind != "b":
        return None
    if kinds.is_boolean(type_) and name == "bool":
        return lambda array: _numbers(array.cast(pa.uint8()))
    if kinds.is_integer(type_) and type_.bit_width + kinds.is_unsigned_integer(type_) <= _BITS.get(name, 0):
        return lambda array: _numbers(array).astype(_KINDS[name])
    if kinds.is_floating(type_) and (name == "float8" or (name == "float4" and type_.bit_width <= 32)):
        return lambda array: _floats(_numbers(array)).astype(_KINDS[name])
    if kinds.is_decimal128(type_) and name == "numeric" and 0 <= type_.scale <= type_.precision:
        return lambda array: _numeric(array, type_.precision, type_.scale)
    if kinds.is_date32(type_) and name == "date":
        return lambda array: (_numbers(array.cast(pa.int32())) - np.int32(_DAYS)).astype(">i4")
    if kinds.is_timestamp(type_) and type_.unit == "us":
        if name != ("timestamp" if type_.tz is None else "timestamptz"):
            return None
        return lambda array: (_numbers(array.cast(pa.int64())) - np.int64(_MICROSECONDS)).astype(">i8")
    if kinds.is_time64(type_) and type_.unit == "us" and name == "time":
        return lambda array: _numbers(array.cast(pa.int64())).astype(">i8")
    if isinstance(type_, pa.UuidType) and name == "uuid":
        return lambda array: _wide(array.storage, 16)
    if (kinds.is_string(type_) or kinds.is_large_string(type_)) and name in _TEXTS:
        return _jsonb if name == "jsonb" else _bytes
    return _bytes if is_binary(type_) and name == "bytea" else None


def rows(arrays: Sequence[pa.Array], forms: Sequence[Form]) -> memoryview:
    """Columns of one length, at least one row long, as rows.

    Raises:
        ValueError: a decimal has more digits than its type says.
    """
    count = len(arrays[0])
    parts: list[pa.Array] = []
    record: list[tuple[Any, Any]] = [(">i2", len(arrays))]
    for array, make in zip(arrays, forms, strict=True):
        made = make(array)
        if isinstance(made, np.ndarray):
            width = made.itemsize * made.size // count
            if not array.null_count:
                record += [(">i4", width), ((made.dtype, made.shape[1:]), made)]
                continue
            made = pc.if_else(pc.is_valid(array), _elements(made, count), pa.scalar(b"", pa.large_binary()))
            lengths = pc.if_else(pc.is_valid(array), width, -1)
        else:
            lengths = pc.fill_null(pc.binary_length(made), -1)
        record.append((">i4", _numbers(lengths)))
        parts += [_packed(record, count), made]
        record = []
    if record:
        parts.append(_packed(record, count))
    if len(parts) == 1:
        return memoryview(parts[0].buffers()[2])
    separator = pa.scalar(b"", pa.large_binary())
    joined = pc.binary_join_element_wise(*parts, separator, null_handling="replace", null_replacement=b"")
    end = np.frombuffer(joined.buffers()[1], np.int64, count + 1)[-1]
    return memoryview(joined.buffers()[2])[:end]


# ---------------------------------------------------------------------------------------------- records


def _packed(record: Sequence[tuple[Any, Any]], count: int) -> pa.Array:
    """Fields side by side, one element a row."""
    kinds = [
        (str(index), *(kind if isinstance(kind, tuple) else (kind,)))
        for index, (kind, _) in enumerate(record)
    ]
    packed = np.empty(count, kinds)
    for index, (_, values) in enumerate(record):
        packed[str(index)] = values
    return _elements(packed, count)


def _elements(values: Values, count: int) -> pa.Array:
    """The bytes of rows that are all as wide, one element a row."""
    width = values.itemsize * values.size // count
    offsets = np.arange(count + 1, dtype=np.int64) * width
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values).view(np.uint8))]
    return pa.Array.from_buffers(pa.large_binary(), count, buffers)


def _numbers(array: pa.Array) -> Values:
    """An array's numbers as they lie in memory, whatever stands where it is null."""
    kind = np.dtype(array.type.to_pandas_dtype())
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * kind.itemsize)


def _wide(array: pa.Array, width: int) -> Values:
    """The bytes of elements of one width, a line each."""
    whole = np.frombuffer(array.buffers()[1], np.uint8, len(array) * width, array.offset * width)
    return whole.reshape(-1, width)


# ---------------------------------------------------------------------------------------------- values


def _bytes(array: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())  # Arrow casts it to no other
    return array.cast(pa.large_binary())


def _jsonb(array: pa.Array) -> pa.Array:
    """The number of the format, 1, stands before the text."""
    none = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(pa.scalar(b"\x01", pa.large_binary()), _bytes(array), none)


def _floats(values: Values) -> Values:
    """Every NaN as the one that text would make."""
    missing = np.isnan(values)
    return np.where(missing, values.dtype.type(np.nan), values) if missing.any() else values


def _numeric(array: pa.Array, precision: int, scale: int) -> Values:
    """Number of groups, place of the first, sign, digits behind the point, and the groups, zeros at both ends included.

    Raises:
        ValueError: a value has more digits than ``precision``.
    """
    before, behind = -(-(precision - scale) // 4), -(-scale // 4)
    groups = before + behind
    fill = 10 ** (4 * behind - scale)
    words = _wide(array, 16).view(np.uint64)
    low, high = words[:, 0].copy(), words[:, 1].copy()
    if array.null_count:
        missing = ~_flags(pc.is_valid(array))
        low[missing] = high[missing] = 0
    negative = high >> np.uint64(63) == 1
    high[negative] = ~high[negative] + (low[negative] == 0)
    low[negative] = ~low[negative] + np.uint64(1)
    made = np.empty((len(array), 4 + groups), ">i2")
    made[:, 0], made[:, 1], made[:, 3] = groups, before - 1, scale
    made[:, 2] = np.where(negative, _NEGATIVE, 0)
    if not high.any() and int(low.max()) < 2**64 // fill:
        limbs = [low * np.uint64(fill)]
    else:
        limbs = _limbs(low, high, fill)
    for group in range(groups - 1, -1, -1):
        rest = np.zeros_like(low)
        for index, limb in enumerate(limbs):
            whole = (rest << np.uint64(32)) | limb if index else limb
            limbs[index] = whole // np.uint64(_BASE)
            rest = whole - limbs[index] * np.uint64(_BASE)
        made[:, 4 + group] = rest
    if any(limb.any() for limb in limbs):
        raise ValueError(f"a number has more than {precision} digits")
    return made


def _limbs(low: Values, high: Values, fill: int) -> list[Values]:
    """A number of 128 bits times ``fill``, 32 bits each, the highest first."""
    mask, bits = np.uint64(0xFFFFFFFF), np.uint64(32)
    limbs: list[Values] = []
    carry = np.zeros_like(low)
    for limb in (low & mask, low >> bits, high & mask, high >> bits):
        product = limb * np.uint64(fill) + carry
        limbs.insert(0, product & mask)
        carry = product >> bits
    return [carry, *limbs]


def _flags(array: pa.Array) -> Values:
    return _numbers(array.cast(pa.uint8())).astype(bool)
