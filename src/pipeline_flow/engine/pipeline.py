"""One pipeline: its phases in their order, the data between them, and what it leaves behind when it fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline_flow.core import tables
from pipeline_flow.core.context import CancelFlag
from pipeline_flow.core.suggest import hint
from pipeline_flow.engine import loading
from pipeline_flow.engine.feed import Feed
from pipeline_flow.engine.loading import side_by_side
from pipeline_flow.engine.mask import masked
from pipeline_flow.engine.result import PipelineResult
from pipeline_flow.engine.step import Step, failure_of
from pipeline_flow.engine.value import Values
from pipeline_flow.errors import DataError, InternalError, PipelineFlowError
from pipeline_flow.events import (
    DataStaged,
    Notice,
    PhaseFinished,
    PhaseStarted,
    PipelineFinished,
    PipelineStarted,
    Status,
)
from pipeline_flow.plan.model import EXTRACT, LOAD, TRANSFORM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from pipeline_flow.engine.result import StepResult
    from pipeline_flow.engine.scope import RunScope
    from pipeline_flow.engine.value import Output, Value
    from pipeline_flow.plan.model import PhasePlan, PipelinePlan, StepPlan


class _Phase:
    """The steps of one phase, as the engine runs them."""

    __slots__ = ("fed_by", "feeds", "merge", "name", "number", "post", "pre", "steps")

    def __init__(
        self,
        plan: PhasePlan,
        number: int,
        make: Callable[[StepPlan, Feed | None], Step],
        fed_by: Feed | None,
        feeds: Feed | None,
    ) -> None:
        self.name = plan.name
        self.number = number
        self.fed_by = fed_by
        self.feeds = feeds
        self.pre = [make(step, fed_by) for step in plan.pre] if plan.pre else []
        self.steps = [make(step, fed_by) for step in plan.steps]
        self.merge = None if plan.merge is None else make(plan.merge, fed_by)
        self.post = [make(step, fed_by) for step in plan.post] if plan.post else []

    def all_steps(self) -> list[Step]:
        merge = [] if self.merge is None else [self.merge]
        return [*self.pre, *self.steps, *merge, *self.post]


class Pipeline:
    """Runs one pipeline of a plan.

    Args:
        scope: the run.
        plan: the pipeline.
        parallelism: how many of its steps may run at once.
    """

    def __init__(self, scope: RunScope, plan: PipelinePlan, parallelism: int) -> None:
        self._scope = scope
        self._plan = plan
        self._lane = lane = scope.threads.lane()
        slots: asyncio.Semaphore | None = None
        for phase in plan.phases:
            if len(phase.steps) + len(phase.pre) + len(phase.post) > parallelism:
                slots = asyncio.Semaphore(parallelism)
                break

        def make(step: StepPlan, fed_by: Feed | None) -> Step:
            return Step(scope, step, lane, slots, fed_by)

        self._phases: list[_Phase] = []
        self._steps: list[Step] = []
        fed_by: Feed | None = None
        for phase in plan.phases:
            feeds = Feed(scope, fed_by) if phase.streams else None
            mine = _Phase(phase, len(self._phases), make, fed_by, feeds)
            self._phases.append(mine)
            self._steps += mine.all_steps()
            fed_by = feeds
        self._data: Output | None = None
        self._tables_of: dict[str, tuple[str, ...]] = {}  # by the id of an extract step beside others
        self._committed: list[str] = []
        self.result: PipelineResult

    async def run(self) -> PipelineResult:
        """Runs the pipeline; a failure is in the result.

        Raises:
            CancelledError: the run was cancelled; the pipeline has been rolled back, and told so. Its ``result`` is set.
        """
        clock = self._scope.clock
        started = clock.monotonic()
        status = Status.CANCELLED
        error: Exception | None = None
        self._scope.tell(PipelineStarted, pipeline=self._plan.name)
        try:
            await self._build()
            for stretch in _stretches(self._phases):
                await side_by_side([self._run_phase(phase) for phase in stretch])
            status = Status.SUCCEEDED
        except PipelineFlowError as caught:
            status, error = Status.FAILED, caught
        except Exception as caught:  # noqa: BLE001 - a bug of ours; the other pipelines go on all the same
            status, error = Status.FAILED, InternalError(f"{type(caught).__name__}: {caught}")
            error.__cause__ = caught
        finally:
            self._end(status, error, clock.monotonic() - started)
        return self.result

    def _end(self, status: Status, error: Exception | None, seconds: float) -> None:
        self._replace(None)
        results: list[StepResult] = []
        left_behind = False
        for step in self._steps:
            left_behind = left_behind or step.abandoned
            if step.result is not None:
                results.append(step.result)
            step.forget_plugin()
        if left_behind:
            self._notice("a step did not stop in time; its thread was left behind")
        self._lane.release()
        failure = None
        if error is not None:
            failure, error = failure_of(error, self._scope.redact), masked(error, self._scope.redact)
        reason = self._scope.why_cancelled if status is Status.CANCELLED else ""
        self.result = PipelineResult(
            self._plan.name,
            status,
            seconds,
            reason,
            failure,
            tuple(results),
            tuple(self._committed),
            error,
        )
        self._scope.tell(
            PipelineFinished,
            pipeline=self._plan.name,
            status=status,
            seconds=seconds,
            failure=failure,
            reason=reason,
        )

    def _notice(self, text: str) -> None:
        self._scope.tell(Notice, text=text, pipeline=self._plan.name, level="warning")

    async def _build(self) -> None:
        """Makes every plugin before the first step, so that a constructor's error shows before a long extract.

        What a synchronous plugin's own constructor makes may be bound to its thread, so it runs there.
        """
        in_thread = []
        for step in self._steps:
            if step.builds_in_thread:
                in_thread.append(step)
            else:
                step.build()
        if in_thread:
            await self._lane.run(CancelFlag(), _build_all, in_thread)

    async def _run_phase(self, phase: _Phase) -> None:
        scope, name = self._scope, self._plan.name
        if phase.fed_by is not None:
            await phase.fed_by.given.wait()
        scope.tell(PhaseStarted, pipeline=name, phase=phase.name)
        started = scope.clock.monotonic()
        status = Status.CANCELLED
        if phase.feeds is not None:
            phase.feeds.begin()
        try:
            await self._steps_of(phase)
            if phase.fed_by is not None:
                await phase.fed_by.until_over()
            status = Status.SUCCEEDED
        except Exception:
            status = Status.FAILED
            raise
        finally:
            seconds = scope.clock.monotonic() - started
            scope.tell(PhaseFinished, pipeline=name, phase=phase.name, status=status, seconds=seconds)
            if phase.feeds is not None:
                phase.feeds.end(succeeded=status is Status.SUCCEEDED)

    def _flow(self, phase: _Phase) -> Callable[[Value], None] | None:
        """What is called, in any thread, with the data of ``phase`` that may be read while it is still being written."""
        feeds = phase.feeds
        if feeds is None:
            return None
        loop = asyncio.get_running_loop()

        def give(data: Value) -> None:
            self._data = data
            feeds.given.set()

        def from_thread(data: Value) -> None:
            with suppress(RuntimeError):  # the loop is closed: the thread was left behind
                loop.call_soon_threadsafe(give, data)

        return from_thread

    # ------------------------------------------------------------------------------------------ phases

    def _steps_of(self, phase: _Phase) -> Awaitable[None]:
        if phase.name == EXTRACT:
            return self._extract(phase)
        if phase.name == TRANSFORM:
            return self._transform(phase)
        return self._load(phase) if phase.name == LOAD else self._transform_at_load(phase)

    async def _extract(self, phase: _Phase) -> None:
        if phase.pre:
            await side_by_side([step.call_async(hold=False) for step in phase.pre])
        if len(phase.steps) == 1:
            raw = self._next_takes_anything(phase)
            data = await phase.steps[0].call_async(raw=raw, flow=self._flow(phase))
            if _has_flowed(phase):  # what reads it may have given something else by now
                return
            self._data = data
        else:
            self._data = await self._joined(phase.steps)
        if phase.merge is not None:
            self._replace(await phase.merge.call_sync(self._data, raw=self._next_takes_anything(phase)))
        for step in phase.post:
            if step.may_join:  # it sees no data
                await step.call_async(hold=False)
                continue
            after = await step.call_post(self._picked(step))
            if isinstance(after, Values) or not after.is_nothing:
                self._replace(after)
        self._tell_staged(phase)

    async def _joined(self, steps: Sequence[Step]) -> Values:
        """What several extract steps give, by their ids; the tables of a step as ``step__table``."""
        found: dict[str, Output] = {}

        async def keep(step: Step) -> None:
            found[step.plan.address.step] = await step.call_async()

        try:
            await side_by_side([keep(step) for step in steps])
        except BaseException:
            _close(found.values())
            raise
        joined = Values()
        for name in (step.plan.address.step for step in steps):
            own = found[name]
            if isinstance(own, Values):
                self._tables_of[name] = tuple(own)
                named = {tables.joint(name, table): item for table, item in own.items()}
            else:
                named = {name: own}
            for taken in joined.keys() & named.keys():
                _close(found.values())
                raise DataError(
                    f"two tables would be called `{taken}`", hint=f"give the step `{name}` another id"
                )
            joined.update(named)
        return joined

    async def _transform(self, phase: _Phase) -> None:
        for index, step in enumerate(phase.steps):
            following = phase.steps[index + 1 : index + 2]
            raw = following[0].takes_anything if following else self._next_takes_anything(phase)
            flow = None if following else self._flow(phase)
            before = self._data
            try:
                result = await step.call_sync(self._picked(step), raw=raw, flow=flow)
            finally:
                if before is not None and _has_flowed(phase):
                    before.close()
            if _has_flowed(phase):
                return
            self._replace(result)
        if phase.steps:
            self._tell_staged(phase)

    async def _load(self, phase: _Phase) -> None:
        groups = loading.groups_of(self._scope, phase.steps, self._picked, (*phase.pre, *phase.post))
        joined = {hook for group in groups for hook in group.hooks}
        others = [step for step in phase.steps if not step.plan.atomic]
        if phase.pre:
            await side_by_side([step.call_async(hold=False) for step in phase.pre if step not in joined])
        await loading.load(self._scope, groups, others, self._picked, self._committed)
        if phase.post:
            await side_by_side(
                [
                    step.call_async(None if step.may_join else self._picked(step), hold=False)
                    for step in phase.post
                    if step not in joined
                ]
            )
        self._replace(None)

    async def _transform_at_load(self, phase: _Phase) -> None:
        for step in phase.steps:
            await step.call_sync(hold=False)

    # ------------------------------------------------------------------------------------------ data

    def _picked(self, step: Step) -> Output:
        data = self._data
        if data is None:
            raise AssertionError("a phase that hands on data has run before")
        wanted = step.plan.input
        if wanted is None or not isinstance(data, Values):
            return data
        if wanted in data:
            return data[wanted]
        if wanted in self._tables_of:
            named = {table: tables.joint(wanted, table) for table in self._tables_of[wanted]}
            return Values({table: data[name] for table, name in named.items() if name in data})
        alike = [name for name in data if tables.same(name, wanted)]
        if len(alike) == 1:
            return data[alike[0]]
        raise step.fail(DataError(f"there is no table `{wanted}`", hint=hint(wanted, data, "there are")))

    def _replace(self, data: Output | None) -> None:
        """Makes ``data`` what the next step gets, and frees what was there."""
        before, self._data = self._data, data
        if before is not None and before is not data:
            before.close(but=data)

    def _next_takes_anything(self, phase: _Phase) -> bool:
        """Whether one plugin alone reads what ``phase`` hands on, and does not say what it wants.

        Then an iterator passes as it is; a second reader would find it empty.
        """
        if phase.post and phase.name == EXTRACT and not all(step.may_join for step in phase.post):
            return False
        for following in self._phases[phase.number + 1 :]:
            if following.name == TRANSFORM and following.steps:
                return following.steps[0].takes_anything
            if following.name == LOAD:
                readers = following.steps
                if following.post:
                    readers = [*readers, *(step for step in following.post if not step.may_join)]
                return len(readers) == 1 and readers[0].takes_anything
        return False

    def _tell_staged(self, phase: _Phase) -> None:
        data = self._data
        for name, item in data.items() if isinstance(data, Values) else ((phase.name, data),):
            if item is None or item.handoff is None:
                continue
            self._scope.tell(
                DataStaged,
                pipeline=self._plan.name,
                name=name,
                rows=item.handoff.rows,
                memory_bytes=item.handoff.memory_bytes,
                disk_bytes=item.handoff.disk_bytes,
            )


def _stretches(phases: Sequence[_Phase]) -> Iterator[list[_Phase]]:
    """The phases in their order, those together whose data flows from one to the next."""
    stretch: list[_Phase] = []
    for phase in phases:
        stretch.append(phase)
        if phase.feeds is None:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _has_flowed(phase: _Phase) -> bool:
    """Whether what a running phase gives is being read already."""
    return phase.feeds is not None and phase.feeds.given.is_set()


def _close(outputs: Iterable[Output]) -> None:
    for output in outputs:
        output.close()


def _build_all(steps: Sequence[Step]) -> None:
    for step in steps:
        step.build()
