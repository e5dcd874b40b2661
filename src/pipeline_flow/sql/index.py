"""Indexes and comments of a table, as a load is given them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline_flow.errors import DestinationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.sql.dialect import Dialect

_LONGEST = 63  # bytes, the least of what the databases take
_DIGITS = 8


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexForm(_Form):
    """An index that is more than a list of columns."""

    columns: list[str] = Field(min_length=1)
    unique: bool = False
    name: str | None = Field(default=None, min_length=1)


class Comments(_Form):
    """The comments of a table and of its columns, by name."""

    table: str = ""
    columns: dict[str, str] = Field(default_factory=dict)


def _check(forms: list[list[str] | IndexForm]) -> list[list[str] | IndexForm]:
    taken: set[Any] = set()
    for form in map(_form, forms):
        if not form.columns:
            raise ValueError("an index without columns: write [column] or {columns: [column]}")
        if len(set(form.columns)) < len(form.columns):
            raise ValueError(f"an index names a column twice: {', '.join(form.columns)}")
        key = form.name or (tuple(form.columns), form.unique)
        if key in taken:
            what = f"`{form.name}`" if form.name else f"({', '.join(form.columns)})"
            raise ValueError(f"the index {what} stands there twice")
        taken.add(key)
    return forms


IndexForms = Annotated[list[list[str] | IndexForm], AfterValidator(_check)]


def _form(form: list[str] | IndexForm) -> IndexForm:
    return form if isinstance(form, IndexForm) else IndexForm.model_construct(columns=form)


@dataclass(frozen=True, slots=True)
class Index:
    """An index, by its name."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False

    def __str__(self) -> str:
        return f"{'unique ' if self.unique else ''}({', '.join(self.columns)})"


@dataclass(frozen=True, slots=True)
class Extras:
    """What a table has beside its columns."""

    indexes: tuple[Index, ...] = ()
    comment: str = ""
    column_comments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def extras(
    forms: Sequence[list[str] | IndexForm], comments: Comments, table: str, dialect: Dialect
) -> Extras:
    """What a load's arguments ask for.

    Raises:
        DestinationFailed: the database takes no such name of an index.
    """
    found = []
    for form in map(_form, forms):
        name = form.name or name_of(table, form.columns, unique=form.unique)
        if fault := dialect.fault(name):
            raise DestinationFailed(f"there can be no such index: {fault}", hint="give it another `name`")
        found.append(Index(name, tuple(form.columns), form.unique))
    return Extras(tuple(found), comments.table, comments.columns)


def name_of(table: str, columns: Sequence[str], *, unique: bool) -> str:
    """The name of an index that was given none: table, columns, and ``idx`` or ``key``; a long one ends in a hash."""
    whole = "_".join((table, *columns, "key" if unique else "idx"))
    data = whole.encode()
    if len(data) <= _LONGEST:
        return whole
    head = data[: _LONGEST - _DIGITS - 1].decode(errors="ignore")
    return f"{head}_{hashlib.sha256(data).hexdigest()[:_DIGITS]}"


def check_same(table: str, index: Index, other: str | None, found: Index) -> None:
    """Whether the index that is there under the name of ``index`` is the one that is meant.

    Args:
        table: the table's name.
        index: what is meant.
        other: the table that it is on, where that is another one.
        found: what is there.

    Raises:
        DestinationFailed: it is another.
    """
    if other is not None:
        raise DestinationFailed(
            f"the index `{index.name}` is on the table `{other}`, and `indexes` makes one of that name for `{table}`",
            hint="give it another `name`",
        )
    folded = [tuple(map(str.casefold, item.columns)) for item in (index, found)]
    if folded[0] != folded[1] or index.unique != found.unique:
        raise DestinationFailed(
            f"the index `{index.name}` of `{table}` is {found}, and `indexes` says {index}",
            hint=f"drop index {index.name}, or give the new one another `name`",
        )
