"""LOAD DATA LOCAL INFILE: rows for MariaDB as text on the connection, without a file.

Under LOCAL the server turns errors into warnings: it changes or skips a row and goes on. So each warning and each row that
is not there is an error here, and the transaction is taken back.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pymysql.connections import LoadLocalPacketWrapper, OKPacketWrapper  # type: ignore[import-untyped]
from pymysql.constants import COMMAND  # type: ignore[import-untyped]

from pipeline_flow.errors import DestinationFailed
from pipeline_flow.sql import mariadb
from pipeline_flow.sql.dialect import MARIADB
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_flow.sql.mariadb_type import Column, Writer

_PACKET_BYTES = 256 * 1024
_ESCAPED = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\0", b"\\0"))
_NAME = "pipeline-flow"  # the server repeats it; no file is opened, whatever it says
OFF = (1148, 3948, 4166)
"""Error codes of a server that takes no local data."""


def statement(parts: Sequence[str], writers: Sequence[Writer], columns: Sequence[Column]) -> str:
    """The LOAD DATA for columns in the order of ``writers``; ``columns`` are the table's of the same names."""
    listed, computed = [], []
    for number, (item, column) in enumerate(zip(writers, columns, strict=True)):
        name = quote(item.field.name, dialect=MARIADB)
        if item.family == "bytes" or column.kind == "bit":
            listed.append(f"@v{number}")
            computed.append(
                f"{name} = unhex(@v{number})"
                if item.family == "bytes"
                else f"{name} = cast(@v{number} as unsigned)"
            )
        else:
            listed.append(name)
    tail = f" set {', '.join(computed)}" if computed else ""
    return (
        f"load data local infile '{_NAME}' into table {quote(*parts, dialect=MARIADB)} character set utf8mb4 "
        r"fields terminated by '\t' escaped by '\\' lines terminated by '\n' "
        f"({', '.join(listed)}){tail}"
    )


def lines(batch: pa.RecordBatch, writers: Sequence[Writer], done: int) -> memoryview:
    r"""The rows of a batch as LOAD DATA reads them: tabs between, ``\N`` for null, bytes as hexadecimal digits.

    ``done`` rows came before.

    Raises:
        ConversionFailed: MariaDB has no such value.
    """
    fields = [_field(item, array, done) for item, array in zip(writers, batch.columns, strict=True)]
    rows = pc.binary_join_element_wise(*fields, b"\t") if len(fields) > 1 else fields[0]
    rows = pc.binary_join_element_wise(rows, b"\n", b"")
    _, offsets, data = rows.buffers()
    ends = memoryview(offsets).cast("i" if pa.types.is_binary(rows.type) else "q")
    return memoryview(data)[ends[rows.offset] : ends[rows.offset + len(rows)]]


def _field(item: Writer, array: pa.Array, done: int) -> pa.Array:
    values = item.values(array, done)
    if item.family == "bytes":
        values = _hexadecimal(values)
    elif item.family in ("text", "json", "null"):
        for plain, escaped in _ESCAPED:
            values = pc.replace_substring(values, plain, escaped)
    return pc.fill_null(values, rb"\N")


def _hexadecimal(values: pa.Array) -> pa.Array:
    """``values``, a binary array, as hexadecimal digits; of a slice, only its own bytes."""
    _, offsets, data = values.buffers()
    places = pa.Array.from_buffers(
        pa.int32(), len(values) + 1, [None, offsets], offset=values.offset
    )  # in `data`
    first, last = places[0].as_py(), places[-1].as_py()
    digits = binascii.hexlify(memoryview(data)[first:last]) if data is not None else b""
    doubled = pc.multiply(pc.subtract(places, pa.scalar(first, pa.int32())), pa.scalar(2, pa.int32()))
    texts = pa.Array.from_buffers(
        pa.binary(), len(values), [None, doubled.buffers()[1], pa.py_buffer(digits)]
    )
    return pc.if_else(pc.is_valid(values), texts, pa.scalar(None, pa.binary()))


def load(connection: Any, text: str, rows: memoryview, count: int, done: int, table: str) -> None:
    """Sends rows.

    Args:
        connection: in a transaction.
        text: what :func:`statement` made.
        rows: what :func:`lines` made.
        count: how many rows these are.
        done: how many were sent before.
        table: the table's name, for messages.

    Raises:
        DestinationFailed: the server has changed or skipped a row.
    """
    # Not by the driver's own way, which opens whatever file the server names.
    read_packet = connection._read_packet  # noqa: SLF001
    connection._execute_command(COMMAND.COM_QUERY, text)  # noqa: SLF001
    LoadLocalPacketWrapper(read_packet())
    for start in range(0, len(rows), _PACKET_BYTES):
        connection.write_packet(bytes(rows[start : start + _PACKET_BYTES]))
    connection.write_packet(b"")
    told = OKPacketWrapper(read_packet())
    if not told.warning_count and told.affected_rows == count:
        return
    warnings = mariadb.run(connection, "show warnings").fetchall()
    if warnings:
        said = re.sub(r" at row (\d+)$", lambda match: f" at row {done + int(match[1]):,}", warnings[0][2])
    else:
        said = f"{told.affected_rows:,} of {count:,} rows are there"
    raise DestinationFailed(
        f"MariaDB would change or leave out rows of the table `{table}`: {said}",
        hint="cast the column in the query, change the table's, or look at its keys; without `bulk` the same row is refused",
    )
