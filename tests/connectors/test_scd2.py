"""Type 2 histories: what is kept, what is refused, and that a failure changes nothing."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import (
    ConfigError,
    DataError,
    DestinationFailed,
    QueryFailed,
    UnknownColumn,
    WrongArgument,
)
from pipeline_flow.sql import scd2
from tests.connectors import mariadb_server, postgres_server
from tests.connectors.scd2_engines import Engine, moment, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

URLS = {"duckdb": "duckdb:///x.duckdb", "sqlite": "sqlite:///x.db"}
both = pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
FIRST = "2024-01-01 00:00:00"


def sql(bench: Bench, kind: str, statements: str) -> None:
    bench.at_load("sql", url=URLS[kind], query=statements)


def history(bench: Bench, kind: str, query: str = "select * from t order by id, valid_from") -> list[Any]:
    rows: list[Any] = bench.extract("sql", url=URLS[kind], query=query).to_pylist()
    return rows


def source(
    bench: Bench, kind: str, *rows: str, declared: str = "id integer, name text, since timestamp"
) -> None:
    """Makes the source hold ``rows``, each SQL's values."""
    inserts = "".join(f"insert into s values ({row});" for row in rows)
    sql(bench, kind, f"drop table if exists s; create table s ({declared}); {inserts}")


def keep(bench: Bench, kind: str, **args: Any) -> list[str]:
    """Runs the step; gives what it told."""
    before = len(bench.notices)
    bench.at_load(
        "scd2",
        **{"url": URLS.get(kind), "source": "s", "target": "t", "key": ["id"], "effective": "since", **args},
    )
    return bench.notices[before:]


@pytest.fixture(scope="module", params=["duckdb", "sqlite", "postgres", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(request.param, tmp_path_factory.mktemp("scd2")) as opened:
        yield opened


def asked(**changes: Any) -> scd2.History:
    given = {
        "source": ("s",), "target": ("t",), "key": ("k1", "k2"), "columns": ("v1", "v2", "o"), "tracked": None,
        "ignored": ("o",), "effective": "since", "valid_from": "valid_from", "valid_to": "valid_to",
        "is_current": "is_current", "close_missing": True, "started_at": moment(20).replace(tzinfo=dt.UTC),
    }  # fmt: skip
    return scd2.History(**{**given, **changes})


# ---------------------------------------------------------------------------------------------- all four


class Killed(Exception):
    pass


class Dying:
    """A session that dies at its statement number ``at``."""

    def __init__(self, session: scd2.Session, at: int) -> None:
        self._session, self._left = session, at
        self.dialect, self.rows, self.columns = session.dialect, session.rows, session.columns

    def run(self, statement: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return self._session.run(statement)


def test_killed_at_any_statement_nothing_has_changed(engine: Engine) -> None:
    engine.prepare()
    engine.put(
        [(1, "a", "x", 1, 0, moment(1)), (2, "a", "x", 1, 0, moment(1)), (3, "a", "x", 1, 0, moment(5))]
    )
    engine.write(asked())
    before = sorted(engine.history(), key=repr)
    # Opens one, closes one that is missing, corrects one, finds a late place for one.
    engine.put(
        [(1, "a", "y", 1, 0, moment(3)), (3, "a", "z", 1, 0, moment(5)), (3, "a", "w", 1, 0, moment(2))]
    )
    at, whole = 0, engine.session
    while True:
        engine.session = Dying(whole, at)
        try:
            engine.write(asked())
        except Killed:
            assert sorted(engine.history(), key=repr) == before
            at += 1
            continue
        finally:
            engine.session = whole
        break
    assert at > 20
    assert len(engine.history()) == 5


def test_an_outcome_counts_what_was_opened_closed_corrected_and_removed(engine: Engine) -> None:
    engine.prepare()
    rows = [(1, "a", "x", 1, 0, moment(1)), (2, "a", "x", 1, 0, moment(1)), (3, "a", "x", 1, 0, moment(30))]
    engine.put(rows)
    assert engine.write(asked()) == scd2.Outcome(opened=3)
    # 1 changes, 2 is as it was, 3 was to begin after this run and is not there any more; 4 is new.
    engine.put([(1, "a", "y", 1, 0, moment(3)), rows[1], (4, "a", "x", 1, 0, moment(2))])
    assert engine.write(asked()) == scd2.Outcome(opened=2, closed=1, removed=1)
    engine.put([(1, "a", "z", 1, 0, moment(3)), (2, "a", None, 1, 0, moment(0))])
    assert engine.write(asked(close_missing=False)) == scd2.Outcome(opened=1, corrected=1)
    assert sorted(engine.history(), key=repr)[:2] == [
        (1, "a", "x", 1, 0, moment(1), moment(3), False),
        (1, "a", "z", 1, 0, moment(3), None, True),
    ]


def test_a_key_that_is_missing_is_closed_and_opened_when_it_comes_back(engine: Engine) -> None:
    engine.prepare()
    row = (1, "a", "x", 1, 0, moment(1))
    engine.put([row])
    engine.write(asked())
    engine.put([])
    assert engine.write(asked()) == scd2.Outcome(closed=1, emptied=True)
    assert engine.write(asked(started_at=moment(21).replace(tzinfo=dt.UTC))) == scd2.Outcome()
    engine.put([row])
    engine.write(asked(started_at=moment(22).replace(tzinfo=dt.UTC)))
    assert sorted(engine.history()) == [
        (*row[:5], moment(1), moment(20), False),
        (*row[:5], moment(22), None, True),
    ]


def test_a_null_key_or_time_is_an_error_and_counts_its_rows(engine: Engine) -> None:
    engine.prepare()
    engine.put([(1, None, "x", 1, 0, moment(1)), (2, None, "x", 1, 0, moment(1))])
    with pytest.raises(DataError, match="the key `k2` is null in 2 rows of `s`"):
        engine.write(asked())
    engine.put([(1, "a", "x", 1, 0, None)])
    with pytest.raises(DataError, match="`since`, from when on a row is valid, is null in 1 row of `s`"):
        engine.write(asked())
    assert engine.history() == []


def test_hostile_names_are_names(engine: Engine) -> None:
    quote = engine.session.dialect.quote
    names = ['k"1', "select", "v`1 ;--", "von", "bis"]
    tables = ['s "; drop', "t'`.x"]
    for table in tables:
        engine.execute(f"drop table if exists {quote(table)}")
    columns = ", ".join(
        f"{quote(name)} {type_}"
        for name, type_ in zip(names, ["integer", engine.types["since"], "varchar(9)"], strict=False)
    )
    engine.execute(f"create table {quote(tables[0])} ({columns})")
    engine.execute(f"insert into {quote(tables[0])} values (1, '2024-01-01 00:00:00', 'x')")
    outcome = engine.write(
        asked(
            source=(tables[0],), target=(tables[1],), key=(names[0],), columns=None, ignored=(), effective="select",
            valid_from="von", valid_to="bis", is_current="order %s",
        )
    )  # fmt: skip
    assert outcome == scd2.Outcome(opened=1)
    found = engine.session.rows(
        f"select {quote(names[0])}, {quote(names[2])}, {quote('bis')} from {quote(tables[1])}"
    )
    assert [tuple(row) for row in found] == [(1, "x", None)]
    for table in tables:
        engine.execute(f"drop table {quote(table)}")


# ---------------------------------------------------------------------------------------------- what is kept


@both
def test_a_missing_target_is_made_with_the_types_of_the_source(bench: Bench, kind: str) -> None:
    declared = "id bigint, name text, price decimal(9,2), day date, since timestamp"
    source(bench, kind, f"1, 'x', 1.50, '2024-02-29', '{FIRST}.000000'", declared=declared)
    assert keep(bench, kind) == ["t: 1 version opened, 0 closed"]
    table = bench.extract("sql", url=URLS[kind], query="select * from t")
    made = bench.extract("sql", url=URLS[kind], query="select * from s").schema
    assert table.column_names == [
        "id",
        "name",
        "price",
        "day",
        "since",
        "valid_from",
        "valid_to",
        "is_current",
    ]
    assert [table.schema.field(name).type for name in made.names] == made.types
    assert (
        table.schema.field("valid_from").type
        == table.schema.field("valid_to").type
        == made.field("since").type
    )
    assert table["is_current"].to_pylist() == [True]


@both
def test_columns_that_do_not_count_keep_the_value_with_which_the_version_began(
    bench: Bench, kind: str
) -> None:
    declared = "id integer, name text, seen integer, since timestamp"
    for number, name in ((1, "x"), (2, "x"), (3, "y")):
        source(bench, kind, f"1, '{name}', {number}, '2024-01-0{number} 00:00:00'", declared=declared)
        keep(bench, kind, ignore=["seen"])
    assert [(row["name"], row["seen"]) for row in history(bench, kind)] == [("x", 1), ("y", 3)]


@both
def test_tracked_and_columns_choose(bench: Bench, kind: str) -> None:
    declared = "id integer, name text, city text, since timestamp"
    for number, city in ((1, "X"), (2, "Y")):
        source(bench, kind, f"1, 'n', '{city}', '2024-01-0{number} 00:00:00'", declared=declared)
        keep(bench, kind, tracked=["name"], columns=["city"])
    (row,) = history(bench, kind)
    assert [*row] == ["id", "name", "city", "valid_from", "valid_to", "is_current"]
    assert row["city"] == "X"


@both
def test_validity_has_the_names_that_one_chooses(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'")
    keep(bench, kind, valid_from="von", valid_to="bis", is_current=None)
    (row,) = history(bench, kind, "select * from t")
    assert [*row] == ["id", "name", "since", "von", "bis"]


@both
def test_without_effective_a_version_begins_when_the_run_did(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'")
    keep(bench, kind, effective=None, columns=["name"])
    (row,) = history(bench, kind)
    assert row["valid_from"] == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@both
def test_a_version_keeps_its_number_when_a_late_row_corrects_it(bench: Bench, kind: str) -> None:
    number = "sk integer default nextval('numbers')" if kind == "duckdb" else "sk integer primary key"
    made = "create sequence numbers;" if kind == "duckdb" else ""
    columns = (
        "id integer, name text, since timestamp, valid_from timestamp, valid_to timestamp, is_current boolean"
    )
    sql(bench, kind, f"{made} create table t ({number}, {columns})")
    source(bench, kind, "1, 'x', '2024-01-05 00:00:00'", "1, 'y', '2024-01-09 00:00:00'")
    keep(bench, kind)
    before = [(row["name"], row["sk"]) for row in history(bench, kind)]
    source(bench, kind, "1, 'x', '2024-01-02 00:00:00'", "1, 'z', '2024-01-07 00:00:00'")
    assert keep(bench, kind) == ["t: 1 version opened, 0 closed, 1 corrected"]
    after = history(bench, kind)
    assert [row["name"] for row in after] == ["x", "z", "y"]
    assert {(row["name"], row["sk"]) for row in after} > set(before)
    assert after[0]["valid_from"] == dt.datetime(2024, 1, 2)


@both
def test_anything_that_sorts_can_be_effective_but_only_a_time_can_close(bench: Bench, kind: str) -> None:
    source(bench, kind, "1, 'x', 9", "1, 'y', 10", declared="id integer, name text, since integer")
    keep(bench, kind)
    assert [(row["name"], row["valid_from"], row["valid_to"]) for row in history(bench, kind)] == [
        ("x", 9, 10),
        ("y", 10, None),
    ]
    with pytest.raises(WrongArgument, match="`since` is INTEGER, which is no time") as caught:
        keep(bench, kind, deletes="close")
    assert "date or a timestamp" in caught.value.problems[0].hint


@both
def test_a_snapshot_of_days_closes_at_the_day_of_the_run(bench: Bench, kind: str) -> None:
    declared = "id integer, name text, since date"
    source(bench, kind, "1, 'x', '2023-12-30'", declared=declared)
    keep(bench, kind, deletes="close")
    source(bench, kind, declared=declared)
    assert keep(bench, kind, deletes="close") == [
        "t: 0 versions opened, 1 closed",
        "s holds no row, so every version in t was closed",
    ]
    (row,) = history(bench, kind)
    assert (row["valid_to"], row["is_current"]) == (dt.date(2024, 1, 1), False)


@both
def test_a_view_can_be_the_source(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'", f"2, null, '{FIRST}'")
    sql(bench, kind, "create view v as select id, name, since from s where name is not null")
    keep(bench, kind, source="v")
    assert [row["id"] for row in history(bench, kind)] == [1]


def test_schemas_of_duckdb(bench: Bench) -> None:
    sql(
        bench,
        "duckdb",
        "create schema raw; create table raw.s as select 1 as id, 'x' as name, now() as since",
    )
    keep(bench, "duckdb", source="raw.s", target="dim.t")
    assert len(history(bench, "duckdb", "select * from dim.t")) == 1


def test_a_schema_in_sqlite_is_refused(bench: Bench) -> None:
    source(bench, "sqlite")
    with pytest.raises(DestinationFailed, match="SQLite has no schema `dim`"):
        keep(bench, "sqlite", target="dim.t")


def test_in_postgresql(bench: Bench) -> None:
    with postgres_server.database() as url:
        postgres_server.run(
            url,
            "create table s (id integer, name varchar(20), note json, at timestamptz)",
            "insert into s values (1, 'x', '{}', '2024-01-02 10:00+00'), (1, 'x', '{}', '2024-01-05 10:00+00')",
        )
        for outcome in ("1 version opened, 0 closed", "0 versions opened, 0 closed"):
            assert keep(bench, "postgres", url=url, effective="at", target="public.t") == [
                f"public.t: {outcome}"
            ]
        postgres_server.run(url, "update s set note = '{\"a\": 1}' where at > '2024-01-03'")
        assert keep(bench, "postgres", url=url, effective="at") == ["t: 1 version opened, 1 closed"]
        with pytest.raises(UnknownColumn, match="no table `nothing`"):
            keep(bench, "postgres", url=url, source="nothing")
        rows = postgres_server.run(url, "select note::text, valid_to is null from t order by valid_from")
    assert rows == [("{}", False), ('{"a": 1}', True)]


def test_in_mariadb(bench: Bench, mariadb: str) -> None:
    mariadb_server.execute(
        "create table s (id varchar(9), name text, at datetime(6))",
        "insert into s values ('a', 'x', '2024-01-02 10:00'), ('a', 'X', '2024-01-05 10:00'), ('A', null, '2024-01-05')",
    )
    for outcome in ("3 versions opened, 0 closed", "0 versions opened, 0 closed"):
        told = keep(bench, "mariadb", url=mariadb, effective="at", deletes="close")
        assert told == [f"t: {outcome}"]
    mariadb_server.execute(
        "alter table t add column sk integer primary key auto_increment",
        "delete from s where binary id = 'A'",
    )
    assert keep(bench, "mariadb", url=mariadb, effective="at", deletes="close", tracked=["name"]) == [
        "t: 0 versions opened, 0 closed, 1 removed"  # the run of a test began on 2024-01-01, before it all
    ]
    mariadb_server.execute(
        "insert into s values ('a', 'y', '2024-01-03 10:00'), ('a', 'z', '2024-01-03 10:00')"
    )
    with pytest.raises(DataError, match="several rows for id = a that are valid at 2024-01-03 10:00:00"):
        keep(bench, "mariadb", url=mariadb, effective="at")
    with pytest.raises(UnknownColumn, match="no table `nothing`"):
        keep(bench, "mariadb", url=mariadb, source="nothing")
    rows = mariadb_server.root(
        "select id, name, valid_to is null from t order by valid_from", mariadb_server.NAME
    )
    assert rows == [("a", "x", 0), ("a", "X", 1)]


# ---------------------------------------------------------------------------------------------- what is refused


@both
def test_two_rows_for_one_moment_that_differ_are_an_error(bench: Bench, kind: str) -> None:
    source(bench, kind, f"7, 'x', '{FIRST}'", f"7, 'y', '{FIRST}'")
    with pytest.raises(
        DataError, match=r"several rows for id = 7 that are valid at 2024-01-01 00:00:00"
    ) as caught:
        keep(bench, kind)
    assert "finer `effective`" in caught.value.hint
    with pytest.raises(DataError, match="valid at once"):
        keep(bench, kind, effective=None, columns=["name"])


@both
def test_a_table_or_column_that_is_not_there_is_named(bench: Bench, kind: str) -> None:
    source(bench, kind)
    with pytest.raises(UnknownColumn, match="no table `nothing`"):
        keep(bench, kind, source="nothing")
    for args, where in (
        ({"key": ["idd"]}, "key"),
        ({"tracked": ["nam"]}, "tracked"),
        ({"ignore": ["nam"]}, "ignore"),
        ({"columns": ["nam"]}, "columns"),
        ({"effective": "sinc"}, "effective"),
    ):
        with pytest.raises(UnknownColumn, match=f"`{where}` names the column") as caught:
            keep(bench, kind, **args)
        assert "did you mean" in caught.value.hint


@both
def test_a_column_of_the_source_cannot_have_a_name_of_validity(bench: Bench, kind: str) -> None:
    source(bench, kind, declared="id integer, Valid_To text, since timestamp")
    with pytest.raises(DataError, match="`s` has a column `Valid_To`"):
        keep(bench, kind)


@both
def test_a_target_that_cannot_take_the_rows_is_refused(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'")
    validity = "valid_from timestamp, valid_to timestamp, is_current boolean"
    sql(bench, kind, f"create table t (id integer, since timestamp, {validity})")
    with pytest.raises(DestinationFailed, match="`t` has no column `name`") as caught:
        keep(bench, kind)
    assert 'alter table t add column "name"' in caught.value.hint
    sql(
        bench,
        kind,
        f"drop table t; create table t (id integer, name text, extra text, since timestamp, {validity})",
    )
    with pytest.raises(DestinationFailed, match="column `extra`, which `s` does not have"):
        keep(bench, kind)
    sql(bench, kind, f"drop table t; create table t (id integer, name integer, since timestamp, {validity})")
    with pytest.raises(DestinationFailed, match="`name` is .* here and INTEGER in the table `t`"):
        keep(bench, kind)


@both
def test_a_history_that_contradicts_itself_is_refused(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'")
    sql(
        bench,
        kind,
        "create table t (id integer, name text, since timestamp, valid_from timestamp, valid_to timestamp, "
        f"is_current boolean); insert into t values (1, 'a', null, '{FIRST}', null, true), "
        f"(1, 'b', null, '{FIRST}', null, true)",
    )
    with pytest.raises(DestinationFailed, match=r"two versions of id = 1 from 2024-01-01 00:00:00 on"):
        keep(bench, kind)


@pytest.mark.parametrize(
    ("declared", "written"),
    [("timestamp", "2024-01-01T00:00:00"), ("date", "1.1.2024"), ("timestamptz", "2024-01-01 00:00:00Z")],
)
def test_times_of_sqlite_that_do_not_sort_are_refused(bench: Bench, declared: str, written: str) -> None:
    source(bench, "sqlite", f"1, 'x', '{written}'", declared=f"id integer, name text, since {declared}")
    with pytest.raises(DataError, match=f"holds '{written}', which does not sort"):
        keep(bench, "sqlite")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"tracked": ["name"], "ignore": ["since"]}, "nothing to `ignore`"),
        ({"valid_to": "VALID_FROM"}, "three different names"),
        ({"target": "s"}, "the same table"),
        ({"key": []}, "key"),
        ({"source": "a.b.c"}, "more parts"),
        ({"deletes": "clsoe"}, "close"),
    ],
)
def test_arguments_that_do_not_fit_together_are_told_by_validate(
    bench: Bench, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        keep(bench, "duckdb", **args)


@both
def test_the_database_says_why_it_refuses(bench: Bench, kind: str) -> None:
    source(bench, kind, f"1, 'x', '{FIRST}'")
    sql(
        bench,
        kind,
        "create table t (id integer, name text check (name <> 'x'), since timestamp, valid_from timestamp, "
        "valid_to timestamp, is_current boolean)",
    )
    with pytest.raises(QueryFailed, match="(?i)check"):
        keep(bench, kind)
    assert history(bench, kind) == []
