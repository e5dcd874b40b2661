"""Who needs whom: cycles, an order, and which pipelines a selection means."""

from __future__ import annotations

import heapq
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import Problem, UnknownSelection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WITH_NEEDS = "+"


def cycles(needs: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """One circle for each group of pipelines that need each other: ``("a", "b", "a")`` reads *a needs b needs a*.

    It begins with the member that stands first in ``needs``. Names that ``needs`` does not have are passed over.
    """
    if not any(needs.values()):
        return []
    left = _unordered(needs)
    found: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for start in needs:
        if start not in left or start in seen:
            continue
        circle = _way_back(start, needs, left)
        if circle is not None:
            found.append(circle)
            seen |= _reachable(start, needs, left) & _reaching(start, needs, left)
    return found


def order(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The pipelines, each after all that it needs, otherwise as they stand. There must be no cycle."""
    place = {name: index for index, name in enumerate(needs)}
    waiting = {name: {need for need in wanted if need in place} for name, wanted in needs.items()}
    wanted_by = _reversed(needs)
    ready = [place[name] for name, left in waiting.items() if not left]
    heapq.heapify(ready)
    names = list(needs)
    result = []
    while ready:
        name = names[heapq.heappop(ready)]
        result.append(name)
        for follower in wanted_by[name]:
            waiting[follower].discard(name)
            if not waiting[follower]:
                heapq.heappush(ready, place[follower])
    return tuple(result)


def levels(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The pipelines by how many stand one behind the other before them. There must be no cycle."""
    level: dict[str, int] = {}
    for name in order(needs):
        level[name] = 1 + max((level[need] for need in needs[name] if need in level), default=-1)
    found: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for name in needs:
        found[level[name]].append(name)
    return tuple(tuple(names) for names in found)


def select(
    patterns: Sequence[str],
    needs: Mapping[str, Sequence[str]],
    groups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[tuple[str, ...], list[Problem]]:
    """The pipelines that ``patterns`` mean, in the order of the configuration, and a problem for each that means none.

    A pattern is a name, a glob (``sales_*``), or the name of a matrix, for all its pipelines (``groups``); ``+`` before
    it adds everything that the matches need. Without a pattern everything is selected.
    """
    groups = groups or {}
    if not patterns:
        return tuple(needs), []
    chosen: set[str] = set()
    problems = []
    for pattern in patterns:
        matches = _matches(pattern, needs, groups)
        deep = not matches and pattern.startswith(WITH_NEEDS)
        if deep:
            matches = _matches(pattern[len(WITH_NEEDS) :], needs, groups)
        if not matches:
            text = f"--select {pattern}: no pipeline of this name"
            problems.append(
                UnknownSelection.problem(
                    text, hint=hint(pattern.lstrip(WITH_NEEDS), [*needs, *groups], "pipelines")
                )
            )
        for name in matches:
            chosen |= _reachable(name, needs, needs) | {name} if deep else {name}
    return tuple(name for name in needs if name in chosen), problems


def _matches(pattern: str, names: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    names = list(names)
    if pattern in groups:
        return list(groups[pattern])
    return [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]


def _unordered(needs: Mapping[str, Sequence[str]]) -> set[str]:
    """What no order can hold: members of circles and what needs them."""
    return set(needs) - set(order(needs))


def _reversed(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in needs}
    for name, wanted in needs.items():
        for need in dict.fromkeys(wanted):
            if need in found:
                found[need].append(name)
    return found


def _reachable(start: str, needs: Mapping[str, Sequence[str]], within: Iterable[str]) -> set[str]:
    allowed = set(within)
    seen: set[str] = set()
    left = [start]
    while left:
        for need in needs[left.pop()]:
            if need in allowed and need not in seen:
                seen.add(need)
                left.append(need)
    return seen


def _reaching(start: str, needs: Mapping[str, Sequence[str]], within: Iterable[str]) -> set[str]:
    return _reachable(start, _reversed(needs), within)


def _way_back(start: str, needs: Mapping[str, Sequence[str]], within: set[str]) -> tuple[str, ...] | None:
    """The shortest circle through ``start``."""
    came_from: dict[str, str] = {}
    left = [start]
    for name in left:
        for need in needs[name]:
            if need == start:
                path = [start, name]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return tuple(reversed(path))
            if need in within and need not in came_from:
                came_from[need] = name
                left.append(need)
    return None
