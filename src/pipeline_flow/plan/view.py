"""A plan as people and programs read it: what waits for what, who is handed whose data, what commits together.

Nothing is run, opened or asked. No custom plugin is constructed; a built-in load is, where no secret hides its arguments, to
learn its destination: its constructor only remembers. Arguments are not shown, except where the data lies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import discovery, inventory, spec, tables
from pipeline_flow.errors import PipelineFlowError
from pipeline_flow.plan import graph
from pipeline_flow.plan.handoff import STAGE, STREAM
from pipeline_flow.plan.model import EXTRACT, LOAD, TRANSFORM
from pipeline_flow.plugins.base import ITransactionHook
from pipeline_flow.secret import holds_secret, mask_url
from pipeline_flow.sql import product

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.plan.model import PhasePlan, PipelinePlan, Plan, Retry, StepPlan

CONCURRENT = "at the same time"
IN_ORDER = "one after the other"
ALL_OR_NOTHING = "all or nothing"
AT_LEAST_ONCE = "cannot roll back: at least once"
APPENDS_AGAIN = "a second run appends again"
IN_TRANSACTION = "in the transaction of"
_WHERE = ("url", "base_url", "path", "function")
_MOST_PATHS = 3


@dataclass(frozen=True, slots=True)
class StepView:
    """A step.

    ``role`` is ``step``, ``pre``, ``merge`` or ``post``. ``about`` says where a built-in step's data lies; secrets are
    references. ``takes`` are the steps whose data it is handed, ``waits_for`` the phases and steps of its pipeline that end
    before it may begin. ``destination`` is a canonical URL, or a reference where a secret hides it, or ``None`` where only the
    run knows. ``guarantee`` is set for loads, and for hooks that are a part of their transaction, ``caution`` where there is
    something to know of a database. ``timeout`` is seconds for one attempt.
    """

    id: str
    role: str
    plugin: str
    origin: str
    mode: str
    description: str = ""
    about: str = ""
    takes: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    destination: str | None = None
    guarantee: str | None = None
    caution: str = ""
    retry: Retry | None = None
    timeout: float | None = None
    on_bad_row: str = "fail"


@dataclass(frozen=True, slots=True)
class CommitView:
    """Loads that become visible together. ``destination`` is ``None`` where only the run knows it."""

    destination: str | None
    loads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhaseView:
    """A phase.

    ``handoff`` says how its data reaches the next one, ``stage`` or ``stream``; ``None`` where there is none to hand on.
    ``why_staged`` says why it does not stream.
    """

    name: str
    mode: str
    waits_for: tuple[str, ...]
    handoff: str | None
    steps: tuple[StepView, ...]
    commits: tuple[CommitView, ...] = ()
    why_staged: str = ""


@dataclass(frozen=True, slots=True)
class PipelineView:
    """A pipeline. ``level`` is how many pipelines stand one behind the other before it."""

    name: str
    type: str
    description: str
    needs: tuple[str, ...]
    level: int
    phases: tuple[PhaseView, ...]


@dataclass(frozen=True, slots=True)
class SecretView:
    """A secret that the run will fetch before its first step, and the secret manager that it asks."""

    name: str
    plugin: str


@dataclass(frozen=True, slots=True)
class PlanView:
    """A whole plan; ``levels`` are names of pipelines, ``memory_limit`` and ``spill_limit`` are bytes."""

    format: int
    name: str
    concurrency: int
    parallelism: int
    fail_fast: bool
    memory_limit: int
    spill_limit: int | None
    timezone: str
    secrets: tuple[SecretView, ...]
    levels: tuple[tuple[str, ...], ...]
    pipelines: tuple[PipelineView, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``. The keys are the fields above; new ones may come, ``format`` tells when old ones change."""
        return asdict(self)


def of(plan: Plan, catalog: Catalog) -> PlanView:
    """The view of ``plan``, whose plugins are in ``catalog``."""
    levels = graph.levels({pipeline.name: pipeline.needs for pipeline in plan.pipelines})
    level_of = {name: number for number, names in enumerate(levels) for name in names}
    return PlanView(
        format=1,
        name=plan.name,
        concurrency=plan.concurrency,
        parallelism=plan.parallelism,
        fail_fast=plan.fail_fast,
        memory_limit=plan.memory_limit,
        spill_limit=plan.spill_limit,
        timezone=plan.timezone,
        secrets=tuple(SecretView(secret.name, secret.plugin) for secret in plan.secrets.values()),
        levels=levels,
        pipelines=tuple(_pipeline(pipeline, level_of[pipeline.name], catalog) for pipeline in plan.pipelines),
    )


def _pipeline(plan: PipelinePlan, level: int, catalog: Catalog) -> PipelineView:
    phases = []
    data: tuple[str, ...] = ()
    for index, phase in enumerate(plan.phases):
        before = plan.phases[index - 1].name if index else None
        phases.append(_Phase(phase, before, data, catalog).view())
        if phase.name == EXTRACT:
            data = (f"{EXTRACT}.{inventory.MERGE}",) if phase.merge else tuple(_names(phase, phase.steps))
        elif phase.name == TRANSFORM:
            data = tuple(_names(phase, phase.steps[-1:]))
    return PipelineView(plan.name, plan.type, plan.description, plan.needs, level, tuple(phases))


class _Phase:
    """One phase while its view is made; ``data`` are the steps whose data the phase is handed."""

    def __init__(self, plan: PhasePlan, before: str | None, data: tuple[str, ...], catalog: Catalog) -> None:
        self._plan = plan
        self._before = () if before is None else (before,)
        self._data = data
        self._catalog = catalog
        self._loads = {
            step.address.step: self._built(step) for step in plan.steps if plan.name == LOAD and step.atomic
        }
        self._hooks = {
            step.address.step: self._built(step)[0]
            for step in (*plan.pre, *plan.post)
            if plan.name == LOAD and issubclass(catalog.find(step.kind, step.plugin).cls, ITransactionHook)
        }

    def view(self) -> PhaseView:
        plan = self._plan
        concurrent = plan.name in (EXTRACT, LOAD)
        commits: dict[str, list[str]] = {}
        for name, (destination, _) in self._loads.items():
            commits.setdefault(destination or f" {name}", []).append(name)
        groups = tuple(
            CommitView(None if key.startswith(" ") else key, tuple(loads)) for key, loads in commits.items()
        )
        return PhaseView(
            plan.name,
            CONCURRENT if concurrent else IN_ORDER,
            self._before,
            (STREAM if plan.streams else STAGE) if plan.name in (EXTRACT, TRANSFORM) else None,
            tuple(self._step(step, groups) for step in plan.all_steps()),
            groups,
            plan.why_staged,
        )

    def _step(self, step: StepPlan, groups: Sequence[CommitView]) -> StepView:
        declaration = self._catalog.find(step.kind, step.plugin)
        name = step.address.step
        return StepView(
            id=name,
            role=step.kind if step.kind in (inventory.PRE, inventory.MERGE, inventory.POST) else "step",
            plugin=step.plugin,
            origin=discovery.origin_text(declaration),
            mode=step.mode,
            description=step.description,
            about=_about(step.args) if declaration.origin == inventory.BUILT_IN else "",
            takes=self._takes(step),
            waits_for=self._waits_for(step),
            destination=self._loads[name][0] if name in self._loads else self._hooks.get(name),
            guarantee=self._guarantee(step, groups) if step.kind == LOAD else self._joined(name, groups),
            caution=_caution(step.args) if declaration.origin == inventory.BUILT_IN else "",
            retry=step.retry if step.retry.attempts > 1 else None,
            timeout=step.timeout,
            on_bad_row=step.on_bad_row,
        )

    def _takes(self, step: StepPlan) -> tuple[str, ...]:
        plan = self._plan
        if step.input is not None:
            return self._giving(f"{EXTRACT}.{step.input}")
        if step.kind == inventory.MERGE:
            return tuple(_names(plan, plan.steps))
        if step.kind == inventory.POST and plan.name == EXTRACT:
            return (f"{EXTRACT}.{inventory.MERGE}",) if plan.merge else tuple(_names(plan, plan.steps))
        if step.kind == TRANSFORM:
            before = plan.steps[: plan.steps.index(step)][-1:]
            return tuple(_names(plan, before)) or self._data
        return self._data if step.kind in (LOAD, inventory.POST) else ()

    def _giving(self, name: str) -> tuple[str, ...]:
        """The extract step behind what `input` names: the step itself, or a table of it."""
        if name not in self._data and len(self._data) == 1:
            return self._data
        found = [step for step in self._data if name == step or name.startswith(tables.joint(step, ""))]
        return (max(found, key=len, default=name),)

    def _waits_for(self, step: StepPlan) -> tuple[str, ...]:
        plan = self._plan
        before: tuple[StepPlan, ...] = ()
        if step.kind == inventory.MERGE:
            before = plan.steps
        elif step.kind == inventory.POST:
            before = (plan.merge,) if plan.merge else plan.steps
            if plan.name == EXTRACT:
                before = plan.post[: plan.post.index(step)][-1:] or before
        elif step.kind != inventory.PRE and plan.name in (EXTRACT, LOAD):
            atomic = tuple(other for other in plan.steps if other.atomic)
            before = atomic if plan.name == LOAD and not step.atomic and atomic else plan.pre
        elif step.kind != inventory.PRE:
            before = plan.steps[: plan.steps.index(step)][-1:]
        return tuple(_names(plan, before)) or self._before

    def _guarantee(self, step: StepPlan, groups: Sequence[CommitView]) -> str:
        name = step.address.step
        if name not in self._loads or not product.rolls_back(str(step.args.get("url", ""))):
            return AT_LEAST_ONCE
        others = [other for group in groups if name in group.loads for other in group.loads if other != name]
        shown = f"{ALL_OR_NOTHING} with {', '.join(others)}" if others else ALL_OR_NOTHING
        return f"{shown}; {APPENDS_AGAIN}" if self._loads[name][1] == "append" else shown

    def _joined(self, name: str, groups: Sequence[CommitView]) -> str | None:
        """Whose transaction a hook is a part of, in words."""
        loads = [
            group.loads
            for group in groups
            if group.destination and group.destination == self._hooks.get(name)
        ]
        return f"{IN_TRANSACTION} {', '.join(loads[0])}" if loads else None

    def _built(self, step: StepPlan) -> tuple[str | None, str | None]:
        """The destination of an atomic load or of a hook that may join it, and a load's write mode; ``None`` where only the run knows."""
        declaration = self._catalog.find(step.kind, step.plugin)
        if declaration.origin != inventory.BUILT_IN or _nests_plugin(step.args):
            return None, None
        mode = step.args.get("mode")
        if holds_secret(step.args):
            where = next((step.args[key] for key in _WHERE if key in step.args), None)
            return (None if where is None else mask_url(str(where))), mode if isinstance(mode, str) else None
        read = spec.of(declaration.cls)
        try:
            plugin = read.build(declaration.cls, step.plugin_id, step.args, self._catalog)
            return mask_url(str(plugin.destination)), getattr(plugin, "mode", None)
        except PipelineFlowError:  # only the run can say what it is, and that it is wrong
            return None, None


def _names(phase: PhasePlan, steps: Iterable[StepPlan]) -> list[str]:
    return [f"{phase.name}.{step.address.step}" for step in steps]


def _nests_plugin(value: Any) -> bool:
    """Whether building what has these arguments would build another plugin too, perhaps a custom one."""
    if isinstance(value, dict):
        return "plugin" in value or any(_nests_plugin(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_nests_plugin(item) for item in value)


def _caution(args: dict[str, Any]) -> str:
    """What to know of the database that a step names; nothing where its whole URL is a secret."""
    return product.caution(str(args.get("url", "")))


def _about(args: dict[str, Any]) -> str:
    """Where the data of a built-in step lies, without what a URL may hide behind its ``?``."""
    parts = []
    where = next((args[key] for key in _WHERE if args.get(key)), None)
    if isinstance(where, list | tuple):
        more = len(where) - _MOST_PATHS
        parts.append(", ".join(map(str, where[:_MOST_PATHS])) + (f" and {more} more" if more > 0 else ""))
    elif where is not None:
        shown = mask_url(str(where))
        parts.append(shown.partition("?")[0] if "://" in shown else shown)
    named = args.get("tables")
    if named:
        listed = [named] if isinstance(named, str) else named
        more = len(listed) - _MOST_PATHS
        shown = ", ".join(map(str, listed[:_MOST_PATHS])) + (f" and {more} more" if more > 0 else "")
        parts.append(f"tables {shown}")
    parts += [f"{key} {args[key]}" for key in ("table", "mode") if args.get(key)]
    return ", ".join(parts)
