"""The threads that blocking work runs in: ours, never the event loop's default pool.

asyncio's default pool has cores + 4 threads, so twenty blocking steps would queue. Here a pipeline has a *lane*: one
thread for all its synchronous plugins, taken when first needed and given back when the pipeline ends. Threads are kept
and used again. A thread cannot be killed: when its step is cancelled it sees a flag, and past a grace period it is
abandoned. All threads are daemons, so that an abandoned one never holds up the exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline_flow.core.context import CancelFlag, CancelledByRun
from pipeline_flow.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
GRACE = 5.0
"""Seconds that a cancelled synchronous step is given to stop."""
_ASK_AGAIN = 0.1  # seconds; see CancelFlag.set


class Lane(Protocol):
    """One thread, used by one pipeline."""

    abandoned: bool

    async def run(self, flag: CancelFlag, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls ``function`` in the lane's thread and waits for it.

        When the caller is cancelled, ``flag`` is raised and the thread gets the grace period; one that does not stop
        is abandoned, and the cancellation goes on either way.
        """

    def release(self) -> None:
        """Gives the thread back; an abandoned one is left behind."""


class Threads(Protocol):
    """Where lanes come from."""

    def lane(self) -> Lane:
        """A lane for one pipeline."""

    async def run(self, flag: CancelFlag, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls ``function`` in any free thread and waits for it, with a lane's rules of cancellation."""

    @property
    def may_wait(self) -> bool:
        """Whether what runs in one thread may wait for what runs in another."""

    @property
    def abandoned(self) -> int:
        """How many threads were left behind."""

    def close(self) -> None:
        """Ends the idle threads."""


class _Job:
    """A call in a worker's thread.

    Cancelling the caller cancels ``future``, not the call: ``is_over`` says whether that has ended, and then ``after``
    is settled where somebody waits for it.
    """

    __slots__ = ("after", "args", "context", "function", "future", "is_over", "kwargs", "loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = contextvars.copy_context()
        self.after: asyncio.Future[None] | None = None
        self.is_over = False

    def __call__(self) -> None:
        try:
            result = self.context.run(self.function, *self.args, **self.kwargs)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the loop must hear of it
            self._deliver(None, transportable(error))
        else:
            self._deliver(result, None)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: an abandoned job has ended after its run
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        self.is_over = True
        if self.after is not None and not self.after.done():
            self.after.set_result(None)
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def transportable(error: BaseException) -> Exception:
    """``error``, or one that says the same where a future cannot carry it or it would end the process."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    name = type(error).__name__
    if isinstance(error, SystemExit | KeyboardInterrupt):
        text = f"the plugin tried to end the process ({name})"
    elif isinstance(error, asyncio.CancelledError):
        text = "the plugin raised CancelledError although nothing was cancelled"
    else:
        text = f"the plugin raised {name}: {error}".removesuffix(": ")
    wrapped = RunError(text, hint="raise an error of its own instead")
    wrapped.__cause__ = error
    return wrapped.with_traceback(error.__traceback__)


async def contained(work: Awaitable[T]) -> T:
    """Awaits what a plugin does on the event loop; what would end the loop comes out :func:`transportable`."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise transportable(error) from None
    except Exception:
        raise
    except BaseException as error:
        raise transportable(error) from error


class _Worker:
    """A daemon thread that runs one job after the other."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._work, name=f"pipeline-flow-{next(self._numbers)}", daemon=True
        )
        self._thread.start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()
            del job  # a job holds data; an idle worker must not

    def end(self) -> None:
        self.jobs.put(None)


class WorkerLane:
    """A lane on a worker thread."""

    __slots__ = ("_grace", "_threads", "_worker", "abandoned")

    def __init__(self, threads: WorkerThreads, grace: float) -> None:
        self._threads = threads
        self._grace = grace
        self._worker: _Worker | None = None
        self.abandoned = False

    async def run(self, flag: CancelFlag, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See :meth:`Lane.run`."""
        if self._worker is None:
            self._worker = self._threads.take()
        job = _Job(asyncio.get_running_loop(), function, args, kwargs)
        self._worker.jobs.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            if not job.is_over:
                await self._stop(job, flag)
            raise
        except CancelledByRun:
            if flag:
                raise asyncio.CancelledError from None
            raise

    async def _stop(self, job: _Job, flag: CancelFlag) -> None:
        job.after = job.loop.create_future()
        deadline = job.loop.time() + self._grace
        try:
            while not job.is_over and (left := deadline - job.loop.time()) > 0:
                flag.set()
                with suppress(asyncio.CancelledError):  # once more, which asks for nothing else
                    await asyncio.wait((job.after,), timeout=min(left, _ASK_AGAIN))
        finally:
            if not job.is_over:
                self.abandoned = True
                self._threads.abandon()

    def release(self) -> None:
        """See :meth:`Lane.release`."""
        if self._worker is not None and self.abandoned:
            self._threads.leave(self._worker)
        elif self._worker is not None:
            self._threads.give_back(self._worker)
        self._worker = None


class WorkerThreads:
    """Real threads, started as needed and used again.

    Args:
        grace: seconds that a cancelled synchronous step is given to stop.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._idle: list[_Worker] = []
        self._abandoned = 0
        self._closed = False

    @property
    def may_wait(self) -> bool:
        """See :meth:`Threads.may_wait`."""
        return True

    def lane(self) -> WorkerLane:
        """See :meth:`Threads.lane`."""
        return WorkerLane(self, self._grace)

    async def run(self, flag: CancelFlag, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See :meth:`Threads.run`."""
        lane = self.lane()
        try:
            return await lane.run(flag, function, *args, **kwargs)
        finally:
            lane.release()

    @property
    def abandoned(self) -> int:
        """How many threads were left behind because they did not stop."""
        return self._abandoned

    def take(self) -> _Worker:
        """An idle worker, or a new one."""
        return self._idle.pop() if self._idle else _Worker()

    def give_back(self, worker: _Worker) -> None:
        """Keeps a worker for the next lane."""
        if self._closed:
            worker.end()
        else:
            self._idle.append(worker)

    def leave(self, worker: _Worker) -> None:
        """Lets a worker go that was left behind: it ends when its job has come to an end after all."""
        worker.end()

    def abandon(self) -> None:
        """Counts a worker that is left behind."""
        self._abandoned += 1

    def close(self) -> None:
        """See :meth:`Threads.close`."""
        self._closed = True
        while self._idle:
            self._idle.pop().end()
