"""CSV that is plainly written, read in blocks by Arrow: less work than the general reader has, and never another value.

A block is plain where Arrow and the general reader can only find the same in it: UTF-8 without NUL, lines that end alike,
rows that have all their fields, quotes only around whole fields (and doubled inside), and every value written as its type is
(``007``, ``+5`` and ``1e400`` are not). The first block that is not plain ends this way of reading; the general reader goes
on with the next row, and finds the words for what is wrong.
"""

from __future__ import annotations

import re
import struct
from codecs import BOM_UTF8
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline_flow.files.parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Convert = Callable[[pa.Array], pa.Array]

_BLOCK = 4 * 1024 * 1024  # bytes
_LEAST = 256 * 1024
_SURE = 15  # characters of a number that a double keeps
_DIGITS = 38  # Arrow does not notice where a decimal has more
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def _byte(value: int) -> pa.Scalar:
    return pa.Array.from_buffers(pa.uint8(), 1, [None, pa.py_buffer(bytes([value]))])[0]


def _integer(value: int, type_: pa.DataType) -> pa.Scalar:
    # `pa.scalar` imports pandas where that is installed, as do functions of Arrow that are given a value of Python: 0.3 s.
    wide, form = (pa.int64(), "=q") if value < 0 else (pa.uint64(), "=Q")
    return pa.Array.from_buffers(wide, 1, [None, pa.py_buffer(struct.pack(form, value))])[0].cast(type_)


def _double(value: float) -> pa.Scalar:
    return pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(struct.pack("=d", value))])[0]


def _text(value: str) -> pa.Scalar:
    data = value.encode()
    offsets = pa.py_buffer(struct.pack("=ii", 0, len(data)))
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])[0]


_QUOTE, _LINE_FEED, _RETURN, _COLON = (_byte(byte) for byte in b'"\n\r:')
_LENGTH_SURE = _integer(_SURE, pa.int32())
_ZERO, _LEAST_NORMAL = _double(0.0), _double(2.3e-308)
# Between these Arrow and DuckDB both write doubles without an exponent.
_LEAST_PLACED, _MOST_PLACED = _double(1e-4), _double(1e10)


class NotPlain(Exception):
    """What comes next is not plainly written."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How plain files are written, and what is in them.

    Attributes:
        names: the columns.
        converts: what makes a column's values of its texts, by name; ``None`` for texts.
        delimiter: one byte.
        quotes: whether fields may stand in quotes.
        header: whether there is a record with the names before the rows.
        nulls: what means null where it stands without quotes.
        longest: the longest record in bytes.
    """

    names: Sequence[str]
    converts: Mapping[str, Convert | None]
    delimiter: str
    quotes: bool
    header: bool
    nulls: Sequence[str]
    longest: int


def convert(type_: str, *, declared: bool) -> Convert:
    """What makes values of texts, and refuses every text that is not written as the type is.

    Args:
        type_: as DuckDB has it.
        declared: the user says so; else the first rows do.

    Raises:
        NotPlain: the type is not for this way of reading.
    """
    word = " ".join(type_.upper().split())
    if word in _INTEGERS:
        whole = _INTEGERS[word]
        return lambda texts: _integers(texts, whole)
    if word == "DOUBLE":
        return lambda texts: _doubles(texts, declared=declared)
    if word in _OTHERS:
        return _OTHERS[word]
    sized = _DECIMAL.fullmatch(word)
    if sized is None or not 1 <= int(sized[1]) <= 38 or int(sized[2] or 0) > int(sized[1]):
        raise NotPlain
    decimal = pa.decimal128(int(sized[1]), int(sized[2] or 0))
    return lambda texts: _decimals(texts, decimal)


def batches(layout: Layout, path: Path, skip: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in order; several blocks are read at once.

    Args:
        layout: how it is written.
        path: the file.
        skip: lines before the header, or before the first row.

    Raises:
        NotPlain: the next row is in a block that is not plain.
    """
    calls = (partial(_batch, layout, block) for block in _blocks(layout, path, skip))
    with closing(in_order(calls, "pipeline-flow csv")) as found:
        for batch in found:
            if batch.num_rows:
                yield batch


# ---------------------------------------------------------------------------------------------- the text


def _blocks(layout: Layout, path: Path, skip: int) -> Iterator[bytearray | None]:
    """Whole records, a line feed before and behind them; ``None`` where there can be none, and nothing after that."""
    size = min(layout.longest, _BLOCK)
    with path.open("rb") as file:
        rest, begun = b"\n", False
        while size >= _LEAST:
            data = bytearray(1 + size)
            data[: len(rest)] = rest
            with memoryview(data) as view:
                filled = len(rest) + file.readinto(view[len(rest) :])
            ended = filled < len(data)
            del data[filled:]
            if not begun:
                start = _start(data, layout, skip, ended=ended)
                if start is None:
                    break
                del data[: start - 1]
                data[0], begun = ord("\n"), True
            if ended:
                if not data.endswith(b"\n"):
                    data += b"\r\n" if b"\r\n" in data else b"\n"
                if data.strip(b"\r\n"):
                    yield data
                return
            end = _end(data, layout)
            if end == 1:
                break
            rest = b"\n" + data[end:]
            del data[end:]
            yield data
        yield None


def _start(data: bytearray, layout: Layout, skip: int, *, ended: bool) -> int | None:
    """Where the first row begins; ``None`` where the beginning is longer than a block, or has lines that end with CR alone.

    Raises:
        NotPlain: the header is not plain.
    """
    nowhere = len(data) if ended else 0
    start = 1 + len(BOM_UTF8) if data.startswith(BOM_UTF8, 1) else 1
    for _ in range(skip):
        start = data.find(b"\n", start) + 1 or nowhere
        if not start:
            return None
    if layout.header:
        begin, start = start, _header_end(data, layout, start) or nowhere
        header = data[begin:start]
        if layout.quotes and b'"' in header:
            texts = replace(layout, converts=dict.fromkeys(layout.names))
            if _batch(texts, bytearray(b"\n" + header.rstrip(b"\r\n") + b"\n")).num_rows != 1:
                raise NotPlain
    if not start or data.count(b"\r", 0, start) != data.count(b"\r\n", 0, start):
        return None
    return start


def _header_end(data: bytearray, layout: Layout, start: int) -> int:
    """Where the record that begins at ``start`` ends; 0 where it does not."""
    end, quotes = start, 0
    while end == start or quotes % 2:
        line, end = end, data.find(b"\n", end) + 1
        if not end:
            break
        quotes += data.count(b'"', line, end) if layout.quotes else 0
    return end


def _end(data: bytearray, layout: Layout) -> int:
    """Where the last whole record ends; 1 where none does, behind the line feed at the beginning."""
    end = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, end) if layout.quotes else 0
    while quotes % 2:
        behind, end = end, data.rfind(b"\n", 0, data.rfind(b'"', 0, end)) + 1
        quotes -= data.count(b'"', end, behind)
    return end


def _batch(layout: Layout, block: bytearray | None) -> pa.RecordBatch:
    if block is None:
        raise NotPlain
    data = pa.py_buffer(block)
    quoted = _check_text(layout, block, data)
    try:
        found = csv.read_csv(
            pa.BufferReader(data.slice(1)),
            csv.ReadOptions(use_threads=False, block_size=len(block), column_names=list(layout.names)),
            csv.ParseOptions(
                delimiter=layout.delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(layout.names, pa.string()),
                null_values=list(layout.nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        arrays = []
        for name, texts in zip(layout.names, found.columns, strict=True):
            array, make = texts.combine_chunks(), layout.converts[name]
            arrays.append(array if make is None else make(array))
    except pa.ArrowException:
        raise NotPlain from None
    return pa.RecordBatch.from_arrays(arrays, names=list(layout.names))


def _check_text(layout: Layout, block: bytearray, data: pa.Buffer) -> bool:
    """Whether there are quotes; all of them are where they belong.

    Of every two in a row the first opens a field and the second closes it. Where they open one again at once, the two mean one.

    Raises:
        NotPlain: a quote or a line's end is elsewhere, or there is a NUL.
    """
    if b"\0" in block or block.startswith(BOM_UTF8, 1):  # Arrow leaves a mark out, and here it is text
        raise NotPlain
    size = len(block)
    text = pa.Array.from_buffers(pa.uint8(), size, [None, data])
    if b"\r" in block:
        returns = pc.equal(text, _RETURN).true_count
        if not returns == block.count(b"\r\n") == block.count(b"\n", 1):
            raise NotPlain
    if not layout.quotes or b'"' not in block:
        return False
    is_quote = pc.equal(text, _QUOTE).slice(1, size - 2)  # a line feed stands before and behind all
    before, behind = text.slice(0, size - 2).filter(is_quote), text.slice(2).filter(is_quote)
    ends = [_QUOTE, _LINE_FEED, _byte(ord(layout.delimiter))]
    opens_well, closes_well = (
        reduce(pc.or_, (pc.equal(beside, byte) for byte in [*ends, *more]))
        for beside, more in ((before, []), (behind, [_RETURN]))
    )
    quotes = len(before)
    every_second = pa.py_buffer(b"\x55" * (quotes // 8 + 1))
    opens = pa.Array.from_buffers(pa.bool_(), quotes, [None, every_second])
    if quotes % 2 or pc.if_else(opens, opens_well, closes_well).true_count < quotes:
        raise NotPlain
    return True


# ---------------------------------------------------------------------------------------------- the values


def _bytes_of(texts: pa.Array) -> pa.Array:
    """The bytes of all texts, one behind the other."""
    data = texts.buffers()[2]
    if data is None:
        return pa.nulls(0, pa.uint8())
    offsets = pa.Array.from_buffers(
        pa.int32(), len(texts) + 1, [None, texts.buffers()[1]], offset=texts.offset
    )
    first, last = offsets[0].as_py(), offsets[len(texts)].as_py()
    return pa.Array.from_buffers(pa.uint8(), last - first, [None, data.slice(first)])


def _least_and_most(values: pa.Array) -> tuple[int, int]:
    """The least and the largest value; 0 where there is none."""
    least, most = (item.as_py() for item in pc.min_max(values).values())
    return (0, 0) if least is None else (least, most)


def _are_digits(data: pa.Array) -> bool:
    """Whether the bytes are digits, `-`, `.` and `/` alone."""
    least, most = _least_and_most(data)
    return not len(data) or (least >= ord("-") and most <= ord("9"))


def _integers(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    data = _bytes_of(texts)
    values = texts.cast(type_)
    least, most = _least_and_most(values)
    # No number has a shorter text of digits than its own: all have theirs if the lengths add up to the same.
    size = len(values) - values.null_count
    if least < 0:
        size += pc.less(values, _integer(0, type_)).true_count
    power = 10
    while power <= most or power <= -least:
        if power <= most:
            size += pc.greater_equal(values, _integer(power, type_)).true_count
        if power <= -least:
            size += pc.less_equal(values, _integer(-power, type_)).true_count
        power *= 10
    if not _are_digits(data) or len(data) != size:
        raise NotPlain
    return values


def _doubles(texts: pa.Array, *, declared: bool) -> pa.Array:
    data = _bytes_of(texts)
    values = texts.cast(pa.float64())
    size = pc.abs(values)
    if pc.is_finite(values).true_count < len(values) - values.null_count:
        raise NotPlain
    if _begin_with_zeros(texts, "0") or _begin_with_zeros(texts, "-0"):
        raise NotPlain
    is_zero = pc.equal(size, _ZERO)
    if pc.less(size, _LEAST_NORMAL).true_count > is_zero.true_count:  # it lacks digits
        raise NotPlain
    if not _are_digits(data):
        least, _ = _least_and_most(data)
        if least < ord("+") or pc.less(texts, _text("-")).true_count:
            raise NotPlain
        if declared or not _are_digits(_bytes_of(texts.filter(is_zero))):  # 1e-400
            raise NotPlain
    is_long = pc.greater(pc.binary_length(texts), _LENGTH_SURE)
    is_far = pc.or_(pc.less(size, _LEAST_PLACED), pc.greater_equal(size, _MOST_PLACED))
    if is_long.true_count and (
        pc.and_(is_far, is_long).true_count
        or not values.filter(is_long).cast(pa.string()).equals(texts.filter(is_long))
    ):
        raise NotPlain
    return values


def _begin_with_zeros(texts: pa.Array, zero: str) -> bool:
    """Whether a digit follows on the zero that a text begins with."""
    follows = pc.and_(pc.greater_equal(texts, _text(f"{zero}0")), pc.less(texts, _text(f"{zero}:")))
    return bool(follows.true_count)


def _check_length(texts: pa.Array, least: int) -> None:
    if texts.null_count < len(texts) and pc.min(pc.binary_length(texts)).as_py() < least:
        raise NotPlain


def _booleans(texts: pa.Array) -> pa.Array:
    _check_length(texts, len("true"))  # 1 and 0
    return texts.cast(pa.bool_())


def _dates(texts: pa.Array) -> pa.Array:
    values = texts.cast(pa.date32())
    _check_years(texts)
    return values


def _moments(texts: pa.Array) -> pa.Array:
    _check_length(texts, len("2024-01-01 00:00"))
    colons = pc.equal(_bytes_of(texts), _COLON).true_count
    if colons < len(texts) - texts.null_count:
        raise NotPlain
    values = texts.cast(pa.timestamp("us"))
    _check_years(texts)
    return values


def _check_years(texts: pa.Array) -> None:
    """Years from 1 on, of four digits: what Arrow and DuckDB write and read alike."""
    least, most = (item.as_py() for item in pc.min_max(texts).values())
    if least is not None and (least < "0001" or most >= ":"):
        raise NotPlain


def _decimals(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    _, longest = _least_and_most(pc.binary_length(texts))
    if longest + type_.scale > _DIGITS or not _are_digits(_bytes_of(texts)):  # 1e2
        raise NotPlain
    return texts.cast(type_)


_INTEGERS = {
    "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "INT": pa.int32(), "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(),
}  # fmt: skip
_OTHERS: dict[str, Convert] = {"BOOLEAN": _booleans, "DATE": _dates, "TIMESTAMP": _moments}
