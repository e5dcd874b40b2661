"""`dialect`: statements of one database, translated for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import ConfigError, QueryFailed, SourceUnreadable
from pipeline_flow.secret import Secret
from pipeline_flow.sql import translate

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench
    from tests.connectors.databases import Database

KINDS = ("pre", "post", "transform_at_load")
TEXT = "Robert'); drop table t; -- :n \\"


def run(bench: Bench, db: Database, query: str, kind: str = "transform_at_load", **more: Any) -> None:
    try:
        given = (None,) if kind == "post" else ()
        bench.call(f"{kind}.sql", *given, url=db.url, query=query, **more)
    finally:
        bench.close()


@pytest.mark.parametrize("kind", KINDS)
def test_statements_are_translated_and_values_stay_bound(bench: Bench, db: Database, kind: str) -> None:
    db.rows("create table t (a integer, b varchar(60))", "insert into t values (1, 'x'), (5, 'y')")
    query = (
        "create table u as select iff(a > :n, :text, b) as b, ':n' as c from t; -- :n\n"
        "insert into u select nvl(null, :text), to_varchar(:n) from t where a = :n;"
    )
    run(bench, db, query, kind, dialect="snowflake", params={"n": 1, "text": TEXT})
    assert sorted(db.rows("select b, c from u"), key=str) == [(TEXT, "1"), (TEXT, ":n"), ("x", ":n")]


def test_without_a_dialect_nothing_is_translated(bench: Bench, db: Database) -> None:
    db.rows("create table t (a integer)")
    with pytest.raises(QueryFailed, match="(?i)iff") as caught:
        run(bench, db, "insert into t select iff(1 > 0, 1, 0)" if db.engine != "sqlite" else "select iff(1)")
    assert "translated" not in caught.value.hint


def test_what_the_database_refuses_is_shown_as_it_was_sent(bench: Bench, db: Database) -> None:
    with pytest.raises((QueryFailed, SourceUnreadable)) as caught:
        run(bench, db, "select top 5 * from [no such]", dialect="tsql")
    assert "translated from tsql: SELECT * FROM " in caught.value.hint
    assert "LIMIT 5" in caught.value.hint


def test_its_own_dialect_leaves_a_text_as_it_is() -> None:
    from pipeline_flow.sql import dialect

    text = "select  1 -- as it is\n;;"
    for name, own in (
        ("postgres", dialect.POSTGRESQL),
        ("postgresql", dialect.POSTGRESQL),
        ("mysql", dialect.MARIADB),
        ("mariadb", dialect.MARIADB),
        ("sqlite", dialect.SQLITE),
        ("duckdb", dialect.DUCKDB),
    ):
        assert translate.translated(text, name, own) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("query", "dialect", "said"),
    [
        ("select 1", "snowflak", "did you mean `snowflake`?"),
        ("select from where (", "oracle", "the SQL cannot be read as oracle at line 1, column"),
        ("create trigger x on t after insert as select 1", "tsql", "cannot be translated from tsql: create trigger x"),
        ("select 'a", "bigquery", "the SQL cannot be read as bigquery"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_found_beforehand(
    bench: Bench, kind: str, query: str, dialect: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    faults = bench.faults(kind, "sql", url="duckdb:///x", query=query, dialect=dialect)
    assert said in " ".join(faults)
    assert len(faults) == 1
    assert not caplog.records


def test_behind_a_secret_url_it_is_found_when_the_step_is_made(bench: Bench) -> None:
    url = Secret("sqlite:///x.db")
    with pytest.raises(ConfigError, match="cannot be read as oracle"):
        bench.at_load("sql", url=url, query="select from where (", dialect="oracle")


@pytest.mark.parametrize("name", translate.known())
def test_every_dialect_that_is_offered_reads_a_statement_with_a_name(name: str) -> None:
    from pipeline_flow.sql.dialect import POSTGRESQL

    found = translate.translated("select a from t where b >= :since and c = ':since'", name, POSTGRESQL)
    assert found.casefold() == "select a from t where b >= :since and c = ':since'"
