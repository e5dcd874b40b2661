"""Coroutines for callers that wait, wherever they are: in a script, in a notebook, inside a running event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def wait_for(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the coroutine that ``make`` gives returns.

    Where an event loop runs already (a notebook has one) the coroutine gets a loop and a thread of its own, and the
    caller's loop stands still meanwhile. Interrupted (Ctrl-C, a notebook's stop button), the coroutine is cancelled and
    its orderly end awaited.
    """
    if not _loop_runs_here():
        return asyncio.run(make())
    outcome: Future[T] = Future()
    begun = threading.Event()
    cancel: list[Callable[[], object]] = []

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # a coroutine that runs has one
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        begun.set()
        return await make()

    def in_thread() -> None:
        try:
            outcome.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            outcome.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(in_thread,), name="pipeline-flow-run", daemon=True)
    thread.start()
    try:
        wait((outcome,))  # `join` forgets its thread when it is interrupted
    except KeyboardInterrupt:
        begun.wait()
        cancel[0]()
        wait((outcome,))
        raise
    return outcome.result()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
