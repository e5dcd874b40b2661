"""Which steps hand on several tables, and which take them, as far as their arguments tell before anything runs.

A plugin of extract that hands on tables, by its arguments, has a class method::

    @classmethod
    def hands_on(cls, args: Mapping[str, Any]) -> tuple[str, ...] | None:
        return None if args.get("tables") is None else ()  # the names, or () where only a run can tell them

What it returns then is a :class:`~pipeline_flow.data.Tables` of streams; they are read one after the other. A plugin that
takes tables says so with ``takes_tables = True``, or, where that depends on its arguments, with a class method
``takes_tables_by(args)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

TableNames: TypeAlias = tuple[str, ...]
"""The names of the tables that a step hands on; empty where only a run can tell them."""

ALL = 'table: "*"'
"""How a load writes each of the tables that reach it under its own name."""
JOINT = "__"
"""Stands between a step's id and a table's name where several extract steps hand something on."""


def handed_on(cls: type[Any], args: Mapping[str, Any]) -> TableNames | None:
    """The tables that a step of this plugin hands on; ``None`` where it hands on one thing."""
    method = getattr(cls, "hands_on", None)
    if method is None:
        return None
    found: TableNames | None = method(args)
    return found


def says_what_it_hands_on(cls: type[Any]) -> bool:
    """Whether there is anything to ask :func:`handed_on` of this plugin."""
    return hasattr(cls, "hands_on")


def says_what_it_takes(cls: type[Any]) -> bool:
    """Whether there is anything to ask :func:`takes` of this plugin."""
    return hasattr(cls, "takes_tables_by")


def takes(cls: type[Any], args: Mapping[str, Any]) -> bool | None:
    """Whether a step of this plugin takes tables, by its arguments; ``None`` where they say nothing about it."""
    method = getattr(cls, "takes_tables_by", None)
    return None if method is None else bool(method(args))


def joint(step: str, table: str) -> str:
    """The name of a step's table where several extract steps hand something on."""
    return f"{step}{JOINT}{table}"


def same(name: str, other: str) -> bool:
    """Whether two names of tables mean the same one: upper and lower case do not matter."""
    return name.casefold() == other.casefold()
