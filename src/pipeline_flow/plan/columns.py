"""Columns through a pipeline: from the extract steps that say theirs to the steps that name some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline_flow.core import inventory
from pipeline_flow.core.columns import Given
from pipeline_flow.plan.model import EXTRACT, LOAD, TRANSFORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline_flow.config.models import Phase, Pipeline, Step
    from pipeline_flow.core.columns import Lack, Names

    Follow: TypeAlias = Callable[[Mapping[str, Any], Given], Names | None]

_ONE = "data"


def lacks(pipeline: Pipeline, follower: Callable[[str, Step], Follow | None]) -> Iterator[tuple[Step, Lack]]:
    """Every column that a step of ``pipeline`` names and that cannot be there, as far as that is known.

    Args:
        pipeline: what the configuration says.
        follower: gives what follows the columns through a step of a kind; ``None`` where nothing is known of it.
    """
    extract, transform, load = (pipeline.phases.get(name) for name in (EXTRACT, TRANSFORM, LOAD))
    if extract is None or not extract.steps:
        return
    merge = [(extract.merge, follower(inventory.MERGE, extract.merge))] if extract.merge is not None else []
    changing = [
        (step, follower(TRANSFORM, step)) for step in (transform.steps if transform is not None else ())
    ]
    loading = [(step, follower(LOAD, step)) for step in (load.steps if load is not None else ())]
    if not any(follow for _, follow in (*merge, *changing, *loading)):
        return  # nobody asks: no query has to be read
    given = _extracted(extract, follower)
    for number, (step, follow) in enumerate((*merge, *changing), 1):
        rest = (*merge, *changing, *loading)[number:]
        found: Names | None = None
        given = _picked(given, step)
        if follow is not None and (_is_known(given) or any(other for _, other in rest)):
            found = follow(step.args, given)
            yield from ((step, lack) for lack in given.lacks)
        given = Given({_ONE: found})
    for step, follow in loading:
        mine = _picked(Given(given.tables, several=given.several), step)
        if follow is not None and _is_known(mine):
            follow(step.args, mine)
            yield from ((step, lack) for lack in mine.lacks)


def _extracted(extract: Phase, follower: Callable[[str, Step], Follow | None]) -> Given:
    if extract.post:  # what a hook returns replaces the data
        return Given(dict.fromkeys((step.id for step in extract.steps), None), several=len(extract.steps) > 1)
    tables: dict[str, Names | None] = {}
    for step in extract.steps:
        follow = follower(EXTRACT, step)
        tables[step.id] = None if follow is None else follow(step.args, Given({}))
    if len(tables) == 1 and len(extract.steps) == 1:  # one stream, or tables whose columns nobody knows
        return Given({_ONE: next(iter(tables.values()))})
    return Given(tables, several=True)


def _picked(given: Given, step: Step) -> Given:
    if given.several and step.input is not None:
        return Given({_ONE: given.tables.get(step.input)})
    return given


def _is_known(given: Given) -> bool:
    return any(names is not None for names in given.tables.values())
