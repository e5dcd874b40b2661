"""The run: which pipeline starts when, what a failure stops, and how a run ends.

A pipeline starts the moment all that it needs have succeeded and a slot is free; there are no waves.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from pipeline_flow.core.context import CancelFlag
from pipeline_flow.core.inventory import active
from pipeline_flow.data.handoff import Budget, Spill
from pipeline_flow.engine.pipeline import Pipeline
from pipeline_flow.engine.resources import RunResources
from pipeline_flow.engine.result import PipelineResult, RunResult
from pipeline_flow.engine.scope import RunScope
from pipeline_flow.engine.secrets import Secrets
from pipeline_flow.engine.step import failure_of
from pipeline_flow.events import Notice, PipelineSkipped, RunFinished, RunStarted, Status
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from random import Random
    from typing import Any

    from pipeline_flow.core.context import Run
    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.engine.clock import Clock
    from pipeline_flow.engine.threads import Threads
    from pipeline_flow.events import Event
    from pipeline_flow.plan.model import PipelinePlan, Plan

# A quarter of the memory limit waits between phases, databases share another, the rest is in flight.
_HANDOFF_SHARE = 4
_DATABASE_SHARE = 4
_CLOSING_SECONDS = 10.0


class Orchestrator:
    """Runs one plan, once.

    Args:
        plan: what to do.
        catalog: the plugins that the plan names.
        run: the identity of this run.
        emit: receives every event, from any thread; must not wait. ``None`` where nobody listens.
        clock: the time.
        threads: where synchronous plugins run.
        random: where the jitter of retries comes from.
        spill_folder: the folder under which data waits on disk.
        redact: learns the run's secrets; whoever shows text asks it.
    """

    def __init__(
        self,
        plan: Plan,
        catalog: Catalog,
        *,
        run: Run,
        emit: Callable[[Event], None] | None,
        clock: Clock,
        threads: Threads,
        random: Random,
        spill_folder: Path,
        redact: Redactor | None = None,
    ) -> None:
        self._plan = plan
        redact = redact or Redactor()
        redact.add_confidential(plan.confidential)
        self._secrets = Secrets(plan, catalog, threads, redact)
        spill = Spill(spill_folder / run.id, plan.spill_limit)
        at_once = max(1, min(plan.concurrency, len(plan.pipelines)))
        self._scope = RunScope(
            run=run,
            catalog=catalog,
            clock=clock,
            threads=threads,
            emit=emit,
            budget=Budget(plan.memory_limit // _HANDOFF_SHARE),
            spill=spill,
            resources=RunResources(
                plan.memory_limit // _DATABASE_SHARE // at_once, spill, shared=at_once > 1
            ),
            secrets=self._secrets.value,
            redact=redact,
            random=random,
        )
        self._order = {pipeline.name: index for index, pipeline in enumerate(plan.pipelines)}
        self._unmet = {
            pipeline.name: {need for need in pipeline.needs if need in self._order}
            for pipeline in plan.pipelines
        }
        self._needed_by: dict[str, list[str]] = {name: [] for name in self._order}
        for name, needs in self._unmet.items():
            for need in needs:
                self._needed_by[need].append(name)
        self._ready: list[int] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._results: dict[str, PipelineResult] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup

    def stop(self, reason: str) -> None:
        """Cancels what runs and starts nothing more. Call it from the event loop's thread."""
        if self._scope.stopping:
            return
        self._scope.stopping = reason
        if self._fetching is not None:
            self._fetching.cancel()
        for task in self._running.values():
            task.cancel()

    async def run(self) -> RunResult:
        """Runs the plan.

        Returns:
            What happened to each pipeline, failures included.

        Raises:
            ConfigError: a secret could not be fetched; nothing has run.
            CancelledError: the caller was cancelled; the run has ended in an orderly way.
        """
        clock, run = self._scope.clock, self._scope.run
        try:
            await self._fetch_secrets()
            started = clock.monotonic()
            self._scope.tell(
                RunStarted,
                run_id=run.id,
                name=self._plan.name,
                pipelines=tuple(self._order),
                concurrency=self._plan.concurrency,
            )
            try:
                with active(self._scope.catalog):
                    await self._until_stopped(self._run_pipelines())
            finally:
                result = self._result(clock.monotonic() - started)
                self._scope.tell(
                    RunFinished,
                    run_id=run.id,
                    status=result.status,
                    seconds=result.seconds,
                    reason=result.reason,
                )
            return result
        finally:
            await self._close()

    async def _fetch_secrets(self) -> None:
        self._fetching = asyncio.create_task(self._secrets.fetch())
        try:
            await self._fetching
        except asyncio.CancelledError:
            if not self._scope.stopping:  # else the run goes on to its end, and starts nothing
                raise
        finally:
            self._fetching = None

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs ``work``; a cancellation of the caller's task becomes a stop like any other, and then goes on."""
        task = asyncio.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.stop(self._scope.why_cancelled)
            try:
                await asyncio.wait((task,))
            finally:
                task.cancel()  # of use only where the caller was cancelled once more
            raise

    async def _run_pipelines(self) -> None:
        self._ready = [self._order[name] for name, needs in self._unmet.items() if not needs]
        heapq.heapify(self._ready)
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start_ready()
        except BaseException:
            self._scope.stopping = self._scope.why_cancelled
            raise
        finally:
            for name in self._order:
                if name not in self._results:
                    self._skip(name, f"not started: {self._scope.why_cancelled}", ())

    def _start_ready(self) -> None:
        while self._ready and not self._scope.stopping and len(self._running) < self._plan.concurrency:
            plan = self._plan.pipelines[heapq.heappop(self._ready)]
            self._running[plan.name] = self._group.create_task(self._run_one(plan), name=plan.name)

    async def _run_one(self, plan: PipelinePlan) -> None:
        pipeline = Pipeline(self._scope, plan, self._plan.parallelism)
        try:
            result = await pipeline.run()
        except asyncio.CancelledError:
            self._ended(pipeline.result)
            if not self._scope.stopping:
                raise
            return
        self._ended(result)

    def _ended(self, result: PipelineResult) -> None:
        name = result.name
        self._results[name] = result
        self._running.pop(name, None)
        if result.status is Status.SUCCEEDED:
            for dependent in self._needed_by[name]:
                unmet = self._unmet[dependent]
                unmet.discard(name)
                if not unmet and dependent not in self._results:
                    heapq.heappush(self._ready, self._order[dependent])
        else:
            self._skip_dependents(name, result.status)
        if result.status is Status.FAILED and self._plan.fail_fast:
            self.stop(f"`{name}` failed, and fail_fast is set")
        self._start_ready()

    def _skip_dependents(self, name: str, status: Status) -> None:
        ended = [(name, "failed" if status is Status.FAILED else "was cancelled")]
        for need, happened in ended:  # it grows: what is skipped is what others need
            for dependent in self._needed_by[need]:
                if dependent not in self._results:
                    self._skip(dependent, f"it needs `{need}`, which {happened}", (need,))
                    ended.append((dependent, "was skipped"))

    def _skip(self, name: str, reason: str, because: tuple[str, ...]) -> None:
        self._results[name] = PipelineResult(name, Status.SKIPPED, reason=reason)
        self._scope.tell(PipelineSkipped, pipeline=name, reason=reason, because=because)

    def _result(self, seconds: float) -> RunResult:
        results = {name: self._results[name] for name in self._order if name in self._results}
        statuses = {result.status for result in results.values()}
        if Status.FAILED in statuses:
            status = Status.FAILED
        elif statuses <= {Status.SUCCEEDED}:
            status = Status.SUCCEEDED
        else:  # without a failure, only a run that was stopped leaves something out
            status = Status.CANCELLED
        run, reason = self._scope.run, self._scope.stopping
        return RunResult(run.id, self._plan.name, status, run.started_at, seconds, results, reason)

    # ------------------------------------------------------------------------------------------ the end

    async def _close(self) -> None:
        """Closes what the steps shared and removes what waited on disk, in bounded time."""
        closing = asyncio.ensure_future(self._scope.threads.run(CancelFlag(), self._scope.resources.close))
        try:
            await asyncio.wait((closing,), timeout=_CLOSING_SECONDS)
        finally:
            error = closing.exception() if closing.done() and not closing.cancelled() else None
            if error is not None:
                text = failure_of(error, self._scope.redact).message
                self._scope.tell(
                    Notice, text=f"closing what the steps shared failed: {text}", level="warning"
                )
            self._scope.spill.close()
            self._scope.threads.close()
