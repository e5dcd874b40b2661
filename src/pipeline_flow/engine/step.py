"""One step of a pipeline, from its first attempt to its last."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import inventory
from pipeline_flow.core import spec as specs
from pipeline_flow.core.context import CancelFlag, Context, context_of_step
from pipeline_flow.data import BatchStream, Tables, adapt
from pipeline_flow.engine import retry, value
from pipeline_flow.engine.result import StepResult
from pipeline_flow.engine.threads import contained, transportable
from pipeline_flow.errors import ConfigError, PipelineFlowError, StepTimeout
from pipeline_flow.errors import StepFailed as StepFailedError
from pipeline_flow.events import (
    Failure,
    Notice,
    Status,
    StepFailed,
    StepFinished,
    StepProgress,
    StepRetried,
    StepStarted,
)
from pipeline_flow.plugins.base import ITransactionHook
from pipeline_flow.secret import open_references

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pipeline_flow.core.inventory import Declaration
    from pipeline_flow.core.spec import Spec
    from pipeline_flow.engine.feed import Feed
    from pipeline_flow.engine.scope import RunScope
    from pipeline_flow.engine.threads import Lane
    from pipeline_flow.engine.value import Output, Value
    from pipeline_flow.plan.model import StepPlan

PROGRESS_SECONDS = 0.5
# Who is handed the data by keyword, as in 1.0.8; a transform gets it by position.
_BY_KEYWORD = {inventory.LOAD: "data", inventory.POST: "data", inventory.MERGE: "extracted_data"}
_GIVE_DATA = (inventory.EXTRACT, inventory.MERGE, inventory.TRANSFORM)
_NOT_READ_TWICE = "not tried again: the step before gave an iterator, which can be read once"
_OWN_FOLDER = str(Path(__file__).parents[1])


@dataclass(frozen=True, slots=True)
class _Traits:
    """What the engine asks of a plugin class, found once for each class."""

    spec: Spec
    takes_anything: bool
    takes_tables: bool
    has_own_constructor: bool
    has_own_context: bool
    may_join: bool


@functools.cache
def _traits_of(cls: type[Any]) -> _Traits:
    spec = specs.of(cls)
    return _Traits(
        spec,
        takes_anything=spec.data_annotation is specs.NOT_GIVEN or not adapt.asks(spec.data_annotation),
        takes_tables=bool(getattr(cls, "takes_tables", False)),
        has_own_constructor=cls.__init__.__module__ != "pipeline_flow.plugins.base"
        or cls.__new__ is not object.__new__,  # type: ignore[comparison-overlap] # a class may have its own
        has_own_context=inspect.getattr_static(cls, "context", None) is not None,
        may_join=issubclass(cls, ITransactionHook),
    )


class Step:
    """One plugin call with its policies: builds the plugin, hands it its data, counts, retries, tells.

    ``slots`` limits how many steps of the pipeline run at once, where it has more than may; ``lane`` is the thread of its synchronous plugins.
    ``feed`` is the phase that gives it rows while both run: the step is finished when that is.

    ``is_sync`` is whether the plugin runs in the lane's thread. ``takes_anything`` is whether it does not say what it
    wants to be handed, and so gets what the step before returned. ``may_join`` is whether it is a hook that can work
    inside the transaction of a load, and sees no data.
    """

    plugin: Any = None
    context: Context
    attempt = 0
    result: StepResult | None = None
    _started = 0.0
    _told = 0.0
    _rows_taken = 0
    _bytes_taken = 0
    _given: tuple[int, int] | None = None
    _left_behind = False
    _reads_once = False

    def __init__(
        self,
        scope: RunScope,
        plan: StepPlan,
        lane: Lane,
        slots: asyncio.Semaphore | None,
        feed: Feed | None = None,
    ) -> None:
        self.scope = scope
        self.plan = plan
        self.lane = lane
        self.slots = slots
        self.feed = feed
        self.declaration: Declaration = scope.catalog.find(plan.kind, plan.plugin)
        self._traits = traits = _traits_of(self.declaration.cls)  # type: ignore[arg-type] # mypy takes no class for hashable
        self.spec = traits.spec
        self.is_sync = plan.mode == specs.SYNC
        # `stage` takes a stream, whatever `__call__` says
        self.takes_anything = traits.takes_anything and not plan.atomic
        self.may_join = traits.may_join
        self._counting = threading.Lock()

    @property
    def abandoned(self) -> bool:
        """Whether a thread that does the step's work did not stop in time; it may still be at it."""
        return self._left_behind or (self.is_sync and self.lane.abandoned)

    @property
    def _gives(self) -> bool:
        """Whether the step hands data on."""
        kind, phase = self.plan.kind, self.plan.address.phase
        return kind in _GIVE_DATA or (kind == inventory.POST and phase == inventory.EXTRACT)

    @property
    def builds_in_thread(self) -> bool:
        """Whether making the plugin runs code of its author whose outcome may be bound to the lane's thread."""
        return self.is_sync and self._traits.has_own_constructor

    # ------------------------------------------------------------------------------------------ the plugin

    def build(self) -> None:
        """Makes the plugin, in the thread that will call it.

        Raises:
            StepFailed: its constructor did.
        """
        self.context = self._context()
        try:
            args = open_references(self.plan.args, self.scope.secrets) if self.plan.args else {}
            # The run's catalog is the active one here, for plugins that build plugins.
            self.plugin = self.spec.build(
                self.declaration.cls, self.plan.plugin_id or self.plan.address.step, args, self.scope.catalog
            )
            self._give_context()
        except BaseException as error:  # noqa: BLE001 - a constructor must not end the process either
            failed = transportable(error)
            raise self.fail(failed) from failed

    def _context(self) -> Context:
        scope, address = self.scope, self.plan.address
        return Context(
            run=scope.run,
            address=address,
            resources=scope.resources,
            run_in_thread=self._in_free_thread,
            tell=self._tell,
            progress=self._progress,
            on_bad_row=self.plan.on_bad_row,
            attempt=self.attempt or 1,
            redact=scope.redact,
        )

    async def _in_free_thread(
        self, flag: CancelFlag, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        lane = self.scope.threads.lane()
        try:
            return await lane.run(flag, function, *args, **kwargs)
        finally:
            self._left_behind = self._left_behind or lane.abandoned
            lane.release()

    def _give_context(self) -> None:
        traits, plugin = self._traits, self.plugin
        if traits.has_own_context:
            return
        if traits.has_own_constructor and "context" in getattr(plugin, "__dict__", ()):
            return
        try:  # noqa: SIM105 - `suppress` would be made for every step
            plugin.context = self.context
        except AttributeError:  # a plugin with slots does without
            pass

    def forget_plugin(self) -> None:
        """Lets go of the plugin and its context, which refer to each other and to data."""
        self.plugin = None
        try:  # noqa: SIM105 - as above
            del self.context
        except AttributeError:  # it was never built
            pass

    async def _renew(self) -> None:
        """A fresh plugin for another attempt: what the failed one left in it is gone."""
        if self.is_sync:
            await self.lane.run(CancelFlag(), self.build)
        else:
            self.build()

    # ------------------------------------------------------------------------------------------ attempts

    async def until_done(self, body: Callable[[], Awaitable[Any]], data: Output | None = None) -> Any:
        """Runs ``body``, which reads ``data``, as often as the step's ``retry`` allows.

        Raises:
            StepFailed: the last attempt failed.
            CancelledError: the run was cancelled.
        """
        while True:
            try:
                return await self.attempted(body, data)
            except Exception as error:  # noqa: BLE001 - any error may be named by `retry.on`
                await self.wait_or_fail(error)
                await self._renew()

    async def attempted(self, body: Callable[[], Awaitable[Any]], data: Output | None = None) -> Any:
        """One attempt: a free slot, the event, the timeout. ``data`` is what ``body`` reads."""
        if self.slots is not None:
            await self.slots.acquire()
        token = context_of_step.set(self.context)
        try:
            if self.scope.stopping:
                # The pipeline's task has been cancelled. That may not have come here yet, and never does where a plugin
                # took it for itself.
                raise asyncio.CancelledError
            self._begin_attempt()
            try:
                try:
                    if self.plan.timeout is None:
                        result = await contained(body())
                    else:
                        result = await self._in_time(body, self.plan.timeout)
                except Exception:
                    if data is not None and data.has_failed:
                        # The step that was still giving the rows has failed, and says so itself: that ends this one too.
                        raise asyncio.CancelledError from None
                    raise
                if self.feed is not None:
                    await self.feed.until_over()
            except asyncio.CancelledError:
                self.context.cancel_flag.set()
                self._failed(Failure("run.cancelled", "the run was cancelled"), Status.CANCELLED)
                raise
            return result
        finally:
            context_of_step.reset(token)
            if self.slots is not None:
                self.slots.release()

    def _begin_attempt(self) -> None:
        self.attempt += 1
        self._told = self.scope.clock.monotonic()
        if self.attempt == 1:
            self._started = self._told
        else:
            self._rows_taken, self._bytes_taken, self._given = 0, 0, None
            self.context.attempt = self.attempt
        self.scope.tell(StepStarted, address=self.plan.address, plugin=self.plan.plugin, attempt=self.attempt)

    def reading(self, data: Output) -> _Reading:
        """Opens ``data`` for the plugin, and closes it; a cancelled step no longer waits for rows."""
        return _Reading(self, data)

    async def _in_time(self, body: Callable[[], Awaitable[Any]], seconds: float) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await contained(body())
        except TimeoutError as error:
            if not limit.expired():
                raise
            self.context.cancel_flag.set()
            raise StepTimeout(
                f"the step took longer than its timeout of {seconds:g} s",
                hint="raise `timeout`, or ask for less",
            ) from error

    async def wait_or_fail(self, error: Exception) -> None:
        """Waits until the next attempt may begin.

        Raises:
            StepFailed: there is no next attempt.
        """
        wait = retry.delay(self.plan.retry, error, self.attempt, self.scope.random)
        if wait is None or self.abandoned:
            raise self.fail(error) from error
        if self._reads_once:
            raise self.fail(error, _NOT_READ_TWICE) from error
        failure = self.failure_of(error)
        self.scope.tell(
            StepRetried, address=self.plan.address, attempt=self.attempt, wait=wait, failure=failure
        )
        await asyncio.sleep(wait)

    def fail(self, error: BaseException, hint: str = "") -> StepFailedError:
        """Records that the step has failed for good, and gives the error that says where. Who still gives it rows is stopped."""
        if self.feed is not None:
            self.feed.stop()
        failure = self.failure_of(error)
        failure = replace(failure, hint="; ".join(filter(None, (failure.hint, hint))))
        self._failed(failure, Status.FAILED)
        return self._wrapped(failure)

    def succeed(
        self, rows_in: int | None, rows_out: int | None, size: int | None = None, waited: float = 0.0
    ) -> None:
        """Records that the step has ended well.

        ``size`` is the bytes that it gave, where it gives any; ``waited`` the seconds for which it waited for other steps.
        """
        if size is None and not self._gives:
            size = self._bytes_taken or None
        seconds = self.scope.clock.monotonic() - self._started
        rejected = self.context.rejected
        self.result = StepResult(
            self.plan.address,
            self.plan.plugin,
            Status.SUCCEEDED,
            seconds,
            rows_in,
            rows_out,
            size,
            self.attempt,
            rejected,
        )
        self.scope.tell(
            StepFinished,
            address=self.plan.address,
            seconds=seconds,
            rows_in=rows_in,
            rows_out=rows_out,
            bytes=size,
            rejected=rejected,
            waited=waited,
        )

    # ------------------------------------------------------------------------------------------ calls

    async def call_async(
        self,
        data: Output | None = None,
        *,
        hold: bool = True,
        raw: bool = False,
        flow: Callable[[Value], None] | None = None,
    ) -> Output:
        """Calls an asynchronous plugin and stages what it gives: several by name where the plan says that it gives tables.

        Args:
            data: what the plugin is handed; ``None`` for a plugin that takes nothing.
            hold: whether the result is wanted.
            raw: an iterator that the plugin returns may pass to the next plugin as it is.
            flow: called with the result as soon as somebody may read it, where rows flow; from any thread.
        """

        async def body() -> Output:
            if data is None:
                return await self._staged(await _awaited(self.plugin()), hold, raw, flow)
            with self.reading(data) as opened:
                given = await self._converted(opened)
                return await self._staged(await _awaited(self._call(given)), hold, raw, flow)

        if data is not None:
            self._reads_once = data.is_read_once
        result: Output = await self.until_done(body, data)
        self._finish(data, result, hold, flow)
        return result

    async def call_post(self, data: Output) -> Output:
        """Calls a ``post`` plugin; where several tables are handed to it and it gives tables, they stay several.

        A table that it gives back as it was handed over is the one that was there.
        """
        if not isinstance(data, value.Values):
            return await self.call_async(data)

        async def body() -> Output:
            opened = data.open(self.taking)
            try:
                result = await _awaited(self._call(await self._converted(opened)))
                if not isinstance(result, Mapping) or not any(map(value.is_lazy, result.values())):
                    return await self._staged(result, hold=True, raw=False, flow=None)
                return await value.hold_tables(self.scope, self.context, result, opened, data)
            finally:
                value.close_streams(opened)

        self._reads_once = data.is_read_once
        result: Output = await self.until_done(body)
        size = None if isinstance(result, value.Values) else result.bytes
        self.succeed(data.rows, result.rows, size)
        return result

    async def _staged(
        self, result: Any, hold: bool, raw: bool, flow: Callable[[Value], None] | None
    ) -> Output:
        if self.plan.gives_tables and isinstance(result, Tables):
            return await value.hold_each(self.scope, self.context, result, self.plan.limit_rows)
        if not hold:
            if inspect.isasyncgen(result):
                raise PipelineFlowError(
                    "the plugin is an async generator, and nothing reads what it yields here"
                )
            return value.Value(None)
        is_stream = isinstance(result, BatchStream) or (self.spec.generator and inspect.isasyncgen(result))
        if raw and not is_stream:
            return value.Value(result)
        return await value.hold_async(self.scope, self.context, result, self.plan.limit_rows, flow=flow)

    async def call_sync(
        self,
        data: Output | None = None,
        *,
        hold: bool = True,
        raw: bool = False,
        flow: Callable[[Value], None] | None = None,
    ) -> Value:
        """Calls a synchronous plugin in the pipeline's thread and stages what it gives there; see :meth:`call_async`."""

        def staged(result: Any) -> Value:
            if not hold or (raw and not isinstance(result, BatchStream)):
                return value.Value(result if hold else None)
            return value.hold(self.scope, self.context, result, flow=flow)

        def in_thread() -> Value:
            if data is None:
                return staged(self.plugin())
            with self.reading(data) as opened:
                return staged(self._call(self._convert(opened)))

        def body() -> Awaitable[Any]:
            return self.lane.run(self.context.cancel_flag, in_thread)

        if data is not None:
            self._reads_once = data.is_read_once
        result: Value = await self.until_done(body, data)
        self._finish(data, result, hold, flow)
        return result

    def _finish(
        self, data: Output | None, result: Output, hold: bool, flow: Callable[[Value], None] | None
    ) -> None:
        """The step has read ``data`` and given ``result``; only where rows flow has it waited for others."""
        waited = 0.0 if flow is None else result.writer_waited
        if self.feed is not None and data is not None:
            waited += data.reader_waited
        rows_in = None if data is None else data.rows
        self.succeed(rows_in, result.rows if hold else None, result.bytes, waited)

    def _call(self, given: Any) -> Any:
        """Calls the plugin with its data."""
        name = _BY_KEYWORD.get(self.plan.kind, "")
        if name in self.spec.by_keyword:
            return self.plugin(**{name: given})
        return self.plugin(given)

    def _convert(self, opened: Any) -> Any:
        if self.takes_anything:
            return dict(opened) if isinstance(opened, Tables) and not self._traits.takes_tables else opened
        return adapt.convert(opened, self.spec.data_annotation)

    async def _converted(self, opened: Any) -> Any:
        if isinstance(opened, BatchStream):
            opened.run_in_thread = self.context.to_thread
        stays = self.takes_anything or (
            isinstance(opened, BatchStream) and self.spec.data_annotation is BatchStream
        )
        if stays or (not isinstance(opened, BatchStream | Tables) and not adapt.is_tabular(opened)):
            return self._convert(opened)
        return await self.context.to_thread(self._convert, opened)

    # ------------------------------------------------------------------------------------------ telling

    def _tell(self, text: str, level: str = "info") -> None:
        address = self.plan.address
        self.scope.tell(
            Notice, text=self.scope.redact(text), pipeline=address.pipeline, step=str(address), level=level
        )

    def _progress(self, rows: int, size: int) -> None:
        self._given = rows, size
        self._tell_progress()

    def taking(self, rows: int, size: int) -> None:
        """Counts a batch that the plugin has read of its data, in whatever thread it read it."""
        with self._counting:
            self._rows_taken += rows
            self._bytes_taken += size
        self._tell_progress()

    def _tell_progress(self) -> None:
        if self.scope.emit is None:
            return
        now = self.scope.clock.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        rows, size = self._given or ((0, 0) if self._gives else (self._rows_taken, self._bytes_taken))
        self.scope.tell(
            StepProgress, address=self.plan.address, rows=rows, bytes=size, rows_in=self._rows_taken
        )

    def _failed(self, failure: Failure, status: Status) -> None:
        clock = self.scope.clock
        seconds = clock.monotonic() - self._started if self.attempt else 0.0
        self.result = StepResult(
            self.plan.address, self.plan.plugin, status, seconds, attempts=self.attempt, failure=failure
        )
        self.scope.tell(
            StepFailed, address=self.plan.address, status=status, seconds=seconds, failure=failure
        )

    def failure_of(self, error: BaseException) -> Failure:
        """``error`` as plain data, secrets masked."""
        return failure_of(
            error, self.scope.redact, self._plugin_line(error), retry.hint_for(self.plan.retry, error)
        )

    def _wrapped(self, failure: Failure) -> StepFailedError:
        """The failure as an error, with the place where it happened."""
        address = self.plan.address
        message = f"{address}: {failure.message}" + (f" ({failure.line})" if failure.line else "")
        return StepFailedError(
            message,
            pipeline=address.pipeline,
            phase=address.phase,
            step=address.step,
            line=failure.line,
            hint=failure.hint,
        )

    def _plugin_line(self, error: BaseException) -> str:
        """The innermost line of the plugin's own file, or else of any file that is not ours."""
        function = getattr(self.declaration.cls, "plugin_function", None) or self.declaration.cls
        try:
            own_file = inspect.getsourcefile(inspect.unwrap(function)) or ""
        except TypeError:
            own_file = ""
        if own_file.startswith(_OWN_FOLDER):
            own_file = ""
        frames = list(traceback.extract_tb(error.__traceback__))
        foreign = [frame for frame in frames if not _is_library(frame.filename)]
        chosen = [frame for frame in frames if own_file and frame.filename == own_file] or foreign
        if not chosen:
            return ""
        frame = chosen[-1]
        return f"{_shown_path(frame.filename)}:{frame.lineno}, in {frame.name}"


class _Reading:
    """The data of a step, open while its plugin reads it."""

    __slots__ = ("_data", "_opened", "_step", "_take_back")

    def __init__(self, step: Step, data: Output) -> None:
        self._step = step
        self._data = data
        self._opened: Any = None
        self._take_back: Callable[[], None] | None = None

    def __enter__(self) -> Any:
        step = self._step
        self._opened = self._data.open(step.taking)
        if step.feed is not None:
            self._take_back = step.context.on_cancel(self._data.wake)
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._take_back is not None:
            self._take_back()
        value.close_streams(self._opened)


def failure_of(error: BaseException, redact: Callable[[str], str], line: str = "", hint: str = "") -> Failure:
    """``error`` as plain data: our own errors say what they say, others with the name of their class."""
    if isinstance(error, StepFailedError) and error.__cause__ is not None:
        line = line or error.line
        return failure_of(error.__cause__, redact, line, error.hint or hint)
    name = type(error).__name__
    if isinstance(error, ConfigError):
        own = "; ".join(problem.hint for problem in error.problems if problem.hint)
        texts = "; ".join(problem.text for problem in error.problems)
        return Failure(error.code, redact(texts), redact(own or hint), line, name)
    if isinstance(error, PipelineFlowError):
        return Failure(error.code, redact(str(error)), redact(error.hint or hint), line, name)
    text = _text_of(error)
    return Failure("step.raised", redact(f"{name}: {text}" if text else name), redact(hint), line, name)


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as other:  # noqa: BLE001 - whatever an error's own `__str__` raises
        return f"(its text cannot be shown: {type(other).__name__})"
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(
            [text, *(f"{type(inner).__name__}: {_text_of(inner)}" for inner in error.exceptions)]
        )
    return text


def _is_library(filename: str) -> bool:
    return filename.startswith((_OWN_FOLDER, _STDLIB, "<")) or "site-packages" in filename


_STDLIB = str(Path(asyncio.__file__).parents[1])


def _shown_path(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename


async def _awaited(result: Any) -> Any:
    return await result if inspect.iscoroutine(result) or inspect.isawaitable(result) else result
