"""Which columns a query gives and which it lacks, told by DuckDB's own binder over empty tables; nothing runs.

The tables have names and no types. What DuckDB refuses for a type's sake is not known here; a column that it does not find is
one that no type would bring.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.columns import Given, Names

_TYPES = ('"NULL"', "TIMESTAMP", "VARCHAR", "DOUBLE")  # some functions take only some of them
_MISSING = re.compile(
    r'Referenced column "(?P<a>(?:[^"]|"")+)" not found in FROM clause'
    r'|Table "(?P<table>(?:[^"]|"")+)" does not have a column named "(?P<b>(?:[^"]|"")+)"'
    r'|Column "(?P<c>(?:[^"]|"")+)" in (?:EXCLUDE|REPLACE|RENAME) list not found in FROM clause'
    r'|Column "(?P<d>(?:[^"]|"")+)" does not exist on (?:left|right) side of join'
)
# The columns that these make depend on types and values.
_OPEN = re.compile(r"\b(?:unnest|unlist|pivot|pivot_wider|unpivot|pivot_longer)\b", re.IGNORECASE)
_binding: DuckDBPyConnection | None = None


def query(text: str, given: Given, *path: str | int) -> Names | None:
    """The columns of what one SELECT makes of ``given``; a column that it lacks is said to ``given``.

    Args:
        text: one SELECT in DuckDB's SQL. It knows one stream as ``data``, several by their names.
        given: what reaches the step.
        path: the way to the query, from ``args``.
    """
    if None in given.tables.values():
        return listed(text)
    tables = {name: names or () for name, names in given.tables.items()}
    found, missing = _bound(text, tables)
    if missing is not None:
        given.need(missing, *path)
        return listed(text)
    return listed(text) if found is None else found


def expressions(texts: Mapping[tuple[str | int, ...], str], given: Given) -> None:
    """Says to ``given`` which columns the expressions over one row lack; each stands under its path from ``args``."""
    names = given.names
    if names is None:
        return
    for path, text in texts.items():
        _, missing = _bound(f"select ({text}\n) from data", {"data": names})
        if missing is not None:
            given.need(missing, *path)


def listed(text: str) -> Names | None:
    """The columns that a SELECT lists itself, each a column or under a name of its own; else ``None``."""
    import duckdb

    if "\0" in text or _OPEN.search(text):
        return None
    try:
        with _connection() as connection:
            row = connection.execute(f"select json_serialize_sql({literal(text)})").fetchone()
    except duckdb.Error:
        return None
    found = json.loads(row[0]) if row else {}
    if found.get("error", True) or len(found["statements"]) != 1:
        return None
    node = found["statements"][0]["node"]
    while node.get("type") == "SET_OPERATION_NODE" and node.get("setop_type") != "UNION_BY_NAME":
        node = node.get("left") or {}
    if node.get("type") != "SELECT_NODE":
        return None
    names = [_name(item) for item in node["select_list"]]
    return None if None in names else tuple(name for name in names if name is not None)


def _name(item: dict[str, Any]) -> str | None:
    if any(part.get("class") == "STAR" for part in _nodes(item)):
        return None
    if item.get("alias"):
        return str(item["alias"])
    return str(item["column_names"][-1]) if item.get("class") == "COLUMN_REF" else None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _bound(text: str, tables: Mapping[str, Sequence[str]]) -> tuple[Names | None, str | None]:
    """The columns that DuckDB sees in the result, if it can bind the query, and else the column that it lacks, if any."""
    import duckdb

    if _OPEN.search(text):
        return None, None
    with _connection() as connection:
        for type_ in _TYPES:
            try:
                for name, columns in tables.items():
                    fields = ", ".join(f"{quote(column)} {type_}" for column in columns)
                    connection.execute(f"create or replace temp table {quote(name)} ({fields})")
            except (duckdb.Error, ValueError):  # names that DuckDB takes for one
                return None, None
            try:
                rows = connection.execute(f"describe {text}").fetchall()
            except duckdb.Error as error:
                missing = _missing(str(error), tables)
                if missing is not None:
                    return None, missing
            else:
                return tuple(str(row[0]) for row in rows), None
    return None, None


def _missing(message: str, tables: Mapping[str, Sequence[str]]) -> str | None:
    found = _MISSING.search(message)
    if found is None:
        return None
    if found["table"] is not None:  # else a struct of that name could be meant
        columns = {column.casefold() for names in tables.values() for column in names}
        if found["table"].casefold() in columns:
            return None
    name = next(part for part in (found["a"], found["b"], found["c"], found["d"]) if part is not None)
    return name.replace('""', '"')


def _connection() -> DuckDBPyConnection:
    """A connection with temporary tables of its own, to an instance that reaches nothing. Close it."""
    global _binding  # noqa: PLW0603 - opening an instance takes 10 ms
    import duckdb

    if _binding is None:
        _binding = duckdb.connect(
            config={
                "python_enable_replacements": False,
                "threads": 1,
                "enable_external_access": False,
                "autoload_known_extensions": False,
                "lock_configuration": True,
            }
        )
    return _binding.cursor()
