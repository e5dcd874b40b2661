"""Rows to test with: every type that travels exactly everywhere, nested values, and a source that breaks."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_flow.data import BatchStream

if TYPE_CHECKING:
    from collections.abc import Iterator


class Broken(Exception):
    """What :func:`breaking` raises."""


def breaking(table: pa.Table, after: int = 1) -> BatchStream:
    """A stream that gives ``table`` ``after`` times and then raises :class:`Broken`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(after):
            yield from table.to_batches()
        raise Broken("the source broke half-way")

    return BatchStream(table.schema, batches())


def every_type() -> pa.Table:
    """A row of values, a row of extremes, a row of nulls, for every type that travels exactly everywhere."""
    utc = dt.UTC
    return pa.table(
        {
            "whole": pa.array([7, -(2**63), None], pa.int64()),
            "real": pa.array([0.1, 1.7976931348623157e308, None], pa.float64()),
            "truth": pa.array([True, False, None], pa.bool_()),
            "word": pa.array(["007", "", None], pa.string()),
            "odd": pa.array(['say "hi",\nthen; go', " ä €\t😀 ", None], pa.string()),
            "price": pa.array([Decimal("12.50"), Decimal("-99999999.99"), None], pa.decimal128(10, 2)),
            "huge": pa.array(
                [Decimal("1234567890123456789012345678.9012345678"), Decimal("-0.0000000001"), None],
                pa.decimal128(38, 10),
            ),
            "day": pa.array([dt.date(2024, 2, 29), dt.date(1, 1, 1), None], pa.date32()),
            "clock": pa.array([dt.time(23, 59, 59, 999999), dt.time(0, 0), None], pa.time64("us")),
            "moment": pa.array(
                [dt.datetime(2024, 2, 29, 1, 2, 3, 456789), dt.datetime(1969, 12, 31, 23, 59, 59), None],  # noqa: DTZ001 - a type of its own
                pa.timestamp("us"),
            ),
            "instant": pa.array(
                [dt.datetime(2024, 2, 29, 1, 2, 3, 456789, utc), dt.datetime(1900, 1, 1, tzinfo=utc), None],
                pa.timestamp("us", "UTC"),
            ),
            "bytes": pa.array([b"\x00\xff,\"'", b"", None], pa.binary()),
        }
    )


def nested() -> pa.Table:
    """A row of values, a row of empty ones, a row of nulls, for lists, structs and maps."""
    return pa.table(
        {
            "list": pa.array([["a", None, 'it\'s "x", [y]'], [], None], pa.list_(pa.string())),
            "struct": pa.array(
                [{"n": Decimal("1.10"), "d": dt.date(2024, 1, 1)}, {"n": None, "d": None}, None],
                pa.struct([("n", pa.decimal128(20, 2)), ("d", pa.date32())]),
            ),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        }
    )
