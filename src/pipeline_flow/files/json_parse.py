"""Lines of JSON as record batches of a known type, natively and strictly: nothing is rounded, cut or read as something else."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as native

from pipeline_flow.files import json_rewrite
from pipeline_flow.files.declared import Misfit, all_exact, from_text
from pipeline_flow.files.json_type import (
    BOOL,
    DECIMAL,
    DECLARED,
    DOUBLE,
    JSON,
    LIST,
    NUMBER,
    STRUCT,
    TEXT,
    WHOLE,
    Malformed,
    Real,
    Type,
    Whole,
    kind_of,
    list_of,
    loosened,
    struct_of,
    value_of,
)
from pipeline_flow.files.number import LONG, is_exact

_FAILURES = (
    pa.ArrowException,
    Misfit,
    Malformed,
    UnicodeDecodeError,
    json.JSONDecodeError,
    RecursionError,
    StopIteration,
)


class Parser:
    """Parses lines as one type.

    Args:
        root: the type of a record.
    """

    def __init__(self, root: Type) -> None:
        self.root = root
        self.schema = pa.schema(list(root.arrow))
        leaves = list(root.everywhere())
        self._doubles = any(pa.types.is_floating(leaf.native) for leaf in leaves)
        self._strict = _Way(root)
        self._loose = _Way(loosened(root)) if any(leaf.kind == DECLARED for leaf in leaves) else None

    def batch(self, data: bytes) -> pa.RecordBatch:
        """The records of ``data``, whole lines, as a batch.

        Raises:
            Misfit: something does not fit.
        """
        try:
            try:
                return self._batch(data, self._strict)
            except _FAILURES:
                if self._loose is None:
                    raise
            return self._batch(data, self._loose)
        except _FAILURES as error:
            raise Misfit(str(error)) from None

    def _batch(self, data: bytes, way: _Way) -> pa.RecordBatch:
        if not data.isascii():
            _one(data, pa.large_binary()).cast(pa.large_string())
        batch = way.parse(data)
        if self._doubles and not _doubles_exact(data, batch, self.root):
            raise Misfit("a number has more digits than a double")
        return batch


class _Way:
    """One way to parse: what is rewritten before, and converted afterwards."""

    def __init__(self, root: Type) -> None:
        self._root = root
        self._plan = json_rewrite.plan_of(root)
        self._decimals = _decimals(root)

    def rewritten(self, data: bytes) -> bytes:
        if self._plan is None:
            return data
        lines = (
            json_rewrite.rewrite(line, self._plan)
            for line in data.decode().split("\n")
            if line and not line.isspace()
        )
        return "\n".join(lines).encode()

    def parse(self, data: bytes) -> pa.RecordBatch:
        rewritten = self.rewritten(data)
        table = _parse(rewritten, self._root.native)
        if self._decimals is not None:
            self._check_decimals(rewritten, self._decimals)
        arrays = [
            _finished(_one_chunk(column), field)
            for column, (_, field) in zip(table.columns, self._root.fields, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(self._root.arrow)))

    def _check_decimals(self, data: bytes, decimals: Type) -> None:
        """Raises where the parser made a decimal of what is none.

        It takes "12" in quotes, and where the digits that the scale adds go beyond 128 bits, as with 1e30 in a
        DECIMAL(38,10), the value wraps round without a word. A double takes neither.
        """
        table = _parse(data, decimals.native, others="ignore")
        within = all(
            _within(_one_chunk(column), field)
            for column, (_, field) in zip(table.columns, decimals.fields, strict=True)
        )
        if not within and first_misfit(data, self._root) is not None:
            raise Misfit("a number has more digits than its type")


def _decimals(type_: Type) -> Type | None:
    """What is parsed as a decimal, as doubles, and nothing else."""
    if type_.kind == STRUCT:
        inner = [(name, found) for name, field in type_.fields if (found := _decimals(field)) is not None]
        return struct_of(type_.path, inner) if inner else None
    if type_.kind == LIST and type_.item is not None:
        item = _decimals(type_.item)
        return None if item is None else list_of(type_.path, item)
    return replace(type_, native=pa.float64()) if pa.types.is_decimal(type_.native) else None


def _within(array: pa.Array, type_: Type) -> bool:
    """Whether numbers are surely small enough for their decimals."""
    if type_.kind == STRUCT:
        return all(_within(array.field(index), field) for index, (_, field) in enumerate(type_.fields))
    if type_.kind == LIST and type_.item is not None:
        return _within(array.values, type_.item)
    most = 10.0 ** (type_.arrow.precision - type_.arrow.scale) * (1 - 1e-15)
    return pc.all(pc.less(pc.abs(array), most)).as_py() is not False


def _parse(data: bytes, type_: pa.StructType, others: str = "error") -> pa.Table:
    if data.isspace() or not data:
        return pa.schema(list(type_)).empty_table()
    return native.read_json(
        pa.BufferReader(data),
        read_options=native.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=native.ParseOptions(
            explicit_schema=pa.schema(list(type_)), unexpected_field_behavior=others
        ),
    )


def _one(data: bytes, type_: pa.DataType) -> pa.Array:
    """An array with this one value, which is not copied."""
    offsets = pa.py_buffer(struct.pack("<qq", 0, len(data)))
    return pa.Array.from_buffers(type_, 1, [None, offsets, pa.py_buffer(data)])


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


# ---------------------------------------------------------------------------------------------- declared types


def _finished(array: pa.Array, type_: Type) -> pa.Array:
    """``array``, as it was parsed, with the declared types."""
    if array.type.equals(type_.arrow):
        return array
    if type_.kind == STRUCT:
        children = [_finished(array.field(index), field) for index, (_, field) in enumerate(type_.fields)]
        validity = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(type_.arrow), mask=validity)
    if type_.kind == LIST and type_.item is not None:
        values = _finished(array.values, type_.item)
        return pa.Array.from_buffers(
            type_.arrow, len(array), array.buffers()[:2], array.null_count, array.offset, [values]
        )
    return from_text(array, type_.arrow)


# ---------------------------------------------------------------------------------------------- doubles

_UNDERFLOW = "[0-9][eE]-[0-9]{3}"
_NORMAL = 2.3e-308  # below, a double has fewer digits
_NUMBER = r"^-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_IN_NUMBER = bytes(byte in b"0123456789.eE+-" for byte in range(256))


def _doubles_exact(data: bytes, batch: pa.RecordBatch, root: Type) -> bool:
    """Whether every number in ``data`` that went into a double is one; the parser rounds without a word.

    First all numbers that are long enough, wherever they stand; where one of them is no double, those outside of
    texts; and only then record by record.
    """
    if _numbers_exact(data) and not _has_underflow(data, batch, root):
        return True
    bare = pc.replace_substring_regex(_one(data, pa.large_string()), _TEXT, '"')
    plain = bare[0].as_buffer().to_pybytes()
    if _numbers_exact(plain) and not _matches(plain, _UNDERFLOW):
        return True
    return first_misfit(data, root) is None


def _numbers_exact(data: bytes) -> bool:
    words = _long_words(data)
    words = words.filter(pc.match_substring_regex(words, _NUMBER))
    return all_exact(words, words.cast(pa.float64()))


def _long_words(data: bytes) -> pa.Array:
    """What in ``data`` has at least ``LONG`` characters, all of them such as numbers have.

    By bits, one for each byte: a tenth of what a regular expression takes. A record begins and ends with a bracket,
    so nothing that is looked for is at an end of ``data``.
    """
    marks = pa.Array.from_buffers(
        pa.uint8(), len(data), [None, pa.py_buffer(data.translate(_IN_NUMBER))]
    ).cast(pa.bool_())
    runs, length = marks, 1  # a bit of `runs`: here begin `length` such characters
    while length < LONG:
        runs = pc.and_(runs.slice(0, max(len(runs) - length, 0)), runs.slice(length))
        length *= 2
    if not pc.any(runs).as_py():
        return pa.nulls(0, pa.string())
    others = pc.invert(marks)
    starts = pc.and_(runs.slice(1), others.slice(0, len(runs) - 1))
    ends = pc.and_(runs.slice(0, len(runs) - 1), others.slice(LONG))
    edges = pa.concat_arrays(
        [pc.add(pc.indices_nonzero(starts), 1), pc.add(pc.indices_nonzero(ends), LONG)]
    ).cast(pa.int32())
    edges = edges.take(pc.array_sort_indices(edges))
    # As offsets, the edges make a text of each word, and of what stands between two of them.
    words = pa.Array.from_buffers(pa.string(), len(edges) - 1, [None, edges.buffers()[1], pa.py_buffer(data)])
    every_other = pa.py_buffer(b"\x55" * (len(words) // 8 + 1))
    return words.filter(pa.Array.from_buffers(pa.bool_(), len(words), [None, every_other]))


def _has_underflow(data: bytes, batch: pa.RecordBatch, root: Type) -> bool:
    """Whether a number may be so small that a double has no digits for it: 1e-400 is parsed as 0."""
    small = any(
        _is_small(column, field) for column, (_, field) in zip(batch.columns, root.fields, strict=True)
    )
    return small and _matches(data, _UNDERFLOW)


def _is_small(array: pa.Array, type_: Type) -> bool:
    if type_.kind == STRUCT:
        return any(_is_small(array.field(index), field) for index, (_, field) in enumerate(type_.fields))
    if type_.kind == LIST and type_.item is not None:
        return _is_small(array.values, type_.item)
    if not pa.types.is_floating(type_.native) or not pa.types.is_floating(array.type):
        return False
    return bool(pc.any(pc.less(pc.abs(array), _NORMAL)).as_py())


def _matches(data: bytes, pattern: str) -> bool:
    return bool(pc.count_substring_regex(_one(data, pa.large_string()), pattern)[0].as_py())


# ---------------------------------------------------------------------------------------------- what does not fit


def first_misfit(data: bytes, root: Type) -> tuple[int, str, Any, Type | None] | None:
    """The first value of ``data`` that ``root`` cannot hold: line (from 0), path, value, and the type of its place.

    The type is ``None`` for a key that the type does not have. Looks at the records one by one.

    Raises:
        BrokenLine: a line is not JSON, or no record.
    """
    for number, line in enumerate(data.split(b"\n")):
        if not line or line.isspace():
            continue
        try:
            value = value_of(line)
            if not isinstance(value, dict):
                raise Malformed(f"is {kind_of(value)}, and a record is an object", "")
            found = misfit(value, root)
        except RecursionError:
            raise BrokenLine(number, "is nested too deep", "") from None
        except Malformed as error:
            raise BrokenLine(number, *error.args) from None
        if found is not None:
            return (number, *found)
    return None


class BrokenLine(Exception):
    """A line that holds no record; ``args`` are its number (from 0), what it is, and a hint."""


def misfit(value: Any, type_: Type, path: str = "") -> tuple[str, Any, Type | None] | None:
    """The first part of ``value`` that ``type_`` cannot hold, as path, value and type."""
    if value is None:
        return None
    if type_.kind == STRUCT and isinstance(value, dict):
        fields = dict(type_.fields)
        for name, item in value.items():
            at = f"{path}.{name}" if path else name
            if name not in fields:
                return at, item, None
            found = misfit(item, fields[name], at)
            if found is not None:
                return found
        return None
    if type_.kind == LIST and isinstance(value, list) and type_.item is not None:
        for index, item in enumerate(value):
            found = misfit(item, type_.item, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    return None if _fits(value, type_) else (path, value, type_)


def _fits(value: Any, type_: Type) -> bool:
    number = isinstance(value, Whole | Real)
    if type_.kind == BOOL:
        return isinstance(value, bool)
    if type_.kind == WHOLE:
        try:
            return isinstance(value, Whole) and pa.scalar(int(value), type_.arrow).is_valid
        except (pa.ArrowException, OverflowError, ValueError):
            return False
    if type_.kind == DOUBLE:
        return number and is_exact(value)
    if type_.kind == DECIMAL:
        return number and _converts(str(value), type_)
    if type_.kind == TEXT:
        return isinstance(value, str) and not number
    if type_.kind == NUMBER:
        return number
    if type_.kind == JSON:
        return True
    if type_.kind == DECLARED:
        text = str(value) if isinstance(value, str) else json.dumps(value)
        return pa.types.is_string(type_.arrow) or _converts(text, type_)
    return False


def _converts(text: str, type_: Type) -> bool:
    try:
        if type_.kind == DECIMAL or pa.types.is_decimal(type_.arrow):
            pa.array([text]).cast(type_.arrow)
        else:
            from_text(pa.array([text]), type_.arrow)
    except (pa.ArrowException, Misfit):
        return False
    return True
