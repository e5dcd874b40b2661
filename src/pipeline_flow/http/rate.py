"""How often a server may be asked, all steps of a run together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Pace:
    """The requests to one origin, at least an interval apart. Belongs to the thread of one event loop."""

    def __init__(self) -> None:
        self._last: float | None = None

    async def wait(self, interval: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Waits until ``interval`` seconds have passed since the request before, whoever sent it."""
        now = asyncio.get_running_loop().time()
        at = now if self._last is None else max(now, self._last + interval)
        self._last = at
        if at > now:
            await sleep(at - now)


@contextlib.contextmanager
def pace() -> Iterator[Pace]:
    """A pace as a resource of the run."""
    yield Pace()
