"""The real engine under virtual time.

Time stands still while anything can be done and jumps to the next timer when nothing can. Blocking plugins call
:func:`block` instead of ``time.sleep``. Of all threads only one runs at any moment, so that the same seed gives the
same order of events, every time. Where nothing could ever happen again the simulation says so: a deadlock is an error.
"""

from __future__ import annotations

import asyncio
import selectors
import tempfile
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline_flow import entrypoint
from pipeline_flow.engine import Orchestrator, WorkerThreads
from pipeline_flow.engine.threads import GRACE
from pipeline_flow.testing.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from pipeline_flow.core.context import CancelFlag
    from pipeline_flow.engine import RunResult

T = TypeVar("T")
EPOCH = 1_700_000_000.0
"""Seconds since the epoch at which virtual time begins."""


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, and the run has not ended."""


class _Selector(selectors.SelectSelector):
    """Lets virtual time jump where a real selector would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("nothing is ready, no timer is set, and the run has not ended")
        self.now += max(0.0, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = _Selector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


class _Killed(BaseException):
    """Ends a thread that still blocks when the simulation is over."""


class _Jobs:
    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    def put(self, job: Callable[[], None]) -> None:
        self._worker.start(job)


class _Worker:
    """A thread that runs only while the event loop's thread waits for it."""

    def __init__(self, threads: _SimulatedThreads) -> None:
        self._threads = threads
        self._job: Callable[[], None] | None = None
        self._go = threading.Event()
        self._parked = threading.Event()
        self._killed = False
        self._turn = 0
        self.jobs = _Jobs(self)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        threads.workers[self._thread] = self

    def _work(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            if self._is_over():
                return
            job, self._job = self._job, None
            if job is not None:
                job()  # a job catches what its plugin raises, the kill too
            if self._is_over():
                return
            self._parked.set()

    def _is_over(self) -> bool:
        return self._killed

    def start(self, job: Callable[[], None]) -> None:
        self._job = job
        self._resume(self._turn)

    def _resume(self, turn: int) -> None:
        """Lets the thread run until it blocks or is done; called in the loop's thread."""
        if turn != self._turn or self._killed:
            return
        self._turn += 1
        self._parked.clear()
        self._go.set()
        self._parked.wait()

    def block(self, seconds: float, flag: CancelFlag | None) -> None:
        """Called in this worker's thread while the loop's thread waits for it."""
        turn = self._turn
        timer = self._threads.loop.call_later(seconds, self._resume, turn)
        forget = (
            flag.on_set(lambda: self._threads.loop.call_soon(self._resume, turn))
            if flag is not None
            else None
        )
        self._parked.set()
        self._go.wait()
        self._go.clear()
        if self._killed:
            raise _Killed
        timer.cancel()
        if forget is not None:
            forget()

    def end(self) -> None:
        self._killed = True
        self._go.set()


class _SimulatedThreads(WorkerThreads):
    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        super().__init__(grace)
        self.loop = loop
        self.workers: dict[threading.Thread, _Worker] = {}

    @property
    def may_wait(self) -> bool:
        """No: only one thread runs at any moment. So all data is staged."""
        return False

    def take(self) -> Any:
        """A worker whose thread runs only when the loop waits for it."""
        return self._idle.pop() if self._idle else _Worker(self)

    def leave(self, worker: Any) -> None:
        """Nothing: what was left behind blocks until the simulation is over."""

    def close(self) -> None:
        """Ends every thread, those that still block too."""
        super().close()
        for worker in self.workers.values():
            worker.end()


class _Clock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()


def block(seconds: float, flag: CancelFlag | None = None) -> None:
    """Blocks the calling synchronous plugin for virtual ``seconds``; returns early when ``flag`` is raised.

    Raises:
        RuntimeError: the caller is not a synchronous plugin inside a simulation.
    """
    thread = threading.current_thread()
    for threads in list(_SIMULATIONS):
        worker = threads.workers.get(thread)
        if worker is not None:
            worker.block(seconds, flag)
            return
    raise RuntimeError("block() is for synchronous plugins inside a Simulation")


_SIMULATIONS: set[_SimulatedThreads] = set()


class Simulation:
    """Runs configurations with the real engine and virtual time.

    Args:
        seed: of the jitter between retries.
        grace: virtual seconds that a cancelled synchronous step is given.

    ``events`` are those of the last run, ``seconds`` its virtual duration.
    """

    def __init__(self, seed: int = 0, grace: float = GRACE) -> None:
        self._seed = seed
        self._grace = grace
        self.recorder = Recorder()
        self.seconds = 0.0
        self.abandoned = 0

    @property
    def events(self) -> list[Any]:
        """The events of the last run, in order."""
        return self.recorder.events

    def run(
        self,
        stream: Any,
        *,
        variables: Mapping[str, str] | None = None,
        select: Sequence[str] = (),
        concurrency: int | None = None,
        meanwhile: Callable[[Orchestrator], Coroutine[Any, Any, None]] | None = None,
    ) -> RunResult:
        """Runs a configuration to its end and gives the result.

        Args:
            stream: what :func:`pipeline_flow.start_orchestration` takes.
            variables: as there.
            select: as there.
            concurrency: as there.
            meanwhile: runs beside the pipelines, and may stop the run.

        Raises:
            Deadlock: the run could never have ended.
        """
        loop = _Loop()
        threads = _SimulatedThreads(loop, self._grace)
        _SIMULATIONS.add(threads)
        clock = _Clock(loop)
        self.recorder = Recorder()
        try:
            prepared = entrypoint.prepare(
                stream, variables=variables, select=select, concurrency=concurrency, clock=clock
            )
            with tempfile.TemporaryDirectory() as folder:
                orchestrator = Orchestrator(
                    prepared.plan,
                    prepared.catalog,
                    run=prepared.run,
                    emit=self.recorder.handle,
                    clock=clock,
                    threads=threads,
                    random=Random(self._seed),
                    spill_folder=Path(folder),
                )
                return loop.run_until_complete(_both(orchestrator, meanwhile))
        finally:
            self.seconds = loop.time()
            self.abandoned = threads.abandoned
            threads.close()
            _SIMULATIONS.discard(threads)
            loop.close()


async def _both(
    orchestrator: Orchestrator, meanwhile: Callable[[Orchestrator], Coroutine[Any, Any, None]] | None
) -> RunResult:
    beside = None if meanwhile is None else asyncio.create_task(meanwhile(orchestrator))
    try:
        return await orchestrator.run()
    finally:
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
