"""1.0.8's load through SQLAlchemy: one transaction through SQLite's, MariaDB's and PostgreSQL's asynchronous drivers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pytest

from pipeline_flow import entrypoint
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    RetryableError,
    RunFailed,
    TargetUnwritable,
    UnknownColumn,
    WrongArgument,
)
from pipeline_flow.secret import Secret
from tests.connectors import postgres_server
from tests.connectors.suites import Broken, breaking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.connectors.conftest import Bench

PLUGIN = "sqlalchemy_query_loader"
NAME = f"pipeline_flow_loader_{os.getpid()}"
USER, PASSWORD = "we@ird:/ %41", "p@:/ %41?#[x]'\""
INSERT = "insert into t (a, b) values (:a, :b)"


@dataclass
class Server:
    """A database: arguments that reach it, and a way to run SQL in it beside the plugin."""

    args: dict[str, Any]
    execute: Callable[[str], list[tuple[Any, ...]]]


def _arguments(driver: str, user: str, password: str, host: str, port: str, name: str) -> dict[str, Any]:
    return {
        "driver": driver, "db_user": user, "db_password": password, "db_host": host, "db_port": port, "db_name": name,
    }  # fmt: skip


@contextlib.contextmanager
def _sqlite() -> Iterator[Server]:
    def execute(statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect("x.db", isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    yield Server(_arguments("sqlite+aiosqlite", "", "", "", "", "x.db"), execute)


@contextlib.contextmanager
def _postgres() -> Iterator[Server]:
    with postgres_server.database() as url:
        at = urlsplit(url)
        args = _arguments(
            "postgresql+psycopg", at.username or "", PASSWORD, at.hostname or "", str(at.port), at.path[1:]
        )
        yield Server(args, lambda statement: postgres_server.run(url, statement))


@contextlib.contextmanager
def _mariadb() -> Iterator[Server]:
    pymysql = importlib.import_module("pymysql")  # it has no types

    try:
        connection = pymysql.connect(
            host="127.0.0.1", user="root", password="", autocommit=True, connect_timeout=5
        )
    except pymysql.Error as error:
        postgres_server.unavailable(f"no MariaDB on 127.0.0.1: {error}")
        raise
    with connection, connection.cursor() as cursor:

        def execute(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall())

        cursor.execute(f"create or replace database {NAME}")
        cursor.execute(f"use {NAME}")
        who = f"{connection.escape(USER)}@'%'"
        cursor.execute(f"create or replace user {who} identified by {connection.escape(PASSWORD)}")
        cursor.execute(f"grant all on {NAME}.* to {who}")
        try:
            yield Server(_arguments("mysql+asyncmy", USER, PASSWORD, "127.0.0.1", "3306", NAME), execute)
        finally:
            cursor.execute(f"drop user {who}")
            cursor.execute(f"drop database {NAME}")


SERVERS = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Server]:
    with SERVERS[request.param]() as opened:
        yield opened


@pytest.fixture
def file(bench: Bench) -> Server:
    """SQLite alone, for what is the same with all."""
    with _sqlite() as opened:
        opened.execute("create table t (a integer, b text)")
        return opened


def load(bench: Bench, server: Server, data: Any, query: str = INSERT, **more: Any) -> int:
    rows: int = bench.load(PLUGIN, data, **{**server.args, "query": query, **more})
    return rows


# ---------------------------------------------------------------------------------------------- all drivers


def test_every_row_is_written_whatever_holds_them(bench: Bench, server: Server) -> None:
    server.execute("create table t (a integer, b varchar(20))")
    rows = [{"a": number, "b": f"b{number}"} for number in range(3)]
    for data in (
        pd.DataFrame(rows),
        rows,
        pa.Table.from_pylist(rows),
        iter([rows[:1], rows[1:]]),
        BatchStream(pa.Table.from_pylist(rows).schema, iter(pa.Table.from_pylist(rows).to_batches())),
    ):
        assert load(bench, server, data, batch_size=2) == 3
    assert sorted(server.execute("select * from t")) == [(n, f"b{n}") for n in range(3) for _ in range(5)]


def test_a_failure_half_way_leaves_nothing(bench: Bench, server: Server) -> None:
    server.execute("create table t (a integer, b varchar(20))")
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    with pytest.raises(Broken):
        load(bench, server, breaking(table, after=4))
    assert server.execute("select count(*) from t") == [(0,)]


def test_a_row_that_the_database_refuses_leaves_nothing_and_is_placed(bench: Bench, server: Server) -> None:
    server.execute("create table t (a integer primary key, b varchar(20))")
    data = pa.table({"a": [1, 2, 3, 2], "b": ["x"] * 4})
    with pytest.raises(DestinationFailed, match=r"refused rows 3 to 4: .*(?i:unique|duplicate)") as caught:
        load(bench, server, data, batch_size=2)
    assert "batch_size" in caught.value.hint
    assert PASSWORD not in str(caught.value)
    assert server.execute("select count(*) from t") == [(0,)]


def test_values_arrive_as_they_are(bench: Bench, server: Server) -> None:
    server.execute(
        "create table t (a numeric(30, 4), b date, c timestamp null, d varchar(40), e varchar(40), f double precision)"
    )
    moment = dt.datetime(2024, 2, 29, 12, 30, 15)
    number = uuid.UUID(int=7)
    data = pa.table(
        {
            "a": pa.array([Decimal("123456789012.3456"), None], pa.decimal128(30, 4)),
            "b": [moment.date(), None],
            "c": pa.array([moment, None], pa.timestamp("ns")),
            "d": pa.array(["it's :x % \\", None]).dictionary_encode(),
            "e": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([number.bytes, None], pa.binary(16))),
            "f": [0.1, None],
        }
    )
    assert load(bench, server, data, "insert into t values (:a, :b, :c, :d, :e, :f)") == 2
    is_file = server.args["driver"].startswith("sqlite")
    (first, second) = server.execute("select * from t")
    assert second == (None,) * 6
    # SQLite stores a decimal of sixteen digits as the nearest float, which is what a numeric column does there.
    assert Decimal(str(first[0])) == pytest.approx(Decimal("123456789012.3456"))
    expected = ("2024-02-29", "2024-02-29 12:30:15") if is_file else (moment.date(), moment)
    assert first[1:] == (*expected, "it's :x % \\", str(number), 0.1)


def test_bytes_arrive_as_they_are(bench: Bench, server: Server) -> None:
    kind = "bytea" if server.args["driver"].startswith("postgresql") else "blob"
    server.execute(f"create table t (a {kind})")
    load(bench, server, [{"a": b"\x00\xff'\\%"}], "insert into t values (:a)")
    assert [bytes(row[0]) for row in server.execute("select a from t")] == [b"\x00\xff'\\%"]


def test_nan_and_nat_of_a_frame_are_null(bench: Bench, server: Server) -> None:
    server.execute("create table t (a double precision, b timestamp null)")
    frame = pd.DataFrame({"a": [1.5, float("nan")], "b": [pd.Timestamp("2024-01-01"), pd.NaT]})
    load(bench, server, frame)
    assert server.execute("select count(*), count(a), count(b) from t") == [(2, 1, 1)]


def test_times_with_a_zone_are_written_in_utc(bench: Bench, server: Server) -> None:
    kind = "timestamptz" if server.args["driver"].startswith("postgresql") else "varchar(40)"
    server.execute(f"create table t (a {kind})")
    moment = pa.array([dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Berlin"))
    load(bench, server, pa.table({"a": moment}), "insert into t values (:a)")
    ((found,),) = server.execute("select a from t")
    assert (
        found == dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC)
        if isinstance(found, dt.datetime)
        else "10:00" in found
    )


def test_loads_into_one_database_become_visible_together(bench: Bench, server: Server) -> None:
    server.execute("create table t (a integer primary key, b varchar(20))")
    args = ", ".join(f"{name}: {json.dumps(value)}" for name, value in server.args.items())
    steps = "".join(
        f"""
          - id: {name}
            plugin: {PLUGIN}
            args: {{{args}, query: "insert into t (a, b) values ({value}, :b)"}}"""
        for name, value in (("first", ":a"), ("second", "1"))
    )
    Path("in.csv").write_text("a,b\n1,x\n2,y\n", encoding="utf-8")
    text = f"""
pipelines:
  p:
    phases:
      extract: {{steps: [{{plugin: csv, args: {{path: in.csv}}}}]}}
      load:
        steps: {steps}
"""
    with pytest.raises(RunFailed):
        asyncio.run(entrypoint.start_orchestration(text))
    assert server.execute("select count(*) from t") == [(0,)]


# ---------------------------------------------------------------------------------------------- the rest


def test_a_statement_without_names_runs_for_each_row(bench: Bench, file: Server) -> None:
    load(bench, file, [{"x": 1}, {"x": 2}], "insert into t values (7, 'y')")
    assert file.execute("select * from t") == [(7, "y"), (7, "y")]


def test_no_rows_run_nothing(bench: Bench, file: Server) -> None:
    assert (
        load(
            bench,
            file,
            pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}),
            "drop table t where :a :b",
        )
        == 0
    )


def test_a_column_that_the_data_lacks_is_named_before_anything_runs(bench: Bench, file: Server) -> None:
    with pytest.raises(UnknownColumn, match="`query` names the column `amont`") as caught:
        load(bench, file, [{"amount": 1, "b": "x"}], "insert into t values (:amont, :b)")
    assert "did you mean `amount`?" in caught.value.hint


def test_a_colon_with_a_backslash_or_in_a_word_is_no_name(bench: Bench, file: Server) -> None:
    load(bench, file, [{"a": 1}], r"insert into t values (:a, '\:y 10:30')")
    assert file.execute("select * from t") == [(1, ":y 10:30")]


def test_what_is_finer_than_a_microsecond_is_refused(bench: Bench, file: Server) -> None:
    data = pa.table({"a": pa.array([1], pa.timestamp("ns")), "b": ["x"]})
    with pytest.raises(ConversionFailed, match="column `a` has a time finer"):
        load(bench, file, data)


def test_nan_is_refused_where_the_database_would_make_it_null(bench: Bench, file: Server) -> None:
    with pytest.raises(ConversionFailed, match="column `a` holds NaN"):
        load(bench, file, pa.table({"a": [float("nan")], "b": ["x"]}))


def test_a_value_that_no_driver_knows_is_refused_with_its_rows(bench: Bench, file: Server) -> None:
    with pytest.raises((ConversionFailed, DestinationFailed), match="rows 1 to 1"):
        load(bench, file, pa.table({"a": [{"x": 1}], "b": ["x"]}))


def test_a_server_that_is_not_there_may_be_tried_again(bench: Bench) -> None:
    for driver in ("mysql+asyncmy", "postgresql+psycopg"):
        args = _arguments(driver, "u", "geheim-geheim", "127.0.0.1", "1", "d")
        with pytest.raises(
            (RetryableError, TargetUnwritable), match=r"127\.0\.0\.1:1/d cannot be connected to"
        ) as caught:
            bench.load(PLUGIN, [{"a": 1}], **args, query="insert into t values (:a)")
        assert "geheim" not in str(caught.value)


def test_a_wrong_password_is_told_without_the_password(bench: Bench) -> None:
    with _mariadb() as server:
        args = {**server.args, "db_password": Secret("not-this-one"), "query": INSERT}
        with pytest.raises(TargetUnwritable, match="Access denied") as caught:
            bench.load(PLUGIN, [{"a": 1, "b": "x"}], **args)
    assert "not-this-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        ("sqlite", "is not asynchronous"),
        ("nonsense+nothing", "knows no driver `nonsense\\+nothing`"),
        ("postgresql+asyncpg", "needs the package asyncpg"),
    ],
)
def test_a_driver_that_cannot_be_had_is_named(bench: Bench, file: Server, driver: str, message: str) -> None:
    with pytest.raises(WrongArgument, match=message):
        load(bench, file, [{"a": 1, "b": "x"}], driver=driver)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sqlalchemy").mkdir()
    (tmp_path / "sqlalchemy" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'sqlalchemy'\", name='sqlalchemy')", encoding="utf-8"
    )
    code = (
        "from pipeline_flow.testing import Bench\n"
        f"with Bench() as bench: bench.load({PLUGIN!r}, [{{'a': 1}}], db_user='', db_password='', db_host='', "
        "db_port='', db_name='x.db', query='insert into t values (:a)')"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert "`sqlalchemy_query_loader` needs the package sqlalchemy, which is not installed" in done.stderr
    assert "pip install 'pipeline-flow[sqlalchemy]'" in done.stderr


def test_the_arguments_of_1_0_8_are_taken_as_yaml_gives_them(bench: Bench) -> None:
    assert bench.faults(
        "load", PLUGIN, db_user="u", db_password="p", db_host="h", db_port=3306, db_name="d", query=INSERT,
        concurrency_limit=5, batch_size=1000, driver="mysql+asyncmy",
    ) == []  # fmt: skip
