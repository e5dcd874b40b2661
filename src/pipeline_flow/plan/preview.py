"""A plan, cut down to one pipeline up to one step: what a preview runs. Nothing of a load is left in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import inventory, spec
from pipeline_flow.core.suggest import nearest
from pipeline_flow.errors import UnknownSelection
from pipeline_flow.events import Address
from pipeline_flow.plan.build import used_secrets
from pipeline_flow.plan.model import (
    EXTRACT,
    LOAD,
    TRANSFORM,
    TRANSFORM_AT_LOAD,
    PhasePlan,
    PipelinePlan,
    Plan,
    StepPlan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIST_AT_MOST = 12
COLLECT = "preview"
"""The name and the step id of the load that stands at the end of what :func:`cut` gives."""


def find(plan: Plan, text: str) -> Address:
    """The step that ``text`` means: ``pipeline.phase.step``, or a part of it that only one step has.

    Short forms are ``pipeline.step``, ``phase.step`` and ``step``.

    Raises:
        UnknownSelection: no step has this name, or several do.
    """
    addresses = [step.address for step in _steps(plan)]
    wanted = text.strip()
    exact = [address for address in addresses if str(address) == wanted]
    found = exact or [address for address in addresses if wanted in _short_forms(address)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(str(address) for address in found)
        raise UnknownSelection(f"`{text}` may be any of {len(found)} steps", hint=f"name one: {listed}")
    known = [str(address) for address in addresses]
    short = [form for address in addresses for form in _short_forms(address)]
    near = nearest(wanted, [*known, *short])
    advice = f"did you mean `{near}`?  " if near else ""
    listed = ", ".join(known[:_LIST_AT_MOST]) + (", …" if len(known) > _LIST_AT_MOST else "")
    raise UnknownSelection(f"there is no step `{text}`", hint=f"{advice}steps: {listed}")


def cut(plan: Plan, address: Address, *, limit_rows: int | None, args: dict[str, Any]) -> Plan:
    """The plan that gives what leaves the step at ``address``; for a load step, what it would be handed.

    It has one pipeline, which needs no other, and only the secrets that are used in it. A load called :data:`COLLECT`
    takes the rows.

    Args:
        plan: the whole.
        address: a step of it.
        limit_rows: how many rows each extract step may give; ``None`` for all.
        args: what the collecting load is given.

    Raises:
        UnknownSelection: the step gives no rows: it works in the destination, or is a hook that runs for its effect.
    """
    whole = plan.pipeline(address.pipeline)
    step = next(step for step in _steps_of(whole) if step.address == address)
    _check_gives_rows(step)
    phases = [
        _up_to(phase, step, limit_rows)
        for phase in whole.phases
        if phase.name in (EXTRACT, TRANSFORM) and _comes_before(phase.name, address.phase)
    ]
    collect = StepPlan(
        Address(whole.name, LOAD, COLLECT),
        LOAD,
        COLLECT,
        args,
        spec.ASYNC,
        input=step.input if step.kind == LOAD else None,
        plugin_id=COLLECT,
    )
    phases = [replace(phase, streams=False) for phase in phases]  # it is all staged: a preview reads little
    phases.append(PhasePlan(LOAD, (collect,)))
    pipeline = replace(whole, phases=tuple(phases), needs=())
    return replace(plan, pipelines=(pipeline,), secrets=used_secrets(plan.secrets, (pipeline,)))


def _check_gives_rows(step: StepPlan) -> None:
    address = step.address
    if address.phase == TRANSFORM_AT_LOAD:
        text = "it works in the destination, and a preview loads nothing"
        advice = f"preview what is loaded: a load step of `{address.pipeline}`"
    elif step.kind == inventory.PRE or (step.kind == inventory.POST and address.phase == LOAD):
        text = "it is a hook, and gives no rows"
        advice = f"preview a step of {EXTRACT}, {TRANSFORM} or {LOAD}"
    else:
        return
    raise UnknownSelection(f"`{address}` cannot be previewed: {text}", hint=advice)


def _comes_before(phase: str, last: str) -> bool:
    order = (EXTRACT, TRANSFORM, LOAD)
    return order.index(phase) <= order.index(last)


def _up_to(phase: PhasePlan, last: StepPlan, limit_rows: int | None) -> PhasePlan:
    """The part of a phase that runs for ``last`` to give its rows."""
    inside = last in phase.all_steps()
    if phase.name == TRANSFORM:
        steps = phase.steps[: phase.steps.index(last) + 1] if inside else phase.steps
        return PhasePlan(TRANSFORM, steps)
    steps = tuple(replace(step, limit_rows=limit_rows) for step in phase.steps)
    if not inside:
        return replace(phase, steps=steps)
    if last in phase.steps:
        own = steps[phase.steps.index(last)]
        return replace(phase, steps=(own,), merge=None, post=())
    if last is phase.merge:
        return replace(phase, steps=steps, post=())
    return replace(phase, steps=steps, post=phase.post[: phase.post.index(last) + 1])


def _steps(plan: Plan) -> Iterator[StepPlan]:
    for pipeline in plan.pipelines:
        yield from _steps_of(pipeline)


def _steps_of(pipeline: PipelinePlan) -> Iterator[StepPlan]:
    for phase in pipeline.phases:
        yield from phase.all_steps()


def _short_forms(address: Address) -> tuple[str, ...]:
    pipeline, phase, step = address.pipeline, address.phase, address.step
    return (f"{pipeline}.{step}", f"{phase}.{step}", step)
