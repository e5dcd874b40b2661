"""Random tables for the transform verbs, and what plain DuckDB makes of them."""

from __future__ import annotations

import contextlib
import decimal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from pipeline_flow.data import BatchStream, pick
from tests.connectors.conftest import Bench
from tests.data.arrow import arrays, types

if TYPE_CHECKING:
    from collections.abc import Iterator

CORE = {
    "i": pa.int64(),
    "f": pa.float64(),
    "t": pa.string(),
    "d": pa.decimal128(12, 3),
    "day": pa.date32(),
    "ts": pa.timestamp("us"),
    "b": pa.bool_(),
    "l": pa.list_(pa.int32()),
    "s": pa.struct([("x", pa.int16()), ("y", pa.string())]),
}
_SMALL: dict[str, st.SearchStrategy[Any]] = {
    "i": st.sampled_from([None, 0, 1, 2, -(2**63), 2**63 - 1]),
    "f": st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf")]),
    "t": st.sampled_from([None, "", "a", "A", "ä", "😀", "a\0b", "it's", " "]),
    "d": st.sampled_from([None, decimal.Decimal("1.500"), decimal.Decimal("-0.001")]),
}


@st.composite
def tables(draw: st.DrawFn, extra: int = 2) -> list[pa.RecordBatch]:
    """Batches with the columns of ``CORE`` and some of any Arrow type, with batches without rows among them."""
    kinds = draw(st.lists(types(), max_size=extra))
    schema = pa.schema([*CORE.items(), *((f"extra {n}", kind) for n, kind in enumerate(kinds))])
    batches = []
    for rows in draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)):
        columns = [
            pa.array(draw(st.lists(_SMALL[field.name], min_size=rows, max_size=rows)), field.type)
            if field.name in _SMALL
            else draw(arrays(field.type, rows))
            for field in schema
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return batches


def stream(batches: list[pa.RecordBatch]) -> BatchStream:
    return BatchStream(batches[0].schema, iter(batches))


def plain(batches: list[pa.RecordBatch], query: str) -> pa.Table:
    """What DuckDB gives for a query over the core columns as one table, with the row's number as ``n``."""
    table = pa.Table.from_batches(batches).select(list(CORE))
    table = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("given", table)
        connection.execute("create table data as from given")  # else pyarrow filters, by rules of its own
        return connection.execute(query).to_arrow_table()


def rows(batches: list[pa.RecordBatch], numbers: list[int]) -> pa.Table:
    """The rows of these numbers, in that order, every column as it is."""
    schema = batches[0].schema
    picked = []
    for number in numbers:
        at = number
        for batch in batches:
            if at < batch.num_rows:
                picked.append(pick.take(batch, pa.array([at], pa.int64())))
                break
            at -= batch.num_rows
    return pa.Table.from_batches(picked, schema)


def same(found: pa.Table, expected: pa.Table) -> None:
    """Asserts the same schema and the same rows; NaN equals NaN."""
    found.validate(full=True)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.num_rows == expected.num_rows
    for name in found.column_names:
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist()), name


@contextlib.contextmanager
def a_bench() -> Iterator[Bench]:
    """A bench for one example of a property: a fixture would be shared by all."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "run")
        try:
            yield bench
        finally:
            bench.close()


HOSTILE = [
    'say "hi"', "a.b", "two words", "ünïcödé 😀", "select", "data", "c0", "n", "r0", "it's", ";--", "", "x\ty", "$1", "Ä", "-i",
]  # fmt: skip
