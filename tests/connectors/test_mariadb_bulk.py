"""`bulk: load_data`: what the INSERTs carry, exactly, and nothing changed or left out without an error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConversionFailed, DestinationFailed, WrongArgument
from tests.connectors import test_mariadb
from tests.connectors.mariadb_server import NAME, URL, execute, load, read, root

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

pytestmark = pytest.mark.usefixtures("mariadb")


def bulk(bench: Bench, data: Any, mode: str = "append", **more: Any) -> int:
    return load(bench, data, mode, bulk="load_data", **more)


class TestDestination(test_mariadb.TestDestination):
    def args(self) -> dict[str, Any]:
        return {**super().args(), "bulk": "load_data"}


TEXTS = st.none() | st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\0\\\t\n\r\x1a'\"N,%é😀")), max_size=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            TEXTS,
            st.none() | st.binary(max_size=6),
            st.none() | st.decimals(-(10**20), 10**20, places=4, allow_nan=False),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.booleans(),
        ),
        max_size=6,
    ),
    start=st.integers(0, 2),
)
def test_any_values_arrive_as_the_inserts_write_them(
    bench: Bench, rows: list[tuple[Any, ...]], start: int
) -> None:
    types = [pa.string(), pa.binary(), pa.decimal128(30, 4), pa.float64(), pa.bool_()]
    table = pa.table(
        {f"c{index}": pa.array([row[index] for row in rows], type_) for index, type_ in enumerate(types)}
    ).slice(start)
    for name, write in (("a", load), ("b", bulk)):
        execute(f"drop table if exists {name}")
        assert write(bench, table, table=name) == table.num_rows
    order = "order by c0, c1, c2, c3, c4"
    assert root(f"select * from b {order}", NAME) == root(f"select * from a {order}", NAME)
    assert sorted(map(repr, read(bench, "select * from b").to_pylist())) == sorted(
        map(repr, read(bench, "select * from a").to_pylist())
    )


def test_words_that_mean_something_to_load_data_are_only_words(bench: Bench) -> None:
    words = ["\\N", "NULL", "", None, "\\", "\\\\", "a\tb\nc\rd", "\x1a", "\0", "\\t", "'\"", " x "]
    data = [None if word is None else word.encode() for word in words]
    bulk(bench, pa.table({"n": range(len(words)), "a": words, "b": data}))
    found = read(bench, "select a, b from t order by n").to_pydict()
    assert found == {"a": words, "b": data}


def test_bits_and_labels_are_what_they_are(bench: Bench) -> None:
    execute("create table t (a bit(1), e enum('1','x'), j json, l varchar(9) character set latin1)")
    bulk(
        bench,
        pa.table(
            {"a": [True, False, None], "e": ["x", "1", None], "j": ["{}", "[1]", None], "l": ["é", "ÿ", ""]}
        ),
    )
    assert root("select a + 0, e + 0, j, l from t", NAME) == [
        (1, 2, "{}", "é"),
        (0, 1, "[1]", "ÿ"),
        (None, None, None, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("tinyint", pa.array([1, 300]), "Out of range value for column 'a' at row 2"),
        ("varchar(3)", pa.array(["abc", "abcd"]), "(?i)data .* for column 'a' at row 2"),
        ("varchar(3)", pa.array(["abc", "abc "]), "Data truncated for column 'a' at row 2"),
        ("varchar(3) character set latin1", pa.array(["a", "€ж"]), "Incorrect string value"),
        ("int not null", pa.array([1, None]), "at row 2"),
        ("json", pa.array(["{}", "{"]), "a"),
        ("int primary key", pa.array([1, 1]), "Duplicate entry '1'"),
        ("int check (a < 5)", pa.array([1, 7]), "(?i)constraint"),
        ("int references o (a)", pa.array([1, 7]), "(?i)foreign key"),
        ("decimal(5,1) unsigned", pa.array([1, -7]), "Out of range"),
    ],
)  # fmt: skip
def test_a_row_that_load_data_would_change_or_skip_is_an_error(
    bench: Bench, declared: str, values: pa.Array, said: str
) -> None:
    execute("create table o (a int primary key)", "insert into o values (1)")
    execute(f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match=said):
        bulk(bench, pa.table({"a": values}))
    assert root("select count(*) from t", NAME) == [(0,)]
    execute("drop table t")


@pytest.mark.parametrize(
    ("declared", "values"),
    [("char(5)", pa.array(["ab "])), ("binary(2)", pa.array([b"a"])), ("datetime", pa.array([1], pa.timestamp("us")))],
)  # fmt: skip
def test_what_is_checked_before_it_is_sent_is_checked_here_too(
    bench: Bench, declared: str, values: pa.Array
) -> None:
    execute(f"create table t (a {declared} null)")
    with pytest.raises(ConversionFailed, match="column `a`"):
        bulk(bench, pa.table({"a": values}))


def test_a_row_may_be_larger_than_a_packet(bench: Bench) -> None:
    """An INSERT of it would be refused: see test_mariadb.py."""
    words = ["x", "y" * 17_000_000]
    bulk(bench, pa.table({"a": words}))
    assert root("select length(a) from t", NAME) == [(1,), (17_000_000,)]


def test_a_server_that_takes_no_local_data_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `local_infile = 0` at the server, a client that has not said it can send any is refused."""
    from pipeline_flow.sql import mariadb

    real = mariadb._Connection
    monkeypatch.setattr(mariadb, "_Connection", lambda **more: real(**more | {"local_infile": False}))
    with pytest.raises(DestinationFailed, match="takes no LOAD DATA LOCAL") as caught:
        bulk(bench, pa.table({"a": [1]}))
    assert "local_infile" in caught.value.hint


def test_the_server_is_sent_no_file_that_it_asks_for(bench: Bench) -> None:
    """Nothing but rows goes out: LOAD DATA in statements of one's own stays refused by the driver."""
    execute("create table t (a text)")
    statement = "load data local infile '/etc/hostname' into table t"
    with pytest.raises(WrongArgument, match="reads a file of this machine"):
        bench.at_load("sql", url=URL, query=statement)

    async def joined() -> None:
        plugin = bench.plugin("load", "sql", url=URL, table="t", mode="append")
        hook = bench.plugin("pre", "sql", url=URL, query=statement)
        transaction = await plugin.begin()
        try:
            await hook.join(transaction)
        finally:
            await transaction.abort()

    with pytest.raises(WrongArgument, match="reads a file of this machine"):
        asyncio.run(joined())
    assert root("select count(*) from t", NAME) == [(0,)]


def test_it_is_a_way_into_mariadb_only(bench: Bench) -> None:
    (fault,) = bench.faults("load", "sql", url="duckdb:///x", table="t", mode="append", bulk="load_data")
    assert "a way into MariaDB" in fault
