"""What the transform verbs share: columns by name, and how results are told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import ConversionFailed, UnknownColumn

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa


def find(schema: pa.Schema, name: str, where: str = "columns") -> int:
    """The index of the column called ``name``: exactly, or else the only one that differs but in upper and lower case.

    Args:
        schema: the columns there are.
        name: the wanted one.
        where: the argument that names it, for messages.

    Raises:
        UnknownColumn: there is none, or there are several.
    """
    if name in schema.names:
        return int(schema.names.index(name))
    alike = [other for other in schema.names if other.casefold() == name.casefold()]
    if len(alike) == 1:
        return int(schema.names.index(alike[0]))
    if alike:
        listed = " and ".join(f"`{other}`" for other in alike)
        raise UnknownColumn(f"`{where}` names `{name}`, and the data has {listed}", hint="write it exactly")
    raise UnknownColumn(
        f"`{where}` names the column `{name}`, which the data does not have",
        hint=hint(name, schema.names, "it has"),
    )


def find_all(schema: pa.Schema, names: Iterable[str], where: str = "columns") -> list[int]:
    """:func:`find` for each of ``names``; naming a column twice is an error too.

    Raises:
        UnknownColumn: a column is not there, or named twice.
    """
    found = [find(schema, name, where) for name in names]
    for index, times in Counter(found).items():
        if times > 1:
            raise UnknownColumn(f"`{where}` names the column `{schema.names[index]}` twice")
    return found


def distinct(names: Iterable[str], advice: str) -> None:
    """Checks that no name stands twice among the columns that a verb would make.

    Raises:
        ConversionFailed: one does.
    """
    for name, times in Counter(names).items():
        if times > 1:
            raise ConversionFailed(f"{times} columns would be called `{name}`", hint=advice)


def key(index: int) -> str:
    """The name under which SQL of our own knows a column, whatever its own name holds."""
    return f"c{index}"


def rows(number: int) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{number:,} row{'' if number == 1 else 's'}"
