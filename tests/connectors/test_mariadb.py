"""MariaDB as a source and a destination, at a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.data import to_stream
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
from tests.connectors.conftest import every_type
from tests.connectors.mariadb_server import (
    HOST,
    NAME,
    PORT,
    STRANGER,
    URL,
    connect,
    execute,
    load,
    read,
    root,
)
from tests.connectors.suites import DestinationSuite, SourceSuite, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

pytestmark = pytest.mark.usefixtures("mariadb")


@pytest.fixture
def stranger() -> Iterator[str]:
    """A user who may connect and read the table `open`, and nothing else."""
    execute("create table open (a int)", f"create user {STRANGER}@'%' identified by 'p@ss/w:ö'")
    execute(f"grant select on `{NAME}`.open to {STRANGER}@'%'")
    yield f"mariadb://{STRANGER}:p%40ss%2Fw%3A%C3%B6@{HOST}:{PORT}/{NAME}"
    execute(f"drop user {STRANGER}@'%'")


def sample() -> pa.Table:
    """Every type; a TIMESTAMP begins in 1970."""
    table = every_type()
    index = table.column_names.index("instant")
    values = pa.chunked_array([["2024-02-29 01:02:03.456789", "1970-01-01 00:00:01", None]])
    return table.set_column(index, "instant", values.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")))


class TestSource(SourceSuite):
    plugin = "sql"
    many_rows = 50_000

    def args(self) -> dict[str, Any]:
        return {"url": URL, "query": "select * from t"}

    def sample(self) -> pa.Table:
        return sample()

    def put(self, bench: Bench, table: pa.Table) -> None:
        load(bench, table, "replace")

    def missing(self, bench: Bench) -> str:
        return f"{NAME}.t"

    malformed = not_applicable("a server answers, or it does not")

    def unreadable(self, bench: Bench) -> str:
        pytest.skip("not applicable: its own test has a user without rights")


class TestDestination(DestinationSuite):
    plugin = "sql"
    many_rows = 30_000

    def args(self) -> dict[str, Any]:
        return {"url": URL, "table": "t", "mode": "replace"}

    def sample(self) -> pa.Table:
        return sample()

    def read(self, bench: Bench) -> pa.Table:
        return read(bench)

    def exists(self, bench: Bench) -> bool:
        return bool(root(f"show tables from `{NAME}` like 't'"))

    def unwritable(self, bench: Bench) -> str:
        pytest.skip("not applicable: its own test has a user without rights")


# ---------------------------------------------------------------------------------------------- loading


def test_append_adds_rows_by_name(bench: Bench) -> None:
    load(bench, pa.table({"a": [1], "b": ["x"]}))
    load(bench, pa.table({"b": ["y"], "a": [2]}))
    assert read(bench).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


def test_a_made_table_keeps_its_rows_in_transactions_and_tells_cases_apart(bench: Bench) -> None:
    load(bench, pa.table({"k": ["a", "A", "ä"], "n": [1, 2, 3]}), key=["k"])
    ((_, made),) = root("show create table t", NAME)
    assert "ENGINE=InnoDB" in made
    assert "utf8mb4_bin" in made
    assert "PRIMARY KEY (`k`)" in made
    assert read(bench).num_rows == 3


def test_replace_keeps_the_table_with_its_indexes(bench: Bench) -> None:
    execute("create table t (a int primary key, b varchar(5), key (b))", "insert into t values (1, 'x')")
    load(bench, pa.table({"a": [2], "b": ["y"]}), "replace")
    assert read(bench).to_pydict() == {"a": [2], "b": ["y"]}
    assert "KEY `b`" in root("show create table t", NAME)[0][1]


def test_a_second_load_of_the_group_that_makes_a_table_commits_nothing_early(bench: Bench) -> None:
    execute("create table t (a int)")

    async def run() -> list[int]:
        first = bench.plugin("load", "sql", url=URL, table="t", mode="append")
        second = bench.plugin("load", "sql", url=URL, table="new", mode="append")
        transaction = await first.begin()
        await first.stage(to_stream(pa.table({"a": [1]})), transaction)
        await second.stage(to_stream(pa.table({"a": [2]})), transaction)
        seen = [root("select count(*) from t", NAME)[0][0]]
        await transaction.commit()
        return [*seen, root("select count(*) from t", NAME)[0][0], root("select a from new", NAME)[0][0]]

    assert asyncio.run(run()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("int", pa.array([1.5])),
        ("int", pa.array(["1"])),
        ("float", pa.array([0.1])),
        ("double(10,2)", pa.array([0.1])),
        ("date", pa.array([0], pa.timestamp("us"))),
        ("decimal(5,1)", pa.array(["1.25"]).cast(pa.decimal128(5, 2))),
        ("timestamp", pa.array([0], pa.timestamp("us"))),
        ("year", pa.array([1])),
        ("set('a','b')", pa.array(["b,a"])),
    ],
)
def test_a_type_that_would_change_values_is_an_error(bench: Bench, declared: str, values: pa.Array) -> None:
    execute(f"create table t (a {declared} null)")
    with pytest.raises(DestinationFailed, match="would change values"):
        load(bench, pa.table({"a": values}))


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("tinyint", pa.array([1, 300]), "Out of range value for column 'a' at row 2"),
        ("varchar(3)", pa.array(["abc", "abcd"]), "Data too long for column 'a' at row 2"),
        ("varchar(3)", pa.array(["abc", "abc "]), "Data truncated for column 'a' at row 2"),
        ("varchar(3) character set latin1", pa.array(["a", "€ж"]), "Incorrect string value"),
        ("int not null", pa.array([1, None]), "Column 'a' cannot be null"),
        ("json", pa.array(["{}", "{"]), "a"),
    ],
)
def test_a_value_that_mariadb_refuses_is_named_and_nothing_is_written(
    bench: Bench, declared: str, values: pa.Array, said: str
) -> None:
    execute(f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match=said):
        load(bench, pa.table({"a": values}))
    assert root("select count(*) from t", NAME) == [(0,)]


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("char(5)", pa.array(["ab", "ab "]), "drops spaces"),
        ("binary(2)", pa.array([b"ab", b"a"]), "fills up"),
        ("enum('a','b')", pa.array(["a", "1"]), "none of the ENUM's labels"),
        ("datetime", pa.array([1_000_000, 1], pa.timestamp("us")), "digits behind the seconds"),
        ("datetime(3)", pa.array([1_001_000, 1_001], pa.timestamp("us")), "digits behind the seconds"),
        ("double", pa.array([1.0, float("nan")]), "NaN or infinity"),
        ("timestamp", pa.array([0], pa.timestamp("s", "UTC")), "1970-01-01 00:00:01"),
        ("timestamp", pa.array([2**32], pa.timestamp("s", "UTC")), "to 2038|to 2106"),
        ("date", pa.array([-800_000], pa.date32()), "from year 1 to 9999"),
        ("time", pa.array([839 * 3600], pa.duration("s")), "838:59:59"),
    ],
)
def test_a_value_that_mariadb_would_change_is_an_error_that_names_the_column(
    bench: Bench, declared: str, values: pa.Array, said: str
) -> None:
    execute(f"create table t (a {declared} null)")
    with pytest.raises(ConversionFailed, match=f"column `a` .*(?:{said})"):
        load(bench, pa.table({"a": values}))
    assert root("select count(*) from t", NAME) == [(0,)]


def test_a_column_that_one_side_lacks_is_an_error(bench: Bench) -> None:
    execute(
        "create table t (amount int, source varchar(9) default 'here', id int auto_increment primary key)"
    )
    load(bench, pa.table({"amount": [1]}))
    assert read(bench, "select * from t").to_pylist() == [{"amount": 1, "source": "here", "id": 1}]
    with pytest.raises(DestinationFailed, match="no column `amont`") as caught:
        load(bench, pa.table({"amont": [1]}))
    assert "did you mean `amount`?" in caught.value.hint
    with pytest.raises(DestinationFailed, match="the data has no column `amount`"):
        load(bench, pa.table({"source": ["x"]}))


def test_a_table_without_transactions_and_a_view_are_refused(bench: Bench) -> None:
    execute("create table m (a int) engine = MyISAM", "create view v as select 1 as a")
    with pytest.raises(DestinationFailed, match="MyISAM, which has no transactions"):
        load(bench, pa.table({"a": [1]}), table="m")
    with pytest.raises(DestinationFailed, match="is a view"):
        load(bench, pa.table({"a": [1]}), table="v")


def test_rows_larger_than_a_statement_arrive_and_larger_than_a_packet_are_refused(bench: Bench) -> None:
    words = ["x" * 5_000_000, "y", "z" * 9_000_000, None]
    load(bench, pa.table({"a": words}))
    assert read(bench)["a"].to_pylist() == words
    with pytest.raises(DestinationFailed, match=r"row 2 is .* the server takes 16,777,216") as caught:
        load(bench, pa.table({"a": ["x", "y" * 17_000_000]}), "replace")
    assert "max_allowed_packet" in caught.value.hint
    assert root("select count(*) from t", NAME) == [(4,)]


_HOSTILE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0", max_codepoint=0xFFFF),
    min_size=1,
    max_size=64,
).filter(lambda name: name == name.strip())


@given(table=_HOSTILE, column=_HOSTILE, value=st.text(max_size=20))
@settings(
    deadline=None,
    phases=[Phase.generate],
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_name_is_only_a_name(bench: Bench, table: str, column: str, value: str) -> None:
    parts = '"' + table.replace('"', '""') + '"'
    try:
        load(bench, pa.table({column: [value]}), "replace", parts)
    except DestinationFailed:
        return  # what MariaDB itself cannot name, it says
    try:
        found = bench.extract("sql", url=URL, table=parts)
        assert found.to_pydict() == {column: [value]}
    finally:
        quoted = table.replace("`", "``")
        execute(f"drop table `{quoted}`")


@pytest.mark.parametrize(
    "name", ["`; drop table t; --", "a.b", "select", "ä ö", 'x"y', "a'b", "a%sb", "x" * 64]
)
def test_hostile_names_work(bench: Bench, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    load(bench, pa.table({name: [1]}), table=quoted)
    assert bench.extract("sql", url=URL, table=quoted, columns=[name]).to_pydict() == {name: [1]}


@pytest.mark.parametrize("name", ["x" * 65, "a ", "😀"])
def test_names_that_mariadb_cannot_have_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(DestinationFailed, match="name"):
        load(bench, pa.table({name: [1]}))
    assert root(f"show tables from `{NAME}`") == []


# ---------------------------------------------------------------------------------------------- reading


def test_values_are_bound(bench: Bench) -> None:
    execute("create table t (a int, b text)", r"insert into t values (1, 'it''s'), (2, '\\'' or 1 = 1')")
    for value in ("it's", "\\' or 1 = 1", '"', "\\", ":b %s"):
        found = read(bench, "select a from t where b = :b -- :c", params={"b": value})
        assert found["a"].to_pylist() == {"it's": [1], "\\' or 1 = 1": [2]}.get(value, [])
    with pytest.raises(WrongArgument, match="the query has no `:c`"):
        read(bench, "select a from t where b = :b", params={"b": "x", "c": 1})
    with pytest.raises(WrongArgument, match="`params` does not give it"):
        read(bench, "select a from t where b = :b")


@pytest.mark.parametrize("query", ["delete from t", "select 1 as a; delete from t", "drop table t", ""])
def test_an_extract_only_reads(bench: Bench, query: str) -> None:
    execute("create table t (a int)", "insert into t values (1)")
    with pytest.raises(WrongArgument):
        read(bench, query or " ; ")
    assert root("select count(*) from t", NAME) == [(1,)]


def test_a_query_that_writes_all_the_same_is_refused_by_the_server(bench: Bench) -> None:
    execute("create table t (a int)")
    with pytest.raises(QueryFailed):
        read(bench, "select 1 as a into outfile '/nonexistent/x'")
    with pytest.raises(ConversionFailed, match="gives the column `a` twice"):
        read(bench, "select 1 as a, 2 as a")


def test_what_is_wrong_with_a_query_is_said(bench: Bench) -> None:
    execute("create table orders (amount int)")
    with pytest.raises(SourceUnreadable, match="oders") as caught:
        read(bench, "select * from oders")
    assert caught.value.hint == "did you mean `orders`?"
    with pytest.raises(QueryFailed, match="Unknown column 'amont'") as wrong:
        read(bench, "select amont from orders")
    assert wrong.value.hint == "did you mean `amount`?"
    with pytest.raises(QueryFailed, match="syntax"):
        read(bench, "select from from orders")


def test_a_stream_left_half_way_does_not_read_the_rest(bench: Bench) -> None:
    load(bench, pa.table({"a": range(1000)}))
    plugin = bench.plugin("extract", "sql", url=URL, query="select x.a from t x, t y, t z")

    async def run() -> int:
        async with to_stream(await plugin()) as stream:
            async for batch in stream:
                return int(batch.num_rows)
        return 0

    assert asyncio.run(run()) > 0


# ---------------------------------------------------------------------------------------------- statements


def test_statements_run_in_one_transaction_and_rows_are_told(bench: Bench) -> None:
    execute("create table t (a int)")
    statements = (
        "insert into t values (:n), (2); -- a comment; with a semicolon\nupdate t set a = a + 1 where a = 2;"
    )
    bench.at_load("sql", url=URL, query=statements, params={"n": 7})
    assert bench.notices == ["3 rows affected"]
    with pytest.raises(QueryFailed, match="nowhere"):
        bench.at_load("sql", url=URL, query="delete from t; insert into t select nowhere from t")
    assert sorted(root("select a from t", NAME)) == [(3,), (7,)]


@pytest.mark.parametrize("statement", ["commit", "/* x */ start transaction", "rollback", "begin"])
def test_transactions_are_ours(bench: Bench, statement: str) -> None:
    execute("create table t (a int)")
    with pytest.raises(WrongArgument, match="one transaction of our own"):
        bench.at_load("sql", url=URL, query=f"insert into t values (1); {statement}")
    assert root("select count(*) from t", NAME) == [(0,)]


def test_a_routine_is_one_statement(bench: Bench) -> None:
    execute("create table t (a int)")
    body = (
        "create or replace procedure fill() begin declare n int default 0; while n < 3 do if n <> 1 then "
        "insert into t values (case n when 0 then 10 else n end); end if; set n = n + 1; end while; end"
    )
    bench.at_load("sql", url=URL, query=f"{body};\ncall fill(); insert into t values (99)")
    assert sorted(root("select a from t", NAME)) == [(2,), (10,), (99,)]
    execute("drop procedure fill")


# ---------------------------------------------------------------------------------------------- what goes wrong


def test_who_may_not_is_told(bench: Bench, stranger: str) -> None:
    assert bench.extract("sql", url=stranger, table="open").num_rows == 0
    execute("create table t (a int)")
    with pytest.raises(SourceUnreadable, match="(?i)permission.*denied"):
        bench.extract("sql", url=stranger, table="t")
    for table in ("open", "new"):
        with pytest.raises(TargetUnwritable, match="(?i)permission.*denied"):
            bench.load("sql", pa.table({"a": [1]}), url=stranger, table=table, mode="append")


def test_no_way_in_is_told(bench: Bench, stranger: str) -> None:
    with pytest.raises(SourceUnreadable, match=f"refused the password of `{STRANGER}`"):
        read(bench, url=f"mariadb://{STRANGER}:no@{HOST}:{PORT}/{NAME}")
    with pytest.raises(SourceUnreadable, match=f"wants a password for `{STRANGER}`"):
        read(bench, url=f"mariadb://{STRANGER}@{HOST}:{PORT}/{NAME}")
    with pytest.raises(SourceUnreadable, match="no database `nowhere`"):
        read(bench, url=f"mariadb://root@{HOST}:{PORT}/nowhere")
    with pytest.raises(TargetUnwritable, match="no database `nowhere`"):
        load(bench, pa.table({"a": [1]}), url=f"mysql://root@{HOST}:{PORT}/nowhere")
    with pytest.raises(SourceUnreadable, match="cannot be trusted"):
        read(bench, url=f"{URL}?sslmode=require")
    with pytest.raises(WrongArgument, match="sslmode"):
        read(bench, url=f"{URL}?sslmode=verify")
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # nobody listens
        with pytest.raises(RetryableError, match="nothing listens"):
            read(bench, url=f"mariadb://root@{HOST}:{taken.getsockname()[1]}/{NAME}")


def test_a_row_that_another_transaction_holds_may_be_tried_again(bench: Bench) -> None:
    execute("create table t (a int primary key)", "insert into t values (1)")
    other = connect()
    other.begin()
    other.cursor().execute("update t set a = 2")
    try:
        with pytest.raises(RetryableError, match="(?i)lock wait timeout"):
            bench.at_load("sql", url=URL, query="set innodb_lock_wait_timeout = 1; update t set a = 3")
    finally:
        other.close()
    assert root("select a from t", NAME) == [(1,)]


def test_a_killed_connection_leaves_nothing_and_may_be_tried_again(bench: Bench) -> None:
    execute("create table t (a int)")

    async def run() -> None:
        plugin = bench.plugin("load", "sql", url=URL, table="t", mode="append")
        transaction = await plugin.begin()
        try:
            await plugin.stage(to_stream(pa.table({"a": [1]})), transaction)
            ((thread,),) = root(
                "select trx_mysql_thread_id from information_schema.innodb_trx where trx_rows_modified = 1"
            )
            root(f"kill {thread}")
            await plugin.stage(to_stream(pa.table({"a": [2]})), transaction)
        finally:
            await transaction.abort()

    with pytest.raises(RetryableError, match="was lost"):
        asyncio.run(run())
    assert root("select count(*) from t", NAME) == [(0,)]


def test_a_cancelled_query_is_killed_at_the_server(bench: Bench) -> None:
    """The step ends long before the query would."""
    plugin = bench.plugin("transform_at_load", "sql", url=URL, query="select sleep(500)")
    timer = threading.Timer(0.3, plugin.context.cancel_flag.set)
    timer.start()
    with pytest.raises(CancelledByRun):
        plugin()
    timer.join()
    assert root("select count(*) from information_schema.processlist where info = 'select sleep(500)'") == [
        (0,)
    ]


def test_a_connection_is_tried_and_leaves_nothing(stranger: str) -> None:
    database = url.parse(URL)
    found = engine.of(database).probe(database)
    assert found.version.startswith("MariaDB 1")
    assert found.user.startswith("root@")
    assert found.refusals == {"read": "", "write": ""}
    database = url.parse(stranger)
    assert "denied" in engine.of(database).probe(database).refusals["write"]
    assert root(f"show tables from `{NAME}`") == [("open",)]


# ---------------------------------------------------------------------------------------------- replace


def until_deleting() -> None:
    query = f"select count(*) from information_schema.processlist where db = '{NAME}' and info like 'delete from%'"
    while root(query) == [(0,)]:
        time.sleep(0.01)


def test_of_two_replaces_at_once_the_later_one_stays(bench: Bench) -> None:
    """Not the rows of both, wherever in the key they stand."""
    execute("create table t (a int primary key)", "insert into t values (10), (20)")

    async def run() -> None:
        plugins = [bench.plugin("load", "sql", url=URL, table="t", mode="replace") for _ in range(2)]
        first, second = [await plugin.begin() for plugin in plugins]
        await plugins[0].stage(to_stream(pa.table({"a": [1, 15, 30]})), first)
        later = asyncio.ensure_future(plugins[1].stage(to_stream(pa.table({"a": [2, 16]})), second))
        await asyncio.to_thread(until_deleting)
        assert not later.done()
        await first.commit()
        await later
        await second.commit()

    asyncio.run(run())
    assert sorted(root("select a from t", NAME)) == [(2,), (16,)]


def test_readers_see_the_old_rows_until_a_replace_commits(bench: Bench) -> None:
    execute("create table t (a int)", "insert into t values (10), (20)")

    async def run() -> list[Any]:
        plugin = bench.plugin("load", "sql", url=URL, table="t", mode="replace")
        transaction = await plugin.begin()
        await plugin.stage(to_stream(pa.table({"a": [1]})), transaction)
        before = root("select a from t", NAME)
        await transaction.commit()
        return [before, root("select a from t", NAME)]

    assert asyncio.run(run()) == [[(10,), (20,)], [(1,)]]


@pytest.mark.parametrize("rule", ["cascade", "set null"])
def test_a_replace_that_would_take_rows_of_another_table_with_it_is_refused(bench: Bench, rule: str) -> None:
    execute(
        "create table t (a int primary key)",
        f"create table u (a int, constraint up foreign key (a) references t (a) on delete {rule})",
        "insert into t values (1)",
        "insert into u values (1)",
    )
    try:
        with pytest.raises(DestinationFailed, match=f"cannot be replaced.*`{NAME}.u`.*`up`"):
            load(bench, pa.table({"a": [1]}), "replace")
        assert root("select a from u", NAME) == [(1,)]
    finally:
        execute("drop table u")
