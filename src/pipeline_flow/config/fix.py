"""Mistakes that have one right answer, mended in the text, which otherwise stays byte for byte."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow.errors import (
    UnknownArgument,
    UnknownInput,
    UnknownKey,
    UnknownNeeds,
    UnknownPlugin,
    UnresolvedReference,
    WrongArgument,
    WrongValue,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline_flow.errors import Position, Problem

_CODES = frozenset(
    cls.code
    for cls in (
        UnknownArgument,
        UnknownInput,
        UnknownKey,
        UnknownNeeds,
        UnknownPlugin,
        UnresolvedReference,
        WrongArgument,
        WrongValue,
    )
)
_LIKE = 0.75  # of difflib: `retry` for `retyr` 0.8, for `retires` 0.67
_LINE = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_WORD = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Fix:
    """One word in a text, and the right one."""

    position: Position
    wrong: str
    right: str


def fixes(text: str, name: str, problems: Iterable[Problem]) -> list[Fix]:
    """What ``problems`` say about the file ``name`` that has one right answer, in the order of their places.

    Args:
        text: the file's text.
        name: the file's name as problems call it.
        problems: what checking it said.
    """
    found: dict[tuple[int, int], Fix] = {}
    starts = _starts(text)
    for problem in problems:
        position = problem.position
        if position is None or position.file != name or problem.code not in _CODES or not problem.suggestion:
            continue
        begin = starts[position.line - 1] + position.column - 1
        covered = text[begin : begin + position.length]
        wrong = _wrong_word(covered, problem)
        if wrong is None or not _alike(wrong, problem.suggestion):
            continue
        at = covered.index(wrong)
        place = type(position)(name, position.line, position.column + at, len(wrong))
        found.setdefault((place.line, place.column), Fix(place, wrong, problem.suggestion))
    return [found[key] for key in sorted(found)]


def applied(text: str, chosen: Iterable[Fix]) -> str:
    """``text`` with every fix made."""
    starts = _starts(text)
    for fix in sorted(chosen, key=lambda item: (item.position.line, item.position.column), reverse=True):
        begin = starts[fix.position.line - 1] + fix.position.column - 1
        text = text[:begin] + fix.right + text[begin + len(fix.wrong) :]
    return text


def _starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _LINE.finditer(text))]


def _wrong_word(covered: str, problem: Problem) -> str | None:
    """The word to replace: all that is covered, or what the message names where that stands in it once."""
    bare = covered.strip("'\"")
    if _WORD.fullmatch(bare):
        return bare
    named = [word for word in re.findall(r"`([^`]+)`", problem.text) if covered.count(word) == 1]
    return named[0] if len(named) == 1 else None


def _alike(wrong: str, right: str) -> bool:
    first, second = (word.casefold().replace("-", "_") for word in (wrong, right))
    return first == second or difflib.SequenceMatcher(None, first, second).ratio() >= _LIKE
