"""Partitions in Hive's manner: rows with the same values lie in one folder, whose name holds them (``day=2024-01-01``)."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import ConversionFailed, SourceMalformed, WrongArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"
_ESCAPED = re.compile(
    r'[\x00-\x1f"#%\'*/:=?\\\x7f{\[\]^]'
)  # the characters that Hive escapes, and the null character
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def escape(text: str) -> str:
    """``text`` as a part of a folder's name: ``a/b`` → ``a%2Fb``."""
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def values_of(path: str) -> dict[str, str | None]:
    """The partition values in a path, as text: ``day=2024-01-01/x.csv`` → ``{"day": "2024-01-01"}``."""
    found: dict[str, str | None] = {}
    for part in path.replace("\\", "/").split("/")[:-1]:
        name, is_partition, value = part.partition("=")
        if is_partition and name:
            found[unquote(name)] = None if value == NULL else unquote(value)
    return found


def check(schema: pa.Schema, names: Sequence[str]) -> None:
    """That rows with this schema can be partitioned by ``names``.

    Raises:
        WrongArgument: a column is not there, or no other column is left.
        ConversionFailed: a column's type cannot be a folder's name and come back.
    """
    for name in names:
        if name not in schema.names:
            raise WrongArgument(
                f"`partition_by` names `{name}`, which the data does not have",
                hint=hint(name, schema.names, "it has"),
            )
        type_ = schema.field(name).type
        if not _can_be_a_name(type_):
            raise ConversionFailed(
                f"the column `{name}` is {type_}, which cannot be a folder's name",
                hint="partition by text, whole numbers, decimals, booleans, dates or timestamps",
            )
    if names and len(names) == len(schema.names):
        raise WrongArgument("`partition_by` names all columns, so nothing would be left for the files")


def _can_be_a_name(type_: pa.DataType) -> bool:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(type_):
        type_ = type_.value_type
    kinds = (is_.is_string, is_.is_large_string, is_.is_integer, is_.is_boolean, is_.is_date32)
    return any(kind(type_) for kind in (*kinds, is_.is_decimal128, is_.is_timestamp))


def split(batch: pa.RecordBatch, names: Sequence[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of ``batch`` by partition: the folder (``day=2024-01-01/region=eu``), and the other columns of its rows.

    The order of the rows stays. Only the partitions are walked through in Python, not the rows.

    Raises:
        ConversionFailed: a value cannot be a folder's name and come back.
    """
    rest = batch.select([name for name in batch.schema.names if name not in names])
    if not names or not batch.num_rows:
        yield "", rest
        return
    codes = _codes([batch.column(name) for name in names])
    order, starts, ends = _runs(codes)
    each = order.take(starts)
    texts = [_texts(name, batch.column(name).take(each)) for name in names]
    for index, (start, end) in enumerate(zip(starts.to_pylist(), ends.to_pylist(), strict=True)):
        folder = "/".join(f"{escape(name)}={text[index]}" for name, text in zip(names, texts, strict=True))
        yield folder, rest if len(ends) == 1 else rest.take(order.slice(start, end - start))


def _codes(columns: Sequence[pa.Array]) -> pa.Array:
    """A number for each row; rows with the same values in all columns have the same one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes: pa.Array | None = None
    for column in columns:
        found = _encoded(column)
        if codes is not None:
            size = _whole(max(1, len(found.dictionary)))
            both = pc.add(pc.multiply(codes.indices.cast(pa.int64()), size), found.indices.cast(pa.int64()))
            found = _encoded(both)
        codes = found
    assert codes is not None
    return codes.indices


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.dictionary_encode(column, null_encoding="encode")


def _runs(codes: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The rows in an order in which equal codes stand together, and where each run of them begins and ends."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = pc.array_sort_indices(codes)
    ends = pc.run_end_encode(codes.take(order)).run_ends
    zero = pa.Array.from_buffers(ends.type, 1, [None, pa.py_buffer(bytes(8))])
    return order, pa.concat_arrays([zero, ends[:-1]]), ends


def _texts(name: str, values: pa.Array) -> list[str]:
    import pyarrow as pa

    texts = []
    for value in values.cast(pa.string()).to_pylist():
        if value in ("", NULL):
            raise ConversionFailed(
                f"the partition column `{name}` holds {value!r}, which would come back as null",
                hint="make it null, or another text, before it is loaded",
            )
        texts.append(NULL if value is None else escape(value))
    return texts


def _whole(number: int) -> pa.Scalar:
    """``number`` in Arrow. pyarrow's own way, as with every value out of Python, imports pandas first, for seconds."""
    import pyarrow as pa

    buffer = pa.py_buffer(number.to_bytes(8, sys.byteorder, signed=True))
    return pa.Array.from_buffers(pa.int64(), 1, [None, buffer])[0]


def text(value: str | None) -> pa.Scalar:
    """``value`` in Arrow, without pandas, as :func:`_whole`."""
    import pyarrow as pa

    if value is None:
        return pa.nulls(1, pa.string())[0]
    data = value.encode()
    offsets = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, len(data)))
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])[0]


def stored_type(type_: pa.DataType) -> pa.DataType:
    """The type in which a partition column comes back."""
    import pyarrow as pa

    return type_.value_type if pa.types.is_dictionary(type_) else type_


def guessed_types(paths: Sequence[str]) -> dict[str, pa.DataType]:
    """The partition columns of paths without a manifest: int64 or date32 where every value is one, text otherwise.

    Raises:
        SourceMalformed: the files lie in different partition columns.
    """
    import pyarrow as pa

    found = [values_of(path) for path in paths]
    names = list(found[0]) if found else []
    for path, values in zip(paths, found, strict=True):
        if list(values) != names:
            raise SourceMalformed(
                f"{path} lies in the partition columns ({', '.join(values)}), and {paths[0]} in ({', '.join(names)})"
            )
    types = {}
    for name in names:
        texts = [value for values in found if (value := values[name]) is not None]
        types[name] = pa.string()
        if texts and all(_WHOLE.fullmatch(value) and value != "-0" for value in texts):
            types[name] = pa.int64()
        elif texts and all(_DATE.fullmatch(value) for value in texts):
            types[name] = pa.date32() if _cast_all(texts) else pa.string()
    return types


def _cast_all(texts: Sequence[str]) -> bool:
    import pyarrow as pa

    try:
        for item in texts:
            text(item).cast(pa.date32())
    except pa.ArrowInvalid:
        return False
    return True


def value(path: str, name: str, type_: pa.DataType) -> Any:
    """The value of the partition column ``name`` for the file at ``path``, as a scalar of ``type_``.

    Raises:
        SourceMalformed: it is not there, or is no such value.
    """
    import pyarrow as pa

    values = values_of(path)
    if name not in values:
        raise SourceMalformed(f"{path} does not lie in a folder {name}=…")
    try:
        return text(values[name]).cast(type_)
    except pa.ArrowInvalid:
        raise SourceMalformed(f"{path}: {name}={values[name]} is not {type_}") from None
