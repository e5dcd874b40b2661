"""Whole streams through DuckDB and back, where every Arrow type has to come back as it went in.

DuckDB has fewer types than Arrow. What it would give back as another type is carried by one that it keeps, with the
same order and the same equality: an instant by its count of time units, an extension type by its storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed
from pipeline_flow.sql import sealed, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline_flow.core.context import Context

PLACE = "n"
"""The column with the number of each row in its stream, from 0."""
_DECIMAL_DIGITS = 38


def whole(
    context: Context,
    stream: BatchStream,
    query: Callable[[str], str],
    *,
    keys: Sequence[int] = (),
    at_end: Callable[[int, int], None] = lambda _given, _found: None,
) -> BatchStream:
    """The rows of ``stream`` that a query gives, in its order, every type kept.

    Args:
        context: the step's.
        stream: taken over and closed.
        query: makes the query of what it has to select; it reads the table ``data``, whose columns are ``n``, the number
            of the row, and the keys, called by :func:`verb.key` of their index.
        keys: the columns that the query compares; they must have an order.
        at_end: called at the end with the number of rows that went in and of those that came out.

    Raises:
        ConversionFailed: a column has a type that DuckDB can neither hold nor carry.
    """
    schema = stream.schema
    carried = [type_of(field.type, field.name) for field in schema]
    compared = {index: type_of(schema.field(index).type, schema.names[index], key=True) for index in keys}
    for index in compared:
        _check_comparable(schema.field(index))
    payload = [
        verb.key(index) if compared.get(index) == type_ else f"v{index}"
        for index, type_ in enumerate(carried)
    ]
    compared = {index: type_ for index, type_ in compared.items() if type_ != carried[index]}
    given = pa.schema(
        [
            *zip(payload, carried, strict=True),
            *((verb.key(index), type_) for index, type_ in compared.items()),
            (PLACE, pa.int64()),
        ]
    )
    rows = 0

    def carry(batch: pa.RecordBatch) -> pa.RecordBatch:
        nonlocal rows
        columns = [encoded(column, type_) for column, type_ in zip(batch.columns, carried, strict=True)]
        columns += [encoded(batch.column(index), type_) for index, type_ in compared.items()]
        place = pa.array(range(rows, rows + batch.num_rows), pa.int64())
        rows += batch.num_rows
        return pa.RecordBatch.from_arrays([*columns, place], schema=given)

    found = sealed.run(context, {"data": stream.map(given, carry)}, query(", ".join(payload)))

    def batches() -> Iterator[pa.RecordBatch]:
        kept = 0
        with found:
            for batch in found:
                context.check()
                kept += batch.num_rows
                yield from decoded(batch, schema)
        at_end(rows, kept)

    return BatchStream(schema, batches(), on_close=found.close)


def type_of(type_: pa.DataType, column: str, *, key: bool = False) -> pa.DataType:
    """The type in which DuckDB is handed a column, and which it gives back.

    A ``key`` is compared and not given back: of floats DuckDB gives back a -0.0 as 0.0, so they travel as their bits.

    Raises:
        ConversionFailed: there is none.
    """
    kinds = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return type_of(type_.storage_type, column, key=key)
    if kinds.is_dictionary(type_) or kinds.is_run_end_encoded(type_):
        return type_of(type_.value_type, column, key=key)
    if kinds.is_time32(type_):
        return pa.int32()
    if (
        kinds.is_date64(type_)
        or kinds.is_time64(type_)
        or kinds.is_timestamp(type_)
        or kinds.is_duration(type_)
    ):
        return pa.int64()
    if kinds.is_null(type_):
        return pa.int8()
    if kinds.is_floating(type_):
        if not key:
            return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[type_.bit_width]
        return pa.float32() if kinds.is_float16(type_) else type_
    if kinds.is_decimal(type_):
        if type_.precision > _DECIMAL_DIGITS:
            return pa.string()
        return pa.decimal128(type_.precision, type_.scale)
    if kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return pa.string()
    if kinds.is_large_binary(type_) or kinds.is_binary_view(type_) or kinds.is_fixed_size_binary(type_):
        return pa.binary()
    if kinds.is_nested(type_):
        return _nested(type_, column, key=key)
    if kinds.is_interval(type_) or kinds.is_union(type_):
        raise _no_carrier(type_, column)
    return type_


def _nested(type_: pa.DataType, column: str, *, key: bool) -> pa.DataType:
    kinds = pa.types
    if kinds.is_map(type_):
        carried = [type_of(part, column, key=True) for part in (type_.key_type, type_.item_type)]
        if carried != [type_.key_type, type_.item_type]:
            raise _no_carrier(type_, column)
        return type_
    if kinds.is_struct(type_) and type_.num_fields:
        return pa.struct(
            [
                pa.field(f"f{i}", type_of(type_.field(i).type, column, key=key))
                for i in range(type_.num_fields)
            ]
        )
    if kinds.is_struct(type_):
        return pa.bool_()
    if kinds.is_union(type_):
        raise _no_carrier(type_, column)
    return pa.list_(type_of(type_.value_type, column, key=key))


def _no_carrier(type_: pa.DataType, column: str) -> ConversionFailed:
    return ConversionFailed(
        f"the column `{column}` is {type_}, which this step cannot hold",
        hint="drop the column or cast it before",
    )


def _check_comparable(field: pa.Field) -> None:
    kind = field.type
    if pa.types.is_decimal(kind) and kind.precision > _DECIMAL_DIGITS:
        raise ConversionFailed(
            f"the column `{field.name}` has {kind.precision} digits, and rows can be compared by {_DECIMAL_DIGITS}",
            hint="cast it to a decimal of fewer digits before",
        )


def encoded(array: pa.Array, carrier: pa.DataType) -> pa.Array:
    """``array`` as the type that :func:`type_of` gave for its own."""
    kinds = pa.types
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return encoded(array.storage, carrier)
    if type_.equals(carrier):
        return array
    if kinds.is_dictionary(type_):
        return encoded(array.dictionary_decode(), carrier)
    if kinds.is_run_end_encoded(type_):
        return encoded(pc.run_end_decode(array), carrier)
    if kinds.is_struct(type_):
        missing = pc.is_null(array)
        if not type_.num_fields:
            return pc.if_else(missing, pa.scalar(None, pa.bool_()), True)
        children = [encoded(child, carrier.field(i).type) for i, child in enumerate(array.flatten())]
        return pa.StructArray.from_arrays(
            children, fields=[carrier.field(i) for i in range(carrier.num_fields)], mask=missing
        )
    if kinds.is_nested(type_):
        listed = _compact(array) if kinds.is_list(type_) else _as_list(array)
        return _from_entries(listed, carrier, encoded(listed.values, carrier.value_type))
    return (
        array.view(carrier) if kinds.is_floating(type_) and kinds.is_integer(carrier) else array.cast(carrier)
    )


def _compact(array: pa.Array) -> pa.Array:
    return pa.concat_arrays([array]) if array.offset else array


def _as_list(array: pa.Array) -> pa.Array:
    """Any kind of list array as the plain kind. Arrow's own casts know few types, and of views they make an invalid array."""
    array = _compact(array)
    kinds = pa.types
    if kinds.is_large_list(array.type):
        offsets, values = array.offsets, array.values
    elif kinds.is_fixed_size_list(array.type):
        size = array.type.list_size
        offsets, values = (
            pa.array(range(0, (len(array) + 1) * size, size) if size else [0] * (len(array) + 1)),
            array.values,
        )
    else:
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        values = pc.list_flatten(array)
    validity = pa.array(pc.is_valid(array)).buffers()[1] if array.null_count else None
    buffers = [validity, offsets.cast(pa.int32()).buffers()[1]]
    return pa.Array.from_buffers(
        pa.list_(array.type.value_type), len(array), buffers, array.null_count, 0, [values]
    )


def _from_entries(array: pa.Array, type_: pa.DataType, entries: pa.Array) -> pa.Array:
    """A list or map array of ``type_`` with the validity and offsets of ``array``."""
    return pa.Array.from_buffers(type_, len(array), array.buffers()[:2], array.null_count, 0, [entries])


def decoded(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batch in its own types; in pieces, where a dictionary of few indexes cannot hold the values of all."""
    try:
        columns = [_original(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    except pa.ArrowInvalid:
        if batch.num_rows <= 1:
            raise
        half = batch.num_rows // 2
        yield from decoded(batch.slice(0, half), schema)
        yield from decoded(batch.slice(half), schema)
        return
    yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _original(array: pa.Array, type_: pa.DataType) -> pa.Array:
    kinds = pa.types
    if array.type.equals(type_):
        return array
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _original(array, type_.storage_type))
    if kinds.is_null(type_):
        return pa.nulls(len(array))
    if kinds.is_dictionary(type_):
        plain = _original(array, type_.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            plain.indices.cast(type_.index_type), plain.dictionary, ordered=type_.ordered
        )
    if kinds.is_run_end_encoded(type_):
        return pc.run_end_encode(_original(array, type_.value_type), run_end_type=type_.run_end_type)
    if kinds.is_struct(type_):
        missing = pc.is_null(array)
        fields = [type_.field(i) for i in range(type_.num_fields)]
        if not fields:
            return pa.Array.from_buffers(
                type_, len(array), array.buffers()[:1], array.null_count, array.offset, []
            )
        children = [
            _original(child, field.type) for child, field in zip(array.flatten(), fields, strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=fields, mask=missing)
    if kinds.is_fixed_size_list(type_):
        return _as_fixed(array, type_)
    if kinds.is_list(type_):
        array = _compact(array)
        return _from_entries(array, type_, _original(array.values, type_.value_type))
    if kinds.is_large_list(type_):
        array = _compact(array)
        buffers = [array.buffers()[0], array.offsets.cast(pa.int64()).buffers()[1]]
        values = _original(array.values, type_.value_type)
        return pa.Array.from_buffers(type_, len(array), buffers, array.null_count, 0, [values])
    if kinds.is_nested(type_):
        return _as_view(_original(array, pa.list_(type_.value_field)), type_)
    return (
        array.view(type_) if kinds.is_floating(type_) and kinds.is_integer(array.type) else array.cast(type_)
    )


def _as_fixed(array: pa.ListArray, type_: pa.DataType) -> pa.Array:
    """A null has entries in a list of a fixed size, too: nulls where the plain list has none."""
    size = type_.list_size
    places = pa.array(range(len(array) * size), pa.int64())
    if size:
        row = pc.divide(places, size)
        start = array.offsets.slice(0, len(array)).take(row).cast(pa.int64())
        within = pc.add(start, pc.subtract(places, pc.multiply(row, size)))
        places = pc.if_else(pc.is_valid(array).take(row), within, pa.scalar(None, pa.int64()))
    values = _original(array.values.take(places), type_.value_type)
    validity = pc.is_valid(array).buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(type_, len(array), [validity], array.null_count, 0, [values])


def _as_view(array: pa.ListArray, type_: pa.DataType) -> pa.Array:
    array = _compact(array)
    number = pa.int64() if pa.types.is_large_list_view(type_) else pa.int32()
    sizes = pc.fill_null(pc.list_value_length(array), 0).cast(number)
    offsets = array.offsets.slice(0, len(array)).cast(number)
    buffers = [array.buffers()[0], offsets.buffers()[1], sizes.buffers()[1]]
    return pa.Array.from_buffers(type_, len(array), buffers, array.null_count, 0, [array.values])
