"""The load phase: stage, then what cannot roll back, then commit.

Loads of one pipeline with the same destination form one commit group: one transaction, committed or aborted together
(two writers in one database would wait for each other for ever). The order of a phase: every group stages, groups
beside each other and loads within a group one after the other; then the loads that cannot roll back run; then the
groups commit, in the order of the YAML. Once the first commit has begun the rest follow, whatever happens to the run.

A hook that can work inside the transaction of a group with its destination is a part of that group: a ``pre`` before its
loads, a ``post`` after them.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline_flow.core import inventory
from pipeline_flow.data import BatchStream, Tables, adapt
from pipeline_flow.engine.step import failure_of
from pipeline_flow.engine.threads import GRACE, contained
from pipeline_flow.engine.value import Values
from pipeline_flow.errors import DestinationFailed, SameTarget
from pipeline_flow.events import LoadAborted, LoadCommitted, Notice
from pipeline_flow.secret import mask_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from pipeline_flow.engine.scope import RunScope
    from pipeline_flow.engine.step import Step
    from pipeline_flow.engine.value import Output
    from pipeline_flow.plugins.base import Transaction

    Pick = Callable[[Step], Output]


T = TypeVar("T")


class Group:
    """The atomic loads of one pipeline into one destination, the hooks that join them, and their one transaction."""

    def __init__(self, scope: RunScope, destination: str, loads: list[Step], hooks: Sequence[Step]) -> None:
        self._scope = scope
        self.destination = mask_url(destination)
        self.loads = loads
        self.hooks = frozenset(hooks)
        pre = [hook for hook in hooks if hook.plan.kind == inventory.PRE]
        self._steps = (*pre, *loads, *(hook for hook in hooks if hook not in pre))
        self._transaction: Transaction | None = None

    @property
    def _ids(self) -> tuple[str, ...]:
        return tuple(load.plan.address.step for load in self.loads)

    @property
    def is_open(self) -> bool:
        """Whether something is staged that is neither committed nor taken back."""
        return self._transaction is not None

    async def stage(self, pick: Pick) -> None:
        """Stages every load; a load or hook that may be retried starts the whole transaction anew."""
        while not await self._staged(pick):
            pass

    async def _staged(self, pick: Pick) -> bool:
        for step in self._steps:
            data = None if step in self.hooks else pick(step)
            try:
                rows = await step.attempted(
                    partial(self._join, step) if data is None else partial(self._stage, step, data), data
                )
            except Exception as error:
                if step.feed is not None:  # its rows are gone; the phase takes back what is staged
                    raise step.fail(error) from error
                try:
                    taken_back = await _to_the_end(self.abort())
                except asyncio.CancelledError:
                    step.fail(error)
                    raise
                if not taken_back:
                    raise step.fail(error) from error
                await step.wait_or_fail(error)
                for again in self._steps:
                    again.build()
                return False
            if data is None:
                step.succeed(None, rows)
            else:
                step.succeed(data.rows, rows, waited=data.reader_waited)
        return True

    async def _join(self, hook: Step) -> None:
        if self._transaction is None:
            await self._begin(self.loads[0])
        await hook.plugin.join(self._transaction)

    async def _stage(self, load: Step, data: Output) -> int:
        if self._transaction is None:
            await self._begin(load)
        with load.reading(data) as opened:
            given: BatchStream | Tables
            if isinstance(opened, Tables):
                given = Tables({name: await _stream(load, item) for name, item in opened.items()})
            else:
                given = await _stream(load, opened)
            rows: int = await load.plugin.stage(given, self._transaction)
            return rows

    async def _begin(self, load: Step) -> None:
        """Opens the transaction. One that is being opened while the run is cancelled is known too, and so taken back."""
        beginning = asyncio.ensure_future(contained(load.plugin.begin()))
        try:
            self._transaction = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait((beginning,), timeout=GRACE)
            if not beginning.done():
                beginning.cancel()
            elif not beginning.cancelled() and beginning.exception() is None:
                self._transaction = beginning.result()
            raise

    async def commit(self) -> None:
        """Makes the group's rows visible.

        Raises:
            DestinationFailed: the destination refused; nothing of this group is visible.
        """
        if self._transaction is None:
            return
        started = self._scope.clock.monotonic()
        await contained(self._transaction.commit())
        self._transaction = None
        clock = self._scope.clock
        self._scope.tell(
            LoadCommitted,
            pipeline=self.loads[0].plan.address.pipeline,
            destination=self.destination,
            loads=self._ids,
            seconds=clock.monotonic() - started,
        )

    async def abort(self) -> bool:
        """Takes back what was staged and not committed, and gives whether that went well.

        It is done because something else has failed, or was cancelled, and that is what is raised: a failure here is a
        warning.
        """
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return True
        pipeline = self.loads[0].plan.address.pipeline
        try:
            await contained(transaction.abort())
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises
            failure = failure_of(error, self._scope.redact)
            text = f"rolling back {', '.join(self._ids)} in {self.destination} failed: {failure.message}"
            self._scope.tell(Notice, text=text, pipeline=pipeline, level="warning")
            return False
        self._scope.tell(LoadAborted, pipeline=pipeline, destination=self.destination, loads=self._ids)
        return True


async def _stream(load: Step, opened: Any) -> BatchStream:
    stream = (
        opened if isinstance(opened, BatchStream) else await load.context.to_thread(adapt.to_stream, opened)
    )
    stream.run_in_thread = load.context.to_thread
    stream.watch = load.taking
    return stream


def groups_of(scope: RunScope, steps: Sequence[Step], pick: Pick, hooks: Sequence[Step] = ()) -> list[Group]:
    """The commit groups of a load phase, in the order of the YAML, with those of its ``hooks`` that join one.

    Raises:
        SameTarget: two loads write the same file, or replace the same table.
        StepFailed: a load cannot be given what it asks for, or writes two tables into one.
    """
    by_destination: dict[str, list[Step]] = {}
    targets: dict[tuple[str, str], Step] = {}
    for step in steps:
        data = pick(step)
        if not step.plan.atomic:
            continue
        try:
            destination = str(step.plugin.destination)
            own = step.plugin.targets(tuple(data)) if isinstance(data, Values) else (step.plugin.target,)
        except Exception as error:
            raise step.fail(error) from error
        for target in map(str, own):
            other = targets.setdefault((destination, target), step)
            if other is not step and _replaces(step, other):
                raise SameTarget(
                    f"the loads `{other.plan.address.step}` and `{step.plan.address.step}` both replace {mask_url(target)}",
                    hint="give each its own target, or make one of them append",
                )
        by_destination.setdefault(destination, []).append(step)
    joining: dict[str, list[Step]] = {}
    for hook in hooks:
        if hook.may_join:
            try:
                joining.setdefault(str(hook.plugin.destination), []).append(hook)
            except Exception as error:
                raise hook.fail(error) from error
    return [
        Group(scope, destination, loads, joining.get(destination, ()))
        for destination, loads in by_destination.items()
    ]


def _replaces(*steps: Step) -> bool:
    return any(getattr(step.plugin, "mode", "replace") == "replace" for step in steps)


async def load(
    scope: RunScope, groups: Sequence[Group], others: Sequence[Step], pick: Pick, committed: list[str]
) -> None:
    """Runs the steps of a load phase.

    Args:
        scope: the run.
        groups: the phase's commit groups.
        others: the loads that cannot roll back, their plugins built.
        pick: what a step is handed.
        committed: receives the destinations as they are committed.

    Raises:
        StepFailed: a load failed; nothing that can roll back is visible.
        DestinationFailed: a commit failed; its message says what was committed before it.
        CancelledError: the run was cancelled. Unless ``committed`` has all destinations, nothing is visible.
    """
    try:
        if groups:
            await side_by_side([group.stage(pick) for group in groups])
        await side_by_side([step.call_async(pick(step), hold=False) for step in others])
        if scope.stopping:  # a plugin may have taken the cancellation for itself
            raise asyncio.CancelledError
        if groups:
            await _to_the_end(_commit(groups, committed))
    finally:
        if any(group.is_open for group in groups):
            await _to_the_end(_abort(groups))


async def _commit(groups: Sequence[Group], committed: list[str]) -> None:
    for group in groups:
        try:
            await group.commit()
        except Exception as error:
            done = f"; already committed: {', '.join(committed)}" if committed else ""
            text = f"{error}" if isinstance(error, DestinationFailed) else f"{type(error).__name__}: {error}"
            hint = getattr(error, "hint", "")
            raise DestinationFailed(
                f"{group.destination} refused the commit: {text}{done}", hint=hint
            ) from error
        committed.append(group.destination)


async def _abort(groups: Sequence[Group]) -> None:
    for group in groups:
        await group.abort()


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` to its end even when the run is cancelled meanwhile, then lets the cancellation go on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001 - raised below, from the task itself
            break
    if cancelled is not None and not task.cancelled() and task.exception() is None:
        raise cancelled
    return task.result()


def side_by_side(work: Sequence[Coroutine[Any, Any, Any]]) -> Awaitable[object]:
    """Runs coroutines concurrently; the first error cancels the others and is raised as it is."""
    return work[0] if len(work) == 1 else _together(work)


async def _together(work: Sequence[Coroutine[Any, Any, Any]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(item)
    except* Exception as errors:  # noqa: BLE001 - the first error is the one that is told
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from first.__cause__
