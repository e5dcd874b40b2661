"""`plugin: sql` under `pre` and `post`: inside the transaction of a load into the same database, by itself elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow import events
from pipeline_flow.core import discovery
from pipeline_flow.entrypoint import prepare
from pipeline_flow.errors import RetryableError
from pipeline_flow.plan import view
from pipeline_flow.plugins import ILoadPlugin, IPostProcessPlugin, ITransactionHook, Transaction
from pipeline_flow.sql import url as urls
from pipeline_flow.testing import Recorder
from tests.connectors.databases import Database

if TYPE_CHECKING:
    from pipeline_flow.engine import RunResult


class Witness(ILoadPlugin, plugin_name="witness_of_hooks"):
    """Cannot roll back, and so runs between staging and commit: counts what others see then."""

    def __init__(self, plugin_id: str) -> None:
        self.id = plugin_id

    async def __call__(self, data: Any) -> None:
        SEEN.append(DATABASES[-1].count())


class Flaky(ITransactionHook, IPostProcessPlugin, plugin_name="flaky_hook"):
    """A hook of somebody's own, inside the transaction; its first attempt fails."""

    def __init__(self, plugin_id: str, url: str) -> None:
        self.id = plugin_id
        self.url = url

    @property
    def destination(self) -> str:
        return urls.parse(self.url).url

    async def join(self, transaction: Transaction) -> None:
        assert isinstance(transaction, Transaction)
        if self.context.attempt == 1:
            raise RetryableError("the first attempt fails")

    async def __call__(self, data: Any = None) -> None:
        raise AssertionError("it is to join")


SEEN: list[int] = []
DATABASES: list[Database] = []


@pytest.fixture(autouse=True)
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("a\n1\n2\n")
    SEEN.clear()


def config(extract: dict[str, Any] | None = None, load: dict[str, Any] | None = None) -> dict[str, Any]:
    source = {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}], **(extract or {})}
    return {"pipelines": {"p": {"phases": {"extract": source, "load": load}}}}


def hook(db: Database, query: str, **more: Any) -> dict[str, Any]:
    step = {key: more.pop(key) for key in ("id",) if key in more}
    return {"plugin": "sql", **step, "args": {"url": db.url, "query": query, **more}}


def into(db: Database, table: str = "t", **more: Any) -> dict[str, Any]:
    return {"id": table, "plugin": "sql", "args": {"url": db.url, "table": table, "mode": "append", **more}}


def run(configuration: dict[str, Any]) -> RunResult:
    return pipeline_flow.run(configuration, raise_on_failure=False)


def failure(result: RunResult) -> str:
    steps = [step for pipeline in result.pipelines.values() for step in pipeline.steps]
    (told,) = (f"{step.address}: {step.failure.message}" for step in steps if step.failure)
    return told


# ---------------------------------------------------------------------------------------------- in the load's transaction


def test_pre_and_post_of_a_load_come_with_its_rows(db: Database) -> None:
    """`pre` before the rows, `post` after them; nobody sees anything before the commit."""
    db.rows("create table t (a bigint)", "insert into t values (7), (8)")
    load = {
        "pre": [hook(db, "delete from t where a < :n", params={"n": 8})],
        "steps": [into(db)],
        "post": [hook(db, "insert into t select sum(a) from t")],
    }
    if db.engine != "duckdb":  # one process of DuckDB's at a time
        DATABASES.append(db)
        load["steps"].append({"plugin": "witness_of_hooks"})
    result = run(config(load=load))
    assert result.succeeded, failure(result)
    assert sorted(db.rows("select a from t")) == [(1,), (2,), (8,), (11,)]
    assert SEEN in ([], [2])


def test_what_a_post_finds_wrong_takes_rows_and_pre_back(db: Database) -> None:
    db.rows("create table t (a bigint)", "insert into t values (7)")
    load = {
        "pre": [hook(db, "delete from t")],
        "steps": [into(db), into(db, "new")],
        "post": [hook(db, "insert into nowhere values (1)")],
    }
    result = run(config(load=load))
    assert failure(result).startswith("p.load.post.sql: ")
    assert db.rows("select a from t") == [(7,)]
    with pytest.raises(Exception, match="new"):
        db.count("new")


def test_a_pre_may_make_the_table_that_the_load_writes(db: Database) -> None:
    load = {
        "pre": [hook(db, "create table if not exists t (a bigint, note varchar(9) default 'made')")],
        "steps": [into(db)],
    }
    for rows in (2, 4):
        result = run(config(load=load))
        assert result.succeeded, failure(result)
        assert db.rows("select count(*), min(note) from t") == [(rows, "made")]


def test_a_hook_that_may_be_retried_begins_the_transaction_anew(db: Database) -> None:
    """What was before it in the transaction is done once more, and is there once."""
    db.rows("create table t (a bigint)", "create table log (n bigint)")
    flaky = {"plugin": "flaky_hook", "args": {"url": db.url}, "retry": {"attempts": 2, "wait": "1ms"}}
    load = {"pre": [hook(db, "insert into log values (1)")], "steps": [into(db)], "post": [flaky]}
    result = run(config(load=load))
    assert result.succeeded, failure(result)
    assert {str(step.address): step.attempts for step in result.pipelines["p"].steps} == {
        "p.extract.csv": 1,
        "p.load.pre.sql": 2,
        "p.load.t": 2,
        "p.load.post.flaky_hook": 2,
    }
    assert (db.count(), db.count("log")) == (2, 1)


def test_a_failed_load_takes_the_pre_back(db: Database) -> None:
    db.rows("create table t (b bigint)", "insert into t values (7)")
    result = run(config(load={"pre": [hook(db, "delete from t")], "steps": [into(db)]}))
    assert "no column `a`" in failure(result)
    assert db.count() == 1


def test_transactions_are_ours_in_hooks_too(db: Database) -> None:
    db.rows("create table t (a bigint)")
    result = run(config(load={"steps": [into(db)], "post": [hook(db, "delete from t; commit")]}))
    assert "one transaction of our own" in failure(result)
    assert db.count() == 0


# ---------------------------------------------------------------------------------------------- by itself


def test_hooks_of_extract_run_by_themselves_and_leave_the_data(db: Database) -> None:
    db.rows("create table log (what varchar(9))")
    extract = {
        "pre": [hook(db, "insert into log values ('pre')")],
        "post": [hook(db, "insert into log values ('post')")],
    }
    result = run(config(extract, {"steps": [{"plugin": "csv", "args": {"path": "out.csv"}}]}))
    assert result.succeeded, failure(result)
    assert db.rows("select what from log") == [("pre",), ("post",)]
    assert Path("out.csv").read_text().split() == ["a", "1", "2"]


def test_a_post_of_another_database_runs_after_the_commit(db: Database, tmp_path: Path) -> None:
    other = Database("sqlite", f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other.db")
    heard = Recorder()
    load = {"steps": [into(db)], "post": [hook(other, "create table seen as select 1 as a")]}
    result = pipeline_flow.run(config(load=load), listeners=[heard], raise_on_failure=False)
    assert result.succeeded, failure(result)
    assert other.count("seen") == 1
    names = [
        type(event).__name__ + f" {getattr(event, 'address', '')}"
        for event in heard.events
        if isinstance(event, events.LoadCommitted | events.StepStarted)
    ]
    assert names.index("LoadCommitted ") < names.index("StepStarted p.load.post.sql")


def test_tables_of_several_extracts_pass_a_hook(db: Database) -> None:
    db.rows("create table log (what varchar(9))")
    extract = {
        "steps": [{"id": name, "plugin": "csv", "args": {"path": "in.csv"}} for name in ("x", "y")],
        "post": [hook(db, "insert into log values ('post')")],
    }
    load = {
        "steps": [{**into(db, name), "input": name} for name in ("x", "y")],
        "post": [hook(db, "delete from x")],
    }
    result = run(config(extract, load))
    assert result.succeeded, failure(result)
    assert (db.count("log"), db.count("x"), db.count("y")) == (1, 0, 2)


def test_a_hook_as_another_user_is_told(postgres_database: str) -> None:
    db = Database("postgresql", postgres_database)
    other = Database("postgresql", postgres_database.replace("postgres@", "somebody@"))
    result = run(config(load={"pre": [hook(other, "select 1")], "steps": [into(db)]}))
    assert "as two users" in failure(result)


# ---------------------------------------------------------------------------------------------- MariaDB


@pytest.mark.parametrize(
    "statement",
    [
        "create table u (a int)", "truncate t", "alter table t add column b int", "drop table t", "analyze table t",
        "create or replace view v as select 1", "grant select on t to root@localhost", "/* x */ rename table t to u",
    ],
)  # fmt: skip
def test_a_post_that_would_commit_the_rows_is_refused_before_it_runs(mariadb: str, statement: str) -> None:
    db = Database("mariadb", mariadb)
    db.rows("create table t (a bigint)")
    result = run(config(load={"steps": [into(db)], "post": [hook(db, statement)]}))
    assert "commits by itself at" in failure(result)
    assert db.count() == 0


def test_a_post_that_has_committed_the_rows_is_told(mariadb: str) -> None:
    """What a routine does is not known before it has."""
    db = Database("mariadb", mariadb)
    db.rows("create table t (a bigint)", "create procedure sly() begin insert into t values (9); commit; end")
    try:
        result = run(config(load={"steps": [into(db)], "post": [hook(db, "call sly()")]}))
    finally:
        db.rows("drop procedure sly")
    assert "MariaDB has committed at CALL" in failure(result)
    assert "the rows of the loads before it are there" in failure(result)


def test_a_temporary_table_commits_nothing(mariadb: str) -> None:
    db = Database("mariadb", mariadb)
    db.rows("create table t (a bigint)")
    statements = "create temporary table q as select max(a) as a from t; insert into t select a + 1 from q; drop temporary table q"
    result = run(config(load={"steps": [into(db)], "post": [hook(db, statements)]}))
    assert result.succeeded, failure(result)
    assert sorted(db.rows("select a from t")) == [(1,), (2,), (3,)]


def test_what_follows_a_statement_that_commits_is_one_transaction_again(mariadb: str) -> None:
    db = Database("mariadb", mariadb)
    db.rows("create table t (a bigint)")
    pre = hook(db, "create table u (a int); insert into u values (1); insert into nowhere values (1)")
    run(config(load={"pre": [pre], "steps": [into(db)]}))
    assert db.count("u") == 0


# ---------------------------------------------------------------------------------------------- what is said beforehand


def test_the_plan_says_which_hooks_are_part_of_a_transaction(tmp_path: Path) -> None:
    db = Database("sqlite", f"sqlite:///{tmp_path / 't.db'}")
    other = Database("sqlite", "sqlite:///other.db")
    load = {
        "pre": [hook(db, "select 1", id="same"), hook(other, "select 1", id="other")],
        "steps": [into(db), into(db, "u")],
        "post": [hook(db, "select 1")],
    }
    prepared = prepare(config({"pre": [hook(db, "select 1")]}, load))
    found = view.of(prepared.plan, discovery.catalog())
    told = {
        f"{phase.name}.{step.id}": step.guarantee
        for phase in found.pipelines[0].phases
        for step in phase.steps
        if step.role != "step"
    }
    assert told == {
        "extract.pre.sql": None,
        "load.pre.same": "in the transaction of t, u",
        "load.pre.other": None,
        "load.post.sql": "in the transaction of t, u",
    }
