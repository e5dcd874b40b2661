"""Which phases may begin while the one before still runs, and why others may not.

Rows flow from a phase to the next where one step gives them to one step, and where nothing is lost by it:

- a step that is tried again needs its data once more;
- the seconds of a step with a timeout would be those of others too;
- a load that cannot roll back must not begin before all its rows are known to be there, nor a hook before its load;
- who reads a database and writes one holds a connection while it waits for another. Two that wait for what the other holds
  (a connection of a full pool, a lock) would wait for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_flow.core.inventory import EXTRACT, LOAD, TRANSFORM
from pipeline_flow.plan.model import PhasePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline_flow.plan.model import StepPlan

    ClassOf = Callable[[StepPlan], type | None]

AUTO, STAGE, STREAM = "auto", "stage", "stream"
_MOST_AT_ONCE = 3  # phases of which one step runs each


def decided(
    phases: Sequence[PhasePlan], class_of: ClassOf, *, choice: str, parallelism: int
) -> tuple[PhasePlan, ...]:
    """``phases`` with what their handoffs are.

    Args:
        phases: of one pipeline, in their order.
        class_of: the class of a step's plugin; ``None`` where there is none.
        choice: :data:`AUTO` or :data:`STAGE`.
        parallelism: how many steps of the pipeline may run at once.
    """
    found: list[PhasePlan] = []
    for number, phase in enumerate(phases, 1):
        if phase.name not in (EXTRACT, TRANSFORM) or number == len(phases):
            found.append(phase)
            continue
        following = phases[number]
        if choice == STAGE:
            why = "`handoff: stage` is set"
        elif parallelism < _MOST_AT_ONCE:
            why = f"`parallelism` is {parallelism}"
        else:
            why = (
                _giving(phase, class_of)
                or _taking(following, class_of)
                or _holding(found, phase, following, class_of)
            )
        # Not `replace`, which takes as long as the rest of this module; a plan may have thousands of phases.
        found.append(PhasePlan(phase.name, phase.steps, phase.pre, phase.post, phase.merge, not why, why))
    return tuple(found)


def _giving(phase: PhasePlan, class_of: ClassOf) -> str:
    """Why the rows of ``phase`` cannot be had before it ends."""
    if phase.name == EXTRACT:
        if phase.merge is not None or len(phase.steps) > 1:
            return "several steps read"
        if phase.post:
            return "`post` comes after all rows"
        if phase.steps[0].gives_tables:
            return "there are several tables"
    return _alone(phase.steps[-1], class_of)


def _taking(phase: PhasePlan, class_of: ClassOf) -> str:
    """Why ``phase`` cannot begin before all its rows are there."""
    if phase.name != LOAD:
        return _alone(phase.steps[0], class_of)
    if len(phase.steps) > 1:
        return "several steps load"
    if phase.pre or phase.post:
        return f"`{'pre' if phase.pre else 'post'}` wants all rows to be there"
    step = phase.steps[0]
    return _alone(step, class_of) if step.atomic else f"`{step.address.step}` cannot roll back"


def _alone(step: StepPlan, class_of: ClassOf) -> str:
    """Why rows cannot flow into or out of ``step``."""
    name = step.address.step
    if step.retry.attempts > 1:
        return f"`{name}` may be tried again"
    if step.timeout is not None:
        return f"`{name}` has a timeout"
    cls = class_of(step)
    if cls is None or getattr(cls, "streams", False) is not True:
        return f"`{name}` does not stream"
    return ""


def _holding(before: Sequence[PhasePlan], phase: PhasePlan, following: PhasePlan, class_of: ClassOf) -> str:
    """Why a stretch of phases that flow must end here: it would hold one database while it waits for another."""
    if following.name != LOAD or not _holds(following, class_of):
        return ""
    source = before[-1] if before and before[-1].streams else phase
    return "it is read from a database and written to one" if _holds(source, class_of) else ""


def _holds(phase: PhasePlan, class_of: ClassOf) -> bool:
    return phase.name != TRANSFORM and any(
        getattr(class_of(step), "holds_database", True) for step in phase.steps
    )
