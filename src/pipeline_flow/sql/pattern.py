"""Which tables ``tables:`` means: names, names with a star, and both with ``!`` before them to leave tables out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

STAR = "*"
_OURS = "_pipeline_flow_"  # what we leave in a database for ourselves
_PIECE = re.compile(r'"((?:[^"]|"")*)"|(\*)|(\.)|([^".*]+)')


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view, as a database's catalogue has it.

    ``counts`` is whether a star means it: not so views, the parts of a partitioned table, and what belongs to an
    extension; they are read when their names are written.
    """

    schema: str
    name: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The tables and views of a database, without those of the system.

    Attributes:
        relations: all of them.
        path: the schemas in which a name without a schema is looked for; the first that has it wins.
        folds_case: whether names that differ only in upper and lower case are one.
    """

    relations: Sequence[Relation]
    path: Sequence[str]
    folds_case: bool

    def shown(self, relation: Relation) -> str:
        """A name as one would write it."""
        return relation.name if relation.schema in self.path[:1] else f"{relation.schema}.{relation.name}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of ``tables:``. A part of a name is its pieces of text, with ``None`` for each star."""

    text: str
    name: tuple[str | None, ...]
    schema: tuple[str | None, ...] = ()
    excludes: bool = False

    @property
    def exact(self) -> str | None:
        """The name, where no star stands in the pattern."""
        pieces = (*self.schema, *self.name)
        return None if None in pieces else "".join(piece or "" for piece in self.name)

    def find(self, catalogue: Catalogue) -> list[Relation]:
        """The relations that it means."""
        flags = re.IGNORECASE if catalogue.folds_case else 0
        name = re.compile(_regex(self.name), flags | re.DOTALL)
        schema = re.compile(_regex(self.schema), flags | re.DOTALL)
        exact = self.exact is not None
        return [
            relation
            for relation in (catalogue.relations if self.schema else _visible(catalogue))
            if name.fullmatch(relation.name)
            and (not self.schema or schema.fullmatch(relation.schema))
            and (exact or (relation.counts and not relation.name.startswith(_OURS)))
        ]


def _regex(pieces: Sequence[str | None]) -> str:
    return "".join(".*" if piece is None else re.escape(piece) for piece in pieces)


def _visible(catalogue: Catalogue) -> list[Relation]:
    """What a name without a schema can mean."""
    found: dict[str, Relation] = {}
    for schema in catalogue.path:
        for relation in catalogue.relations:
            if relation.schema == schema:
                found.setdefault(relation.name, relation)
    return list(found.values())


def parse(text: str) -> Pattern:
    """An entry of ``tables:``.

    Raises:
        ValueError: it is not the name of a table, with or without stars.
    """
    rest = text.strip()
    excludes = rest.startswith("!")
    rest = rest[1:].strip() if excludes else rest
    parts: list[list[str | None]] = [[]]
    position = 0
    while position < len(rest):
        found = _PIECE.match(rest, position)
        if found is None:
            raise ValueError(f"`{text}` is not the name of a table: a quote is not closed")
        if found[3]:
            parts.append([])
        else:
            quoted = found[1]
            parts[-1].append(None if found[2] else found[4] if quoted is None else quoted.replace('""', '"'))
        position = found.end()
    if not all(any(piece is None or piece.strip() for piece in part) for part in parts):
        raise ValueError(f"`{text}` is not the name of a table: write table, schema.table or schema.*")
    if len(parts) > 2:
        raise ValueError(f"`{text}` has more parts than schema.table")
    *schema, name = (tuple(part) for part in parts)
    return Pattern(text.strip(), name, schema[0] if schema else (), excludes)


def parse_all(texts: str | Sequence[str]) -> tuple[Pattern, ...]:
    """The entries of ``tables:``, or the only one.

    Raises:
        ValueError: one is not the name of a table, or none says what to read.
    """
    found = tuple(parse(text) for text in ([texts] if isinstance(texts, str) else texts))
    if all(pattern.excludes for pattern in found):
        raise ValueError('`tables` names nothing to read: write "*" for all, or names')
    return found


def names(patterns: Sequence[Pattern]) -> tuple[str, ...] | None:
    """The names that the tables will have, where the patterns alone tell them."""
    if any(pattern.excludes or pattern.exact is None for pattern in patterns):
        return None
    return tuple(dict.fromkeys(pattern.exact or "" for pattern in patterns))


def select(patterns: Sequence[Pattern], catalogue: Catalogue) -> dict[str, Relation]:
    """The tables that the patterns mean, by the names under which they are handed on, in the order of their names.

    Raises:
        SourceUnreadable: a pattern means nothing, everything was left out, or two tables have one name.
    """
    chosen: set[Relation] = set()
    left_out: set[Relation] = set()
    for pattern in patterns:
        found = pattern.find(catalogue)
        if not found and not (pattern.excludes and pattern.exact is None):
            raise _nothing(pattern, catalogue)
        (left_out if pattern.excludes else chosen).update(found)
    kept = sorted(chosen - left_out, key=lambda relation: (relation.name, relation.schema))
    if not kept:
        raise SourceUnreadable(
            f"`tables` leaves out all {len(chosen)} tables that it names", hint="look at the entries with `!`"
        )
    tables: dict[str, Relation] = {}
    for relation in kept:
        other = tables.setdefault(relation.name, relation)
        if other is not relation:
            raise SourceUnreadable(
                f"`tables` means `{other.schema}.{other.name}` and `{relation.schema}.{relation.name}`, two tables of "
                "one name",
                hint=f"leave one out (`!{other.schema}.{other.name}`), or give each schema an extract step of its own",
            )
    return tables


def _nothing(pattern: Pattern, catalogue: Catalogue) -> SourceUnreadable:
    exact = pattern.exact is not None
    what = "there is no table" if exact else "there are no tables"
    said = pattern.text.removeprefix("!").strip()
    views = [] if exact else [relation for relation in _loosely(pattern, catalogue) if not relation.counts]
    if views:
        shown = ", ".join(catalogue.shown(relation) for relation in views[:5])
        return SourceUnreadable(
            f"{what} `{said}`", hint=f"views are read where they are named without a star: {shown}"
        )
    known = [catalogue.shown(relation) for relation in catalogue.relations if relation.counts or exact]
    return SourceUnreadable(f"{what} `{said}`", hint=hint(said.replace(STAR, ""), known, "there are"))


def _loosely(pattern: Pattern, catalogue: Catalogue) -> list[Relation]:
    every = [Relation(relation.schema, relation.name) for relation in catalogue.relations]
    found = pattern.find(Catalogue(every, catalogue.path, catalogue.folds_case))
    return [relation for relation in catalogue.relations if Relation(relation.schema, relation.name) in found]
