"""Several tables from one extract step: which they are, what state of the database they show, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest

import pipeline_flow
from pipeline_flow import entrypoint
from pipeline_flow.errors import DataError, RetryableError, RunError, SourceUnreadable
from pipeline_flow.sql import engine as engines
from pipeline_flow.sql import pattern, snapshot
from pipeline_flow.sql import url as urls
from pipeline_flow.sql.pattern import Catalogue, Relation
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream, Tables
    from tests.connectors.conftest import Bench

ENGINES = ["duckdb", "sqlite", "postgresql", "mariadb"]


@dataclass(frozen=True)
class Source:
    """A database with no tables; ``run`` is another connection, which commits by itself, and gives the last rows."""

    engine: str
    url: str
    schema: str
    run: Callable[..., list[tuple[Any, ...]]]

    def make_schema(self, name: str) -> str:
        """Another schema; in MariaDB that is another database."""
        name = f"{self.schema}_{name}" if self.engine == "mariadb" else name
        self.run(f"create schema {name}")
        return name


@pytest.fixture(scope="module")
def postgres_database() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=ENGINES)
def source(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Source]:
    with _SOURCES[request.param](request, bench) as made:
        yield made


@contextlib.contextmanager
def _duckdb(_request: pytest.FixtureRequest, bench: Bench) -> Iterator[Source]:
    url = "duckdb:///source.duckdb"
    duckdb.connect("source.duckdb").close()
    database = urls.parse(url)

    def run(*statements: str) -> list[tuple[Any, ...]]:
        from pipeline_flow.sql import duckdb as ours

        # A file can be written by the process alone that holds it, so by another connection of the run's own.
        with ours.connect(bench.context(), database, write=True) as connection:
            for statement in statements:
                connection.execute(statement)
            return connection.fetchall() if connection.description else []

    yield Source("duckdb", url, "main", run)


@contextlib.contextmanager
def _sqlite(_request: pytest.FixtureRequest, _bench: Bench) -> Iterator[Source]:
    def run(*statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with contextlib.closing(sqlite3.connect("source.db", isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    run("pragma journal_mode = wal")  # else a writer waits for the reader
    yield Source("sqlite", "sqlite:///source.db", "main", run)


@contextlib.contextmanager
def _postgresql(request: pytest.FixtureRequest, _bench: Bench) -> Iterator[Source]:
    url = request.getfixturevalue("postgres_database")
    extra = postgres_server.run(
        url,
        "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)' and nspname <> 'public'",
    )
    for name in ("public", *(row[0] for row in extra)):
        postgres_server.run(url, f'drop schema if exists "{name}" cascade')
    postgres_server.run(url, "create schema public")
    yield Source("postgresql", url, "public", lambda *texts: postgres_server.run(url, *texts))


@contextlib.contextmanager
def _mariadb(request: pytest.FixtureRequest, _bench: Bench) -> Iterator[Source]:
    url = request.getfixturevalue("mariadb")

    def run(*statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = mariadb_server.root(statement, mariadb_server.NAME)
        return rows

    yield Source("mariadb", url, mariadb_server.NAME, run)
    for (name,) in mariadb_server.root(f"show databases like '{mariadb_server.NAME}\\_%'"):
        mariadb_server.root(f"drop database `{name}`")


_SOURCES = {"duckdb": _duckdb, "sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}


def read(bench: Bench, source: Source, *tables: str) -> dict[str, Any]:
    found = bench.call("extract.sql", url=source.url, tables=list(tables))
    return {name: table.to_pylist() for name, table in found.items()}


def opened(context: Context, source: Source, *tables: str) -> Tables:
    """The streams of the tables, not read yet."""
    database = urls.parse(source.url)
    begun = engines.of(database).snapshot(context, database)
    return snapshot.tables(begun, pattern.parse_all(tables))


def values(stream: BatchStream) -> list[Any]:
    return [row["v"] for row in stream.to_table().to_pylist()]


# ---------------------------------------------------------------------------------------------- which


KNOWN = Catalogue(
    [
        Relation("public", "orders"),
        Relation("public", "order_lines"),
        Relation("public", "Order"),
        Relation("public", "a.b*c"),
        Relation("public", "_pipeline_flow_commits"),
        Relation("public", "totals", counts=False),
        Relation("shop", "orders"),
        Relation("shop", "customers"),
    ],
    ("public", "shop"),
    folds_case=False,
)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["orders"], ["public.orders"]),
        (["customers"], ["shop.customers"]),
        (["order*"], ["public.order_lines", "public.orders"]),
        (["*s"], ["shop.customers", "public.order_lines", "public.orders"]),
        (["public.*"], ["public.Order", "public.a.b*c", "public.order_lines", "public.orders"]),
        (["*.customers"], ["shop.customers"]),
        (['"Order"'], ["public.Order"]),
        (['"a.b*c"'], ["public.a.b*c"]),
        (['public."a.b*"*'], ["public.a.b*c"]),
        (['"orders"'], ["public.orders"]),
        (["totals", "order_*"], ["public.order_lines", "public.totals"]),
        (["public.*", "!public.*"], []),
        (["shop.*", "!shop.orders"], ["shop.customers"]),
        (["!shop.none_*", "shop.c*"], ["shop.customers"]),
        (["_pipeline_flow_commits"], ["public._pipeline_flow_commits"]),
    ],
)
def test_patterns_mean_tables(texts: list[str], expected: list[str]) -> None:
    if not expected:
        with pytest.raises(SourceUnreadable, match="leaves out all 4 tables"):
            pattern.select(pattern.parse_all(texts), KNOWN)
        return
    found = pattern.select(pattern.parse_all(texts), KNOWN)
    assert [f"{item.schema}.{item.name}" for item in found.values()] == expected


@pytest.mark.parametrize(
    ("texts", "message", "hint"),
    [
        (["ordrs"], "there is no table `ordrs`", "did you mean `orders`?"),
        (["shop.custmer*"], "there are no tables `shop.custmer*`", "did you mean `shop.customers`?"),
        (["tot*"], "there are no tables `tot*`", "named without a star: totals"),
        (["ORDERS"], "there is no table `ORDERS`", "did you mean `orders`?"),
        (["orders", "!public.ordrs"], "there is no table `public.ordrs`", "did you mean"),
        (
            ["*.orders"],
            "`public.orders` and `shop.orders`, two tables of one name",
            "an extract step of its own",
        ),
    ],
)
def test_a_pattern_that_means_nothing_says_what_there_is(texts: list[str], message: str, hint: str) -> None:
    with pytest.raises(SourceUnreadable) as caught:
        pattern.select(pattern.parse_all(texts), KNOWN)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_upper_and_lower_case_are_one_where_they_are_for_the_database() -> None:
    folding = Catalogue([Relation("main", "Orders")], ("main",), folds_case=True)
    assert list(pattern.select(pattern.parse_all(["oRDers"]), folding)) == ["Orders"]
    assert list(pattern.select(pattern.parse_all(["MAIN.ord*"]), folding)) == ["Orders"]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ([], "names nothing to read"),
        (["!a"], "names nothing to read"),
        (["a.b.c"], "more parts than schema.table"),
        (["a."], "not the name of a table"),
        (["!"], "not the name of a table"),
        (['"a'], "a quote is not closed"),
    ],
)
def test_what_is_no_pattern_is_refused_before_the_run(bench: Bench, tables: list[str], said: str) -> None:
    (fault,) = bench.faults("extract", "sql", url="sqlite:///x.db", tables=tables)
    assert said in fault


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"table": "a"}, "from `tables` or from a `table`"),
        ({"query": "select 1"}, "from `tables` or from a `query`"),
        ({"where": "a > 1"}, "`where` is for one table"),
        ({"columns": ["a"]}, "`columns` is for one table"),
        ({"columns": {"a": "DATE"}}, "`columns` is for one table"),
        ({"params": {"a": 1}}, "`params` is for one table"),
    ],
)
def test_what_belongs_to_one_table_does_not_go_with_several(
    bench: Bench, more: dict[str, Any], said: str
) -> None:
    (fault,) = bench.faults("extract", "sql", url="sqlite:///x.db", tables="*", **more)
    assert said in fault


def test_a_star_is_every_table_and_no_view(bench: Bench, source: Source) -> None:
    source.run(
        "create table orders (v int)",
        "insert into orders values (1)",
        "create table customers (v int)",
        "create view totals as select v + 1 as v from orders",
    )
    assert read(bench, source, "*") == {"customers": [], "orders": [{"v": 1}]}
    assert read(bench, source, f"{source.schema}.*", "!cust*") == {"orders": [{"v": 1}]}
    assert read(bench, source, "totals", "o*") == {"orders": [{"v": 1}], "totals": [{"v": 2}]}
    with pytest.raises(SourceUnreadable, match="there is no table `order`") as caught:
        read(bench, source, "order")
    assert caught.value.hint.startswith("did you mean `orders`?")


@pytest.mark.parametrize("source", ["duckdb", "postgresql", "mariadb"], indirect=True)
def test_schemas_are_told_apart_and_the_systems_are_never_meant(bench: Bench, source: Source) -> None:
    other = source.make_schema("shop")
    source.run("create table a (v int)", f"create table {other}.a (v int)", f"create table {other}.b (v int)")
    assert list(read(bench, source, "*")) == ["a"]
    assert list(read(bench, source, f"{other}.*")) == ["a", "b"]
    with pytest.raises(SourceUnreadable, match="two tables of one name"):
        read(bench, source, f"{source.schema}.*", f"{other}.*")
    for system in ("information_schema.*", "pg_catalog.*", "mysql.*"):
        with pytest.raises(SourceUnreadable, match="there are no tables"):
            read(bench, source, system)


def test_names_that_need_quotes_are_read(bench: Bench, source: Source) -> None:
    mark = "`" if source.engine == "mariadb" else '"'
    source.run(
        f"create table {mark}Odd *.name{mark} (v int)", f"insert into {mark}Odd *.name{mark} values (1)"
    )
    assert read(bench, source, '"Odd *.name"') == {"Odd *.name": [{"v": 1}]}
    assert read(bench, source, f'{source.schema}."Odd *."*') == {"Odd *.name": [{"v": 1}]}


def test_parts_of_a_partitioned_table_are_not_read_beside_it(bench: Bench, postgres: Source) -> None:
    postgres.run(
        "create table days (v int) partition by range (v)",
        "create table days_1 partition of days for values from (0) to (10)",
        "insert into days values (1)",
        "create materialized view m as select 1 as v",
    )
    assert read(bench, postgres, "*") == {"days": [{"v": 1}]}
    assert read(bench, postgres, "days_1", "m") == {"days_1": [{"v": 1}], "m": [{"v": 1}]}


@pytest.fixture
def postgres(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Source]:
    with _postgresql(request, bench) as made:
        yield made


@pytest.fixture
def maria(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Source]:
    with _mariadb(request, bench) as made:
        yield made


# ---------------------------------------------------------------------------------------------- one state


def test_all_tables_show_the_state_of_one_moment(bench: Bench, source: Source) -> None:
    for name in ("a", "b"):
        source.run(f"create table {name} (v int)", f"insert into {name} values (1)")
    tables = opened(bench.context(), source, "a", "b")
    first = tables["a"]
    schema = first.schema
    source.run(
        "update a set v = 2", "update b set v = 2", "insert into b values (3)", "create table c (v int)"
    )
    assert values(first) == [1]
    source.run("delete from b", "insert into a values (4)")
    assert tables["b"].schema.equals(schema)
    assert values(tables["b"]) == [1]
    assert source.run("select count(*) from b") == [(0,)]


def test_nobody_empties_a_postgresql_table_before_it_is_read(bench: Bench, postgres: Source) -> None:
    """To an older snapshot, a table that was truncated looks empty; so it must not come to that."""
    postgres.run("create table a (v int)", "create table b (v int)", "insert into b values (1)")
    tables = opened(bench.context(), postgres, "a", "b")
    assert values(tables["a"]) == []
    with pytest.raises(psycopg.errors.LockNotAvailable):
        postgres.run("set lock_timeout = '100ms'", "truncate b")
    assert values(tables["b"]) == [1]
    postgres.run("truncate b")


def test_a_mariadb_table_that_was_emptied_meanwhile_is_an_error_and_not_empty(
    bench: Bench, maria: Source
) -> None:
    maria.run("create table a (v int)", "create table b (v int)", "insert into b values (1)")
    tables = opened(bench.context(), maria, "a", "b")
    assert values(tables["a"]) == []
    maria.run("truncate b")
    with pytest.raises(RetryableError, match=r"table `b`: .*definition has changed") as caught:
        values(tables["b"])
    assert "`retry` tries again" in caught.value.hint


def test_mariadb_tables_without_transactions_are_named(bench: Bench, maria: Source) -> None:
    maria.run("create table a (v int)", "create table b (v int) engine = myisam")
    read(bench, maria, "*")
    assert bench.notices == ["not in the snapshot, because their storage engine has no transactions: `b`"]


# ---------------------------------------------------------------------------------------------- streams


def is_free(source: Source) -> None:
    """Fails where something of the source is still in use: then its tables cannot be dropped."""
    if source.engine == "postgresql":
        source.run("set lock_timeout = '5s'", "drop table a")
    elif source.engine == "mariadb":
        source.run("set session lock_wait_timeout = 5", "drop table a")
    else:
        source.run("drop table a")


def test_a_table_is_asked_for_when_its_turn_comes(bench: Bench, source: Source) -> None:
    source.run("create table a (v int)", "create table b (v int)")
    tables = opened(bench.context(), source, "a", "b")
    tables["a"].schema  # noqa: B018 - begins it
    with pytest.raises(DataError, match="`b` was begun while `a` is still being read"):
        tables["b"].schema  # noqa: B018 - the same
    tables["a"].close()
    is_free(source)


def test_closing_early_gives_everything_back(bench: Bench, source: Source) -> None:
    source.run("create table a (v int)", "create table b (v int)", "insert into a values (1)")
    tables = opened(bench.context(), source, "a", "b")
    next(iter(tables["a"]))
    tables["a"].close()
    tables["b"].close()
    is_free(source)


def test_an_error_names_its_table_and_ends_all(bench: Bench, source: Source) -> None:
    division = {"postgresql": "1 / v", "mariadb": "(select 1 union all select v)", "duckdb": "error('no')"}
    bad = division.get(source.engine, "json_extract('{', '$')")
    source.run(
        "create table a (v int)",
        "insert into a values (0)",
        f"create view b as select {bad} as v from a",
        "create table c (v int)",
    )
    with pytest.raises(RunError, match=r"^table `b`: "):
        read(bench, source, "a", "b", "c")
    source.run("drop view b")
    is_free(source)


def test_a_step_that_is_cancelled_gives_everything_back(bench: Bench, source: Source) -> None:
    source.run("create table a (v int)", "insert into a values (1)", "create table b (v int)")
    context = bench.context()
    tables = opened(context, source, "a", "b")
    context.cancel_flag.set()
    for stream in tables.values():
        with contextlib.suppress(Exception):
            stream.to_table()
    for stream in tables.values():
        stream.close()
    is_free(source)


# ---------------------------------------------------------------------------------------------- in a run


def run(extract: list[Any], load: list[Any], *, transform: list[Any] | None = None, **more: Any) -> Any:
    phases: dict[str, Any] = {"extract": {"steps": extract, **more}, "load": {"steps": load}}
    if transform is not None:
        phases["transform"] = {"steps": transform}
    return pipeline_flow.run({"pipelines": {"p": {"phases": phases}}})


def into(path: str, table: str, mode: str = "replace", **more: Any) -> dict[str, Any]:
    return {
        "plugin": "sql",
        "args": {"url": f"duckdb:///{path}", "table": table, "mode": mode, **more.pop("args", {})},
        **more,
    }


def ask(path: str, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path) as connection:
        return connection.execute(query).fetchall()


def listed(path: str) -> list[tuple[Any, ...]]:
    return ask(
        path,
        "select schema_name, table_name, estimated_size::int from duckdb_tables() order by all",
    )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An extract step that hands on ``orders`` and ``customers``."""
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect("shop.db")) as connection:
        connection.executescript(
            "create table orders (id int, customer int); insert into orders values (1, 7), (2, 8);"
            "create table customers (customer int, name text); insert into customers values (7, 'Aino');"
        )
    return {"id": "shop", "plugin": "sql", "args": {"url": "sqlite:///shop.db", "tables": "*"}}


def test_a_load_writes_every_table_that_reaches_it_under_its_name(shop: Mapping[str, Any]) -> None:
    result = run([shop], [into("lake.duckdb", "raw.*"), into("other.duckdb", "*_copy", id="other")])
    assert listed("lake.duckdb") == [("raw", "customers", 1), ("raw", "orders", 2)]
    assert listed("other.duckdb") == [("main", "customers_copy", 1), ("main", "orders_copy", 2)]
    (extract, *loads) = result.pipelines["p"].steps
    assert (extract.rows_out, [step.rows_in for step in loads]) == (3, [3, 3])


def test_a_sql_transform_and_input_know_the_tables_by_name(shop: Mapping[str, Any]) -> None:
    query = "select o.id, c.name from orders o left join customers c using (customer) order by id"
    run([shop], [into("x.duckdb", "named")], transform=[{"plugin": "sql", "args": {"query": query}}])
    assert ask("x.duckdb", "from named") == [(1, "Aino"), (2, None)]
    run([shop], [into("y.duckdb", "who", input="CUSTOMERS")])
    assert ask("y.duckdb", "select name from who") == [("Aino",)]


def test_beside_other_steps_a_table_is_called_after_its_step(shop: Mapping[str, Any]) -> None:
    extra = {
        "id": "extra",
        "plugin": "sql",
        "args": {"url": "sqlite:///shop.db", "query": "select 7 as customer"},
    }
    run(
        [shop, extra],
        [
            into("all.duckdb", "*", id="all"),
            into("of_shop.duckdb", "*", id="group", input="shop"),
            into("one.duckdb", "t", id="one", input="shop__orders"),
        ],
    )
    assert [name for _, name, _ in listed("all.duckdb")] == ["extra", "shop__customers", "shop__orders"]
    assert [name for _, name, _ in listed("of_shop.duckdb")] == ["customers", "orders"]
    assert ask("one.duckdb", "select count(*) from t") == [(2,)]
    query = "select count(*) as n from shop__orders join extra using (customer)"
    run([shop, extra], [into("t.duckdb", "t")], transform=[{"plugin": "sql", "args": {"query": query}}])
    assert ask("t.duckdb", "from t") == [(1,)]


def test_tables_of_one_step_can_be_merged_into_one(shop: dict[str, Any]) -> None:
    merge = {"plugin": "concat", "args": {"source_column": "origin"}}
    run([shop], [into("m.duckdb", "m")], merge=merge)
    assert ask("m.duckdb", "select origin, count(*) from m group by 1 order by 1") == [
        ("customers", 1),
        ("orders", 2),
    ]


def failure(extract: list[Any], load: list[Any], **more: Any) -> str:
    with pytest.raises(ExceptionGroup) as caught:
        run(extract, load, **more)
    return str(caught.value.exceptions[0]) + " | " + str(getattr(caught.value.exceptions[0], "hint", ""))


def test_an_input_that_is_no_table_is_said_when_the_names_are_known(shop: Mapping[str, Any]) -> None:
    said = failure([shop], [into("x.duckdb", "t", input="ordrs"), into("x.duckdb", "raw.*", id="raw")])
    assert "there is no table `ordrs`" in said
    assert "did you mean `orders`?" in said
    assert listed("x.duckdb") == []


def test_two_loads_that_replace_one_table_are_refused_even_behind_a_star(shop: Mapping[str, Any]) -> None:
    said = failure(
        [shop],
        [into("x.duckdb", "raw.*", id="all"), into("x.duckdb", "raw.Orders", id="one", input="orders")],
    )
    assert "`all` and `one` both replace raw.orders" in said


def test_tables_that_are_one_name_in_the_destination_are_refused(bench: Bench, postgres: Source) -> None:
    postgres.run("create table orders (v int)", 'create table "Orders" (v int)')
    extract = {"id": "s", "plugin": "sql", "args": {"url": postgres.url, "tables": "*"}}
    assert "`Orders` and `orders` are one table in DuckDB" in failure([extract], [into("x.duckdb", "raw.*")])
    transform = [{"plugin": "sql", "args": {"query": "select * from orders"}}]
    said = failure([extract], [into("x.duckdb", "t")], transform=transform)
    assert "the tables `Orders` and `orders` are one name in SQL" in said


def test_a_failing_table_leaves_nothing_behind(shop: Mapping[str, Any]) -> None:
    with contextlib.closing(sqlite3.connect("shop.db")) as connection:
        connection.executescript("create table zero (v int); insert into zero values ('x')")
    assert "table `zero`: the column `v` is declared INT" in failure([shop], [into("x.duckdb", "raw.*")])
    assert not Path("x.duckdb").exists()


def test_a_preview_shows_the_first_rows_of_each_table(shop: Mapping[str, Any]) -> None:
    phases = {"extract": {"steps": [shop]}, "load": {"steps": [into("x.duckdb", "*")]}}
    prepared = entrypoint.prepare({"pipelines": {"p": {"phases": phases}}})
    found = asyncio.run(entrypoint.preview(prepared, "shop", rows=5, limit_rows=1))
    rows = {name: sample.table.num_rows for name, sample in found.samples.items() if sample.table is not None}
    assert rows == {"customers": 1, "orders": 1}
    assert found.limited == ("shop",)


def test_whole_schemas_go_from_server_to_server(bench: Bench, postgres: Source, maria: Source) -> None:
    postgres.run(
        "create schema shop",
        "create table shop.a (id bigint, name text, at timestamptz)",
        "insert into shop.a values (1, 'ä', '2024-01-01 00:00:00+00')",
        "create table shop.b (n numeric(10, 2))",
        "insert into shop.b values (1.50), (2.25)",
    )
    load = {"plugin": "sql", "args": {"url": maria.url, "table": "*", "mode": "replace"}}
    run([{"id": "s", "plugin": "sql", "args": {"url": postgres.url, "tables": "shop.*"}}], [load])
    assert maria.run("select id, name from a") == [(1, "ä")]
    back = {"plugin": "sql", "args": {"url": postgres.url, "table": "back.*", "mode": "replace"}}
    run([{"id": "s", "plugin": "sql", "args": {"url": maria.url, "tables": "*"}}], [back])
    assert postgres.run("select sum(n) from back.b")[0][0] == postgres.run("select sum(n) from shop.b")[0][0]
