"""A configuration and the plugins that there are → what will be done. Pure: nothing is opened, nobody is asked.

All problems are reported at once, the configuration's own included when it was read with ``keep_going``. What a
plugin is, is looked up once for each kind and name.

Addresses: a step has its id, ``merge`` is ``merge``, hooks are ``pre.id`` and ``post.id``; so no two in a phase are alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pipeline_flow.config.models import Config, Phase, Pipeline, SecretManager, Step, place
from pipeline_flow.config.source import Seq
from pipeline_flow.core import columns, inventory, spec, tables
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import (
    AmbiguousPlugin,
    ConfigError,
    DuplicateId,
    NeedsCycle,
    NoSuchColumn,
    PhasesOfType,
    PluginNotImported,
    Problem,
    SameTarget,
    TablesNeedMerge,
    UnknownInput,
    UnknownNeeds,
    UnknownPlugin,
    UnreadExtract,
    WrongArgument,
    WrongMode,
    WrongValue,
    by_place,
)
from pipeline_flow.events import Address
from pipeline_flow.plan import columns as following
from pipeline_flow.plan import graph, handoff
from pipeline_flow.plan.model import (
    EXTRACT,
    LOAD,
    PHASES,
    TRANSFORM,
    TRANSFORM_AT_LOAD,
    PhasePlan,
    PipelinePlan,
    Plan,
    SecretPlan,
    StepPlan,
)
from pipeline_flow.plugins.base import IAtomicLoadPlugin
from pipeline_flow.secret import Redactor, confidential, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline_flow.config.source import Place
    from pipeline_flow.core.inventory import Catalog, Declaration
    from pipeline_flow.plan.columns import Follow

_OF_TYPE = {
    "ETL": (EXTRACT, TRANSFORM, LOAD),
    "ELT": (EXTRACT, LOAD, TRANSFORM_AT_LOAD),
    "ETLT": (EXTRACT, TRANSFORM, LOAD, TRANSFORM_AT_LOAD),
}
_NO_INPUT = {
    EXTRACT: "an extract step reads its own data",
    TRANSFORM: "it gets what the step before it gives",
    LOAD: "it gets what transform gives",
    TRANSFORM_AT_LOAD: "it works in the destination",
}
_CONCURRENT = {EXTRACT, LOAD, inventory.PRE, inventory.POST}


@dataclass(frozen=True, slots=True)
class Built:
    """A plan, and what is worth saying about it although it can run."""

    plan: Plan
    warnings: tuple[Problem, ...] = ()


def build(
    config: Config, catalog: Catalog, *, select: Sequence[str] = (), concurrency: int | None = None
) -> Built:
    """The plan of ``config``.

    Args:
        config: what the configuration says.
        catalog: the run's view of the plugins.
        select: names, globs, and either with ``+`` before it for all that they need; nothing selects everything. A
            needed pipeline that is not selected counts as satisfied. What is not selected is checked all the same.
        concurrency: takes the place of the configuration's.

    Raises:
        ConfigError: every problem, in the order of their places.
    """
    return _Builder(config, catalog).build(select, concurrency)


def for_value(config: Config, catalog: Catalog, value: Any) -> Plan:
    """A plan without pipelines: the secrets that ``value`` uses, for whoever opens it without running anything.

    Raises:
        ConfigError: the configuration cannot be read, or one of these secrets is not what its secret manager takes.
    """
    return _Builder(config, catalog).for_value(value)


def confidential_in(config: Config, catalog: Catalog) -> tuple[str, ...]:
    """The texts that stand in clear in ``config`` and must not show: by their names, or because a plugin says so."""
    return _Builder(config, catalog).confidential()


@dataclass(slots=True)
class _Known:
    """What is known of a plugin under one kind and name, or why it cannot be used."""

    declaration: Declaration | None = None
    what: spec.Spec | None = None
    mode: str = spec.SYNC
    atomic: bool = False
    takes_tables: bool = False
    hands_on: bool = False  # its arguments tell whether it hands on tables
    takes_by: bool = False  # its arguments tell whether it takes tables
    checks_nothing: bool = True  # no argument is needed and none would be looked at
    follow: Follow | None = None
    faults: tuple[Problem, ...] = ()


class _Builder:
    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        self._known: dict[tuple[str, str], _Known] = {}
        self._problems: list[Problem] = list(config.problems)
        self._warnings: list[Problem] = []
        self._wrong: set[int] = set()  # the steps whose arguments have been reported
        self._follows = False  # some plugin follows columns
        self._split = False  # several extract steps travel on: only then has `input` something to pick

    def build(self, select: Sequence[str], concurrency: int | None) -> Built:
        config = self._config
        secrets = {name: self._secret(manager) for name, manager in config.secrets.items()}
        plans = {name: self._pipeline(pipeline) for name, pipeline in config.pipelines.items()}
        needs = {name: pipeline.needs for name, pipeline in config.pipelines.items()}
        self._check_needs(needs)
        groups: dict[str, list[str]] = {}
        for each in config.pipelines.values():
            if each.group:
                groups.setdefault(each.group, []).append(each.name)
        chosen, unknown = graph.select(select, needs, groups)
        self._problems += unknown
        if concurrency is not None and concurrency < 1:
            self._problems.append(
                WrongValue.problem(f"--concurrency {concurrency}: it takes a whole number above 0")
            )
        if self._problems:  # a warning may tell why: a misspelt key at the top level is ignored
            found = self._masked((*config.warnings, *self._warnings, *self._problems))
            raise ConfigError(sorted(dict.fromkeys(found), key=by_place))
        selected = set(chosen)
        pipelines = []
        for name in chosen:
            pipeline = plans[name]
            if pipeline.needs and not selected.issuperset(pipeline.needs):
                pipeline = replace(pipeline, needs=tuple(need for need in pipeline.needs if need in selected))
            pipelines.append(pipeline)
        plan = Plan(
            name=config.name,
            pipelines=tuple(pipelines),
            secrets=used_secrets(secrets, pipelines),
            concurrency=concurrency or config.concurrency,
            parallelism=config.parallelism,
            fail_fast=config.fail_fast,
            memory_limit=config.memory_limit,
            spill_limit=config.spill_limit,
            timezone=config.timezone,
            confidential=self.confidential(),
        )
        warnings = (*config.warnings, *self._warnings, *self._shadowing())
        return Built(plan, self._masked(warnings) if warnings else ())

    def for_value(self, value: Any) -> Plan:
        config = self._config
        managers = {
            name: SecretPlan(item.name, item.plugin, item.args, item.id)
            for name, item in config.secrets.items()
        }
        used = used_secrets(managers, (), value)
        secrets = {name: self._secret(config.secrets[name]) for name in used}
        if self._problems:
            raise ConfigError(sorted(dict.fromkeys(self._masked(self._problems)), key=by_place))
        return Plan(name=config.name, pipelines=(), secrets=secrets, confidential=self.confidential())

    # ---------------------------------------------------------------------------------------------------- problems

    def _report(self, error: type[ConfigError], text: str, where: Place | None, advice: str = "") -> None:
        self._problems.append(self._config.problem(error, text, where, hint=advice))

    def _add(self, problem: Problem, where: Place) -> None:
        position = self._config.sources.position(where)
        self._problems.append(
            replace(problem, position=position, source_line=self._config.source_line(position))
        )

    def confidential(self) -> tuple[str, ...]:
        """What stands in clear in the configuration and must not show: by its name, or because its plugin says so."""
        found = dict.fromkeys(self._config.confidential)
        for kind, step in self._calls():
            found.update(dict.fromkeys(confidential(step.args)))
            what = self._find(kind, step.plugin).what
            if what is not None and what.keeps_secrets:
                found.update(dict.fromkeys(what.confidential(step.args, self._catalog)))
        return tuple(found)

    def _calls(self) -> Iterator[tuple[str, Step | SecretManager]]:
        """Every plugin call that has arguments, with its kind."""
        for manager in self._config.secrets.values():
            yield inventory.SECRET_MANAGER, manager
        for pipeline in self._config.pipelines.values():
            for phase in pipeline.phases.values():
                for kind, steps in (
                    (inventory.PRE, phase.pre),
                    (phase.name, phase.steps),
                    (inventory.MERGE, (phase.merge,) if phase.merge is not None else ()),
                    (inventory.POST, phase.post),
                ):
                    for step in steps:
                        if step.args:
                            yield kind, step

    def _masked(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        redact = Redactor()
        redact.add_confidential(self.confidential())
        return tuple(
            replace(
                problem,
                text=redact(problem.text),
                hint=redact(problem.hint),
                source_line=redact.blot(problem.source_line),
            )
            for problem in problems
        )

    def _shadowing(self) -> Iterator[Problem]:
        for (kind, name), declaration in self._catalog.shadowed.items():
            text = f"the {kind} plugin `{name}` of {declaration.where} takes the place of the one that is built in or installed"
            yield AmbiguousPlugin.problem(text, warning=True)

    # --------------------------------------------------------------------------------------------------- pipelines

    def _pipeline(self, pipeline: Pipeline) -> PipelinePlan:
        phases = pipeline.phases
        if not pipeline.broken:
            self._check_type(pipeline)
        extract = phases.get(EXTRACT)
        offer = None if extract is None else self._offered(extract)
        self._split = offer is not None and offer.several
        planned = tuple(
            [
                self._phase(pipeline.name, phases[name])
                for name in PHASES
                if name in phases and phases[name].steps
            ]
        )
        if extract is not None and offer is not None and not pipeline.broken:
            self._check_data(pipeline, extract, offer)
            if self._follows:
                self._check_columns(pipeline)
        kind = pipeline.type or type_of(pipeline)
        planned = handoff.decided(
            planned, self._class_of, choice=self._config.handoff, parallelism=self._config.parallelism
        )
        return PipelinePlan(pipeline.name, kind, planned, pipeline.needs, pipeline.description)

    def _phase(self, pipeline: str, phase: Phase) -> PhasePlan:
        name = phase.name
        steps = tuple([self._step(pipeline, name, name, step, step.id) for step in phase.steps])
        if len(steps) == 1 and not phase.pre and not phase.post and phase.merge is None:
            return PhasePlan(name, steps)
        pre = tuple(self._step(pipeline, name, inventory.PRE, step, f"pre.{step.id}") for step in phase.pre)
        post = tuple(
            self._step(pipeline, name, inventory.POST, step, f"post.{step.id}") for step in phase.post
        )
        merge = None
        if phase.merge is not None:
            merge = self._step(pipeline, name, inventory.MERGE, phase.merge, inventory.MERGE)
            if len(phase.steps) == 1 and self._handed_on(phase.steps[0]) is None and not phase.broken:
                text = "`merge` makes one of several extract steps, and there is only one"
                self._report(WrongValue, text, phase.merge.node, "leave `merge` out, or add an extract step")
        plan = PhasePlan(name, steps, pre, post, merge)
        self._check_ids(phase, plan)
        return plan

    def _step(self, pipeline: str, phase: str, kind: str, step: Step, step_id: str) -> StepPlan:
        known = self._known.get((kind, step.plugin)) or self._find(kind, step.plugin)
        if known.faults:
            where = step.node.items["plugin"]
            for fault in known.faults:
                self._add(fault, where)
        elif (step.args or not known.checks_nothing) and not step.broken:
            self._check_args(known, step.node, step.args)
        return StepPlan(
            Address(pipeline, phase, step_id),
            kind,
            step.plugin,
            step.args,
            known.mode,
            known.atomic,
            step.retry,
            step.timeout,
            step.input if self._split else None,
            step.on_bad_row,
            step.description,
            step.id,
            gives_tables=known.hands_on and kind == EXTRACT and self._handed_on(step) is not None,
        )

    def _handed_on(self, step: Step) -> tables.TableNames | None:
        """The tables that an extract step hands on, ``()`` where only a run can tell; ``None`` for one thing."""
        known = self._find(EXTRACT, step.plugin)
        if not known.hands_on or known.declaration is None:
            return None
        return tables.handed_on(known.declaration.cls, step.args)

    def _offered(self, extract: Phase) -> _Offer:
        handed = {step.id: self._handed_on(step) for step in extract.steps}
        return _Offer.of(handed, merged=extract.merge is not None, alone=len(extract.steps) == 1)

    def _secret(self, manager: SecretManager) -> SecretPlan:
        known = self._find(inventory.SECRET_MANAGER, manager.plugin)
        for fault in known.faults:
            self._add(fault, manager.node.items["plugin"])
        if not known.faults and not manager.broken:
            self._check_args(known, manager.node, manager.args)
        return SecretPlan(manager.name, manager.plugin, manager.args, manager.id)

    # ------------------------------------------------------------------------------------------------------ plugins

    def _class_of(self, step: StepPlan) -> type | None:
        declaration = self._find(step.kind, step.plugin).declaration
        return None if declaration is None else declaration.cls

    def _find(self, kind: str, name: str) -> _Known:
        known = self._known.get((kind, name))
        if known is None:
            known = self._known[kind, name] = self._look_at(kind, name)
        return known

    def _look_at(self, kind: str, name: str) -> _Known:
        try:
            declaration = self._catalog.find(kind, name)
            what = spec.of(declaration.cls)
        except UnknownPlugin:
            return _Known(faults=(self._unknown(kind, name),))
        except ConfigError as error:  # not importable, or ambiguous; the messages say which
            return _Known(faults=error.problems)
        except Exception as error:  # noqa: BLE001 - importing it ran somebody's code
            text = f"the {kind} plugin `{name}` cannot be imported: {type(error).__name__}: {error}"
            return _Known(faults=(PluginNotImported.problem(text, hint="install what it needs"),))
        atomic = issubclass(declaration.cls, IAtomicLoadPlugin)
        follow = columns.follower(declaration.cls, what.config)
        self._follows = self._follows or follow is not None
        return _Known(
            declaration,
            what,
            what.mode,
            atomic,
            _takes_tables(declaration, what, atomic),
            tables.says_what_it_hands_on(declaration.cls),
            tables.says_what_it_takes(declaration.cls),
            not what.required and what.config is None,
            follow,
            tuple(mode_faults(kind, name, what.mode)),
        )

    def _unknown(self, kind: str, name: str) -> Problem:
        elsewhere = [
            other for other in self._catalog.kinds() if other != kind and name in self._catalog.names(other)
        ]
        advice = hint(name, self._catalog.names(kind), f"{kind} plugins")
        if elsewhere:
            advice = f"`{name}` is a plugin for {' and '.join(elsewhere)}; {advice}"
        else:
            advice += "; files with plugins of your own are named under plugins.custom.files"
        return UnknownPlugin.problem(f"no {kind} plugin is called `{name}`", hint=advice)

    def _check_args(self, known: _Known, node: Any, args: Mapping[str, Any]) -> None:
        assert known.what is not None  # only a plugin without faults is asked
        args_node = node.items.get("args")
        try:
            faults = known.what.check(args, self._catalog)
        except Exception as error:  # noqa: BLE001 - a plugin's own model or annotation ran
            text = f"checking the arguments raised {type(error).__name__}: {error}"
            self._report(WrongArgument, text, args_node or node.items["plugin"])
            self._wrong.add(id(node))
            return
        if faults:
            self._wrong.add(id(node))
        for fault in faults:
            if args_node is None or (not fault.path and not getattr(args_node, "items", None)):
                where = node.items["plugin"]
            elif not fault.path:
                where = node.keys["args"]
            else:
                where = place(args_node, fault.path, key=fault.at_key)
            self._add(fault.problem, where)

    # ------------------------------------------------------------------------------------------ what a schema cannot

    def _check_type(self, pipeline: Pipeline) -> None:
        phases = pipeline.phases
        if pipeline.type is None:
            missing = [name for name in (EXTRACT, LOAD) if name not in phases]
            if missing:
                text = f"the pipeline `{pipeline.name}` has no {' and no '.join(missing)}"
                self._report(PhasesOfType, text, pipeline.place, "every pipeline has extract and load")
            return
        allowed = _OF_TYPE[pipeline.type]
        if tuple(phases) == allowed:
            return
        listed = ", ".join(f"{name} (optional)" if name == TRANSFORM else name for name in allowed)
        missing = [name for name in allowed if name not in phases and name != TRANSFORM]
        extra = [name for name in phases if name not in allowed]
        fits = type_of(pipeline)
        for name in extra:
            advice = f"{pipeline.type} has: {listed}"
            if fits != pipeline.type and not set(_OF_TYPE[fits]).isdisjoint(extra):
                advice = f"did you mean `{fits}`?  without `type` it follows from the phases; {advice}"
            self._report(PhasesOfType, f"{pipeline.type} has no {name}", phases[name].place, advice)
        if missing:
            text = f"{pipeline.type} needs {' and '.join(missing)}"
            advice = f"{pipeline.type} has: {listed}"
            if fits != pipeline.type and EXTRACT in phases and LOAD in phases:
                advice = f"did you mean `{fits}`?  without `type` it follows from the phases; {advice}"
            self._report(PhasesOfType, text, pipeline.place, advice)

    def _check_ids(self, phase: Phase, plan: PhasePlan) -> None:
        merge = (phase.merge,) if phase.merge is not None else ()
        taken: dict[str, Step] = {}
        for step, planned in zip(
            (*phase.pre, *phase.steps, *merge, *phase.post), plan.all_steps(), strict=True
        ):
            name = planned.address.step
            if name not in taken:
                taken[name] = step
                continue
            first = self._config.sources.position(_id_place(taken[name]))
            text = f"the phase `{phase.name}` has two steps called `{name}`"
            self._report(
                DuplicateId,
                text,
                _id_place(step),
                f"the first one is in line {first.line}; give one another id",
            )

    def _check_needs(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        for name, wanted in needs.items():
            for need in wanted:
                if need not in needs:
                    where = _needs_place(self._config.pipelines[name], need)
                    groups = dict.fromkeys(
                        each.group for each in self._config.pipelines.values() if each.group
                    )
                    others = [other for other in (*groups, *needs) if other != name]
                    self._report(
                        UnknownNeeds, f"there is no pipeline `{need}`", where, hint(need, others, "pipelines")
                    )
        for circle in graph.cycles(needs):
            where = _needs_place(self._config.pipelines[circle[0]], circle[1])
            shown = circle if len(circle) < 12 else (*circle[:5], "…", *circle[-5:])
            text = f"these pipelines need each other: {' → '.join(shown)}"
            if len(circle) == 2:
                text = f"the pipeline `{circle[0]}` needs itself: {' → '.join(shown)}"
            self._report(NeedsCycle, text, where, "take one `needs` out of the circle")

    def _check_data(self, pipeline: Pipeline, extract: Phase, offer: _Offer) -> None:
        """What reaches whom: tables go only to who takes them, and ``input`` names one of them."""
        transform, load = pipeline.phases.get(TRANSFORM), pipeline.phases.get(LOAD)
        first: tuple[Step, ...] = () if load is None else load.steps
        kind = LOAD
        if transform is not None and transform.steps:
            first, kind = transform.steps[:1], TRANSFORM
        for phase in pipeline.phases.values():
            self._check_no_input(phase, first)
        for step in first:
            if step.input is not None:
                self._check_input(step, offer)
            if offer.reaches_as_tables(step):
                self._check_tables(step, kind, offer)
            else:
                self._check_one(step, kind, offer)
        for step in load.steps if load is not None and kind == TRANSFORM else ():
            self._check_one(step, LOAD, offer)
        if offer.several:
            behind_load = load.post if load is not None and kind == LOAD else ()
            for step in (*extract.post, *behind_load):
                self._check_tables(step, inventory.POST, offer)
        if load is not None:
            self._check_targets(load)
            if offer.several and kind == LOAD and not extract.post:
                self._check_unread(extract, load, offer)

    def _check_no_input(self, phase: Phase, first: tuple[Step, ...]) -> None:
        """The steps of ``phase`` besides the ``first`` that read what extract hands on have no ``input``."""
        hooks = (*phase.pre, *phase.post)
        if phase.merge is not None:
            hooks = (*hooks, phase.merge)
        for steps, reason in (
            (phase.steps, _NO_INPUT[phase.name]),
            (hooks, "a hook sees the data of the whole phase"),
        ):
            for step in steps:
                if step.input is not None and not any(step is other for other in first):
                    text = f"`input` picks nothing here: {reason}"
                    self._report(UnknownInput, text, step.node.keys["input"], "leave `input` out")

    def _check_input(self, step: Step, offer: _Offer) -> None:
        where = step.node.items["input"]
        if offer.merged:
            text = "`input` picks nothing here: the extract steps are merged into one"
            self._report(
                UnknownInput, text, step.node.keys["input"], "leave `input` out, or take `merge` out"
            )
        elif not offer.has(str(step.input)):
            what = "table" if offer.table_steps else "extract step"
            self._report(
                UnknownInput,
                f"there is no {what} `{step.input}`",
                where,
                hint(str(step.input), offer.names, f"{what}s"),
            )

    def _check_tables(self, step: Step, kind: str, offer: _Offer) -> None:
        known = self._find(kind, step.plugin)
        if known.faults or known.takes_tables or (known.takes_by and id(step.node) in self._wrong):
            return
        if self._takes_by_arguments(known, step):
            return
        what = "several extract steps reach it without `merge`"
        if offer.table_steps:
            what = f"the extract step `{offer.table_steps[0]}` hands on several tables"
        advice = f"add `merge` to extract, or pick one with input: {' | '.join(offer.shown)}"
        if kind == inventory.POST:
            advice = "add `merge` to extract"
        elif self._takes_by_arguments(known, step) is False:
            advice += f"; all of them: {tables.ALL}"
        self._report(
            TablesNeedMerge,
            f"`{step.plugin}` takes one stream, and {what}",
            step.node.items["plugin"],
            advice,
        )

    def _check_one(self, step: Step, kind: str, offer: _Offer) -> None:
        """A plugin that by its arguments wants tables, where one stream reaches it."""
        known = self._find(kind, step.plugin)
        if not known.takes_by or id(step.node) in self._wrong or not self._takes_by_arguments(known, step):
            return
        args = step.node.items.get("args")
        where = step.node.items["plugin"] if args is None else place(args, ("table",))
        advice = "write the table's name without `*`"
        if step.input is not None and offer.several:
            advice += ", or leave `input` out"
        self._report(
            WrongArgument,
            f"`{step.plugin}` shall write several tables, and one stream reaches it",
            where,
            advice,
        )

    @staticmethod
    def _takes_by_arguments(known: _Known, step: Step) -> bool | None:
        if not known.takes_by or known.declaration is None:
            return None
        return tables.takes(known.declaration.cls, step.args)

    def _check_unread(self, extract: Phase, load: Phase, offer: _Offer) -> None:
        """Where every load picks its input, an extract step that none of them picks was read for nothing."""
        if load.broken or any(step.input is None or not offer.has(step.input) for step in load.steps):
            return
        picked = {offer.step_of(str(step.input)) for step in load.steps}
        for step in extract.steps:
            if step.id not in picked:
                text = f"nobody gets the data of `{step.id}`: every load picks another `input`"
                advice = f"add a load with `input: {step.id}`, or leave the step out"
                self._warnings.append(
                    self._config.problem(UnreadExtract, text, _id_place(step), hint=advice, warning=True)
                )

    def _check_columns(self, pipeline: Pipeline) -> None:
        """Columns that a step names and that cannot be there, as far as the steps before it tell theirs."""
        for step, lack in following.lacks(pipeline, self._follower):
            text = f"there is no column `{lack.name}` here"
            if lack.table:
                text = f"`{lack.table}` has no column `{lack.name}`"
            args = step.node.items.get("args") or step.node.items["plugin"]
            where = place(args, lack.path, key=lack.at_key)
            self._report(NoSuchColumn, text, where, hint(lack.name, lack.known, "the columns are"))

    def _follower(self, kind: str, step: Step) -> Follow | None:
        if step.broken or id(step.node) in self._wrong:
            return None
        return self._find(kind, step.plugin).follow

    def _check_targets(self, load: Phase) -> None:
        """Two loads of one file; which tables two loads write is known when they have said what their target is."""
        taken: dict[PurePath, Step] = {}
        for step in load.steps:
            target = step.args.get("path")
            if not isinstance(target, str) or "://" in target or not self._is_ours(LOAD, step.plugin):
                continue
            path = PurePath(os.path.normpath(target))
            if path not in taken:
                taken[path] = step
                continue
            if _append_together(step, taken[path]):
                continue
            first = self._config.sources.position(_id_place(taken[path]))
            args = step.node.items["args"]
            text = f"`{step.id}` writes the same file as `{taken[path].id}`"
            self._report(
                SameTarget,
                text,
                place(args, ("path",)),
                f"the first one is in line {first.line}; give one another path",
            )

    def _is_ours(self, kind: str, name: str) -> bool:
        declaration = self._find(kind, name).declaration
        return declaration is not None and declaration.origin == inventory.BUILT_IN


# ------------------------------------------------------------------------------------------------------- small parts


@dataclass(frozen=True, slots=True)
class _Offer:
    """What extract hands on, as far as it is known.

    ``handed`` holds for each extract step the names of its tables, ``()`` where only a run can tell them, ``None`` where it
    gives one thing. ``table_steps`` are those that hand on tables of their own, ``several`` is whether tables travel on.
    """

    handed: Mapping[str, tables.TableNames | None]
    merged: bool
    alone: bool
    table_steps: tuple[str, ...]
    several: bool

    @classmethod
    def of(cls, handed: Mapping[str, tables.TableNames | None], *, merged: bool, alone: bool) -> _Offer:
        table_steps = tuple([step for step, names in handed.items() if names is not None])
        return cls(handed, merged, alone, table_steps, not merged and (not alone or bool(table_steps)))

    @property
    def names(self) -> list[str]:
        """What `input` can name, as far as it is known."""
        found: list[str] = []
        for step, names in self.handed.items():
            own = [name if self.alone else tables.joint(step, name) for name in names or ()]
            found += own if self.alone and names is not None else [step, *own]
        return found

    @property
    def shown(self) -> list[str]:
        """What `input` can name, for a message."""
        found = [name for name in self.names if self.handed.get(name) is None]
        open_ = [step for step, names in self.handed.items() if names == ()]
        return [*found, *("<table>" if self.alone else tables.joint(step, "<table>") for step in open_)]

    def has(self, name: str) -> bool:
        """Whether `input` can name this."""
        known = self.names
        if name in known or any(tables.same(name, other) for other in known if other not in self.handed):
            return True
        if self.alone:
            return () in self.handed.values()
        return any(
            names == () and name.startswith(tables.joint(step, "")) for step, names in self.handed.items()
        )

    def step_of(self, name: str) -> str | None:
        """The extract step that what `input` names comes from."""
        if self.alone:
            return next(iter(self.handed))
        joints = [step for step in self.handed if name.startswith(tables.joint(step, ""))]
        return name if name in self.handed else max(joints, key=len, default=None)

    def reaches_as_tables(self, step: Step) -> bool:
        """Whether a step is handed tables: no `input`, or one that names a step with tables of its own."""
        if step.input is None or not self.several:
            return self.several
        return not self.alone and self.handed.get(step.input) is not None


def _append_together(*steps: Step) -> bool:
    """Whether loads into one folder add up: of one plugin, and all of them append."""
    return len({step.plugin for step in steps}) == 1 and all(
        step.args.get("mode") == "append" for step in steps
    )


def mode_faults(kind: str, name: str, mode: str) -> Iterator[Problem]:
    """What is wrong where a plugin of ``kind`` is synchronous and should not be, or the other way round."""
    if kind in _CONCURRENT and mode != spec.ASYNC:
        what = (
            f"{kind} steps run concurrently"
            if kind in (EXTRACT, LOAD)
            else f"`{kind}` runs on the event loop"
        )
        advice = "write `async def __call__`, with blocking work inside AsyncAdapterMixin.async_wrap"
        if kind in (EXTRACT, LOAD):
            advice += f"; a plain function: @{kind}(threaded=True)"
        yield WrongMode.problem(
            f"`{name}` is synchronous, and {what}: their plugins are asynchronous", hint=advice
        )
    elif kind in (inventory.MERGE, TRANSFORM, TRANSFORM_AT_LOAD) and mode != spec.SYNC:
        what = "merge runs" if kind == inventory.MERGE else f"{kind} steps run one after the other"
        data = {inventory.MERGE: "self, extracted_data", TRANSFORM: "self, data", TRANSFORM_AT_LOAD: "self"}[
            kind
        ]
        advice = f"write `def __call__({data})` without async: it has a thread of its own and may block"
        yield WrongMode.problem(
            f"`{name}` is asynchronous, and {what} in a thread: plugins are synchronous there", hint=advice
        )


def _takes_tables(declaration: Declaration, what: spec.Spec, atomic: bool) -> bool:
    """Whether a plugin may be handed several named streams at once."""
    if getattr(declaration.cls, "takes_tables", False):
        return True
    if atomic:  # `stage` takes one stream, whatever `__call__` says
        return False
    if what.data_annotation is spec.NOT_GIVEN or what.data_annotation is object:
        return declaration.origin != inventory.BUILT_IN
    return _is_mapping(what.data_annotation)


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_mapping(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return any(_is_mapping(part) for part in get_args(annotation))
    found = origin or annotation
    return isinstance(found, type) and issubclass(found, AbstractMapping)


def type_of(pipeline: Pipeline) -> str:
    """The type that follows from the phases of a pipeline that names none."""
    phases = pipeline.phases
    if TRANSFORM_AT_LOAD not in phases:
        return "ETL"
    return "ETLT" if TRANSFORM in phases and phases[TRANSFORM].steps else "ELT"


def _id_place(step: Step) -> Place:
    items = step.node.items
    return items.get("id") or items.get("plugin_id") or items["plugin"]


def _needs_place(pipeline: Pipeline, need: str) -> Place:
    node = getattr(pipeline.node, "items", {}).get("needs")
    if isinstance(node, Seq):
        return next((item for item in node.items if getattr(item, "text", None) == need), node)
    return node or pipeline.place


def used_secrets(
    secrets: Mapping[str, SecretPlan], pipelines: Iterable[PipelinePlan], also: Any = ()
) -> dict[str, SecretPlan]:
    """The secrets that these pipelines use, and the values ``also``, in the order of the configuration."""
    if not secrets:
        return {}
    used = {
        reference.name
        for pipeline in pipelines
        for phase in pipeline.phases
        for step in phase.all_steps()
        for reference in references(step.args)
    }
    used |= {reference.name for reference in references(also)}
    for secret in reversed(list(secrets.values())):  # a secret is fetched with such as stand before it
        if secret.name in used:
            used |= {reference.name for reference in references(secret.args)}
    return {name: secret for name, secret in secrets.items() if name in used}
