"""Connections that are used again: how many, by whom, in what state, and when they end."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.errors import RetryableError
from pipeline_flow.sql import mariadb as mariadb_module
from pipeline_flow.sql import pool, postgres, url
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.url import Database
    from tests.connectors.conftest import Bench

DATABASE = url.parse("postgresql://etl@db/shop")


class Driver:
    """Connections that are numbers."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.told: list[str] = []
        self.broken: set[int] = set()
        self.refuses = False

    def connect(self, _database: Database) -> int:
        if self.refuses:
            raise RetryableError("refused")
        number = next(self.numbers)
        self.told.append(f"connect {number}")
        return number

    def clear(self, connection: int) -> None:
        self._use(connection, "clear")

    def prepare(self, connection: int, _database: Database) -> None:
        self._use(connection, "prepare")

    def close(self, connection: int) -> None:
        self.told.append(f"close {connection}")

    def _use(self, connection: int, what: str) -> None:
        if connection in self.broken:
            raise OSError("gone")
        self.told.append(f"{what} {connection}")


class Waiter:
    """A thread that wants a connection."""

    def __init__(self, connections: pool.Pool[int], context: Context) -> None:
        self.lease: pool.Lease[int] | None = None
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(connections, context))
        self._thread.start()

    def _wait(self, connections: pool.Pool[int], context: Context) -> None:
        try:
            self.lease = connections.lend(context)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.raised = error

    def end(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def two(driver: Driver) -> pool.Pool[int]:
    """A pool of at most two."""
    return pool.Pool(DATABASE, driver, most=2)


# ---------------------------------------------------------------------------------------------- the pool


def test_a_connection_is_cleared_and_prepared_before_it_is_used_again(
    bench: Bench, driver: Driver, two: pool.Pool[int]
) -> None:
    two.lend(bench.context()).release()
    assert two.lend(bench.context()).connection == 1
    assert driver.told == ["connect 1", "clear 1", "prepare 1"]


def test_no_more_are_lent_than_may_be_and_who_waits_gets_the_next(
    bench: Bench, driver: Driver, two: pool.Pool[int]
) -> None:
    first, second = two.lend(bench.context()), two.lend(bench.context())
    waiter = Waiter(two, bench.context())
    assert waiter.waits
    assert driver.told == ["connect 1", "connect 2"]
    second.release()
    second.release()
    waiter.end()
    assert waiter.lease is not None
    assert waiter.lease.connection == 2
    third = Waiter(two, bench.context())
    assert third.waits, "what is given back twice counts once"
    first.release()
    third.end()


def test_waiting_ends_when_the_step_is_cancelled(bench: Bench, two: pool.Pool[int]) -> None:
    leases = [two.lend(bench.context()), two.lend(bench.context())]
    context = bench.context()
    waiter, other = Waiter(two, context), Waiter(two, bench.context())
    context.cancel_flag.set()
    waiter.end()
    assert isinstance(waiter.raised, CancelledByRun)
    leases[0].release()
    other.end()
    assert other.lease is not None


def test_a_cancelled_step_holds_up_nobody_and_its_connection_is_not_used_again(
    bench: Bench, driver: Driver, two: pool.Pool[int]
) -> None:
    """Its thread may never come back; and what cancels it may reach the server late."""
    context = bench.context()
    lost, _held = two.lend(context), two.lend(bench.context())
    waiter = Waiter(two, bench.context())
    context.cancel_flag.set()
    waiter.end()
    assert waiter.lease is not None
    assert waiter.lease.connection == 3
    lost.release()
    assert driver.told[-1] == "close 1"
    assert Waiter(two, bench.context()).waits, "it was let go of once, not twice"
    waiter.lease.release()


def test_what_is_broken_is_replaced(bench: Bench, driver: Driver, two: pool.Pool[int]) -> None:
    lease = two.lend(bench.context())
    driver.broken = {1}
    lease.release()
    assert driver.told[-1] == "close 1", "it broke while it was used"
    two.lend(bench.context()).release()
    driver.broken = {1, 2}
    assert two.lend(bench.context()).connection == 3, "it broke while it waited"
    assert driver.told[-2:] == ["close 2", "connect 3"]
    two.lend(bench.context()).release(fit=False)
    assert driver.told[-1] == "close 4"


def test_a_connection_that_cannot_be_made_does_not_count(
    bench: Bench, driver: Driver, two: pool.Pool[int]
) -> None:
    driver.refuses = True
    for _ in range(5):
        with pytest.raises(RetryableError):
            two.lend(bench.context())
    driver.refuses = False
    assert two.lend(bench.context()).connection == 1


def test_one_beside_another_does_not_wait(bench: Bench, two: pool.Pool[int]) -> None:
    """Else two steps that hold all would wait for each other for ever."""
    for _ in range(2):
        two.lend(bench.context())
    beside = two.lend(bench.context(), beside=True)
    waiter = Waiter(two, bench.context())
    beside.release()
    assert waiter.waits, "it did not count"
    for flagged in bench._contexts:
        flagged.cancel_flag.set()
    waiter.end()


def test_the_end_of_the_run_closes_what_waits_and_what_comes_back_later(bench: Bench) -> None:
    driver = Driver()
    early = pool.lend(bench.context(), DATABASE, driver)
    late = pool.lend(bench.context(), DATABASE, driver)
    early.release()
    bench.close()
    assert driver.told[-1] == "close 1"
    late.release()
    assert driver.told[-1] == "close 2"


def test_users_databases_and_options_have_pools_of_their_own(bench: Bench) -> None:
    driver = Driver()
    for text in (
        "postgresql://etl@db/shop",
        "postgresql://other@db/shop",
        "postgresql://etl:word@db/shop",
        "postgresql://etl@db/shop?statement_timeout=5s",
        "postgresql://etl@DB:5432/shop",
    ):
        pool.lend(bench.context(), url.parse(text), driver).release()
    assert [line for line in driver.told if line.startswith("connect")] == [
        f"connect {number}" for number in (1, 2, 3, 4)
    ]


# ---------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def own_database() -> Iterator[str]:
    with postgres_server.database() as text:
        yield text


def pids(text: str) -> list[int]:
    query = "select pid from pg_stat_activity where datname = current_database() and application_name = 'pipeline-flow'"
    return [row[0] for row in postgres_server.run(text, query)]


def one(bench: Bench, text: str, query: str) -> Any:
    """The value of a query; with the next one it uses the same connection, one after the other."""
    return bench.extract("sql", url=text, query=f"select ({query}) as x").to_pylist()[0]["x"]


def test_a_postgresql_session_keeps_nothing_of_what_was_done_with_it(bench: Bench, own_database: str) -> None:
    first = one(bench, own_database, "pg_backend_pid()")
    bench.at_load(
        "sql",
        url=own_database,
        query="create temp table left_over (a int); set search_path = pg_catalog; set statement_timeout = '7s'; "
        "set datestyle = 'German'; select pg_advisory_lock(4711); listen news; prepare q as select 1; "
        "set session characteristics as transaction isolation level serializable",
    )
    settings = "current_setting('search_path') || current_setting('statement_timeout') || current_setting('datestyle')"
    found = one(
        bench,
        own_database,
        f"{settings} || current_setting('default_transaction_isolation') || coalesce(to_regclass('left_over')::text, '-') "
        "|| (select count(*) from pg_locks where locktype = 'advisory') || (select count(*) from pg_prepared_statements) "
        "|| (select count(*) from pg_listening_channels())",
    )
    assert found == '"$user", public0ISO, YMDread committed-000'
    assert one(bench, own_database, "pg_backend_pid()") == first
    assert pids(own_database) == [first]


def test_a_postgresql_connection_that_was_ended_is_not_used_again(bench: Bench, own_database: str) -> None:
    first = one(bench, own_database, "pg_backend_pid()")
    postgres_server.run(own_database, f"select pg_terminate_backend({first}, 5000)")
    second = one(bench, own_database, "pg_backend_pid()")
    assert second != first
    with pytest.raises(RetryableError, match="was lost"):
        bench.at_load("sql", url=own_database, query="select pg_terminate_backend(pg_backend_pid())")
    assert one(bench, own_database, "pg_backend_pid()") not in (first, second)


def test_an_error_or_an_early_end_leaves_the_postgresql_connection_usable(
    bench: Bench, own_database: str
) -> None:
    first = one(bench, own_database, "pg_backend_pid()")
    with pytest.raises(pipeline_flow.errors.QueryFailed, match="division by zero"):
        one(bench, own_database, "1 / 0")
    assert one(bench, own_database, "pg_backend_pid()") == first
    plugin = bench.plugin(
        "extract", "sql", url=own_database, query="select * from generate_series(1, 3000000) as x"
    )
    stream = asyncio.run(plugin())
    next(iter(stream))
    stream.close()
    assert one(bench, own_database, "1") == 1
    assert len(pids(own_database)) == 1


def test_the_run_closes_its_postgresql_connections(bench: Bench, own_database: str) -> None:
    one(bench, own_database, "1")
    (used,) = pids(own_database)
    bench.close()
    lease = postgres.lend(bench.context(), url.parse(own_database))
    # The server is told of the end, and ends on its own time.
    lease.connection.execute("select pg_terminate_backend(%s, 5000)", (used,))
    lease.release()
    assert used not in pids(own_database)


def test_many_steps_at_one_server_are_few_connections(own_database: str) -> None:
    """Fifty extracts, with loads into the same database in the next phase, and statements at its end."""
    count = (
        "select count(*)::int as n, pg_sleep(0.02)::text as s from pg_stat_activity "
        "where datname = current_database() and application_name = 'pipeline-flow'"
    )
    steps = [
        {"id": f"s{number}", "plugin": "sql", "args": {"url": own_database, "query": count}}
        for number in range(50)
    ]
    extract = {"steps": steps, "merge": {"plugin": "concat"}}

    def into(table: str) -> dict[str, Any]:
        load = {"plugin": "sql", "args": {"url": own_database, "table": table, "mode": "replace"}}
        delete = {"plugin": "sql", "args": {"url": own_database, "query": f"delete from {table} where n < 1"}}
        phases = {"extract": extract, "load": {"steps": [load]}, "transform_at_load": {"steps": [delete]}}
        return {"phases": phases}

    two = {"a": into("counts_a"), "b": into("counts_b")}
    assert pipeline_flow.run({"pipelines": two}).succeeded
    ((rows, most),) = postgres_server.run(own_database, "select count(*), max(n) from counts_a")
    assert rows == 50
    assert 2 <= most <= pool.MOST + 1, "the load of the other pipeline has one of its own"


# ---------------------------------------------------------------------------------------------- MariaDB


def test_a_mariadb_session_keeps_nothing_of_what_was_done_with_it(bench: Bench, mariadb: str) -> None:
    first = one(bench, mariadb, "connection_id()")
    bench.at_load(
        "sql",
        url=mariadb,
        query="create temporary table left_over (a int); set @a = 5; set session sql_mode = ''; set time_zone = '+05:00'; "
        "set autocommit = 0; set names latin1; use information_schema; do get_lock('pipeline_flow_test', 1)",
    )
    found = one(
        bench,
        mariadb,
        "cast(concat_ws(',', coalesce(@a, '-'), @@sql_mode like '%STRICT_ALL%', @@time_zone, @@autocommit, "
        "@@character_set_client, is_free_lock('pipeline_flow_test'), database()) as char)",
    )
    assert found == f"-,1,+00:00,ON,utf8mb4,1,{mariadb_server.NAME}"
    with pytest.raises(pipeline_flow.errors.SourceUnreadable):
        bench.extract("sql", url=mariadb, table="left_over")
    assert one(bench, mariadb, "connection_id()") == first


def test_a_mariadb_connection_that_was_ended_is_not_used_again(bench: Bench, mariadb: str) -> None:
    first = one(bench, mariadb, "connection_id()")
    mariadb_server.root(f"kill {first}")
    assert one(bench, mariadb, "connection_id()") != first


def test_rows_that_were_not_fetched_never_reach_the_next_step(bench: Bench, mariadb: str) -> None:
    """A row that begins with an empty text looks like the server's OK."""
    plugin = bench.plugin(
        "extract",
        "sql",
        url=mariadb,
        query="select '' as x, seq as y, 'like a message' as z from seq_1_to_300000",
    )
    stream = asyncio.run(plugin())
    next(iter(stream))
    stream.close()
    assert one(bench, mariadb, "'mine'") == "mine"


def test_a_mariadb_step_that_was_cancelled_gives_no_connection_back(bench: Bench, mariadb: str) -> None:
    """The kill of its query may be on its way still."""
    context = bench.context()
    lease = _mariadb_lease(context, mariadb)
    number = lease.connection.thread_id()
    context.cancel_flag.set()
    lease.release()
    assert _mariadb_lease(bench.context(), mariadb).connection.thread_id() != number


def _mariadb_lease(context: Context, text: str) -> pool.Lease[Any]:
    return mariadb_module.lend(context, url.parse(text))
