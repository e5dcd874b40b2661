"""The engine's parts on their own: threads, retries, resources, the bus."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline_flow.core.context import CancelFlag
from pipeline_flow.data import Spill
from pipeline_flow.engine import WorkerThreads, retry
from pipeline_flow.engine.resources import RunResources
from pipeline_flow.errors import RetryableError, RunError, StepTimeout
from pipeline_flow.events import Event, Notice, StepProgress
from pipeline_flow.listeners import Bus
from pipeline_flow.plan.model import Retry
from pipeline_flow.testing import Recorder


def test_a_lane_is_one_thread_and_two_lanes_are_two() -> None:
    async def main() -> tuple[set[int], set[int]]:
        threads = WorkerThreads()
        one, two = threads.lane(), threads.lane()
        first = {await one.run(CancelFlag(), threading.get_ident) for _ in range(5)}
        second = {await two.run(CancelFlag(), threading.get_ident) for _ in range(5)}
        one.release()
        two.release()
        threads.close()
        return first, second

    first, second = asyncio.run(main())
    assert len(first) == len(second) == 1
    assert first != second
    assert threading.get_ident() not in first | second


def test_a_released_thread_is_used_again() -> None:
    async def main() -> set[str]:
        threads = WorkerThreads()
        names = {await threads.run(CancelFlag(), lambda: threading.current_thread().name) for _ in range(20)}
        threads.close()
        return names

    assert len(asyncio.run(main())) == 1


def test_a_thread_that_does_not_stop_is_abandoned_and_does_not_hold_up_the_caller() -> None:
    blocked, free = threading.Event(), threading.Event()

    async def main() -> tuple[bool, int]:
        threads = WorkerThreads(grace=0.01)
        lane = threads.lane()

        def work() -> None:
            blocked.set()
            free.wait()

        flag = CancelFlag()
        task = asyncio.create_task(lane.run(flag, work))
        await asyncio.get_running_loop().run_in_executor(None, blocked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert flag
        return lane.abandoned, threads.abandoned

    assert asyncio.run(main()) == (True, 1)
    free.set()


def test_a_cancelled_call_interrupts_its_driver_and_keeps_the_thread() -> None:
    blocked, interrupted = threading.Event(), threading.Event()

    async def main() -> bool:
        threads = WorkerThreads()
        lane = threads.lane()
        flag = CancelFlag()
        flag.on_set(interrupted.set)

        def work() -> None:
            blocked.set()
            interrupted.wait()

        task = asyncio.create_task(lane.run(flag, work))
        await asyncio.get_running_loop().run_in_executor(None, blocked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        threads.close()
        return lane.abandoned

    assert asyncio.run(main()) is False


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), GeneratorExit()])
def test_what_would_end_the_process_or_the_loop_becomes_an_error(error: BaseException) -> None:
    def work() -> None:
        raise error

    async def main() -> None:
        await WorkerThreads().run(CancelFlag(), work)

    with pytest.raises(RunError, match=type(error).__name__):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("policy", "error", "attempt", "expected"),
    [
        (Retry(), RetryableError("x"), 1, None),
        (Retry(3, jitter=0), RetryableError("x"), 1, 1.0),
        (Retry(3, jitter=0), RetryableError("x"), 2, 2.0),
        (Retry(3, jitter=0), RetryableError("x"), 3, None),
        (Retry(3), RetryableError("x", retry_after=17), 1, 17),
        (Retry(9, wait=4, max_wait=10, jitter=0), RetryableError("x"), 5, 10.0),
        (Retry(3, jitter=0), ValueError("x"), 1, None),
        (Retry(3, jitter=0, on=("Exception",)), ValueError("x"), 1, 1.0),
        (Retry(3, jitter=0, on=("json.JSONDecodeError",)), ValueError("x"), 1, None),
        (Retry(3, jitter=0, on=("asyncio.QueueEmpty",)), asyncio.QueueEmpty(), 1, 1.0),
        (Retry(3, jitter=0, on=("queue.QueueEmpty",)), asyncio.QueueEmpty(), 1, None),
        (Retry(3, jitter=0, on=("timeout",)), StepTimeout("x"), 1, 1.0),
        (Retry(3, jitter=0, on=("timeout",)), TimeoutError("x"), 1, None),
    ],
)
def test_when_a_step_is_tried_again(
    policy: Retry, error: Exception, attempt: int, expected: float | None
) -> None:
    assert retry.delay(policy, error, attempt, Random(0)) == expected


def test_jitter_stays_within_its_bounds() -> None:
    random = Random(1)
    policy = Retry(9, wait=2, jitter=3, max_wait=4)
    delays = [retry.delay(policy, RetryableError("x"), 1, random) or 0 for _ in range(200)]
    assert min(delays) >= 2
    assert max(delays) <= 4
    assert len(set(delays)) > 50


def test_resources_open_once_and_close_last_opened_first(tmp_path: Path) -> None:
    history: list[str] = []

    @contextlib.contextmanager
    def opened(name: str) -> Iterator[str]:
        history.append(f"open {name}")
        yield name
        history.append(f"close {name}")

    spill = Spill(tmp_path / "spill", None)
    resources = RunResources(0, spill)
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        assert resources.get("a", lambda: opened("a")) == "a"

    workers = [threading.Thread(target=use) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    resources.get("b", lambda: opened("b"))
    folder = resources.folder()
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    resources.close()
    spill.close()
    assert history == ["open a", "open b", "close b", "close a"]
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="has ended"):
        resources.get("c", lambda: opened("c"))


class _Failing:
    def handle(self, event: Event) -> None:
        raise ValueError("broken listener")


class _Blocking:
    def __init__(self) -> None:
        self.free = threading.Event()
        self.seen: list[Any] = []

    def handle(self, event: Event) -> None:
        self.free.wait()
        self.seen.append(event)


def test_a_listener_that_fails_or_blocks_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    blocking, recorder = _Blocking(), Recorder()
    with Bus([_Failing(), blocking, recorder]) as bus:
        for number in range(1000):
            bus.emit(Notice(at=number, text="x"))
        blocking.free.set()
    assert [event.at for event in recorder.events] == list(range(1000))
    assert len(blocking.seen) == 1000
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_listener_that_is_far_behind_loses_progress_and_nothing_else() -> None:
    from pipeline_flow.events import Address

    blocking = _Blocking()
    with Bus([blocking]) as bus:
        for number in range(1000):
            bus.emit(StepProgress(at=number, address=Address("p", "extract", "s"), rows=number, bytes=0))
            bus.emit(Notice(at=number, text="x"))
        blocking.free.set()
    notices = [event for event in blocking.seen if isinstance(event, Notice)]
    assert len(notices) == 1000
    assert len(blocking.seen) < 1300
