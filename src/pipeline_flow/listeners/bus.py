"""Carries events from the engine to the listeners."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, Self

from pipeline_flow.events import Event, StepProgress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_PROGRESS_WAITS_AT_MOST = 100  # events; a listener that far behind gets no progress until it has caught up
_log = logging.getLogger("pipeline_flow")


class Listener(Protocol):
    """Sees every event of a run, in order, in a thread of its own."""

    def handle(self, event: Event) -> None:
        """Called for each event. What it raises is logged once and ends this listener, not the run."""


class InOrder:
    """Several listeners that share one queue and thread, because they write to the same place.

    One that raises hears no more; the others do.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def handle(self, event: Event) -> None:
        """See :class:`Listener`."""
        self._listeners = [listener for listener in self._listeners if _heard(listener, event)]


def _heard(listener: Listener, event: Event) -> bool:
    """Whether ``listener`` took the event; if not, it is broken, and that has been logged."""
    name = type(listener).__name__
    try:
        listener.handle(event)
    except OSError as error:  # a disk is full, a reader has gone
        _log.error("the listener %s failed and hears no more of this run: %s", name, error)
        return False
    except BaseException:  # noqa: BLE001 - a listener must not fail a run
        _log.exception("the listener %s failed and hears no more of this run", name)
        return False
    return True


class Bus:
    """Hands each event to each listener's queue; ``emit`` never waits.

    Use it as a context manager: leaving it waits until every listener has seen every event.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._lanes = [_ListenerThread(listener) for listener in listeners]

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def emit(self, event: Event) -> None:
        """Passes ``event`` on. Safe to call from any thread."""
        for lane in self._lanes:
            lane.put(event)

    def close(self) -> None:
        """Waits until every listener has seen every event."""
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ListenerThread:
    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._work, name=f"pipeline-flow-{type(listener).__name__}", daemon=True
        )
        self._thread.start()

    def put(self, event: Event) -> None:
        if isinstance(event, StepProgress) and self._queue.qsize() > _PROGRESS_WAITS_AT_MOST:
            return
        self._queue.put(event)

    def _work(self) -> None:
        hears = True
        while (event := self._queue.get()) is not None:
            hears = hears and _heard(self._listener, event)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
