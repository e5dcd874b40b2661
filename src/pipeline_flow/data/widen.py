"""One type for the columns of several streams, where there is one that holds every value of all of them."""

from __future__ import annotations

import pyarrow as pa

_FLOAT_BITS = {16: 11, 32: 24, 64: 53}  # the size of a float and of the integers that it holds exactly


def widest(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The narrower of the types that hold every value of both, ``None`` where there is none."""
    kinds = pa.types
    if kinds.is_dictionary(first):
        first = first.value_type
    if kinds.is_dictionary(second):
        second = second.value_type
    if first.equals(second) or kinds.is_null(second):
        return first
    if kinds.is_null(first):
        return second
    if _is_text(first) and _is_text(second):
        return pa.large_string()
    if _is_bytes(first) and _is_bytes(second):
        return pa.large_binary()
    if kinds.is_timestamp(first) and kinds.is_timestamp(second):
        return _finer(first, second)
    if kinds.is_decimal(first) or kinds.is_decimal(second):
        return _decimals(first, second)
    if kinds.is_integer(first) and kinds.is_integer(second):
        return _integers(first, second)
    return _floats(first, second)


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_)
    )


def _finer(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if first.tz != second.tz:
        if first.tz is None or second.tz is None:
            return None
        return pa.timestamp(_unit(first, second), "UTC")
    return pa.timestamp(_unit(first, second), first.tz)


def _unit(first: pa.DataType, second: pa.DataType) -> str:
    order = ("s", "ms", "us", "ns")
    units: tuple[str, str] = (first.unit, second.unit)
    return max(units, key=order.index)


def _integers(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    signed = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
    unsigned = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
    if (first in signed) == (second in signed):
        return max(first, second, key=lambda type_: type_.bit_width)
    plain, positive = (first, second) if first in signed else (second, first)
    bits = max(plain.bit_width, positive.bit_width * 2)
    return next((type_ for type_ in signed if type_.bit_width >= bits and positive in unsigned), None)


def _floats(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_floating(first) or pa.types.is_floating(second)):
        return None
    if pa.types.is_floating(first) and pa.types.is_floating(second):
        return max(first, second, key=lambda type_: type_.bit_width)
    real, whole = (first, second) if pa.types.is_floating(first) else (second, first)
    if not pa.types.is_integer(whole):
        return None
    needed = whole.bit_width - (1 if pa.types.is_signed_integer(whole) else 0)
    fits = (size for size in (real.bit_width, 64) if size >= real.bit_width and _FLOAT_BITS[size] >= needed)
    return {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}.get(next(fits, 0))


def _decimals(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    sizes = [_digits(first), _digits(second)]
    if None in sizes:
        return None
    known = [size for size in sizes if size is not None]
    scale = max(size[1] for size in known)
    whole = max(size[0] - size[1] for size in known)
    precision = whole + scale
    if precision > 38:
        return None
    return pa.decimal128(precision, scale)


def _digits(type_: pa.DataType) -> tuple[int, int] | None:
    if pa.types.is_decimal(type_):
        return type_.precision, type_.scale
    if pa.types.is_integer(type_):
        digits = {8: 3, 16: 5, 32: 10, 64: 20 if pa.types.is_unsigned_integer(type_) else 19}
        return digits[type_.bit_width], 0
    return None
