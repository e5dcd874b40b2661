"""The one place where names and literals are written into SQL text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_flow.sql.dialect import DUCKDB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline_flow.sql.dialect import Dialect


def quote(*parts: str, dialect: Dialect = DUCKDB) -> str:
    """An identifier for SQL; several parts are joined by dots: ``quote("main", "a b")`` → ``"main"."a b"``.

    Raises:
        ValueError: a part is empty, holds a null character, which no database takes, or is longer than names may be.
    """
    for part in parts:
        if fault := dialect.fault(part):
            raise ValueError(fault)
    mark = dialect.quote_mark
    return ".".join(mark + part.replace(mark, mark * 2) + mark for part in parts)


def quote_all(names: Iterable[str], dialect: Dialect = DUCKDB) -> str:
    """The names as a list for SQL: ``"a", "b"``."""
    return ", ".join(quote(name, dialect=dialect) for name in names)


def literal(text: str) -> str:
    """A text literal, for the few places where SQL takes no bound value (``COPY … TO``, settings)."""
    return "'" + text.replace("'", "''") + "'"


def split_table(text: str) -> tuple[str, ...]:
    """The parts of a table's name: ``sales`` → ``("sales",)``, ``shop."a.b"`` → ``("shop", "a.b")``.

    Raises:
        ValueError: the name is empty, a quote is not closed, or a part is missing.
    """
    parts: list[str] = []
    rest = text.strip()
    while True:
        if rest.startswith('"'):
            part, rest = _quoted(rest, text)
        else:
            part, dot, tail = rest.partition(".")
            rest = dot + tail
        if not part.strip():
            raise ValueError(f"`{text}` is not the name of a table: write table or schema.table")
        parts.append(part)
        if not rest:
            return tuple(parts)
        if not rest.startswith("."):
            raise ValueError(f'`{text}` is not the name of a table: write table, schema.table or "a.name"')
        rest = rest[1:]


def _quoted(rest: str, text: str) -> tuple[str, str]:
    position = 1
    while True:
        end = rest.find('"', position)
        if end < 0:
            raise ValueError(f"`{text}` is not the name of a table: a quote is not closed")
        if rest[end : end + 2] != '""':
            return rest[1:end].replace('""', '"'), rest[end + 1 :]
        position = end + 2
