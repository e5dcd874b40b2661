"""Columns as far as a configuration alone tells them: what a plugin says of its own, before anything runs.

A plugin takes part with one method. On its ``Config``, or, where it has none, as a class method that is given ``args``::

    class Config(PluginConfig):
        key: str

        def follow_columns(self, given: Given) -> tuple[str, ...] | None:
            given.need(self.key, "key")  # the column and the argument that names it
            return given.names  # what leaves the step; None where nobody can know

A column that is needed and cannot be there is reported at its place in the YAML. Whatever is not known for certain is
``None``, and nothing is said about it: a pipeline that would run is never refused. What the method raises counts as not
known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline_flow.secret import holds_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Names: TypeAlias = tuple[str, ...]
"""The names of all columns, in their order."""

METHOD = "follow_columns"


@dataclass(frozen=True, slots=True)
class Lack:
    """A column that a step names and that cannot be there.

    ``path`` leads from ``args`` to what names it, ``at_key`` tells that a key of a mapping does. ``known`` are the columns
    that there are, in the table ``table`` where several reach the step.
    """

    name: str
    path: tuple[str | int, ...]
    known: Names
    table: str = ""
    at_key: bool = False


class Given:
    """What is known of the data that reaches a step.

    Args:
        tables: the columns of each table by the id of its extract step, ``None`` where they are not known. One stream is
            one table under the name ``data``.
        several: the step is handed tables, and not one stream.
    """

    def __init__(self, tables: Mapping[str, Names | None], *, several: bool = False) -> None:
        self.tables = dict(tables)
        self.several = several
        self.lacks: list[Lack] = []

    @property
    def names(self) -> Names | None:
        """The columns of the one stream that reaches the step; ``None`` where they are not known or there are several."""
        return None if self.several else next(iter(self.tables.values()), None)

    def need(self, name: str, *path: str | int, at_key: bool = False, table: str = "") -> None:
        """Says that the step needs the column ``name``; reported where the columns are known and none is called so.

        Upper and lower case do not matter here: that some plugins tell them apart is for the run.

        Args:
            name: the column.
            path: the way from ``args`` to what names it: ``"columns", 0``.
            at_key: the last part of ``path`` is a key that is the name itself.
            table: the table that must have it, where the step is handed several; else any of them may.
        """
        if table:
            known = self.tables.get(table)
        elif None in self.tables.values():
            known = None
        else:
            known = tuple(column for names in self.tables.values() for column in names or ())
        if known is None or any(folded(name) == folded(other) for other in known):
            return
        self.lacks.append(Lack(name, path, known, table if self.several else "", at_key))


def folded(name: str) -> str:
    """The same text for all ways to write a name in upper and lower case."""
    return name.casefold()


def follower(cls: type[Any], config: Any) -> Callable[[Mapping[str, Any], Given], Names | None] | None:
    """What calls the plugin's ``follow_columns`` with its arguments; ``None`` where it has none.

    Args:
        cls: the plugin.
        config: its ``Config``, if it has one.
    """
    if hasattr(config, METHOD):
        return lambda args, given: _checked(_of(config, args).follow_columns, given)
    method = getattr(cls, METHOD, None)
    if method is None:
        return None
    return lambda args, given: _checked(lambda given: method(args, given), given)


def _of(config: Any, args: Mapping[str, Any]) -> Any:
    """The arguments as a plugin has them; where secrets stand in some, those are left as the references that they are."""
    if holds_secret(dict(args)):
        return config.model_construct(**args)
    return config.model_validate(dict(args))


def _checked(follow: Callable[[Given], Any], given: Given) -> Names | None:
    try:
        found = follow(given)
    except Exception:  # noqa: BLE001 - a plugin's own code, or a value that only a run can know
        return None
    if found is None or not all(isinstance(name, str) for name in found):
        return None
    names = tuple(found)
    return names if len({folded(name) for name in names}) == len(names) else None
