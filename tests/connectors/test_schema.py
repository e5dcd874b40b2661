"""Schemas of a DuckDB file that loads make on their way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from pipeline_flow.data import to_stream

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

ROW = pa.table({"x": [1]})


def _load(bench: Bench, table: str) -> Any:
    return bench.plugin("load", "sql", url="duckdb:///x.duckdb", table=table, mode="replace")


def test_two_pipelines_may_make_the_same_schema_at_the_same_time(bench: Bench) -> None:
    async def main() -> None:
        first, second = _load(bench, "shop.a"), _load(bench, "SHOP.b")
        one, other = await first.begin(), await second.begin()
        await first.stage(to_stream(ROW), one)
        await second.stage(to_stream(ROW), other)
        await one.commit()
        await other.commit()

    asyncio.run(main())
    bench.resources.close()
    with duckdb.connect("x.duckdb", read_only=True) as connection:
        assert connection.execute("select * from shop.a join shop.b using (x)").fetchall() == [(1,)]


def test_a_later_load_of_a_group_may_make_a_schema_too_and_an_aborted_one_leaves_no_file(
    bench: Bench,
) -> None:
    async def main() -> None:
        first, second = _load(bench, "shop.a"), _load(bench, "other.b")
        transaction = await first.begin()
        await first.stage(to_stream(ROW), transaction)
        await second.stage(to_stream(ROW), transaction)
        await transaction.abort()

    asyncio.run(main())
    bench.resources.close()
    assert not Path("x.duckdb").exists()
