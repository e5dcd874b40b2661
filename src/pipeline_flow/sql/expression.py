"""Expressions and types as people write them in DuckDB's SQL, checked before anything runs."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator

from pipeline_flow.core.spec import is_quick
from pipeline_flow.sql import shallow
from pipeline_flow.sql.quote import literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

_parsing: DuckDBPyConnection | None = None

_REFUSED = {
    "SUBQUERY": "holds a SELECT of its own",
    "WINDOW": "looks at other rows (OVER)",
    "STAR": "stands for several columns (* or COLUMNS)",
    "PARAMETER": "holds a parameter (? or $)",
    "POSITIONAL_REFERENCE": "names a column by its place (#)",
}
_WHOLE = "the transform `sql` takes a whole SELECT"


def _parser() -> DuckDBPyConnection:
    global _parsing  # noqa: PLW0603 - parsing needs a connection, which takes 10 ms to open
    import duckdb

    if _parsing is None:
        _parsing = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    return _parsing.cursor()


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Any:
    """DuckDB's tree of ``text``, which is exactly one expression over one row.

    Raises:
        ValueError: it is not, with the reason.
    """
    if "\0" in text:
        raise ValueError("an expression cannot hold null characters")
    try:
        bare, enclosed = _serialized(f"select {text}\n"), _serialized(f"select ({text}\n)")
    except ValueError as error:
        raise ValueError(f"`{_shown(text)}` is not an expression of SQL: {error}") from None
    node = bare["node"]
    # What is no expression may still be SQL (`a, b`; `1 from x`); in parentheses only an expression is.
    if len(node.get("select_list", ())) != 1 or enclosed["node"]["type"] != "SELECT_NODE":
        raise ValueError(f"`{_shown(text)}` is more than one expression")
    tree = node["select_list"][0]
    for part in _nodes(tree):
        if part.get("class") in _REFUSED:
            reason = _REFUSED[part["class"]]
        elif part.get("class") == "FUNCTION" and part["function_name"].lower() in _aggregates():
            reason = f"looks at other rows ({part['function_name']})"
        elif part.get("class") == "FUNCTION" and part["function_name"].lower() in ("unnest", "unlist"):
            raise ValueError(
                f"`{_shown(text)}` makes several rows of one (unnest): the transform `explode` does that"
            )
        else:
            continue
        raise ValueError(f"`{_shown(text)}` {reason}, and it is to be one value for each row: {_WHOLE}")
    return tree


def check(text: str) -> str:
    """``text`` itself, where :func:`parse` takes it; see :func:`pipeline_flow.core.spec.quickly`."""
    if not is_quick():
        parse(text)
    elif fault := shallow.expression_fault(text):
        raise ValueError(fault)
    return text


def check_type(text: str) -> str:
    """``text`` itself, where it is a type of DuckDB's.

    Raises:
        ValueError: it is not.
    """
    if not is_quick():
        duckdb_type(text)
    elif fault := shallow.type_fault(text):
        raise ValueError(fault)
    return text


@functools.lru_cache(maxsize=1024)
def duckdb_type(text: str) -> str:
    """The type's own name: ``int`` → ``INTEGER``.

    Raises:
        ValueError: DuckDB has no such type.
    """
    import duckdb

    hint = "types are such as VARCHAR, BIGINT, DOUBLE, DECIMAL(10,2), DATE, TIMESTAMP, BOOLEAN"
    try:
        tree = parse(f"cast(null as {text})")
        if tree.get("class") != "CAST" or tree["child"].get("class") != "CONSTANT" or ")" in _outside(text):
            raise ValueError(text)
        row = _parser().execute(f"describe select cast(null as {text})").fetchone()
    except (ValueError, duckdb.Error):
        raise ValueError(f"`{_shown(text)}` is no type of DuckDB's: {hint}") from None
    return str(row[1]) if row else text


def _outside(text: str) -> str:
    """``text`` without what stands in quotes and in balanced parentheses."""
    text = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", text)
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def names(text: str) -> frozenset[str]:
    """Every name in an expression that may be a column's, casefolded: also those of struct fields and lambdas."""
    return frozenset(
        name.casefold()
        for part in _nodes(parse(text))
        if part.get("class") == "COLUMN_REF"
        for name in part["column_names"]
    )


def only_column(text: str) -> str | None:
    """The column's name where the expression is nothing else."""
    tree = parse(text)
    if tree.get("class") == "COLUMN_REF" and len(tree["column_names"]) == 1:
        return str(tree["column_names"][0])
    return None


def _serialized(query: str) -> Any:
    import duckdb

    try:
        # Bound to a parameter, the text would make DuckDB import pandas where that is installed.
        row = _parser().execute(f"select json_serialize_sql({literal(query)})").fetchone()
    except duckdb.Error as error:
        raise ValueError(str(error).splitlines()[0]) from None
    found: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if found["error"]:
        raise ValueError(found.get("error_message", "it cannot be read"))
    if len(found["statements"]) != 1:
        raise ValueError("it holds several statements")
    return found["statements"][0]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


@functools.cache
def _aggregates() -> frozenset[str]:
    rows = (
        _parser()
        .execute("select distinct function_name from duckdb_functions() where function_type = 'aggregate'")
        .fetchall()
    )
    return frozenset(name.lower() for (name,) in rows) | {"count_star"}


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:79]}…"


Expression: TypeAlias = Annotated[str, AfterValidator(check)]
"""A field that holds one expression of DuckDB's SQL over one row."""

TypeName: TypeAlias = Annotated[str, AfterValidator(check_type)]
"""A field that holds the name of a type of DuckDB's."""
