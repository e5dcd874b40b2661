"""Values bound to a query by name: ``:since``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import WrongArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What may hide a colon: texts (in E'…' a backslash hides a quote), names, comments, dollar quotes; and `::`, a cast.
_TOKEN = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(?P<tag>\$\w*\$).*?(?P=tag)|::|(?<![\w:]):(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)


def bind(query: str, params: Mapping[str, Any], marker: str) -> str:
    """``query`` with each ``:name`` that ``params`` holds written as ``marker`` + name, as the driver wants it.

    Raises:
        WrongArgument: a parameter does not occur in the query.
    """
    check_used(query, params)
    return replaced(query, dict.fromkeys(params, lambda name: f"{marker}{name}"))


def replaced(text: str, by: Mapping[str, Callable[[str], str]]) -> str:
    """``text`` with each ``:name`` that ``by`` holds replaced by what its function makes of the name."""

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        return match[0] if name is None or name not in by else by[name](name)

    return _TOKEN.sub(replace, text)


def check_used(query: str, params: Mapping[str, Any]) -> None:
    """Checks that every parameter occurs in the query.

    Raises:
        WrongArgument: one does not.
    """
    known = names(query)
    for name in params:
        if name not in known:
            raise WrongArgument(
                f"`params` gives `{name}`, and the query has no `:{name}`",
                hint=hint(name, known, "the query has"),
            )


def names(query: str) -> tuple[str, ...]:
    """The names after a colon in ``query``, in the order of appearance."""
    return tuple(dict.fromkeys(match["name"] for match in _TOKEN.finditer(query) if match["name"]))


def missing(text: str, given: Mapping[str, Any]) -> WrongArgument | None:
    """What to say where a database refused statements that have a name without a value, ``None`` where none has."""
    lacking = [name for name in names(text) if name not in given]
    if not lacking:
        return None
    return WrongArgument(
        f"a statement has `:{lacking[0]}`, and `params` does not give it",
        hint=hint(lacking[0], given, "it gives"),
    )
