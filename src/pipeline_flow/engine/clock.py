"""The time that the engine sees. Waiting goes through the event loop, whose clock a simulation replaces too."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of one clock."""

    def time(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""


class SystemClock:
    """The machine's clock."""

    # The function itself, because every step asks several times.
    monotonic = staticmethod(time.perf_counter)

    def time(self) -> float:
        """See :meth:`Clock.time`."""
        return time.time()
