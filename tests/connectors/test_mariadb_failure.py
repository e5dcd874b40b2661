"""MariaDB when it goes wrong: each failure is one clear message, the destination is as it was, no connection stays open."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    WrongArgument,
)
from pipeline_flow.sql import engine
from pipeline_flow.sql import url as urls
from tests.connectors.certificates import Certificate, certificate, local_name
from tests.connectors.mariadb_server import Server, server
from tests.connectors.relay import Relay
from tests.connectors.small_disk import small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.connectors.conftest import Bench

pytest.importorskip("pymysql", reason="the extra `mariadb` is not installed")

SLEEP = "select sleep(600) as s"


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that the server, which is another user, may enter; those of pytest are for one alone."""
    folder = Path(tempfile.mkdtemp(prefix="pipeline-flow-public-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def public() -> Iterator[Path]:
    with public_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def certified() -> Iterator[Certificate]:
    """What the server proves itself with: not as 127.0.0.1, and not as this machine's name."""
    with public_folder() as folder:
        made = certificate(folder, "server", "DNS:localhost")
        made.key.chmod(0o644)
        yield made


@pytest.fixture(scope="module")
def own(certified: Certificate) -> Iterator[Server]:
    """A server whose settings the tests may change."""
    with server(
        max_connections="10",
        ssl_cert=str(certified.file),
        ssl_key=str(certified.key),
        innodb_file_per_table="on",
    ) as made:
        made.run(
            "create user plain@'%'", "grant all on shop.* to plain@'%'",
            "create user elsewhere@'10.255.255.1'", "create user few@'%' with max_user_connections 1",
            "grant all on shop.* to few@'%'",
        )  # fmt: skip
        yield made


@pytest.fixture(autouse=True)
def nothing_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test nobody is connected: the server knows a moment after the client."""
    yield
    if "own" not in request.fixturenames:
        return
    made: Server = request.getfixturevalue("own")
    until = time.monotonic() + 10
    while left := made.sessions():
        assert time.monotonic() < until, f"connections stayed open: {left}"


def as_plain(made: Server) -> str:
    return made.url.replace("root@", "plain@")


def rows(count: int, size: int = 1000) -> pa.Table:
    return pa.table({"a": range(count), "s": ["x" * size] * count})


def stream_of(*tables: pa.Table | Callable[[], object]) -> BatchStream:
    """The batches of the tables; what is no table is called when its turn comes."""

    def batches() -> Iterator[pa.RecordBatch]:
        for item in tables:
            if isinstance(item, pa.Table):
                yield from item.to_batches(max_chunksize=1000)
            else:
                item()

    first = next(item for item in tables if isinstance(item, pa.Table))
    return BatchStream(first.schema, batches())


def load(bench: Bench, url: str, data: Any, mode: str = "append", table: str = "t") -> int:
    written: int = bench.load("sql", data, url=url, table=table, mode=mode)
    return written


def read(bench: Bench, url: str, query: str = "select * from t", **more: Any) -> pa.Table:
    return bench.extract("sql", url=url, query=query, **more)


def is_clear(error: BaseException, *hidden: str) -> None:
    """One short line that tells no secret."""
    text = f"{error}{getattr(error, 'hint', '')}"
    assert "\n" not in text
    assert len(str(error)) < 300
    assert not any(item in text for item in hidden)


# ---------------------------------------------------------------------------------------------- no way in


@pytest.mark.parametrize(
    ("user", "host", "name", "said"),
    [
        ("elsewhere", "127.0.0.1", "shop", "refused the password|wants a password|does not let"),
        ("nobody:s3cret", "127.0.0.1", "shop", "refused the password of `nobody`"),
        ("plain", "127.0.0.1", "mysql", "`plain` may not use"),
        ("root", "127.0.0.1", "nowhere", "there is no database `nowhere`"),
        ("root", "no-such-host.invalid", "shop", "the host no-such-host.invalid "),
    ],
)
def test_no_way_in_is_explained(
    bench: Bench, own: Server, user: str, host: str, name: str, said: str
) -> None:
    url = f"mariadb://{user}@{host}:{own.port}/{name}"
    with pytest.raises((SourceUnreadable, RetryableError), match=said) as caught:
        read(bench, url, "select 1 as a")
    is_clear(caught.value, "s3cret")
    with pytest.raises((TargetUnwritable, RetryableError), match=said) as caught:
        load(bench, url, rows(1))
    is_clear(caught.value, "s3cret")


def test_a_server_that_answers_nothing_is_given_up_in_time(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"mariadb://root@127.0.0.1:{deaf.getsockname()[1]}/shop?connect_timeout=1"
        with pytest.raises(RetryableError, match="does not answer") as caught:
            read(bench, url)
        is_clear(caught.value)


def test_too_many_connections_may_be_tried_again(bench: Bench, own: Server) -> None:
    own.run("drop table if exists t", "create table t (a int)")
    with contextlib.ExitStack() as held:
        for _ in range(10):
            held.callback(own.connect(user="plain").close)
        for call in (
            lambda: read(bench, as_plain(own)),
            lambda: load(bench, as_plain(own), pa.table({"a": [1]})),
        ):
            with pytest.raises(
                RetryableError, match="no connection to spare.*[Tt]oo many connections"
            ) as caught:
                call()
            assert "parallelism" in caught.value.hint
            is_clear(caught.value)
    assert own.run("select * from t") == []


def test_a_user_with_too_many_connections_may_try_again(bench: Bench, own: Server) -> None:
    with (
        contextlib.closing(own.connect(user="few")),
        pytest.raises(RetryableError, match="no connection to spare"),
    ):
        read(bench, own.url.replace("root@", "few@"), "select 1 as a")


# ---------------------------------------------------------------------------------------------- who the server is


def test_where_the_server_is_elsewhere_its_certificate_is_verified_unasked(bench: Bench, own: Server) -> None:
    url = f"mariadb://plain@{local_name()}:{own.port}/shop"
    with pytest.raises(SourceUnreadable, match="cannot be trusted.*certificate verify failed") as caught:
        read(bench, url, "select 1 as a")
    assert "sslrootcert=" in caught.value.hint
    is_clear(caught.value)
    with pytest.raises(TargetUnwritable, match="cannot be trusted"):
        load(bench, url, rows(1), table="untrusted")
    assert own.run("show tables like 'untrusted'") == []


def test_a_server_without_encryption_is_not_trusted_elsewhere(bench: Bench) -> None:
    name = local_name()
    with server() as made, pytest.raises(SourceUnreadable, match="cannot be trusted"):
        read(bench, f"mariadb://root@{name}:{made.port}/shop", "select 1 as a")


def test_a_certificate_is_trusted_by_its_authority_and_its_name(
    bench: Bench, own: Server, certified: Certificate, tmp_path: Path
) -> None:
    def url(host: str, options: str) -> str:
        return f"mariadb://plain@{host}:{own.port}/shop?{options}"

    version = "select variable_value as v from information_schema.session_status where variable_name = 'ssl_version'"
    right = url("localhost", f"sslmode=verify-full&sslrootcert={certified.authority}")
    assert read(bench, right, version)["v"].to_pylist()[0].startswith("TLS")
    database = urls.parse(right)
    assert (engine.of(database).probe(database).encryption or "").startswith("TLS")

    other = certificate(tmp_path, "other", "DNS:localhost")
    with pytest.raises(SourceUnreadable, match="cannot be trusted.*certificate verify failed"):
        read(bench, url("localhost", f"sslmode=verify-full&sslrootcert={other.authority}"), version)
    with pytest.raises(SourceUnreadable, match="cannot be trusted.*IP address mismatch") as caught:
        read(bench, url("127.0.0.1", f"sslmode=verify-full&sslrootcert={certified.authority}"), version)
    is_clear(caught.value)
    for options in (f"sslmode=verify-ca&sslrootcert={certified.authority}", "sslmode=require"):
        assert read(bench, url("127.0.0.1", options), version)["v"].to_pylist()[0].startswith("TLS")


def test_a_file_of_authorities_that_is_missing_is_named(bench: Bench, own: Server) -> None:
    with pytest.raises(WrongArgument, match=r"`sslrootcert` is /nowhere/ca\.pem, and there is no such file"):
        read(bench, f"{own.url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "select 1 as a")


# ---------------------------------------------------------------------------------------------- servers that die


def test_a_killed_server_ends_an_extract_with_an_error_and_not_with_fewer_rows(bench: Bench) -> None:
    with server() as made:
        load(bench, made.url, rows(60_000))

        async def check() -> int:
            stream = await bench.plugin("extract", "sql", url=made.url, table="t")()
            async with stream:
                await stream.__anext__()
                made.kill()
                with pytest.raises(RetryableError, match="connection to .* was lost") as caught:
                    async for _ in stream:
                        pass
                is_clear(caught.value)
                return int(stream.rows)

        assert 0 < asyncio.run(check()) < 60_000
        with pytest.raises(RetryableError, match="nothing listens"):
            read(bench, made.url)


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_server_killed_in_a_load_leaves_the_old_rows(bench: Bench, mode: str) -> None:
    with server() as made:
        load(bench, made.url, rows(3))
        broken = stream_of(rows(10_000), made.kill, rows(20_000))
        with pytest.raises(RetryableError, match="connection to .* was lost") as caught:
            load(bench, made.url, broken, mode)
        is_clear(caught.value)
        made.start()
        assert made.run("select count(*) from t") == [(3,)]
        assert load(bench, made.url, rows(5), "replace") == 5
        assert made.run("select count(*) from t") == [(5,)]


def test_a_server_killed_before_the_commit_is_said_and_leaves_the_old_rows(bench: Bench) -> None:
    with server() as made:
        load(bench, made.url, rows(3))

        async def check() -> None:
            plugin = bench.plugin("load", "sql", url=made.url, table="t", mode="replace")
            transaction = await plugin.begin()
            await plugin.stage(stream_of(rows(1)), transaction)
            made.kill()
            with pytest.raises(DestinationFailed, match="lost during the commit.*is not known") as caught:
                await transaction.commit()
            assert "look into the table" in caught.value.hint
            is_clear(caught.value)
            await transaction.abort()

        asyncio.run(check())
        made.start()
        assert made.run("select count(*) from t") == [(3,)]


@pytest.mark.parametrize(("order", "expected"), [("cut", 3), ("cut_after_reply", 1)])
def test_a_connection_cut_at_the_commit_is_told_as_unknown_whatever_the_server_did(
    bench: Bench, own: Server, order: str, expected: int
) -> None:
    """The rows are there, or none of them is; that is all that can be said, and what is said."""
    own.run("drop table if exists t")
    load(bench, own.url, rows(3))

    def at_commit(sent: bytes) -> str:
        return order if sent[4:].lower() == b"\x03commit" else ""

    with Relay(own.port, at_commit) as relay:
        url = own.url.replace(f":{own.port}", f":{relay.port}") + "?sslmode=disable"
        with pytest.raises(DestinationFailed, match="lost during the commit.*is not known") as caught:
            load(bench, url, rows(1), "replace")
        is_clear(caught.value)
    assert own.run("select count(*) from t") == [(expected,)]


@pytest.mark.parametrize(("order", "expected"), [("cut", 0), ("cut_after_reply", 1)])
def test_statements_whose_commit_was_cut_are_not_tried_again(
    bench: Bench, own: Server, order: str, expected: int
) -> None:
    """A second time, an INSERT would double its rows."""
    own.run("drop table if exists t", "create table t (a int)")
    with Relay(own.port, lambda sent: order if sent[4:].lower() == b"\x03commit" else "") as relay:
        url = own.url.replace(f":{own.port}", f":{relay.port}") + "?sslmode=disable"
        with pytest.raises(QueryFailed, match="lost during the commit.*is not known"):
            bench.at_load("sql", url=url, query="insert into t values (1)")
    assert own.run("select count(*) from t") == [(expected,)]


@pytest.mark.parametrize("kind", ["extract", "load"])
def test_a_connection_that_is_killed_may_be_tried_again(bench: Bench, own: Server, kind: str) -> None:
    own.run("drop table if exists t")
    load(bench, own.url, rows(20_000))
    found = "select id from information_schema.processlist where id <> connection_id() and user = 'root'"

    def kill() -> None:
        for (number,) in own.run(found):
            own.run(f"kill {number}")

    async def extract() -> None:
        async with await bench.plugin("extract", "sql", url=own.url, table="t")() as stream:
            await stream.__anext__()
            kill()
            async for _ in stream:
                pass

    def fill() -> None:
        load(bench, own.url, stream_of(rows(1000), kill, rows(1000)), "replace")

    call = fill if kind == "load" else lambda: asyncio.run(extract())
    with pytest.raises(RetryableError, match="was lost"):
        call()
    assert own.run("select count(*) from t") == [(20_000,)]


# ---------------------------------------------------------------------------------------------- servers that are slow


def wait_for(made: Server, statement: str) -> int:
    """The number of the connection that runs a statement, once it does."""
    until = time.monotonic() + 30
    while True:
        found = made.run(f"select id from information_schema.processlist where info = '{statement}'")
        if found:
            return int(found[0][0])
        assert time.monotonic() < until, f"nobody ran {statement}"


def test_a_query_that_takes_longer_than_read_timeout_ends_at_the_server_too(
    bench: Bench, own: Server
) -> None:
    with pytest.raises(RetryableError, match="did not answer within 1 second") as caught:
        read(bench, f"{own.url}?read_timeout=1", SLEEP)
    assert "read_timeout=" in caught.value.hint
    is_clear(caught.value)
    with pytest.raises(RetryableError, match="did not answer within 1 second"):
        bench.at_load("sql", url=f"{own.url}?read_timeout=1", query="select sleep(600)")


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system does not say how long it waits")
def test_a_connection_asks_within_a_minute_whether_the_server_is_still_there(own: Server) -> None:
    from pipeline_flow.sql import mariadb

    with contextlib.closing(mariadb.connect(urls.parse(own.url), write=False)) as connection:
        idle, interval, count = (
            connection._sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        )
        assert connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 0 < idle + interval * count <= 60


def test_a_server_that_falls_silent_in_a_load_leaves_the_old_rows(bench: Bench, own: Server) -> None:
    own.run("drop table if exists t")
    load(bench, own.url, rows(3))
    silent = threading.Event()
    with Relay(own.port, lambda _: "silence" if silent.is_set() else "") as relay:
        url = own.url.replace(f":{own.port}", f":{relay.port}") + "?read_timeout=1"
        with pytest.raises(RetryableError, match="did not answer within 1 second"):
            load(bench, url, stream_of(rows(2000), silent.set, rows(2000)), "replace")
    assert own.run("select count(*) from t") == [(3,)]


def test_a_server_that_stands_still_in_an_extract_is_an_error_in_time(bench: Bench) -> None:
    with server() as made:
        load(bench, made.url, rows(60_000))

        async def check() -> None:
            stream = await bench.plugin("extract", "sql", url=f"{made.url}?read_timeout=1", table="t")()
            async with stream:
                await stream.__anext__()
                made.signal(signal.SIGSTOP)
                with pytest.raises(RetryableError, match="did not answer within 1 second"):
                    async for _ in stream:
                        pass

        try:
            asyncio.run(check())
        finally:
            made.signal(signal.SIGCONT)


def test_a_stream_that_is_left_early_ends_its_query_at_the_server(bench: Bench, own: Server) -> None:
    query = "select seq, if(seq < 3000, 0, sleep(600)) as s from seq_1_to_4000"

    async def check() -> None:
        async with await bench.plugin("extract", "sql", url=own.url, query=query)() as stream:
            await stream.__anext__()
            wait_for(own, query)

    asyncio.run(check())


@pytest.mark.parametrize("kind", ["extract", "transform_at_load"])
def test_a_cancelled_query_is_killed_at_the_server(bench: Bench, own: Server, kind: str) -> None:
    plugin = bench.plugin(kind, "sql", url=own.url, query=SLEEP)

    def cancel() -> None:
        wait_for(own, SLEEP)
        plugin.context.cancel_flag.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledByRun):
        plugin() if kind == "transform_at_load" else plugin._open().to_table()
    thread.join()


def test_a_query_that_the_server_ends_is_named(bench: Bench, own: Server) -> None:
    def kill() -> None:
        own.run(f"kill query {wait_for(own, 'select sleep(600), a from t')}")

    own.run("drop table if exists t", "create table t (a int)", "insert into t values (1)")
    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(QueryFailed, match="interrupted") as caught:
        read(bench, own.url, "select sleep(600), a from t")
    thread.join()
    assert "killed the query" in caught.value.hint
    with pytest.raises(QueryFailed, match="max_statement_time"):
        bench.at_load("sql", url=own.url, query="set max_statement_time = 0.05; update t set a = sleep(600)")
    assert own.run("select * from t") == [(1,)]


# ---------------------------------------------------------------------------------------------- others in the way


def test_a_deadlock_may_be_tried_again(bench: Bench, own: Server) -> None:
    own.run(
        "drop table if exists t, u", "create table t (a int primary key)", "create table u (a int primary key)",
        "insert into t values (1)", "insert into u select seq from seq_1_to_1000",
    )  # fmt: skip
    waiting = "select count(*) from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"
    other = own.connect()
    other.begin()
    cursor = other.cursor()
    cursor.execute(
        "update u set a = a + 10000"
    )  # whoever has changed most rows goes on, and the server ends ours
    thread = threading.Thread(target=lambda: cursor.execute("update t set a = 2"))

    async def check() -> None:
        first = bench.plugin("load", "sql", url=own.url, table="t", mode="replace")
        second = bench.plugin("load", "sql", url=own.url, table="u", mode="replace")
        transaction = await first.begin()
        try:
            await first.stage(stream_of(pa.table({"a": [7]})), transaction)
            thread.start()
            while own.run(waiting) == [(0,)]:
                pass
            await second.stage(stream_of(pa.table({"a": [7]})), transaction)
        finally:
            await transaction.abort()

    try:
        with pytest.raises(RetryableError, match="[Dd]eadlock found") as caught:
            asyncio.run(check())
        assert "retry" in caught.value.hint
        is_clear(caught.value)
        thread.join()
        other.commit()
    finally:
        other.close()
    assert own.run("select a from t") == [(2,)], "the other transaction's row, nothing of ours"
    assert own.run("select count(*), min(a) from u") == [(1000, 10_001)]


def test_a_server_that_only_reads_says_so(bench: Bench, own: Server) -> None:
    own.run("drop table if exists t", "create table t (a int)", "set global read_only = on")
    try:
        for table in ("t", "new"):
            with pytest.raises(DestinationFailed, match="read-only") as caught:
                load(bench, as_plain(own), pa.table({"a": [1]}), table=table)
            assert "the server only reads" in caught.value.hint
            is_clear(caught.value)
        assert read(bench, as_plain(own)).num_rows == 0
    finally:
        own.run("set global read_only = off")
    assert own.run("show tables like 'new'") == []


# ---------------------------------------------------------------------------------------------- no room


def test_a_full_disk_is_named_and_leaves_the_old_rows(bench: Bench, own: Server, public: Path) -> None:
    with small_disk(public / "small", "8M") as small:
        own.run(
            "drop table if exists t",
            f"create table t (a bigint, s longtext) engine = InnoDB data directory = '{small}'",
            "insert into t values (1, 'old')",
        )
        try:
            for mode in ("append", "replace"):
                with pytest.raises(DestinationFailed, match="run out of something: .*t.*full") as caught:
                    load(bench, own.url, rows(20_000), mode)
                is_clear(caught.value)
                assert own.run("select * from t") == [(1, "old")]
            assert load(bench, own.url, rows(2), "append") == 2
        finally:
            own.run("drop table t")


def test_a_database_with_a_limit_of_its_own_is_named_when_it_is_full(bench: Bench) -> None:
    with server(innodb_data_file_path="ibdata1:12M:autoextend:max:14M", innodb_file_per_table="off") as made:
        load(bench, made.url, rows(3))
        with pytest.raises(DestinationFailed, match="run out of something: .*t.*full"):
            load(bench, made.url, rows(20_000), "replace")
        assert made.run("select count(*) from t") == [(3,)]


def test_a_full_disk_for_temporary_files_is_named(bench: Bench, public: Path) -> None:
    with (
        small_disk(public / "small") as small,
        server(tmpdir=str(small), sort_buffer_size="64K", tmp_memory_table_size="16K") as made,
    ):
        with pytest.raises(QueryFailed, match="run out of something") as caught:
            read(
                bench,
                made.url,
                "select concat(repeat('x', 200), seq) as s from seq_1_to_50000 order by md5(seq)",
            )
        is_clear(caught.value)
