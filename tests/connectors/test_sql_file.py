"""SQL from a file, and values for the statements that run in the destination."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.errors import QueryFailed, WrongArgument

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

URLS = ["duckdb:///shop.db", "sqlite:///shop.sqlite"]


def at_load(bench: Bench, url: str, **args: Any) -> None:
    bench.at_load("sql", url=url, **args)


def rows(bench: Bench, url: str, query: str = "select * from t order by 1") -> list[dict[str, Any]]:
    return bench.extract("sql", url=url, query=query).to_pylist()


@pytest.mark.parametrize("url", URLS)
def test_a_file_of_statements_runs_each_with_the_values_that_it_uses(bench: Bench, url: str) -> None:
    Path("daily.sql").write_text(
        "-- a comment; with a semicolon and :nothing\n"
        "create table t (a integer, b varchar);\n"
        "insert into t values (:low, ':low'), (:high, :text);\n"
        "delete from t where a = :low;\n",
        encoding="utf-8",
    )
    at_load(bench, url, file="daily.sql", params={"low": 1, "high": 2, "text": "it's; :low"})
    assert rows(bench, url) == [{"a": 2, "b": "it's; :low"}]
    assert bench.notices[-1].endswith("rows affected")


@pytest.mark.parametrize("url", URLS)
def test_a_name_without_a_value_is_named_and_nothing_is_changed(bench: Bench, url: str) -> None:
    at_load(bench, url, query="create table t (a integer)")
    with pytest.raises(
        WrongArgument, match="a statement has `:hgih`, and `params` does not give it"
    ) as caught:
        at_load(
            bench, url, query="insert into t values (:low); insert into t values (:hgih)", params={"low": 1}
        )
    assert "it gives: low" in str(caught.value)
    assert rows(bench, url) == []


@pytest.mark.parametrize("url", URLS)
def test_a_mistake_in_one_statement_takes_all_back(bench: Bench, url: str) -> None:
    at_load(bench, url, query="create table t (a integer)")
    with pytest.raises(QueryFailed, match="nowhere"):
        at_load(
            bench, url, query="insert into t values (:a); insert into nowhere values (:a)", params={"a": 1}
        )
    assert rows(bench, url) == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"query": "select 1", "file": "x.sql"}, "both are here"),
        ({}, "neither is here"),
        ({"file": "nowhere.sql"}, "nowhere.sql does not exist"),
        ({"file": "latin.sql"}, "is not UTF-8"),
        ({"file": "."}, "cannot be read"),
    ],
)
@pytest.mark.parametrize("kind", ["extract", "transform", "transform_at_load"])
def test_a_wrong_file_is_found_before_anything_runs(
    bench: Bench, kind: str, args: dict[str, Any], text: str
) -> None:
    Path("x.sql").write_text("select 1")
    Path("latin.sql").write_bytes("select 'ä'".encode("latin-1"))
    url = {} if kind == "transform" else {"url": URLS[0]}
    [fault] = bench.faults(kind, "sql", **args, **url)
    assert text in fault


def test_a_value_that_no_statement_uses_is_found_before_anything_runs(bench: Bench) -> None:
    [fault] = bench.faults("transform_at_load", "sql", url=URLS[0], query="select :since", params={"sinc": 1})
    assert "`params` gives `sinc`" in fault
    assert "did you mean `since`?" in fault


def test_a_transform_and_an_extract_take_their_query_from_a_file(bench: Bench) -> None:
    Path("double.sql").write_text("select a * 2 as b from data; -- done\n", encoding="utf-8")
    assert bench.transform("sql", pa.table({"a": [1]}), file="double.sql").to_table().to_pydict() == {
        "b": [2]
    }
    at_load(bench, URLS[0], query="create table t as select 7 as a")
    Path("all.sql").write_text("select a from t where a > :low", encoding="utf-8")
    assert bench.extract("sql", url=URLS[0], file="all.sql", params={"low": 1}).to_pydict() == {"a": [7]}
    Path("two.sql").write_text("select 1; select 2", encoding="utf-8")
    [fault] = bench.faults("transform", "sql", file="two.sql")
    assert "exactly one SELECT" in fault
