"""SQL of one dialect as that of a database, by sqlglot, for those who ask for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AfterValidator, Field

from pipeline_flow.core.spec import is_quick
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import WrongArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.sql.dialect import Dialect

_ALSO_CALLED = {"postgresql": "postgres", "mariadb": "mysql"}
_OWN = {"PostgreSQL": "postgres", "MariaDB": "mysql", "SQLite": "sqlite", "DuckDB": "duckdb"}
_NO_DATABASE = ("", "dax", "prql", "solr", "tableau")
_LONGEST_SHOWN = 60


def known() -> tuple[str, ...]:
    """The dialects that can be translated."""
    from sqlglot.dialects.dialect import Dialects

    return tuple(sorted({item.value for item in Dialects}.difference(_NO_DATABASE) | set(_ALSO_CALLED)))


def _check(name: str | None) -> str | None:
    if is_quick():
        return name
    if name is not None and name not in known():
        raise ValueError(f"`{name}` is no dialect of SQL that is known; {hint(name, known(), 'there are')}")
    return name


SqlDialect: TypeAlias = Annotated[
    str | None,
    AfterValidator(_check),
    Field(
        description="The dialect in which the SQL is written, such as `postgres`, `mysql`, `sqlite`, `duckdb`, `snowflake`, "
        "`bigquery`, `oracle` or `tsql`: it is translated to the database's own by sqlglot. Left out, the SQL is sent as it is.",
        examples=["snowflake"],
    ),
]


def translated(text: str, written: str | None, dialect: Dialect | None) -> str:
    """``text``, statements in the dialect ``written``, as statements for a database; ``:name`` stays where it stood.

    Args:
        text: the statements.
        written: a name that :func:`known` has; ``None`` for the database's own SQL.
        dialect: the database's; ``None`` where it is not known yet, and ``text`` is only read.

    Raises:
        WrongArgument: a statement cannot be read, or cannot be said in the other dialect.
    """
    if written is None:
        return text
    source, target = _ALSO_CALLED.get(written, written), _OWN[dialect.name] if dialect is not None else ""
    if source == target:
        return text
    return ";\n".join(_statements(text, source, target or source))


def _statements(text: str, source: str, target: str) -> Iterator[str]:
    import sqlglot
    from sqlglot import ErrorLevel, exp
    from sqlglot.errors import ParseError, SqlglotError

    def bare(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Placeholder) and node.name.isidentifier():
            return exp.Var(
                this=f":{node.name}"
            )  # each dialect has a marker of its own, and ours is the colon
        return node

    logging.getLogger("sqlglot").addFilter(_no_fallback)
    try:
        trees = [tree for tree in sqlglot.parse(text, read=source) if tree is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" at line {first['line']}, column {first['col']}" if first.get("line") else ""
        said = str(first.get("description") or error).rstrip(". ")
        raise WrongArgument(f"the SQL cannot be read as {source}{where}: {said}") from None
    except SqlglotError as error:
        raise WrongArgument(f"the SQL cannot be read as {source}: {' '.join(str(error).split())}") from None
    for tree in trees:
        if unread := tree.find(exp.Command):
            raise WrongArgument(
                f"this statement cannot be translated from {source}: {shown(unread.sql(dialect=source))}",
                hint="write it in the database's own SQL, in a step of its own without `dialect`",
            )
        try:
            yield tree.transform(bare).sql(dialect=target, unsupported_level=ErrorLevel.RAISE)
        except SqlglotError as error:
            said = " ".join(str(error).split())
            raise WrongArgument(
                f"{target} has no form for a statement in {source}: {said}",
                hint="write it in the database's own SQL, in a step of its own without `dialect`",
            ) from None


def _no_fallback(record: logging.LogRecord) -> bool:
    """Drops sqlglot's word about what it does not know: that is an error of ours."""
    return "parsing as a 'Command'" not in str(record.msg)


def shown(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """A statement for a message: on one line, and cut."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"
