"""What is said of a query without a parser is never wrong, whatever the query."""

from __future__ import annotations

import pytest

from pipeline_flow.errors import WrongArgument
from pipeline_flow.sql import duckdb, expression, shallow

SELECTS = [
    "select 1",
    "with a as (select 1) from a",
    "from t select a",
    "values (1)",
    "table t",
    "pivot t on a in (1, 2) using sum(b)",
    "unpivot t on a",
    "show tables",
    "describe t",
    "desc t",
    "summarize t",
    "pragma show_tables",
    "((select 1) union select 2)",
    r"select e'it\'s;'",
    r"select 1 as e, 'x\'",
    "select $$a;b'$$, $x$ ' $x$",
    "select 'it''s', \"a;\"\"\" from t -- c;'d",
    "/* ; ' */ select 1 /* ; */ ;",
    "select [1, 2][1], {'a': (1)}",
    "-- x\nselect 1",
    ";select 1;;",
]
OTHERS = [
    "insert into t values (1)",
    "update t set a = 1",
    "delete from t",
    "create table t (a int)",
    "drop table t",
    "alter table t rename to s",
    "truncate t",
    "copy t to 'x'",
    "attach 'x'",
    "use x",
    "set a = 1",
    "call pragma_version()",
    "begin",
    "install x",
    "load x",
    "export database 'x'",
    "vacuum",
    "checkpoint",
    "explain select 1",
    "select 1; select 2",
    "select 1; drop table data",
    "selec 1",
    "",
    " ;; -- nothing",
    "select (1",
    "select 1)",
    "select [1}",
    "select 'a",
    'select "a',
    "select 1 /* x",
]


@pytest.mark.parametrize("query", SELECTS)
def test_a_select_passes(query: str) -> None:
    assert duckdb.single_select(query)
    assert shallow.query_fault(query) is None


@pytest.mark.parametrize("query", OTHERS)
def test_what_duckdb_refuses_is_refused_without_it(query: str) -> None:
    with pytest.raises(WrongArgument):
        duckdb.single_select(query)
    assert shallow.query_fault(query)


def test_what_only_a_parser_can_know_passes() -> None:
    for query in ("select fro data where", "with x as (select 1) insert into t from x", "/* /* */ select 1"):
        assert shallow.query_fault(query) is None


def test_the_message_names_the_right_word() -> None:
    assert shallow.query_fault("selec 1") == "the query begins with `selec`: did you mean `select`?"


EXPRESSIONS = [
    "a",
    "a + 1",
    "'x;' || b",
    "list_transform([1], x -> x + 1)",
    "{'a': 1}",
    "/* ; */ a",
    "a -- )",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_passes(text: str) -> None:
    expression.parse(text)
    assert shallow.expression_fault(text) is None


@pytest.mark.parametrize("text", ["", " ", "a; b", "(a", "a)", "'a", "f(a]"])
def test_what_is_no_expression_is_refused_without_a_parser(text: str) -> None:
    with pytest.raises(ValueError, match="expression"):
        expression.parse(text)
    assert "is not an expression" in str(shallow.expression_fault(text))


def test_every_type_that_duckdb_has_passes_and_a_typo_does_not() -> None:
    import duckdb as native

    rows = native.sql("select distinct type_name from duckdb_types()").fetchall()
    names = [*(name for (name,) in rows), "DECIMAL(10, 2)", "INTEGER[]", "STRUCT(a INT, b VARCHAR)", "int[3]"]
    names += ["MAP(VARCHAR, INT)", "enum('a', 'b)')", "timestamp with time zone", "double precision"]
    for name in names:
        assert shallow.type_fault(name) is None, name
    for typo, right in [("VARCHR", "VARCHAR"), ("integr", "INTEGER"), ("DECIAML(10,2)", "DECIMAL")]:
        with pytest.raises(ValueError, match="is no type"):
            expression.duckdb_type(typo)
        assert f"did you mean `{right}`?" in str(shallow.type_fault(typo))
    assert shallow.type_fault("DECIMAL(10,2")
