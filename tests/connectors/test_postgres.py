"""Tables of PostgreSQL as sources and destinations."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.data import to_stream
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    QueryFailed,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from tests.connectors.conftest import every_type
from tests.connectors.postgres_server import STRANGER, database, run
from tests.connectors.suites import DestinationSuite, SourceSuite, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench


@pytest.fixture(scope="module")
def own_database() -> Iterator[str]:
    with database() as url:
        yield url


@pytest.fixture
def url(own_database: str) -> str:
    """A database without tables."""
    run(
        own_database,
        "drop schema if exists public cascade",
        "create schema public",
        "drop schema if exists shop cascade",
    )
    return own_database


def load(bench: Bench, url: str, data: Any, mode: str = "append", table: str = "t", **args: Any) -> int:
    return bench.load("sql", data, url=url, table=table, mode=mode, **args)


def read(bench: Bench, url: str, query: str = "select * from t", **params: Any) -> pa.Table:
    return bench.extract("sql", url=url, query=query, params=params)


@pytest.fixture
def stranger(url: str) -> Iterator[str]:
    """The URL of a user without any right."""
    run(url, f"create role {STRANGER} login", "grant usage on schema public to public")
    yield url.replace("postgres@", f"{STRANGER}@")
    run(url, f"drop owned by {STRANGER}", f"drop role {STRANGER}")


class TestSource(SourceSuite):
    plugin = "sql"
    malformed = not_applicable("a server speaks its protocol, or is not PostgreSQL")

    @pytest.fixture(autouse=True)
    def _at(self, url: str, request: pytest.FixtureRequest) -> None:
        self.url = url
        self.request = request

    def args(self) -> dict[str, Any]:
        return {"url": self.url, "table": "t"}

    def put(self, bench: Bench, table: pa.Table) -> None:
        load(bench, self.url, table, "replace")

    def missing(self, bench: Bench) -> str:
        return 'relation "t" does not exist'

    def unreadable(self, bench: Bench) -> str:
        self.put(bench, self.sample())
        self.url = self.request.getfixturevalue("stranger")
        return "permission denied for table t"


class TestDestination(DestinationSuite):
    plugin = "sql"

    @pytest.fixture(autouse=True)
    def _at(self, url: str, request: pytest.FixtureRequest) -> None:
        self.url = url
        self.request = request

    def args(self) -> dict[str, Any]:
        return {"url": self.url, "table": "t", "mode": "replace"}

    def read(self, bench: Bench) -> pa.Table:
        return read(bench, self.url)

    def exists(self, bench: Bench) -> bool:
        return run(self.url, "select to_regclass('t')") != [(None,)]

    def unwritable(self, bench: Bench) -> str:
        self.url = self.request.getfixturevalue("stranger")
        return "permission denied"


# ---------------------------------------------------------------------------------------------- extract


def test_a_table_is_read_by_columns_and_condition(bench: Bench, url: str) -> None:
    run(
        url,
        "create schema shop",
        'create table shop."Odd.Name" (a int, b text, c int)',
        """insert into shop."Odd.Name" values (1, 'x', 1), (2, 'y', 2)""",
    )
    found = bench.extract(
        "sql",
        url=url,
        table='shop."Odd.Name"',
        columns=["b", "a"],
        where="a > :least -- and more",
        params={"least": 1},
    )
    assert found.to_pydict() == {"b": ["y"], "a": [2]}


def test_values_are_bound_and_can_be_nothing_but_values(bench: Bench, url: str) -> None:
    run(url, "create table t (a int, s text)", "insert into t values (1, 'x')")
    for text in ("'; drop table t; --", "\\'; drop table t; --", "it's", "\\", "%s", "ä€😀", "{}", ":x"):
        found = read(bench, url, "select :s::text as s, 'a:s' as t, a from t where a = :a", s=text, a=1)
        assert found.to_pylist() == [{"s": text, "t": "a:s", "a": 1}]
    assert read(
        bench, url, "select 1 -:n as x, :l::int[] as l, :nothing::int as o", n=-5, l=[1, 2], nothing=None
    ).to_pylist() == [{"x": 6, "l": [1, 2], "o": None}]
    with pytest.raises(WrongArgument, match="has `:since`, and `params` does not give it"):
        read(bench, url, "select * from t where a > :since")
    with pytest.raises(WrongArgument, match="the query has no `:a`"):
        read(bench, url, "select 1 as x", a=1)
    with pytest.raises(WrongArgument, match="cannot take"):
        read(bench, url, "select :a as x", a="null \0 character")


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("select 1 as a; select 2 as b", WrongArgument, "exactly one SELECT"),
        ("-- nothing\n;", WrongArgument, "empty"),
        ("select *\nfrom t\nwhre a = 1", QueryFailed, "at line 3, column 6"),
        ("select amont from t", QueryFailed, 'column "amont" does not exist'),
        (
            "select * from orders",
            SourceUnreadable,
            'relation "orders" does not exist at line 1, column 15: `orders`',
        ),
        ("select a, a from t", ConversionFailed, "column `a` twice"),
        ("select from t", QueryFailed, "no columns"),
        ("select 1 / (a - 1) as x from t", QueryFailed, "division by zero"),
        ("select nextval('s') as n", QueryFailed, "read-only transaction"),
        ("insert into t values (2) returning a", QueryFailed, "syntax error"),
        ("select pg_sleep(2) as s", QueryFailed, "statement timeout"),
    ],
)
def test_a_wrong_query_is_explained(
    bench: Bench, url: str, query: str, error: type[Exception], said: str
) -> None:
    run(
        url,
        "create table t (a int, amount int)",
        "insert into t values (1)",
        "create table order_s (a int)",
        "create sequence s",
    )
    with pytest.raises(error, match="(?s).*") as caught:
        read(bench, f"{url}?statement_timeout=100ms", query)
    assert said in str(caught.value)
    assert run(url, "select count(*) from t") == [(1,)]


def test_the_nearest_table_and_column_are_named(bench: Bench, url: str) -> None:
    run(url, "create table customers (amount int)", "create schema shop", "create table shop.orders (a int)")
    for query, near in {
        "select * from custmers": "did you mean `customers`?",
        "select * from shop.order": "did you mean `shop.orders`?",
        "select amont from customers": 'Perhaps you meant to reference the column "customers.amount".',
    }.items():
        with pytest.raises((SourceUnreadable, QueryFailed)) as caught:
            read(bench, url, query)
        assert near in caught.value.hint


def test_one_extract_sees_one_snapshot(bench: Bench, url: str) -> None:
    run(url, "create table t as select i as a, repeat('x', 1000) as s from generate_series(1, 20000) i")

    async def check() -> int:
        stream = await bench.plugin("extract", "sql", url=url, query="select a, s from t")()
        async with stream:
            await stream.__anext__()
            run(url, "delete from t")
            return stream.rows + sum([batch.num_rows async for batch in stream])

    assert asyncio.run(check()) == 20_000
    assert read(bench, url).num_rows == 0


def test_rows_of_all_sizes_come_in_pieces(bench: Bench, url: str) -> None:
    run(
        url,
        "create table t as select i as a, repeat(E'ä,\"\\n', case when i % 100 = 0 then 500000 else 3 end) as s "
        "from generate_series(1, 500) i",
    )
    found = read(bench, url)
    assert found["a"].to_pylist() == list(range(1, 501))
    assert {len(text) for text in found["s"].to_pylist()} == {12, 2_000_000}


def test_a_query_that_fails_after_many_rows_is_explained(bench: Bench, url: str) -> None:
    with pytest.raises(QueryFailed, match="division by zero"):
        read(
            bench, url, "select 1 / (200000 - i) as x, repeat('x', 50) as s from generate_series(1, 300000) i"
        )


@pytest.mark.parametrize("rows", [0, 1, 9, 200_000])
def test_all_rows_arrive_however_the_end_does(bench: Bench, url: str, rows: int) -> None:
    """The end comes together with the last rows, or later by itself."""
    for query in (
        f"select i as a from generate_series(1, {rows}) i",
        f"select i as a from generate_series(1, {rows}) i union all select 0 from pg_sleep(0.1)",
    ):
        found = read(bench, url, query)["a"].to_pylist()
        assert [item for item in found if item] == list(range(1, rows + 1))


def test_a_column_of_nulls_and_empty_texts_alone(bench: Bench, url: str) -> None:
    run(url, "create table t (s text)", "insert into t values (null), (''), (null), ('\\.'), (''), (null)")
    assert read(bench, url)["s"].to_pylist() == [None, "", None, "\\.", "", None]


# ---------------------------------------------------------------------------------------------- load


def test_append_adds_rows_by_name(bench: Bench, url: str) -> None:
    load(bench, url, pa.table({"a": [1], "b": ["x"]}))
    load(bench, url, pa.table({"b": ["y"], "a": [2]}))
    assert read(bench, url).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


def test_a_table_is_made_with_types_key_and_names(bench: Bench, url: str) -> None:
    data = pa.table({"Order ID": [1], "customerName": ["x"], "VAT%": [Decimal("1.50")]})
    load(
        bench,
        url,
        data,
        table="shop.orders",
        naming="snake_case",
        key=["order_id"],
        columns={"vat": "numeric(10, 3)", "customer_name": "varchar(5)"},
    )
    assert run(
        url,
        "select column_name, data_type from information_schema.columns where table_schema = 'shop' order by 1",
    ) == [
        ("customer_name", "character varying"),
        ("order_id", "bigint"),
        ("vat", "numeric"),
    ]
    with pytest.raises(DestinationFailed, match="duplicate key.*order_id.*=.*1.*row 1") as caught:
        load(bench, url, data, table="shop.orders", naming="snake_case")
    assert "Traceback" not in str(caught.value)
    with pytest.raises(DestinationFailed, match="`key` names the column `nope`"):
        load(bench, url, data, table="u", key=["nope"])
    with pytest.raises(DestinationFailed, match="`columns` names the column `nope`"):
        load(bench, url, data, table="u", columns={"nope": "text"})
    with pytest.raises(DestinationFailed, match="which would change values"):
        load(bench, url, data, table="u", columns={"VAT%": "numeric(10, 1)"})
    with pytest.raises(ConversionFailed, match="both `a_b` in snake_case"):
        load(bench, url, pa.table({"a b": [1], "a-b": [1]}), table="u", naming="snake_case")
    assert run(url, "select to_regclass('u')") == [(None,)]


def test_replace_keeps_what_belongs_to_the_table(bench: Bench, url: str, stranger: str) -> None:
    run(
        url,
        "create table t (a int primary key, b text check (b <> ''), c int default 7)",
        "create view v as select * from t",
        "create index on t (b)",
        f"grant select on t to {STRANGER}",
        "insert into t values (1, 'x')",
        "create table child (a int references t deferrable)",
        "insert into child values (1)",
    )
    load(bench, url, pa.table({"a": [1, 2], "b": ["y", "z"]}), "replace")
    assert run(url, "select * from v order by a") == [(1, "y", 7), (2, "z", 7)]
    assert run(stranger, "select count(*) from t") == [(2,)]
    with pytest.raises(DestinationFailed, match="foreign key"):
        load(bench, url, pa.table({"a": [2], "b": ["y"]}), "replace")
    with pytest.raises(DestinationFailed, match="violates check constraint.*row 1"):
        load(bench, url, pa.table({"a": [1], "b": [""]}), "replace")
    assert run(url, "select count(*) from t") == [(2,)]


def test_replace_takes_no_rows_of_other_tables_with_it(bench: Bench, url: str) -> None:
    run(
        url,
        "create table t (a int primary key)",
        "create table child (a int references t on delete cascade)",
        "insert into t values (1)",
        "insert into child values (1)",
    )
    with pytest.raises(DestinationFailed, match="takes? those of `child`"):
        load(bench, url, pa.table({"a": [1]}), "replace")
    assert run(url, "select count(*) from child") == [(1,)]


def test_two_that_replace_at_once_leave_the_rows_of_one(bench: Bench, url: str) -> None:
    load(bench, url, pa.table({"a": [0]}))

    async def replace(number: int) -> None:
        plugin = bench.plugin("load", "sql", url=url, table="t", mode="replace")
        transaction = await plugin.begin()
        await plugin.stage(to_stream(pa.table({"a": [number] * 100})), transaction)
        await transaction.commit()

    async def both() -> None:
        await asyncio.gather(replace(1), replace(2))

    asyncio.run(both())
    assert read(bench, url).num_rows == 100


def test_loads_of_a_group_become_visible_together(bench: Bench, url: str) -> None:
    async def check() -> list[Any]:
        first = bench.plugin("load", "sql", url=url, table="t", mode="replace")
        second = bench.plugin(
            "load",
            "sql",
            url=url.replace("postgresql:", "postgres:") + "?connect_timeout=5",
            table="u",
            mode="append",
        )
        assert first.destination == second.destination
        transaction = await first.begin()
        await first.stage(to_stream(every_type()), transaction)
        await second.stage(to_stream(every_type()), transaction)
        before = run(url, "select to_regclass('t'), to_regclass('u')")
        await transaction.commit()
        return before

    assert asyncio.run(check()) == [(None, None)]
    assert run(url, "select (select count(*) from t), (select count(*) from u)") == [(3, 3)]


def test_two_users_in_one_transaction_are_refused(bench: Bench, url: str) -> None:
    async def check() -> None:
        first = bench.plugin("load", "sql", url=url, table="t", mode="append")
        second = bench.plugin("load", "sql", url=url.replace("postgres@", "other@"), table="u", mode="append")
        transaction = await first.begin()
        try:
            with pytest.raises(DestinationFailed, match="as two users"):
                await second.stage(to_stream(every_type()), transaction)
        finally:
            await transaction.abort()

    asyncio.run(check())


def test_columns_that_do_not_fit_are_named(bench: Bench, url: str) -> None:
    run(url, "create table t (amount int, b int default 1)", "create view v as select * from t")
    with pytest.raises(DestinationFailed, match="no column `amont`") as caught:
        load(bench, url, pa.table({"amont": [1]}))
    assert "did you mean `amount`?" in caught.value.hint
    assert 'alter table t add column "amont" bigint' in caught.value.hint
    with pytest.raises(DestinationFailed, match="the data has no column `amount`"):
        load(bench, url, pa.table({"b": [1]}))
    with pytest.raises(DestinationFailed, match="is a view"):
        load(bench, url, pa.table({"amount": [1]}), table="v")
    with pytest.raises(DestinationFailed, match="no columns"):
        load(bench, url, pa.table({}))
    with pytest.raises(DestinationFailed, match="takes 63 at most"):
        load(bench, url, pa.table({"x" * 64: [1]}), table="u")
    with pytest.raises(DestinationFailed, match="takes 63 at most"):
        load(bench, url, pa.table({"x": [1]}), table="u" * 64)


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("int", pa.array([1, 2**31]), "out of range for type integer; row 2, column `a`"),
        ("text", pa.array(["x", "a\0b"]), "holds 'a.x00b' in row 2.* no null character"),
        (
            "numeric(5,2)",
            pa.array([Decimal(1), Decimal("1000.00")], pa.decimal128(6, 2)),
            "field overflow.*row 2",
        ),
        ("varchar(3)", pa.array(["abc", "abc "]), "takes 3 characters, and row 2 holds 'abc ' with 4"),
        (
            "timestamp(3)",
            pa.array([1000, None, -1001], pa.timestamp("us")),
            "would round 1969-12-31 23:59:59.998999 in row 3",
        ),
        ("time(0)", pa.array([1], pa.time64("us")), "would round 00:00:00.000001 in row 1"),
        ("uuid", pa.array(["no"]), "invalid input syntax for type uuid.*row 1, column `a`"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_named_and_changes_nothing(
    bench: Bench, url: str, declared: str, values: pa.Array, said: str
) -> None:
    run(url, f"create table t (a {declared})", "insert into t values (null)")
    with pytest.raises((DestinationFailed, ConversionFailed), match=said):
        load(bench, url, pa.table({"a": values}), "replace")
    assert run(url, "select count(*) from t") == [(1,)]


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("int", pa.array([1.5])),
        ("int", pa.array(["1"])),
        ("real", pa.array([0.1])),
        ("double precision", pa.array([1])),
        ("date", pa.array([0], pa.timestamp("us"))),
        ("timestamp", pa.array([0], pa.timestamp("us", "UTC"))),
        ("numeric(5,1)", pa.array([Decimal("1.25")], pa.decimal128(5, 2))),
        ("numeric(5,1)", pa.array([1.5])),
        ("name", pa.array(["x"])),
        ("text", pa.array([b"x"])),
        ("text[]", pa.array([[1]])),
        ("boolean", pa.array([1])),
    ],
)
def test_a_type_that_would_change_values_is_an_error(
    bench: Bench, url: str, declared: str, values: pa.Array
) -> None:
    run(url, f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match="which would change values"):
        load(bench, url, pa.table({"a": values}))


# ---------------------------------------------------------------------------------------------- at load


def test_statements_run_in_one_transaction(bench: Bench, url: str) -> None:
    load(bench, url, pa.table({"a": [1, 2, 3]}))
    bench.at_load(
        "sql",
        url=url,
        params={"least": 1, "name": "x'y"},
        query="""
        create table u as select a, :name::text as n from t where a > :least;  -- one; two
        create function f() returns int language sql begin atomic select case when true then 1 end; select 2; end;
        do $$ begin perform 1; end $$;
        delete from t where a = 1; /* the /* end */ ; */
    """,
    )
    assert bench.notices[-1] == "3 rows affected"
    assert run(url, "select * from u order by a") == [(2, "x'y"), (3, "x'y")]
    with pytest.raises(SourceUnreadable, match='relation "nowhere" does not exist at line 1, column 13'):
        bench.at_load("sql", url=url, query="delete from t; insert into nowhere values (1)")
    for end in ("commit", "/* x */ end", "-- x\nROLLBACK", "start transaction", "savepoint x"):
        with pytest.raises(WrongArgument, match="one transaction of our own"):
            bench.at_load("sql", url=url, query=f"delete from t; {end}")
    with pytest.raises(WrongArgument, match="has `:least`"):
        bench.at_load("sql", url=url, query="delete from t where a > :least")
    assert read(bench, url)["a"].to_pylist() == [2, 3]


def test_a_stranger_may_not_write(bench: Bench, url: str, stranger: str) -> None:
    load(bench, url, every_type())
    with pytest.raises(TargetUnwritable, match="permission denied for table t"):
        load(bench, stranger, every_type())
    with pytest.raises(SourceUnreadable, match="permission denied for table t"):
        bench.at_load("sql", url=stranger, query="delete from t")
