"""What a phase through which rows flow is to the phase that reads them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_flow.engine.scope import RunScope


class Feed:
    """A phase whose rows are read while it still runs.

    ``given`` is set as soon as somebody may read, ``over`` when the phase has ended, however it has.
    """

    def __init__(self, scope: RunScope, before: Feed | None) -> None:
        self.given = asyncio.Event()
        self.over = asyncio.Event()
        self._scope = scope
        self._before = before
        self._task: asyncio.Task[object] | None = None
        self._succeeded = False

    def begin(self) -> None:
        """The phase begins, in the current task."""
        self._task = asyncio.current_task()

    def end(self, *, succeeded: bool) -> None:
        """The phase has ended."""
        self._succeeded = succeeded
        self._task = None
        self.over.set()
        if succeeded:
            self.given.set()

    async def until_over(self) -> None:
        """Waits for the end of the phase.

        Raises:
            CancelledError: it has not succeeded, or the run is being stopped. That is known although the cancellation of
                the current task may have been taken by a plugin for itself.
        """
        await self.over.wait()
        if not self._succeeded or self._scope.stopping:
            raise asyncio.CancelledError

    def stop(self) -> None:
        """Cancels the phase, and those that feed it: who reads their rows has failed."""
        if self._before is not None:
            self._before.stop()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
