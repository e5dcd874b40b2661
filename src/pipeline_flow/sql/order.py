"""The order of rows, as the verbs write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from pipeline_flow.sql import verb
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from pipeline_flow.core.columns import Given


class SortKey(BaseModel):
    """A column to sort by, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    descending: bool = False
    nulls: Literal["first", "last"] = "last"


def _check(given: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(given, dict):
        try:
            SortKey.model_validate(given)
        except ValidationError:
            raise ValueError(
                f"{given} is no key: write {{column: name, descending: true, nulls: first}}, or name or -name"
            ) from None
    return given


Key: TypeAlias = Annotated[str | dict[str, Any], AfterValidator(_check)]
"""A field with a column to sort by: ``name``, ``-name``, or a mapping with what :class:`SortKey` has."""


def keys(schema: pa.Schema, by: Iterable[str | dict[str, Any]], where: str) -> list[tuple[int, SortKey]]:
    """The columns' indexes with their keys; ``-name`` is descending, unless a column is called so.

    Raises:
        UnknownColumn: a column is not there.
    """
    found = []
    for item in by:
        if isinstance(item, str):
            down = item.startswith("-") and item not in schema.names
            key = SortKey(column=item[1:] if down else item, descending=down)
        else:
            key = SortKey.model_validate(item)
        found.append((verb.find(schema, key.column, where), key))
    return found


def follow(by: str | Iterable[str | dict[str, Any]], given: Given, where: str) -> None:
    """Says to ``given`` which columns the keys under the argument ``where`` need."""
    for number, item in enumerate([by] if isinstance(by, str) else by):
        path = (where,) if isinstance(by, str) else (where, number)
        if isinstance(item, str):  # `-name` may also be a column that is called so
            named_so = item in (given.names or ())
            given.need(item if named_so else item.removeprefix("-"), *path)
        else:
            given.need(str(item["column"]), *path, "column")


def clause(found: Iterable[tuple[int, SortKey]], *, turned: bool = False) -> list[str]:
    """The parts of an ORDER BY; ``turned`` is the other way round, with nulls still where the key says."""
    return [
        f"{quote(verb.key(index))} {'desc' if key.descending != turned else 'asc'} nulls {key.nulls}"
        for index, key in found
    ]
