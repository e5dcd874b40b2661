"""A table of a run's steps, as wide as the terminal and no wider; shared by the live display and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow.listeners import text

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = "  "
_LEAST_NAME, _LEAST_NOTE = 20, 17  # columns of the terminal, as long as other columns can go instead


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers between the name and the note, at least ``least`` wide.

    Where room is short, those with the highest ``goes`` go first. One with ``least`` 0 is left out where it is empty.
    """

    title: str
    goes: int = 0
    least: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its name, a cell for each column, and a note at the end. ``look`` is its style, for who draws it."""

    name: str
    cells: tuple[str, ...]
    note: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row as it is shown: ``name`` and ``cells`` with their spaces, so that whoever draws it can colour each part."""

    name: str
    cells: str
    note: str
    look: str

    def __str__(self) -> str:
        return f"{self.name}{self.cells}{_GAP}{self.note}".rstrip()


def lay_out(
    title: str, columns: Sequence[Column], rows: Sequence[Row], width: int | None, ellipsis: str = "…"
) -> list[Line]:
    """The table's lines, its head first.

    Args:
        title: the head of the names.
        columns: the columns of numbers.
        rows: the rows.
        width: how many columns of the terminal a line may take; ``None`` for as many as it needs.
        ellipsis: what stands for what was cut: names lose their middle, notes their end.
    """
    head = Row(title, tuple(column.title for column in columns))
    kept = [i for i, column in enumerate(columns) if column.least or any(row.cells[i] for row in rows)]
    widths = [
        max(column.least, *(text.width(row.cells[index]) for row in (head, *rows)))
        for index, column in enumerate(columns)
    ]
    names = max(text.width(row.name) for row in (head, *rows))
    notes = max((text.width(row.note) for row in rows), default=0)
    if width is not None:
        least = min(names, _LEAST_NAME) + min(notes, _LEAST_NOTE) + len(_GAP)
        for index in sorted(kept, key=lambda index: -columns[index].goes):
            if least + _room(widths, kept) <= width or not columns[index].goes:
                break
            kept.remove(index)
        room = max(2, width - _room(widths, kept) - len(_GAP))
        if names + notes > room:
            notes = min(notes, max(room - names, min(_LEAST_NOTE, room // 2)))
            names = min(names, room - notes)
    return [
        Line(
            _left(text.shortened(row.name, names, ellipsis), names),
            "".join(_GAP + _right(row.cells[index], widths[index]) for index in kept),
            text.shortened(row.note, notes, ellipsis, middle=False),
            row.look,
        )
        for row in (head, *rows)
    ]


def _room(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[index] + len(_GAP) for index in kept)


def _left(value: str, width: int) -> str:
    return value + " " * (width - text.width(value))


def _right(value: str, width: int) -> str:
    return " " * (width - text.width(value)) + value
