"""What a database refuses is named by its row, however rows travel: in lines, in pieces, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed, DestinationFailed
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


def batches(table: pa.Table, rows: int) -> BatchStream:
    return BatchStream(table.schema, iter(table.to_batches(max_chunksize=rows)))


@pytest.mark.parametrize("bad", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r", "a\n\nb", ""])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_postgresql_counts_rows_and_not_lines(
    bench: Bench, postgres: str, bad: int, breaks: str, rows: int
) -> None:
    postgres_server.run(postgres, "drop table if exists t", "create table t (a text, b text, j jsonb)")
    values = ['"\\u0000"' if number == bad else "1" for number in range(1, 10)]
    table = pa.table(
        {
            "a": [breaks if number % 2 else None for number in range(9)],
            "b": [breaks * 2] * 9,
            "j": pa.ExtensionArray.from_storage(pa.json_(), pa.array(values)),
        }
    )
    with pytest.raises(DestinationFailed, match=rf"row {bad}, column `j`"):
        bench.load("sql", batches(table, rows), url=postgres, table="t", mode="append")


@pytest.mark.usefixtures("mariadb")
def test_mariadb_names_the_row_that_a_check_refuses(bench: Bench) -> None:
    mariadb_server.execute("create table t (n int primary key, j json, k int check (k > 0))")
    texts = ["x" if number in (4_000, 4_321) else "[1]" for number in range(6_000)]
    table = pa.table(
        {
            "n": range(6_000),
            "j": pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts)),
            "k": pa.array([1] * 6_000, pa.int32()),
        }
    )
    with pytest.raises(DestinationFailed, match=r"column `j`: CONSTRAINT .* at row 4,001"):
        mariadb_server.load(bench, batches(table, 700))
    good = table.set_column(1, "j", pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1"] * 6_000)))
    low = good.set_column(
        2, "k", pa.array([0 if number == 5_555 else 1 for number in range(6_000)], pa.int32())
    )
    with pytest.raises(DestinationFailed, match="at row 5,556"):
        mariadb_server.load(bench, batches(low, 700))
    doubled = good.set_column(0, "n", pa.array([number % 5_000 for number in range(6_000)]))
    with pytest.raises(DestinationFailed, match=r"Duplicate entry '0' .* at row 5,001"):
        mariadb_server.load(bench, batches(doubled, 700))
    assert mariadb_server.root("select count(*) from t", mariadb_server.NAME) == [(0,)]


@pytest.mark.parametrize(
    "value", ["'0101'::bit", "'10:00:00+02'::timetz", "[1::hugeint]", "{'a': [1::uhugeint]}"]
)
def test_what_only_duckdb_can_read_is_refused_by_others(
    bench: Bench, postgres: str, request: pytest.FixtureRequest, value: str
) -> None:
    with duckdb.connect("x.duckdb") as connection:
        connection.execute(f"create table t as select {value} as a")
    data = bench.extract("sql", url="duckdb:///x.duckdb", table="t")
    for url in (postgres, request.getfixturevalue("mariadb"), "sqlite:///x.db"):
        with pytest.raises(ConversionFailed, match="no form for the column `a`"):
            bench.load("sql", data, url=url, table="opaque", mode="append")
    bench.load("sql", data, url="duckdb:///y.duckdb", table="t", mode="append")


def test_a_wide_integer_is_named_with_its_row(bench: Bench) -> None:
    with duckdb.connect("x.duckdb") as connection:
        connection.execute("create table t as select (i * 2)::hugeint as a from range(300000) r (i)")
        connection.execute("update t set a = 170141183460469231731687303715884105727 where a = 400000")
    with pytest.raises(
        ConversionFailed, match=r"column `a` \(HUGEINT\) holds 1701\d+ in row 200,001"
    ) as caught:
        bench.extract("sql", url="duckdb:///x.duckdb", table="t")
    assert 'cast("a" as varchar) as "a"' in caught.value.hint
    found = bench.extract("sql", url="duckdb:///x.duckdb", query='select cast("a" as varchar) as "a" from t')
    assert found["a"][200_000].as_py() == str(2**127 - 1)
