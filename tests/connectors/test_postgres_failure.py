"""PostgreSQL when it goes wrong: each failure is one clear message, and the destination is as it was."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import (
    DestinationFailed,
    QueryFailed,
    RetryableError,
    SourceUnreadable,
    TargetUnwritable,
)
from pipeline_flow.sql import engine
from pipeline_flow.sql import url as urls
from tests.connectors.certificates import certificate, local_name
from tests.connectors.postgres_server import Server, run, server
from tests.connectors.relay import Relay
from tests.connectors.small_disk import small_disk
from tests.connectors.test_postgres import load, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.connectors.conftest import Bench


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server whose rules of access the tests may change."""
    with server(max_connections="4", superuser_reserved_connections="0", deadlock_timeout="100ms") as made:
        (made.data / "pg_hba.conf").write_text(
            "host all with_password 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        )
        run(
            made.url,
            "select pg_reload_conf()",
            "create role with_password login password 'right'",
            "create role outsider login",
        )
        yield made


@pytest.fixture(autouse=True)
def nothing_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test nobody of us is connected: the server knows a moment after the client."""
    yield
    if "own" not in request.fixturenames:
        return
    url: str = request.getfixturevalue("own").url
    ours = "select state, query from pg_stat_activity where application_name = 'pipeline-flow'"
    until = time.monotonic() + 10
    while left := run(url, ours):
        assert time.monotonic() < until, f"connections stayed open: {left}"


def rows(count: int, size: int = 1000) -> pa.Table:
    return pa.table({"a": range(count), "s": ["x" * size] * count})


@pytest.mark.parametrize(
    ("user", "host", "name", "said"),
    [
        ("with_password:wrong1", "127.0.0.1", "postgres", "refused the password of `with_password`"),
        ("with_password", "127.0.0.1", "postgres", "wants a password for `with_password`"),
        ("outsider", "127.0.0.1", "postgres", "does not let `outsider` into"),
        ("postgres", "127.0.0.1", "nowhere", "there is no database `nowhere`"),
        ("postgres", "no-such-host.invalid", "postgres", "the host no-such-host.invalid "),
        ("postgres", "127.0.0.1", "postgres?sslmode=verify-full", "cannot be trusted"),
        ("postgres", "127.0.0.1", "postgres?sslmode=require", "cannot be trusted"),
    ],
)
def test_no_way_in_is_explained(
    bench: Bench, own: Server, user: str, host: str, name: str, said: str
) -> None:
    url = f"postgresql://{user}@{host}:{own.port}/{name}"
    with pytest.raises((SourceUnreadable, RetryableError)) as caught:
        read(bench, url, "select 1 as a")
    assert said in str(caught.value)
    assert "wrong1" not in f"{caught.value}{caught.value.hint}"
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises((TargetUnwritable, RetryableError)):
        load(bench, url, rows(1))


def test_nothing_that_listens_may_be_tried_again(bench: Bench, own: Server) -> None:
    with pytest.raises(RetryableError, match="nothing listens at 127.0.0.1:1"):
        read(bench, "postgresql://postgres@127.0.0.1:1/postgres", "select 1 as a")


def test_the_right_password_opens_and_tells_what_it_may(bench: Bench, own: Server) -> None:
    url = own.url.replace("postgres@127", "with_password:right@127")
    database = urls.parse(url)
    found = engine.of(database).probe(database)
    assert found.version.startswith("PostgreSQL ")
    assert (found.user, found.encryption, found.refusals["read"]) == ("with_password", "", "")
    assert "permission denied for schema public" in found.refusals["write"]
    database = urls.parse(own.url)
    assert engine.of(database).probe(database).refusals == {"read": "", "write": ""}
    assert run(own.url, "select count(*) from pg_class where relname like '%probe%'") == [(0,)]


@pytest.fixture
def encrypted(own: Server) -> Iterator[Path]:
    """The server proves itself as ``localhost``; the file of the authority that says so."""
    made = certificate(own.data, "server", "DNS:localhost")
    own.give(made.key)
    own.give(made.file)
    run(own.url, "alter system set ssl = on", "select pg_reload_conf()")
    yield made.authority
    run(own.url, "alter system set ssl = off", "select pg_reload_conf()")


def test_a_certificate_is_trusted_by_its_authority_and_its_name(
    bench: Bench, own: Server, encrypted: Path, tmp_path: Path
) -> None:
    def at(host: str, options: str) -> str:
        return f"{own.url.replace('127.0.0.1', host)}?{options}"

    is_encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    right = at("localhost", f"sslmode=verify-full&sslrootcert={encrypted}")
    assert read(bench, right, is_encrypted)["ssl"].to_pylist() == [True]
    database = urls.parse(right)
    assert (engine.of(database).probe(database).encryption or "").startswith("TLS")
    with pytest.raises(SourceUnreadable, match="cannot be trusted.*certificate verify failed"):
        read(bench, at("localhost", "sslmode=verify-full"), "select 1 as a")
    other = certificate(tmp_path, "other", "DNS:localhost").authority
    with pytest.raises(SourceUnreadable, match="cannot be trusted.*certificate verify failed"):
        read(bench, at("localhost", f"sslmode=verify-full&sslrootcert={other}"), "select 1 as a")
    wrong_name = at("127.0.0.1", f"sslmode=verify-full&sslrootcert={encrypted}")
    with pytest.raises(SourceUnreadable, match='cannot be trusted.*does not match host name "127.0.0.1"'):
        read(bench, wrong_name, "select 1 as a")
    for options in (f"sslmode=verify-ca&sslrootcert={encrypted}", "sslmode=require"):
        assert read(bench, at("127.0.0.1", options), is_encrypted)["ssl"].to_pylist() == [True]


@pytest.mark.parametrize("is_on", [True, False])
def test_where_the_server_is_elsewhere_its_certificate_is_verified_unasked(
    request: pytest.FixtureRequest, bench: Bench, own: Server, is_on: bool
) -> None:
    if is_on:
        request.getfixturevalue("encrypted")
    url = own.url.replace("127.0.0.1", local_name())
    said = "certificate verify failed" if is_on else "does not support SSL"
    with pytest.raises(SourceUnreadable, match=f"cannot be trusted.*{said}") as caught:
        read(bench, url, "select 1 as a")
    assert "sslrootcert=" in caught.value.hint
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(TargetUnwritable, match="cannot be trusted"):
        load(bench, url, rows(1), table="untrusted")
    assert run(own.url, "select to_regclass('untrusted')") == [(None,)]


def test_a_server_that_answers_nothing_is_given_up_in_time(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://postgres@127.0.0.1:{deaf.getsockname()[1]}/postgres?connect_timeout=2"
        with pytest.raises(RetryableError, match="does not answer"):
            read(bench, url)


def test_too_many_connections_may_be_tried_again(bench: Bench, own: Server) -> None:
    held = [psycopg.connect(own.url) for _ in range(4)]
    try:
        with pytest.raises(RetryableError, match="no connection to spare"):
            read(bench, own.url, "select 1 as a")
    finally:
        for connection in held:
            connection.close()


def test_a_killed_server_ends_an_extract_with_an_error_and_not_with_fewer_rows(bench: Bench) -> None:
    with server() as made:
        load(bench, made.url, rows(60_000))

        async def check() -> int:
            stream = await bench.plugin("extract", "sql", url=made.url, table="t")()
            async with stream:
                await stream.__anext__()
                made.kill()
                with pytest.raises(RetryableError, match="connection to .* was lost"):
                    async for _ in stream:
                        pass
                return stream.rows

        assert 0 < asyncio.run(check()) < 60_000
        with pytest.raises(RetryableError, match="nothing listens"):
            read(bench, made.url)


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_server_killed_in_a_load_leaves_the_old_rows(bench: Bench, mode: str) -> None:
    with server() as made:
        load(bench, made.url, rows(3))

        def breaking() -> Iterator[pa.RecordBatch]:
            yield from rows(20_000).to_batches(max_chunksize=1000)
            made.kill()
            yield from rows(200_000).to_batches(max_chunksize=1000)

        with pytest.raises(RetryableError, match="connection to .* was lost"):
            load(bench, made.url, BatchStream(rows(1).schema, breaking()), mode)
        made.restart()
        assert read(bench, made.url, "select count(*) as n from t")["n"].to_pylist() == [3]


def test_a_server_killed_before_the_commit_is_said_and_leaves_the_old_rows(bench: Bench) -> None:
    with server() as made:
        load(bench, made.url, rows(3))

        async def check() -> None:
            plugin = bench.plugin("load", "sql", url=made.url, table="t", mode="replace")
            transaction = await plugin.begin()
            await plugin.stage(BatchStream(rows(1).schema, iter(rows(1).to_batches())), transaction)
            made.kill()
            with pytest.raises(
                DestinationFailed, match="lost during the commit: whether the rows are there is not known"
            ):
                await transaction.commit()
            await transaction.abort()

        asyncio.run(check())
        made.restart()
        assert read(bench, made.url, "select count(*) as n from t")["n"].to_pylist() == [3]


@pytest.mark.parametrize(("order", "expected"), [("cut", 3), ("cut_after_reply", 1)])
def test_a_connection_cut_at_the_commit_is_told_as_unknown_whatever_the_server_did(
    bench: Bench, own: Server, order: str, expected: int
) -> None:
    """The rows are there, or none of them is; that is all that can be said, and what is said."""
    run(own.url, "drop table if exists t")
    load(bench, own.url, rows(3))
    with Relay(own.port, lambda sent: order if b"commit\0" in sent else "") as relay:
        url = own.url.replace(f":{own.port}", f":{relay.port}") + "?sslmode=disable"
        with pytest.raises(DestinationFailed, match="lost during the commit.*is not known"):
            load(bench, url, rows(1), "replace")
    assert run(own.url, "select count(*) from t") == [(expected,)]


@pytest.mark.parametrize(("order", "expected"), [("cut", 0), ("cut_after_reply", 1)])
def test_statements_whose_commit_was_cut_are_not_tried_again(
    bench: Bench, own: Server, order: str, expected: int
) -> None:
    """A second time, an INSERT would double its rows."""
    run(own.url, "drop table if exists t", "create table t (a int)")
    with Relay(own.port, lambda sent: order if b"commit\0" in sent else "") as relay:
        url = own.url.replace(f":{own.port}", f":{relay.port}") + "?sslmode=disable"
        with pytest.raises(QueryFailed, match="lost during the commit.*is not known"):
            bench.at_load("sql", url=url, query="insert into t values (1)")
    assert run(own.url, "select count(*) from t") == [(expected,)]


def test_a_backend_that_is_ended_may_be_tried_again(bench: Bench, own: Server) -> None:
    run(own.url, "drop table if exists t", "create table t (a int)")
    ending = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pipeline-flow'"

    def breaking() -> Iterator[pa.RecordBatch]:
        run(own.url, ending)
        yield pa.RecordBatch.from_pydict({"a": [1]})

    with pytest.raises(RetryableError, match="was lost.*terminating connection"):
        load(bench, own.url, BatchStream(pa.schema([("a", pa.int64())]), breaking()))
    assert run(own.url, "select count(*) from t") == [(0,)]


def test_a_deadlock_may_be_tried_again(bench: Bench, own: Server) -> None:
    run(own.url, "drop table if exists t, u", "create table t (a int)", "create table u (a int)")
    waiting = "select count(*) from pg_locks where not granted"
    with psycopg.connect(own.url) as other:
        other.execute("set deadlock_timeout = '1h'")  # so that it is ours that the server ends
        other.execute("lock table u")
        thread = threading.Thread(target=lambda: other.execute("lock table t"))

        async def check() -> None:
            first = bench.plugin("load", "sql", url=own.url, table="t", mode="replace")
            second = bench.plugin("load", "sql", url=own.url, table="u", mode="replace")
            transaction = await first.begin()
            data = pa.table({"a": [1]})
            try:
                await first.stage(BatchStream(data.schema, iter(data.to_batches())), transaction)
                thread.start()
                while run(own.url, waiting) == [(0,)]:
                    pass
                await second.stage(BatchStream(data.schema, iter(data.to_batches())), transaction)
            finally:
                await transaction.abort()

        with pytest.raises(RetryableError, match="deadlock detected"):
            asyncio.run(check())
        thread.join()


def test_a_full_disk_is_named_and_leaves_the_old_rows(bench: Bench, own: Server) -> None:
    with small_disk(own.folder / "small", "8M") as small:
        own.give_folder(small)
        run(own.url, "drop table if exists t", f"create tablespace small location '{small}'")
        made = ("create table t (a bigint, s text) tablespace small", "insert into t values (1, 'old')")
        try:
            large = pa.table({"a": range(300_000), "s": ["x" * 90] * 300_000})
            for mode in ("append", "replace"):
                run(own.url, "drop table if exists t", *made)
                with pytest.raises(
                    DestinationFailed, match="run out of something: .*No space left"
                ) as caught:
                    load(bench, own.url, large, mode)
                assert len(str(caught.value).splitlines()) == 1
                assert run(own.url, "select * from t") == [(1, "old")]
        finally:
            run(own.url, "drop table t", "drop tablespace small")


def test_a_lock_that_takes_too_long_may_be_tried_again(bench: Bench, own: Server) -> None:
    run(own.url, "drop table if exists t", "create table t (a int)")
    with psycopg.connect(own.url) as other:
        other.execute("lock table t")
        with pytest.raises(RetryableError, match="lock timeout"):
            load(bench, f"{own.url}?lock_timeout=50ms", pa.table({"a": [1]}), "replace")
        with pytest.raises(RetryableError, match="lock timeout"):
            bench.at_load("sql", url=f"{own.url}?lock_timeout=50ms", query="delete from t")


@pytest.mark.parametrize("kind", ["extract", "transform_at_load"])
def test_a_cancelled_query_is_cancelled_at_the_server(bench: Bench, own: Server, kind: str) -> None:
    query = "select pg_sleep(600) as s"
    plugin = bench.plugin(kind, "sql", url=own.url, query=query)
    asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()"

    def cancel() -> None:
        while run(own.url, asleep) == [(0,)]:
            pass
        plugin.context.cancel_flag.set()

    def call() -> Any:
        if kind == "transform_at_load":
            return plugin()
        return plugin._open().to_table()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledByRun):
        call()
    thread.join()
    assert run(own.url, asleep) == [(0,)]


def test_a_statement_that_takes_too_long_is_named(bench: Bench, own: Server) -> None:
    with pytest.raises(QueryFailed, match="statement timeout") as caught:
        bench.at_load("sql", url=f"{own.url}?statement_timeout=50ms", query="select pg_sleep(5)")
    assert "statement_timeout=" in caught.value.hint
