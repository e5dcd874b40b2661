"""Tables of DuckDB and SQLite files as sources and destinations."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.data import BatchStream, to_stream
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    QueryFailed,
    SourceMalformed,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.secret import Secret
from pipeline_flow.sql import duckdb as duckdb_side
from pipeline_flow.sql import engine as engines
from pipeline_flow.sql import url as urls
from pipeline_flow.sql.duckdb import BATCH_ROWS
from tests.connectors.conftest import every_type, nested
from tests.connectors.suites import DestinationSuite, SourceSuite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

URLS = {"duckdb": "duckdb:///x.duckdb", "sqlite": "sqlite:///x.db"}
FILES = {"duckdb": Path("x.duckdb"), "sqlite": Path("x.db")}
both = pytest.mark.parametrize("engine", ["duckdb", "sqlite"])


def load(bench: Bench, engine: str, data: Any, mode: str = "replace", table: str = "t") -> int:
    return bench.load("sql", data, url=URLS[engine], table=table, mode=mode)


def read(bench: Bench, engine: str, query: str = "select * from t", **params: Any) -> pa.Table:
    return bench.extract("sql", url=URLS[engine], query=query, params=params)


def execute(bench: Bench, engine: str, statements: str) -> None:
    bench.at_load("sql", url=URLS[engine], query=statements)


class _Source(SourceSuite):
    __test__ = False
    plugin = "sql"
    engine: str

    def args(self) -> dict[str, Any]:
        return {"url": URLS[self.engine], "query": "select * from t"}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        load(bench, self.engine, table)
        return FILES[self.engine]


class TestDuckDBSource(_Source):
    __test__ = True
    engine = "duckdb"


class TestSQLiteSource(_Source):
    __test__ = True
    engine = "sqlite"


class _Destination(DestinationSuite):
    __test__ = False
    plugin = "sql"
    engine: str

    def args(self) -> dict[str, Any]:
        return {"url": URLS[self.engine], "table": "t", "mode": "replace"}

    def read(self, bench: Bench) -> pa.Table:
        return read(bench, self.engine)

    def file(self, bench: Bench) -> Path:
        return FILES[self.engine].absolute()


class TestDuckDBDestination(_Destination):
    __test__ = True
    engine = "duckdb"


class TestSQLiteDestination(_Destination):
    __test__ = True
    engine = "sqlite"


# ---------------------------------------------------------------------------------------------- both


@both
def test_append_adds_rows_by_name(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1], "b": ["x"]}), "append")
    load(bench, engine, pa.table({"b": ["y"], "a": [2]}), "append")
    assert read(bench, engine).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


@both
def test_a_table_is_read_by_columns_and_condition(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1, 2], 'b"b': ["x", "y"], "c": [0, 0]}))
    found = bench.extract(
        "sql", url=URLS[engine], table="t", columns=['b"b', "a"], where="a > :n -- end", params={"n": 1}
    )
    assert found.to_pydict() == {'b"b': ["y"], "a": [2]}
    with pytest.raises(WrongArgument, match="`columns` gives types"):
        bench.extract("sql", url=URLS[engine], table="t", columns={"a": "DECIMAL(5, 1)"})
    assert "both are here" in bench.faults("extract", "sql", url=URLS[engine], table="t", query="select 1")[0]
    assert "go with `table`" in bench.faults("extract", "sql", url=URLS[engine], query="x", where="a")[0]
    assert "more parts" in bench.faults("extract", "sql", url=URLS[engine], table="a.b.c")[0]


@both
def test_a_table_is_made_with_types_key_and_names(bench: Bench, engine: str) -> None:
    data = pa.table({"Order ID": [1], "customerName": ["x"]})
    more = {"naming": "snake_case", "key": ["order_id"], "columns": {"order_id": "decimal(20,0)"}}
    bench.load("sql", data, url=URLS[engine], table="t", mode="append", **more)
    assert read(bench, engine).schema.field("order_id").type == pa.decimal128(20, 0)
    with pytest.raises(DestinationFailed, match="(?i)unique|duplicate"):
        bench.load("sql", data, url=URLS[engine], table="t", mode="append", **more)
    with pytest.raises(DestinationFailed, match="would change values"):
        bench.load(
            "sql",
            pa.table({"a": [1.5]}),
            url=URLS[engine],
            table="u",
            mode="append",
            columns={"a": "integer"},
        )
    with pytest.raises(DestinationFailed, match="`key` names the column `nope`"):
        bench.load("sql", data, url=URLS[engine], table="u", mode="append", key=["nope"])


@both
def test_a_connection_is_tried_without_a_trace(bench: Bench, engine: str, tmp_path: Path) -> None:
    database = urls.parse(URLS[engine])
    with pytest.raises(SourceUnreadable, match="does not exist"):
        engines.of(database).probe(database)
    assert not FILES[engine].exists()
    load(bench, engine, pa.table({"a": [1]}))
    bench.close()
    found = engines.of(database).probe(database)
    assert found.version.casefold().startswith(f"{engine} ")
    assert found.refusals == {"read": "", "write": ""}


@both
def test_a_column_that_the_table_lacks_is_an_error(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"amount": [1]}))
    with pytest.raises(DestinationFailed, match="no column `amont`") as caught:
        load(bench, engine, pa.table({"amont": [1]}), "append")
    assert "did you mean `amount`?" in caught.value.hint
    assert "alter table t add column" in caught.value.hint


@both
def test_a_column_that_the_data_lacks_is_an_error_unless_it_has_a_default(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1], "b": [1]}))
    with pytest.raises(DestinationFailed, match="the data has no column `b`"):
        load(bench, engine, pa.table({"a": [1]}), "append")
    execute(bench, engine, "create table d (a integer, source text default 'here')")
    load(bench, engine, pa.table({"a": [1]}), "append", "d")
    assert read(bench, engine, "select * from d").to_pylist() == [{"a": 1, "source": "here"}]


@both
@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("integer", pa.array([1.5])),
        ("integer", pa.array(["1"])),
        ("date", pa.array([dt.datetime(2024, 1, 1, 10)], pa.timestamp("us"))),
        ("decimal(5,1)", pa.array([Decimal("1.25")], pa.decimal128(5, 2))),
    ],
)
def test_a_type_that_would_change_values_is_an_error(
    bench: Bench, engine: str, declared: str, values: pa.Array
) -> None:
    execute(bench, engine, f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match="would change values"):
        load(bench, engine, pa.table({"a": values}), "append")


@both
def test_replace_keeps_constraints_and_indexes_and_views(bench: Bench, engine: str) -> None:
    execute(
        bench,
        engine,
        "create table t (id integer primary key, name text not null); create index by_name on t (name); "
        "create view v as select name from t; insert into t values (1, 'old')",
    )
    for name in ("new", "newer"):
        load(bench, engine, pa.table({"id": [1, 2], "name": [name, name]}))
    assert read(bench, engine, "select * from v").to_pydict() == {"name": ["newer", "newer"]}
    with pytest.raises(DestinationFailed, match="(?i)constraint"):
        load(bench, engine, pa.table({"id": [1, 1], "name": ["a", "b"]}))
    assert read(bench, engine, "select * from v").to_pydict() == {"name": ["newer", "newer"]}
    with pytest.raises(DestinationFailed, match="no column"):
        load(bench, engine, pa.table({"id": [1], "name": ["a"], "more": [1]}))


@both
def test_replace_takes_new_columns_where_nothing_is_lost(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1]}))
    load(bench, engine, pa.table({"b": ["x"]}))
    assert read(bench, engine).to_pydict() == {"b": ["x"]}


@both
def test_a_view_is_no_target(bench: Bench, engine: str) -> None:
    execute(bench, engine, "create view t as select 1 as a")
    with pytest.raises(DestinationFailed, match="`t` is a view"):
        load(bench, engine, pa.table({"a": [1]}))


@both
def test_loads_of_a_group_become_visible_together(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [0]}))

    async def run() -> None:
        plugins = [
            bench.plugin("load", "sql", url=URLS[engine], table=table, mode=mode)
            for table, mode in (("t", "append"), ("u", "replace"), ("t", "append"))
        ]
        assert len({plugin.destination for plugin in plugins}) == 1
        transaction = await plugins[0].begin()
        for plugin in plugins:
            assert await plugin.stage(to_stream(pa.table({"a": [1, 2]})), transaction) == 2
        before = await asyncio.to_thread(read, bench, engine)
        assert before.num_rows == 1
        await transaction.commit()

    asyncio.run(run())
    assert sorted(read(bench, engine)["a"].to_pylist()) == [0, 1, 1, 2, 2]
    assert read(bench, engine, "select * from u").num_rows == 2
    bench.close()
    assert bench.leftovers() == []


@both
def test_two_ways_to_write_a_file_are_one_destination(bench: Bench, engine: str) -> None:
    other = f"{engine}:///{FILES[engine].absolute()}"
    first = bench.plugin("load", "sql", url=URLS[engine], table="t", mode="append")
    second = bench.plugin("load", "sql", url=Secret(other), table='"T"', mode="append")
    assert first.destination == second.destination
    third = bench.plugin("load", "sql", url=URLS[engine], table="main.t", mode="append")
    assert first.target == second.target == third.target


@both
def test_names_with_odd_characters(bench: Bench, engine: str) -> None:
    table = pa.table({'a "b"; drop': [1], "select": ["x"], "Ä ö": [None]}).cast(
        pa.schema([('a "b"; drop', pa.int64()), ("select", pa.string()), ("Ä ö", pa.string())])
    )
    load(bench, engine, table, table='"odd.na""me"')
    assert read(bench, engine, 'select * from "odd.na""me"').to_pylist() == table.to_pylist()


@both
def test_parameters_are_bound(bench: Bench, engine: str) -> None:
    load(
        bench,
        engine,
        pa.table({"day": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]), "note": ["a:b", "it's"]}),
    )
    query = "select note from t where day >= :since and note <> ':since' -- :not_one\n"
    assert read(bench, engine, query, since=dt.date(2024, 1, 2)).to_pydict() == {"note": ["it's"]}
    assert read(bench, engine, query, since="2024-01-02").to_pydict() == {"note": ["it's"]}
    assert read(bench, engine, "select note from t where note = :n", n="it's").num_rows == 1
    with pytest.raises(WrongArgument, match="the query has no `:other`"):
        read(bench, engine, "select 1 as a", other=1)


@both
def test_bad_sql_shows_the_databases_message(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1]}))
    with pytest.raises((QueryFailed, WrongArgument), match="(?i)syntax error"):
        read(bench, engine, "select from where")
    with pytest.raises(QueryFailed, match="missing_table"):
        read(bench, engine, "select * from missing_table")
    with pytest.raises(QueryFailed, match="nope"):
        read(bench, engine, "select nope from t")


@both
def test_a_name_twice_is_an_error(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1]}))
    with pytest.raises(ConversionFailed, match="`a` twice"):
        read(bench, engine, "select a, a from t")


def test_a_missing_source_is_not_made(bench: Bench) -> None:
    for engine, path in FILES.items():
        with pytest.raises(SourceUnreadable, match="does not exist"):
            read(bench, engine)
        assert not path.exists()


@both
def test_a_missing_folder_is_made_for_a_load(bench: Bench, engine: str) -> None:
    url = f"{engine}:///new/folder/x.db"
    bench.load("sql", pa.table({"a": [1]}), url=url, table="t", mode="append")
    assert bench.extract("sql", url=url, query="select * from t").num_rows == 1


def test_wrong_urls_are_found_beforehand(bench: Bench) -> None:
    for url, text in {
        "oracel://localhost/x": "`oracel` is not a database that is known, and no installed package brings it",
        "duckdb://x.db": "names a host",
        "x.db": "is not the URL of a database",
        "sqlite:///:memory:": "name a file",
    }.items():
        assert text in bench.faults("load", "sql", url=url, table="t", mode="append")[0]
    assert "more parts" in bench.faults("load", "sql", url="duckdb:///x", table="a.b.c", mode="append")[0]
    assert bench.faults("load", "sql", url="duckdb:///x", table="t", mode="upsert")


def test_a_secret_url_is_not_shown(bench: Bench) -> None:
    with pytest.raises(WrongArgument) as caught:
        bench.extract("sql", url=Secret("oracle://me:hunter22@x/y"), query="select 1")
    assert "hunter22" not in str(caught.value)


# ---------------------------------------------------------------------------------------------- at load


@both
def test_statements_run_in_one_transaction(bench: Bench, engine: str) -> None:
    load(bench, engine, pa.table({"a": [1, 2, 3]}))
    execute(
        bench,
        engine,
        "create table u as select a from t where a > 1; delete from t where a = 1;\n-- the end\n",
    )
    assert read(bench, engine)["a"].to_pylist() == [2, 3]
    assert "rows affected" in bench.notices[-1]
    with pytest.raises(QueryFailed, match="(?i)nowhere"):
        execute(bench, engine, "delete from t; insert into nowhere values (1)")
    assert read(bench, engine).num_rows == 2
    with pytest.raises(WrongArgument, match="one transaction of our own"):
        execute(bench, engine, "delete from t; commit")
    assert read(bench, engine).num_rows == 2


def test_a_trigger_is_one_statement(bench: Bench) -> None:
    load(bench, "sqlite", pa.table({"a": [1]}))
    execute(
        bench,
        "sqlite",
        "create table log (a integer); create trigger tr after insert on t begin insert into log values (new.a); "
        "select 'a;b'; end; insert into t values (5)",
    )
    assert read(bench, "sqlite", "select * from log")["a"].to_pylist() == [5]


def test_at_load_makes_no_database_when_it_fails(bench: Bench) -> None:
    with pytest.raises(QueryFailed):
        execute(bench, "duckdb", "delete from t")
    bench.close()
    assert not FILES["duckdb"].exists()


# ---------------------------------------------------------------------------------------------- DuckDB


def test_duckdb_types_stay_what_they_are(bench: Bench) -> None:
    execute(
        bench,
        "duckdb",
        """create table t as select 170141183460469231731687303715884105::hugeint as big, uuid() as id, '{"a": 1}'::json as doc,
        'a'::enum ('a', 'b') as kind, timetz '10:00:00+02' as tz, '101'::bit as bits, interval '1 month 2 days' as span,
        timestamp_ns '2024-01-01 00:00:00.123456789' as nano, [true, null] as flags, {'x': false, 'y': [1]} as rec,
        map {'k': true} as m, [1, 2]::integer[2] as pair, 255::utinyint as tiny, 'x'::blob as raw""",
    )
    found = read(bench, "duckdb")
    types = {field.name: str(field.type) for field in found.schema}
    assert types["big"] == "decimal128(38, 0)"
    assert types["id"] == "extension<arrow.uuid>"
    assert types["doc"] == "extension<arrow.json>"
    assert types["flags"].startswith("list<")
    assert "bool" in types["flags"]
    assert found["flags"].to_pylist() == [[True, None]]
    assert found["rec"].to_pylist() == [{"x": False, "y": [1]}]
    assert found["m"].to_pylist() == [[("k", True)]]
    bench.load("sql", found, url="duckdb:///y.duckdb", table="t", mode="replace")
    expected = {
        "big": "DECIMAL(38,0)", "id": "UUID", "doc": "JSON", "kind": "VARCHAR", "tz": "TIME WITH TIME ZONE", "bits": "BIT",
        "span": "INTERVAL", "nano": "TIMESTAMP_NS", "flags": "BOOLEAN[]", "rec": "STRUCT(x BOOLEAN, y INTEGER[])",
        "m": "MAP(VARCHAR, BOOLEAN)", "pair": "INTEGER[2]", "tiny": "UTINYINT", "raw": "BLOB",
    }  # fmt: skip
    bench.close()
    with duckdb.connect("y.duckdb") as connection:
        assert {row[0]: row[1] for row in connection.execute("describe t").fetchall()} == expected
        connection.execute("attach 'x.duckdb' as x (read_only)")
        assert connection.execute(
            "select count(*) from t join x.t as o on t.id = o.id and t.tz = o.tz and t.big = o.big and t.rec = o.rec and t.bits = o.bits"
        ).fetchone() == (1,)


def test_an_integer_too_wide_for_decimals_is_an_error(bench: Bench) -> None:
    execute(bench, "duckdb", "create table t as select 170141183460469231731687303715884105727::hugeint as a")
    with pytest.raises(
        ConversionFailed, match=r"`a` \(HUGEINT\) holds 1701\d+ in row 1, which has more than 38 digits"
    ):
        read(bench, "duckdb")


def test_nested_values_round_trip_in_duckdb(bench: Bench) -> None:
    load(bench, "duckdb", nested())
    assert read(bench, "duckdb").to_pylist() == nested().to_pylist()


def test_what_duckdb_cannot_hold_exactly_is_an_error(bench: Bench) -> None:
    with pytest.raises(ConversionFailed, match="`a` .*cannot hold exactly"):
        load(bench, "duckdb", pa.table({"a": pa.array([1001], pa.timestamp("ns", "UTC"))}))
    load(bench, "duckdb", pa.table({"a": pa.array([1000], pa.timestamp("ns", "UTC"))}))
    with pytest.raises(ConversionFailed, match="50 digits"):
        load(bench, "duckdb", pa.table({"a": pa.array([Decimal("1.5")], pa.decimal256(50, 2))}))
    load(bench, "duckdb", pa.table({"a": pa.array([1.5], pa.float16()), "b": pa.nulls(1)}))
    with pytest.raises(ConversionFailed, match="one name in SQL"):
        load(bench, "duckdb", pa.table({"a": [1], "A": [2]}))


def test_a_schema_is_made(bench: Bench) -> None:
    load(bench, "duckdb", pa.table({"a": [1]}), table="shop.sales")
    assert read(bench, "duckdb", "select * from shop.sales").num_rows == 1


def test_a_duckdb_file_that_another_process_holds_is_named(bench: Bench) -> None:
    duckdb.connect("x.duckdb").close()
    code = "import duckdb, sys; c = duckdb.connect('x.duckdb'); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with pytest.raises(TargetUnwritable, match=f"locked by process {holder.pid}"):
            load(bench, "duckdb", pa.table({"a": [1]}))
        with pytest.raises(SourceUnreadable, match="is locked"):
            read(bench, "duckdb")
        holder.communicate(b"")


def test_reading_goes_on_beside_another_reading_process(bench: Bench) -> None:
    with duckdb.connect("x.duckdb") as connection:
        connection.execute("create table t as select 1 as a")
    code = "import duckdb, sys; c = duckdb.connect('x.duckdb', read_only=True); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        assert read(bench, "duckdb").num_rows == 1
        with pytest.raises(TargetUnwritable, match="can only be read"):
            load(bench, "duckdb", pa.table({"a": [1]}))
        holder.communicate(b"")


def test_an_open_duckdb_source_can_be_written_beside(bench: Bench) -> None:
    """Extract, load and transform of one file in one run share one instance."""
    load(bench, "duckdb", pa.table({"a": list(range(1000))}))

    async def run() -> list[int]:
        stream = await bench.plugin("extract", "sql", url=URLS["duckdb"], query="select * from t")()
        await asyncio.to_thread(load, bench, "duckdb", pa.table({"a": [1]}), "replace")
        return [value async for batch in stream for value in batch["a"].to_pylist()]

    assert asyncio.run(run()) == list(range(1000))


def test_the_write_mode_of_a_statement_is_no_select(bench: Bench) -> None:
    load(bench, "duckdb", pa.table({"a": [1]}))
    with pytest.raises(WrongArgument, match="must be a SELECT, and this is DELETE"):
        read(bench, "duckdb", "delete from t")
    with pytest.raises(WrongArgument, match="here are 2 statements"):
        read(bench, "duckdb", "select 1; select 2")


# ---------------------------------------------------------------------------------------------- SQLite


def sqlite(statements: str) -> None:
    connection = sqlite3.connect("x.db")
    connection.executescript(statements)
    connection.close()


@pytest.mark.parametrize(
    ("declared", "value", "shown"),
    [
        ("integer", "'x'", "'x'"),
        ("integer", "1.5", "1.5"),
        ("boolean", "2", "2"),
        ("date", "'2024-02-30'", "'2024-02-30'"),
        ("date", "'2024-02-01 10:00:00'", "'2024-02-01 10:00:00'"),
        ("date", "19000", "19000"),
        ("timestamp", "'yesterday'", "'yesterday'"),
        ("timestamp", "'2024-01-01 10:00:00+02:00'", r"'2024-01-01 10:00:00\+02:00'"),
        ("timestamp", "'2024-01-01 10:00:00.1234567'", "'2024-01-01 10:00:00.1234567'"),
        ("timestamptz", "'2024-01-01 10:00:00'", "'2024-01-01 10:00:00'"),
        ("decimal(5,2)", "1.239", "1.239"),
        ("decimal(5,2)", "12345.5", "12345.5"),
        ("decimal(5,2)", "'many'", "'many'"),
        ("text", "x'00ff'", "b'"),
        ("blob", "'x'", "'x'"),
        ("uuid", "'nothing'", "'nothing'"),
        ("time", "'25:00'", "'25:00'"),
    ],
)
def test_a_value_that_does_not_fit_its_declared_type_is_named(
    bench: Bench, declared: str, value: str, shown: str
) -> None:
    sqlite(f"create table t (n integer, c {declared}); insert into t values (1, null), (2, {value})")
    with pytest.raises(
        ConversionFailed,
        match=f"(?i)`c` is declared {declared.replace('(', '.').replace(')', '.')}, and row 2 holds {shown}",
    ) as caught:
        read(bench, "sqlite")
    readable = "blob" if value.startswith("x'") else "text"
    assert f'cast("c" as {readable})' in caught.value.hint
    assert read(bench, "sqlite", f"select n, cast(c as {readable}) as c from t").num_rows == 2


def test_types_of_expressions_follow_their_values(bench: Bench) -> None:
    sqlite("create table t (a integer, b); insert into t values (1, 'x'), (2, 5), (null, 1.5)")
    found = read(
        bench,
        "sqlite",
        "select a + 1 as whole, a / 2.0 as real, b as mixed, 'x' || a as text, null as empty from t",
    )
    assert [str(field.type) for field in found.schema] == ["int64", "double", "string", "string", "string"]
    assert found["mixed"].to_pylist() == ["x", "5", "1.5"]


def test_a_later_value_of_another_type_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.sql.sqlite._FETCH_ROWS", 2)
    sqlite("create table t (b); insert into t values (1), (2), (3), ('x')")
    with pytest.raises(ConversionFailed, match="`b` is int64 by its first values, and row 4 holds 'x'"):
        read(bench, "sqlite")


def test_declared_types_come_through_queries_with_parameters(bench: Bench) -> None:
    sqlite("create table t (d date, p decimal(6,2)); insert into t values ('2024-01-01', 12.5)")
    found = read(
        bench,
        "sqlite",
        "with x as (select * from t where d > :since) select p, d from x order by d",
        since="2023-01-01",
    )
    assert found.to_pylist() == [{"p": Decimal("12.50"), "d": dt.date(2024, 1, 1)}]


def test_decimals_are_exact_in_sqlite(bench: Bench) -> None:
    table = pa.table(
        {
            "short": pa.array([Decimal("0.1"), Decimal("9999999999999.99")], pa.decimal128(15, 2)),
            "whole": pa.array([Decimal(999999999999999999), None], pa.decimal128(18, 0)),
            "long": pa.array([Decimal("99999999999999999999.9999"), Decimal("1e-4")], pa.decimal128(24, 4)),
            "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    load(bench, "sqlite", table)
    found = read(bench, "sqlite")
    assert found["unsigned"].to_pylist() == [Decimal(2**64 - 1), Decimal(0)]
    assert found.drop(["unsigned"]).equals(table.drop(["unsigned"]))
    assert read(bench, "sqlite", "select sum(short) as s from t")["s"].to_pylist() == [10000000000000.09]


def test_what_sqlite_cannot_hold_is_an_error(bench: Bench) -> None:
    with pytest.raises(ConversionFailed, match="NaN"):
        load(bench, "sqlite", pa.table({"a": [1.5, float("nan")]}))
    with pytest.raises(ConversionFailed, match="no form for the column `a`"):
        load(bench, "sqlite", pa.table({"a": pa.array([1], pa.duration("us"))}))
    with pytest.raises(DestinationFailed, match="no schema `shop`"):
        load(bench, "sqlite", pa.table({"a": [1]}), table="shop.t")


def test_nested_values_are_json_in_sqlite(bench: Bench) -> None:
    load(bench, "sqlite", nested())
    assert read(bench, "sqlite", "select list, json_extract(struct, '$.n') as n from t")["n"].to_pylist() == [
        "1.10",
        None,
        None,
    ]


def test_readers_see_the_old_table_until_the_commit_and_do_not_wait(bench: Bench) -> None:
    load(bench, "sqlite", pa.table({"a": [1]}))

    async def run() -> None:
        plugin = bench.plugin("load", "sql", url=URLS["sqlite"], table="t", mode="replace")
        transaction = await plugin.begin()
        await plugin.stage(to_stream(pa.table({"a": [2]})), transaction)
        other = sqlite3.connect("x.db", timeout=0)
        other.execute("insert into t values (7)")  # no lock is held while rows are staged
        other.commit()
        other.close()
        await transaction.commit()

    asyncio.run(run())
    assert read(bench, "sqlite")["a"].to_pylist() == [2]


def test_a_locked_sqlite_file_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.sql.sqlite._BUSY_SECONDS", 0.05)
    load(bench, "sqlite", pa.table({"a": [1]}))
    holder = sqlite3.connect("x.db", isolation_level=None)
    holder.execute("begin immediate")
    with pytest.raises(DestinationFailed, match="locked"):
        load(bench, "sqlite", pa.table({"a": [2]}))
    with pytest.raises(QueryFailed, match="locked"):
        execute(bench, "sqlite", "delete from t")
    holder.close()
    assert read(bench, "sqlite")["a"].to_pylist() == [1]


VALUES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8))
STAMPS = st.one_of(st.none(), st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1)))
DECIMALS = st.one_of(st.none(), st.decimals(-9_999_999, 9_999_999, places=2, allow_nan=False))


@both
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            VALUES,
            TEXTS,
            STAMPS,
            DECIMALS,
            st.none() | st.floats(allow_nan=False),
            st.none() | st.binary(max_size=4),
        ),
        max_size=6,
    )
)
def test_any_values_round_trip(bench: Bench, engine: str, rows: list[tuple[Any, ...]]) -> None:
    types = [pa.int64(), pa.string(), pa.timestamp("us"), pa.decimal128(9, 2), pa.float64(), pa.binary()]
    table = pa.table(
        {f"c{index}": pa.array([row[index] for row in rows], type_) for index, type_ in enumerate(types)}
    )
    load(bench, engine, table)
    assert read(bench, engine).to_pylist() == table.to_pylist()


@both
def test_a_database_that_is_not_what_it_says(bench: Bench, engine: str) -> None:
    other = "sqlite" if engine == "duckdb" else "duckdb"
    load(bench, other, every_type())
    bench.close()
    with pytest.raises(SourceMalformed, match="is not a") as caught:
        bench.extract("sql", url=f"{engine}:///{FILES[other]}", query="select 1 as a")
    assert f"{other}:///" in caught.value.hint


@pytest.mark.parametrize(
    ("row_bytes", "claimed", "while_rows_come"),
    [
        (100, "336.0 MiB", "64.0 MiB"),  # 36 MB a thread: two
        (160, "336.0 MiB", "64.0 MiB"),  # 59 MB
        (400, "128.0 MiB", "70.3 MiB"),  # 147 MB: one
        (9000, "128.0 MiB", "128.0 MiB"),
    ],
)
def test_an_insert_claims_memory_for_the_threads_that_fit_into_the_limit(
    row_bytes: int, claimed: str, while_rows_come: str
) -> None:
    limit = 128 * 1024 * 1024
    with duckdb.connect(config={"memory_limit": "128MiB", "threads": 2}) as connection:

        def now() -> Any:
            return connection.execute("select current_setting('memory_limit')").fetchone()

        with duckdb_side._Claim(connection, limit, columns=20) as claim:
            claim.raise_for(row_bytes)
            assert now() == (claimed,)
            claim.lower()
            assert now() == (while_rows_come,)
            claim.raise_for(row_bytes)
        assert now() == ("128.0 MiB",)


def test_rows_keep_their_order_where_several_threads_write_them(bench: Bench) -> None:
    names = [f"c{number}" for number in range(40)]

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, 20 * BATCH_ROWS, BATCH_ROWS):
            numbers = pa.array(np.arange(start, start + BATCH_ROWS, dtype=np.int32))
            yield pa.record_batch([numbers] * len(names), names=names)

    rows = load(bench, "duckdb", BatchStream(pa.schema([(name, pa.int32()) for name in names]), batches()))
    assert read(bench, "duckdb", "select c39 from t")["c39"].to_numpy().tolist() == list(range(rows))


def test_the_memory_limit_is_low_while_rows_come_and_back_afterwards(bench: Bench) -> None:
    limits: set[tuple[str]] = set()
    limit = "select current_setting('memory_limit') as now"

    def batches() -> Iterator[pa.RecordBatch]:
        numbers = pa.array(np.arange(BATCH_ROWS, dtype=np.int32))
        for number in range(20):
            if number:  # the first is read before the INSERT begins
                shared = bench.resources.get(urls.parse(URLS["duckdb"]).url, contextlib.nullcontext)
                with shared.cursor() as cursor:
                    limits.update(cursor.execute(limit).fetchall())
            yield pa.record_batch([numbers] * 40, names=[f"c{number}" for number in range(40)])

    load(bench, "duckdb", BatchStream(next(batches()).schema, batches()))
    assert len(limits) == 1
    assert limits < {("64.0 MiB",), ("84.3 MiB",), ("112.5 MiB",)}  # at most 2, 3 and 4 threads
    assert read(bench, "duckdb", limit)["now"].to_pylist() == ["256.0 MiB"]


def test_batches_that_cannot_be_brought_together_stay_apart(bench: Bench) -> None:
    """Dictionaries of 100 texts each, whose index has room for 127."""
    texts = [[f"{number}-{text}" for text in range(100)] for number in range(4)]
    type_ = pa.dictionary(pa.int8(), pa.string())
    batches = [pa.record_batch([pa.array(part, type_)], names=["a"]) for part in texts]
    assert load(bench, "duckdb", BatchStream(batches[0].schema, batches)) == 400
    assert read(bench, "duckdb")["a"].to_pylist() == [text for part in texts for text in part]


def test_an_instance_that_others_use_keeps_its_limit(bench: Bench) -> None:
    limits: set[tuple[str]] = set()

    def batches() -> Iterator[pa.RecordBatch]:
        numbers = pa.array(np.arange(BATCH_ROWS, dtype=np.int32))
        for number in range(3):
            if number:
                shared = bench.resources.get(urls.parse(URLS["duckdb"]).url, contextlib.nullcontext)
                with shared.cursor() as cursor:
                    limits.update(cursor.execute("select current_setting('memory_limit')").fetchall())
            yield pa.record_batch([numbers] * 40, names=[f"c{number}" for number in range(40)])

    bench.resources.are_shared = True
    load(bench, "duckdb", BatchStream(next(batches()).schema, batches()))
    assert limits == {("256.0 MiB",)}


def test_small_batches_are_brought_together(bench: Bench) -> None:
    """Each batch that DuckDB is given becomes a collection of its own, which it has to bring together with others."""
    table = pa.table(
        {
            "a": pa.array(range(300_000), pa.int64()),
            "b": pa.array(["x", None, "y"] * 100_000).dictionary_encode(),
        }
    )
    given: list[int] = []
    feed = duckdb_side.Feed(
        "s", to_stream(pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=700)))
    )
    while feed.has_more():
        given += [batch.num_rows for batch in feed._part(lambda: None)]
    assert given == [BATCH_ROWS, BATCH_ROWS, 300_000 - 2 * BATCH_ROWS]
