"""Databases through SQLAlchemy: three of its dialects, at real servers and in a file."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sqlite3
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import pipeline_flow
from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    QueryFailed,
    RetryableError,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.sql import engine, url
from tests.connectors import mariadb_server, postgres_server
from tests.connectors.conftest import every_type, nested
from tests.connectors.suites import DestinationSuite, SourceSuite, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.connectors.conftest import Bench


@dataclass
class Place:
    """A database without tables, and a way to run SQL in it beside the plugin."""

    name: str
    url: str
    run: Callable[..., list[tuple[Any, ...]]]

    def stranger(self) -> str:
        """The URL of a user without any right."""
        if self.name == "postgresql":
            self.run(
                f"create role {postgres_server.STRANGER} login", "grant usage on schema public to public"
            )
            return self.url.replace("postgres@", f"{postgres_server.STRANGER}@")
        self.run(
            f"create user {mariadb_server.STRANGER}@'%' identified by 'p@ss/w:ö'",
            f"grant usage on *.* to {mariadb_server.STRANGER}@'%'",
        )
        self.run(
            "create or replace table open (a int)",
            f"grant select on `{mariadb_server.NAME}`.open to {mariadb_server.STRANGER}@'%'",
        )
        return self.url.replace("root@", f"{mariadb_server.STRANGER}:p%40ss%2Fw%3A%C3%B6@")

    def forget(self) -> None:
        """Removes the stranger."""
        if self.name == "postgresql":
            self.run(f"drop owned by {postgres_server.STRANGER}", f"drop role {postgres_server.STRANGER}")
        else:
            self.run(f"drop user {mariadb_server.STRANGER}@'%'")


@pytest.fixture(scope="module")
def postgres_database() -> Iterator[str]:
    with postgres_server.database() as found:
        yield found


@pytest.fixture
def sqlite_place(bench: Bench) -> Place:
    def run(*statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with contextlib.closing(sqlite3.connect("x.db", isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    return Place("sqlite", "sqlite+pysqlite:///x.db", run)


@pytest.fixture
def postgres_place(postgres_database: str) -> Place:
    postgres_server.run(
        postgres_database,
        "drop schema if exists public cascade",
        "create schema public",
        "drop schema if exists shop cascade",
    )
    place = postgres_database.replace("postgresql://", "postgresql+psycopg://")
    return Place("postgresql", place, lambda *statements: postgres_server.run(postgres_database, *statements))


@pytest.fixture
def mariadb_place(mariadb: str) -> Place:
    def run(*statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = mariadb_server.root(statement, mariadb_server.NAME)
        return rows

    return Place("mariadb", mariadb.replace("mariadb://", "mariadb+pymysql://"), run)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def load(bench: Bench, place: Place, data: Any, mode: str = "append", table: str = "t", **more: Any) -> int:
    rows: int = bench.load("sql", data, url=place.url, table=table, mode=mode, **more)
    return rows


def read(bench: Bench, place: Place, query: str = "select * from t", **more: Any) -> pa.Table:
    return bench.extract("sql", url=place.url, query=query, **more)


# ---------------------------------------------------------------------------------------------- the suites


def sample(name: str) -> pa.Table:
    """Every type that the database has: SQLite has no decimals, and neither it nor MariaDB keeps zones through SQLAlchemy."""
    table = every_type()
    left_out = {"sqlite": ["price", "huge", "instant"], "mariadb": ["instant"], "postgresql": []}
    return table.drop_columns(left_out[name])


class _Source(SourceSuite):
    plugin = "sql"
    many_rows = 30_000
    malformed = not_applicable("a server speaks its protocol; SQLite has a test of its own")
    fixture = ""

    @pytest.fixture(autouse=True)
    def _at(self, request: pytest.FixtureRequest, bench: Bench) -> Iterator[None]:
        self.place: Place = request.getfixturevalue(self.fixture)
        self.url = self.place.url
        self.clean: list[Callable[[], None]] = []
        yield
        for step in self.clean:
            step()

    def sample(self) -> pa.Table:
        return sample(self.place.name)

    def args(self) -> dict[str, Any]:
        return {"url": self.url, "table": "t"}

    def put(self, bench: Bench, table: pa.Table) -> None:
        load(bench, self.place, table, "replace")

    def missing(self, bench: Bench) -> str:
        self.place.run("select 1")
        return "there is no table `t`"

    def unreadable(self, bench: Bench) -> str:
        self.put(bench, self.sample())
        if self.place.name == "sqlite":
            pytest.skip("not applicable: the file's permissions are those of the engine `sqlite`")
        self.clean.append(self.place.forget)
        self.url = self.place.stranger()
        return "permission"


class TestSQLiteSource(_Source):
    fixture = "sqlite_place"


class TestPostgreSQLSource(_Source):
    fixture = "postgres_place"


class TestMariaDBSource(_Source):
    fixture = "mariadb_place"


class TestPostgreSQLQuery(TestPostgreSQLSource):
    """A query's types come from its values, and decimals' digits from the driver."""

    def args(self) -> dict[str, Any]:
        return {"url": self.url, "query": "select * from t"}

    def missing(self, bench: Bench) -> str:
        return 'relation "t" does not exist'


class _Destination(DestinationSuite):
    plugin = "sql"
    many_rows = 20_000
    fixture = ""

    @pytest.fixture(autouse=True)
    def _at(self, request: pytest.FixtureRequest, bench: Bench) -> Iterator[None]:
        self.place: Place = request.getfixturevalue(self.fixture)
        self.url = self.place.url
        self.clean: list[Callable[[], None]] = []
        yield
        for step in self.clean:
            step()

    def sample(self) -> pa.Table:
        return sample(self.place.name)

    def args(self) -> dict[str, Any]:
        return {"url": self.url, "table": "t", "mode": "replace"}

    def read(self, bench: Bench) -> pa.Table:
        return bench.extract("sql", url=self.place.url, table="t")

    def exists(self, bench: Bench) -> bool:
        catalogue = {
            "sqlite": "select name from sqlite_master where name = 't'",
            "postgresql": "select 1 where to_regclass('t') is not null",
            "mariadb": "show tables like 't'",
        }
        return bool(self.place.run(catalogue[self.place.name]))

    def unwritable(self, bench: Bench) -> str:
        if self.place.name == "sqlite":
            pytest.skip("not applicable: the file's permissions are those of the engine `sqlite`")
        self.clean.append(self.place.forget)
        self.url = self.place.stranger()
        return "permission"


class TestSQLiteDestination(_Destination):
    fixture = "sqlite_place"


class TestPostgreSQLDestination(_Destination):
    fixture = "postgres_place"


class TestMariaDBDestination(_Destination):
    fixture = "mariadb_place"


# ---------------------------------------------------------------------------------------------- loading


def test_append_adds_rows_by_name_and_replace_keeps_the_table(bench: Bench, place: Place) -> None:
    load(bench, place, pa.table({"a": [1], "b": ["x"]}), key=["a"])
    load(bench, place, pa.table({"b": ["y"], "a": [2]}))
    assert sorted(place.run("select a, b from t")) == [(1, "x"), (2, "y")]
    load(bench, place, pa.table({"a": [3], "b": ["z"]}), "replace")
    assert place.run("select a, b from t") == [(3, "z")]
    with pytest.raises(DestinationFailed):
        load(bench, place, pa.table({"a": [3], "b": ["again"]}))


def test_columns_in_the_databases_own_words(bench: Bench, place: Place) -> None:
    load(bench, place, pa.table({"a": ["x"], "n": [1]}), columns={"a": "varchar(7)"})
    assert read(bench, place).to_pylist() == [{"a": "x", "n": 1}]
    if place.name != "sqlite":
        with pytest.raises(DestinationFailed, match="too long"):
            load(bench, place, pa.table({"a": ["12345678"], "n": [1]}))
        assert place.run("select count(*) from t") == [(1,)]


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("int", pa.array([1.5])),
        ("int", pa.array(["1"])),
        ("date", pa.array([0], pa.timestamp("us"))),
        ("decimal(5,1)", pa.array(["1.25"]).cast(pa.decimal128(5, 2))),
        ("varchar(20)", pa.array([1])),
        ("real", pa.array([2**40])),
    ],
)
def test_a_type_that_would_change_values_is_an_error(
    bench: Bench, server: Place, declared: str, values: pa.Array
) -> None:
    server.run(f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match="would change values"):
        load(bench, server, pa.table({"a": values}))
    assert server.run("select count(*) from t") == [(0,)]


def test_decimals_never_become_floats(bench: Bench, place: Place) -> None:
    exact = Decimal("12345678901234567890.123456789")
    load(bench, place, pa.table({"a": pa.array([exact], pa.decimal128(38, 9))}))
    assert [Decimal(value) for (value,) in place.run("select a from t")] == [exact]
    found = bench.extract("sql", url=place.url, table="t", columns={"a": "DECIMAL(38, 9)"})
    assert found["a"].to_pylist() == [exact]


def test_a_time_finer_than_the_column_is_an_error(bench: Bench, mariadb_place: Place) -> None:
    mariadb_place.run("create table t (a datetime)")
    with pytest.raises(ConversionFailed, match="column `a`.*0 digits behind the seconds"):
        load(bench, mariadb_place, pa.table({"a": pa.array([1], pa.timestamp("us"))}))
    load(bench, mariadb_place, pa.table({"a": pa.array([1_000_000], pa.timestamp("us"))}))


def test_an_instant_and_a_moment_are_not_mixed_where_the_database_tells_them_apart(
    bench: Bench, postgres_place: Place
) -> None:
    postgres_place.run("create table t (a timestamp, b timestamptz)")
    for column, type_ in (("a", pa.timestamp("us", "UTC")), ("b", pa.timestamp("us"))):
        with pytest.raises(DestinationFailed, match=f"column `{column}`.*would change values"):
            load(bench, postgres_place, pa.table({column: pa.array([0], type_)}))


def test_nan_in_sqlite_is_an_error_and_elsewhere_the_databases_matter(bench: Bench, place: Place) -> None:
    data = pa.table({"a": [1.5, float("nan")]})
    if place.name == "postgresql":
        assert load(bench, place, data) == 2
        return
    with pytest.raises((ConversionFailed, DestinationFailed), match=r"(?i)nan"):
        load(bench, place, data)


def test_nested_values_become_json_text(bench: Bench, place: Place) -> None:
    load(bench, place, nested())
    first = place.run("select list, struct from t")[0]
    assert first == ('["a", null, "it\'s \\"x\\", [y]"]', '{"n": "1.10", "d": "2024-01-01"}')


def test_a_column_that_one_side_lacks_is_an_error(bench: Bench, place: Place) -> None:
    place.run("create table t (amount int not null, source varchar(9) default 'here')")
    load(bench, place, pa.table({"amount": [1]}))
    assert place.run("select amount, source from t") == [(1, "here")]
    with pytest.raises(DestinationFailed, match="no column `amont`") as caught:
        load(bench, place, pa.table({"amont": [1]}))
    assert "did you mean `amount`?" in caught.value.hint
    with pytest.raises(DestinationFailed, match="the data has no column `amount`"):
        load(bench, place, pa.table({"source": ["x"]}))


def test_a_view_is_refused(bench: Bench, place: Place) -> None:
    place.run("create view v as select 1 as a")
    with pytest.raises(DestinationFailed, match="`v` is a view"):
        load(bench, place, pa.table({"a": [1]}), table="v")


def test_a_missing_schema_is_made(bench: Bench, postgres_place: Place) -> None:
    load(bench, postgres_place, pa.table({"a": [1]}), table="shop.t")
    assert bench.extract("sql", url=postgres_place.url, table="shop.t").to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    "name",
    [
        "`; drop table t; --",
        "a.b",
        "select",
        "ä ö",
        'x"y',
        "a'b",
        "a%sb",
        "100%",
        ":a",
        "a(b)",
        "Mixed",
        "x\\y",
    ],
)
def test_hostile_names_are_only_names(bench: Bench, place: Place, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    if place.name == "mariadb" and "`" in name:
        pytest.skip(
            "not applicable: SQLAlchemy reads the names of MariaDB's columns wrong where they hold a backtick"
        )
    load(bench, place, pa.table({name: [1]}), table=quoted)
    assert bench.extract("sql", url=place.url, table=quoted, columns=[name]).to_pydict() == {name: [1]}


@pytest.mark.parametrize("post", ["insert into t select sum(a) from t", "insert into nowhere values (1)"])
def test_hooks_come_and_go_with_the_rows_of_the_load(bench: Bench, place: Place, post: str) -> None:
    load(bench, place, pa.table({"a": [7]}))
    Path("in.csv").write_text("a\n1\n2\n")

    def hook(query: str, **more: Any) -> list[dict[str, Any]]:
        return [{"plugin": "sql", "args": {"url": place.url, "query": query, **more}}]

    phases = {
        "extract": {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}]},
        "load": {
            "pre": hook("delete from t where a = :a", params={"a": 7}),
            "steps": [{"plugin": "sql", "args": {"url": place.url, "table": "t", "mode": "append"}}],
            "post": hook(post),
        },
    }
    result = pipeline_flow.run({"pipelines": {"p": {"phases": phases}}}, raise_on_failure=False)
    works = "nowhere" not in post
    assert result.succeeded is works
    assert sorted(place.run("select a from t")) == ([(1,), (2,), (3,)] if works else [(7,)])


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [
        ("extract", {"tables": "*"}, "`tables` is for"),
        ("load", {"table": "t", "mode": "append", "indexes": [["a"]]}, "`indexes` is for"),
        ("load", {"table": "t", "mode": "append", "comments": {"table": "x"}}, "`comments` is for"),
    ],
)
def test_what_only_our_own_engines_can_do_is_refused_before_a_run(
    bench: Bench, kind: str, args: dict[str, Any], said: str
) -> None:
    (fault,) = bench.faults(kind, "sql", url="sqlite+pysqlite:///x.db", **args)
    assert said in fault


def test_two_loads_of_a_group_are_one_transaction(bench: Bench, place: Place) -> None:
    place.run("create table t (a int)", "create table u (a int)")

    async def run() -> list[int]:
        from pipeline_flow.data import to_stream

        first = bench.plugin("load", "sql", url=place.url, table="t", mode="append")
        second = bench.plugin("load", "sql", url=place.url, table="u", mode="append")
        assert first.destination == second.destination
        transaction = await first.begin()
        await first.stage(to_stream(pa.table({"a": [1]})), transaction)
        await second.stage(to_stream(pa.table({"a": [2]})), transaction)
        seen = [place.run("select count(*) from t")[0][0]]
        await transaction.commit()
        return [*seen, place.run("select a from t")[0][0], place.run("select a from u")[0][0]]

    assert asyncio.run(run()) == [0, 1, 2]


# ---------------------------------------------------------------------------------------------- reading


def test_values_are_bound_and_can_be_nothing_but_values(bench: Bench, place: Place) -> None:
    place.run("create table t (a int, s varchar(40))", "insert into t values (1, 'x')")
    for text in ("'; drop table t; --", "it's", "\\", "%s", "%", "ä€😀", "{}", ":x", "\\:x"):
        found = read(
            bench, place, "select a from t where :s <> 'a:s %' and a = :a -- :c", params={"s": text, "a": 1}
        )
        assert found.to_pylist() == [{"a": 1}]
        load(bench, place, pa.table({"a": [2], "s": [text]}))
        assert read(bench, place, "select s from t where s = :s", params={"s": text})["s"].to_pylist() == [
            text
        ]
        place.run("delete from t where a = 2")
    with pytest.raises(WrongArgument, match="the query has no `:c`"):
        read(bench, place, "select a from t where s = :b", params={"b": "x", "c": 1})
    if place.name != "sqlite":
        with pytest.raises(WrongArgument, match="has `:b`, and `params` does not give it"):
            read(bench, place, "select a from t where s = :b")


def test_a_colon_is_a_colon_where_it_is_no_value(bench: Bench, postgres_place: Place) -> None:
    query = "select 'a:n' as t, '10'::int as i, (array[1,2,3])[1:2] as l, :n + 0 as n, 5 % 3 as m, e'\\':n' as e, $$:n$$ as d"
    assert read(bench, postgres_place, query, params={"n": 7}).to_pylist() == [
        {"t": "a:n", "i": 10, "l": "[1, 2]", "n": 7, "m": 2, "e": "':n", "d": ":n"}
    ]


def test_a_date_given_as_text_is_compared_as_the_column_is(bench: Bench, place: Place) -> None:
    place.run("create table t (day date)", "insert into t values ('2024-01-01'), ('2024-06-01')")
    for value in ("2024-02-01", dt.date(2024, 2, 1)):
        found = bench.extract(
            "sql", url=place.url, table="t", columns=["day"], where="day >= :since", params={"since": value}
        )
        assert found["day"].to_pylist() == [dt.date(2024, 6, 1)]


@pytest.mark.parametrize("query", ["delete from t", "select 1 as a; delete from t", "drop table t", " ; "])
def test_an_extract_only_reads(bench: Bench, place: Place, query: str) -> None:
    place.run("create table t (a int)", "insert into t values (1)")
    with pytest.raises(WrongArgument):
        read(bench, place, query)
    assert place.run("select count(*) from t") == [(1,)]


def test_a_query_that_writes_all_the_same_is_taken_back(bench: Bench, postgres_place: Place) -> None:
    postgres_place.run("create table t (a int)", "insert into t values (1)")
    with pytest.raises(QueryFailed):
        read(bench, postgres_place, "with gone as (delete from t returning a) select * from gone")
    postgres_place.run("create function f() returns int language sql as $$ delete from t returning 1 $$")
    assert read(bench, postgres_place, "select f() as a")["a"].to_pylist() == [1]
    assert postgres_place.run("select count(*) from t") == [(1,)]


def test_what_is_wrong_with_a_query_is_said_without_its_values(bench: Bench, place: Place) -> None:
    place.run("create table orders (amount int)")
    with pytest.raises(SourceUnreadable, match="there is no table `oders`") as caught:
        bench.extract("sql", url=place.url, table="oders")
    assert "did you mean `orders`?" in caught.value.hint
    with pytest.raises(SourceUnreadable, match="has no column `amont`") as wrong:
        bench.extract("sql", url=place.url, table="orders", columns=["amont"])
    assert "did you mean `amount`?" in wrong.value.hint
    with pytest.raises(QueryFailed) as said:
        read(bench, place, "select :a as a from from orders", params={"a": "hunter22"})
    told = f"{said.value} {said.value.hint}"
    assert "hunter22" not in told
    assert "[SQL" not in told
    assert "sqlalche.me" not in told
    with pytest.raises(ConversionFailed, match="gives the column `a` twice"):
        read(bench, place, "select 1 as a, 2 as a")


def test_a_schema_that_later_rows_do_not_fit_names_column_and_row(bench: Bench, sqlite_place: Place) -> None:
    sqlite_place.run("create table t (a)")
    sqlite_place.run(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9999) insert into t select i from n"
    )
    sqlite_place.run("insert into t values ('x')")
    with pytest.raises(
        ConversionFailed, match="column `a` is int64 by its first rows, and row 10,000 holds 'x'"
    ) as caught:
        read(bench, sqlite_place)
    assert "`columns: {a: …}`" in caught.value.hint
    found = read(bench, sqlite_place, columns={"a": "VARCHAR"})
    assert found["a"].to_pylist()[-2:] == ["9999", "x"]
    with pytest.raises(WrongArgument, match="cannot be read through SQLAlchemy"):
        read(bench, sqlite_place, columns={"a": "STRUCT(a INTEGER)"})
    with pytest.raises(WrongArgument, match="names the column `b`"):
        read(bench, sqlite_place, columns={"b": "VARCHAR"})


def test_a_column_whose_first_rows_are_null_is_looked_at_further(bench: Bench, postgres_place: Place) -> None:
    query = "select case when i > 3000 then i end as a from generate_series(1, 4000) i"
    found = read(bench, postgres_place, query)
    assert found.schema.field("a").type == pa.int64()
    assert found["a"].null_count == 3000


def test_values_of_several_kinds_are_refused_with_the_remedy(bench: Bench, sqlite_place: Place) -> None:
    sqlite_place.run("select 1")
    with pytest.raises(ConversionFailed, match="values of several kinds: text, whole") as caught:
        read(bench, sqlite_place, "select 1 as a union all select 'x'")
    assert "cast(a as" in caught.value.hint


def test_the_databases_own_types_are_exact(bench: Bench, postgres_place: Place) -> None:
    query = """select 'a'::json as j0, '{"n": 1.10, "big": 12345678901234567890.5}'::jsonb as j,
        array[1.5, null]::numeric[] as l, 'd9428888-122b-11e1-b85c-61cd3cbb3210'::uuid as u, interval '1 day 2 hours' as i,
        '10.0.0.1/8'::inet as ip, 1.10::numeric(10,4) as n, 1e-20::numeric as tiny, '\\x00ff'::bytea as b,
        timestamptz '2024-06-01 12:00:00+02' as z, 9223372036854775807 as w""".replace("'a'::json as j0,", "")
    (row,) = read(bench, postgres_place, query).to_pylist()
    assert row == {
        "j": '{"n": 1.10, "big": 12345678901234567890.5}',
        "l": '["1.5", null]',
        "u": uuid.UUID("d9428888-122b-11e1-b85c-61cd3cbb3210"),
        "i": dt.timedelta(days=1, hours=2),
        "ip": "10.0.0.1/8",
        "n": Decimal("1.1000"),
        "tiny": Decimal("1E-20"),
        "b": b"\x00\xff",
        "z": dt.datetime(2024, 6, 1, 10, tzinfo=dt.UTC),
        "w": 2**63 - 1,
    }
    for value, said in (
        ("'NaN'::numeric", "holds Decimal"),
        ("timetz '10:00+02'", "time with a zone|Time|time"),
        ("int4range(1, 5)", "no exact form"),
    ):
        with pytest.raises(ConversionFailed, match=said):
            read(bench, postgres_place, f"select {value} as a")


def test_what_mariadb_rounds_on_the_wire_is_refused(bench: Bench, mariadb_place: Place) -> None:
    mariadb_place.run("create table t (a float)", "insert into t values (16777216)")
    with pytest.raises(ConversionFailed, match="six digits") as caught:
        read(bench, mariadb_place)
    assert "cast(a as double)" in caught.value.hint
    assert read(bench, mariadb_place, "select cast(a as double) as a from t")["a"].to_pylist() == [16777216.0]


def test_a_stream_left_half_way_does_not_read_the_rest(bench: Bench, server: Place) -> None:
    endless = {
        "postgresql": "select generate_series(1, 2000000000) as a",
        "mariadb": "select seq as a from seq_1_to_2000000000",
    }

    async def run() -> int:
        stream = await bench.plugin("extract", "sql", url=server.url, query=endless[server.name])()
        async with stream:
            async for batch in stream:
                return int(batch.num_rows)
        return 0

    assert asyncio.run(run()) == 512


def test_a_query_is_interrupted_when_the_run_wants_it(bench: Bench, server: Place) -> None:
    database = url.parse(server.url)
    sleep = {"postgresql": "pg_sleep(100)", "mariadb": "sleep(100)"}[server.name]
    plugin = bench.plugin("transform_at_load", "sql", url=server.url, query=f"select {sleep}")
    context = plugin.context
    running = {
        "postgresql": "select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'",
        "mariadb": "select 1 from information_schema.processlist where info like 'select sleep%'",
    }

    def cancel() -> None:
        while not server.run(running[server.name]):
            pass
        context.cancel_flag.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledByRun):
        engine.of(database).execute(context, database, f"select {sleep}", {})
    thread.join()


# ---------------------------------------------------------------------------------------------- statements


def test_statements_are_one_transaction(bench: Bench, place: Place) -> None:
    place.run("create table t (a int, s varchar(9))", "insert into t values (1, 'x')")
    database = url.parse(place.url)
    context = bench.plugin("extract", "sql", url=place.url, table="t").context
    run = engine.of(database).execute
    text = "insert into t values (2, 'a;b'); -- a; comment\nupdate t set s = :s where a = :a; select 1;"
    assert run(context, database, text, {"s": "y:z%", "a": 1}) == 2
    assert place.run("select * from t order by a") == [(1, "y:z%"), (2, "a;b")]
    with pytest.raises((QueryFailed, SourceUnreadable)):
        run(context, database, "delete from t; insert into nowhere values (1)", {})
    assert place.run("select count(*) from t") == [(2,)]
    for ending in ("commit", "begin; select 1", "ROLLBACK", "begin transaction"):
        with pytest.raises(WrongArgument, match="one transaction of our own"):
            run(context, database, ending, {})


def test_the_body_of_a_routine_is_one_statement(bench: Bench, mariadb_place: Place) -> None:
    database = url.parse(mariadb_place.url)
    context = bench.plugin("extract", "sql", url=mariadb_place.url, table="t").context
    text = "create table t (a int); create procedure p() begin insert into t values (1); insert into t values (2); end"
    engine.of(database).execute(context, database, text, {})
    mariadb_place.run("call p()")
    assert mariadb_place.run("select a from t") == [(1,), (2,)]
    mariadb_place.run("drop procedure p")


# ---------------------------------------------------------------------------------------------- connecting


def test_a_probe_tells_what_answers_and_changes_nothing(bench: Bench, place: Place) -> None:
    place.run("select 1")
    found = engine.of(url.parse(place.url)).probe(url.parse(place.url))
    product, _, version = found.version.partition(" ")
    assert product == {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}[place.name]
    assert version[0].isdigit()
    assert (
        found.user.partition("@")[0]
        == {"sqlite": "", "postgresql": "postgres", "mariadb": "root"}[place.name]
    )
    assert found.refusals == {"read": "", "write": ""}
    tables = {
        "sqlite": "select name from sqlite_master",
        "postgresql": "select relname from pg_class where relname like 'pipeline_flow%'",
        "mariadb": "show tables",
    }
    assert place.run(tables[place.name]) == []


def test_a_probe_tells_what_may_not_be_done(bench: Bench, server: Place) -> None:
    who = server.stranger()
    try:
        found = engine.of(url.parse(who)).probe(url.parse(who))
    finally:
        server.forget()
    assert "denied" in found.refusals["write"]


@pytest.mark.parametrize(
    ("text", "raised", "said"),
    [
        ("postgresql+psycopg://postgres:hunter22@127.0.0.1:1/x", RetryableError, "nothing answers"),
        ("postgresql+psycopg://postgres:hunter22@no.such.invalid/x", Exception, "host of|reached|answers"),
        (
            "postgresql+psycopg://nobody_at_all:hunter22@127.0.0.1/postgres",
            SourceUnreadable,
            "user or the password",
        ),
        ("postgresql+psycopg://postgres:hunter22@127.0.0.1/not_there", SourceUnreadable, "is not there"),
        ("postgresql+psycopg://postgres:hunter22@127.0.0.1/x?sslmode=hunter22", Exception, "sslmode"),
        ("mariadb+pymysql://root:hunter22@127.0.0.1/x", SourceUnreadable, "user or the password"),
        ("mariadb+pymysql://root:hunter22@127.0.0.1:1/x", RetryableError, "nothing answers"),
        (
            "mariadb+pymysql://root@127.0.0.1/not_there?hunter22=1",
            WrongArgument,
            "does not take",
        ),
    ],
)
def test_why_there_is_no_way_in_is_said_without_the_password(
    bench: Bench, mariadb_place: Place, postgres_place: Place, text: str, raised: type[Exception], said: str
) -> None:
    with pytest.raises(raised, match=said) as caught:
        engine.of(url.parse(text)).probe(url.parse(text))
    assert ":hunter22" not in f"{caught.value!r}{getattr(caught.value, 'hint', '')}"


def test_a_missing_file_and_one_that_is_none_are_said(bench: Bench) -> None:
    with pytest.raises(SourceUnreadable, match="does not exist"):
        bench.extract("sql", url="sqlite+pysqlite:///gone.db", table="t")
    assert not Path("gone.db").exists()
    Path("odd.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Exception, match="odd.db is none"):
        bench.extract("sql", url="sqlite+pysqlite:///odd.db", table="t")


@pytest.mark.parametrize(
    ("text", "said", "advice"),
    [
        ("snowflake://me:hunter22@account/db", "no dialect `snowflake`", "pip install snowflake-sqlalchemy"),
        ("oracle+oracledb://me:hunter22@h/?service_name=x", "oracledb", "pip install oracledb"),
        ("mssql+pyodbc://me:hunter22@h/x", "pyodbc", "pip install pyodbc"),
        ("postgresql+psycopg2://me:hunter22@h/x", "psycopg2", "pip install psycopg2-binary"),
        ("postgresql+nothing://me:hunter22@h/x", "no driver `nothing`", "look at its name"),
    ],
)
def test_a_package_that_is_missing_is_named(bench: Bench, text: str, said: str, advice: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        bench.extract("sql", url=text, table="t")
    assert said in str(caught.value)
    assert advice in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_sqlalchemy_itself_may_be_missing_and_is_imported_late() -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from pipeline_flow.sql import engine, url\n"
        "found = url.parse('oracle+oracledb://h/x')\n"
        "try: engine.of(found)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "WrongArgument" in done.stdout
    assert "pip install 'pipeline-flow[sqlalchemy]'" in done.stdout


def test_a_target_unwritable_is_no_secret_leak(bench: Bench, mariadb_place: Place) -> None:
    who = mariadb_place.stranger()
    try:
        with pytest.raises(TargetUnwritable) as caught:
            bench.load("sql", pa.table({"a": [1]}), url=who, table="t", mode="append")
    finally:
        mariadb_place.forget()
    assert "p@ss" not in f"{caught.value!r}{caught.value.hint}"
