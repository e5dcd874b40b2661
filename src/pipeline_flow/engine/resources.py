"""What the steps of a run share: opened on first use, closed when the run ends, last opened first."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline_flow.data.handoff import Spill

T = TypeVar("T")
_LEAST_MEMORY = 64 * 1024 * 1024  # bytes; below this DuckDB cannot sort or join anything of size


class RunResources:
    """The resources of one run.

    Args:
        memory_bytes: what one database engine inside this process may use.
        spill: the run's private folder.
        shared: whether several pipelines may run at once.
    """

    def __init__(self, memory_bytes: int, spill: Spill, *, shared: bool = False) -> None:
        self._memory_bytes = max(_LEAST_MEMORY, memory_bytes)
        self._spill = spill
        self._shared = shared
        self._lock = threading.Lock()
        self._key_locks: dict[str, threading.Lock] = {}
        self._open: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """How much memory one database engine inside this process may use."""
        return self._memory_bytes

    @property
    def are_shared(self) -> bool:
        """Whether several pipelines may use what is opened here at once."""
        return self._shared

    def folder(self) -> Path:
        """A private folder for temporary files, removed when the run ends."""
        with self._lock:
            if self._folder is None:
                self._folder = self._spill.new_path("resources").with_suffix("")
                self._folder.mkdir(mode=0o700)
            return self._folder

    def get(self, key: str, open_: Callable[[], contextlib.AbstractContextManager[T]]) -> T:
        """The resource under ``key``; the first call opens it, others that come meanwhile wait for that."""
        with self._lock:
            key_lock = self._key_locks.setdefault(key, threading.Lock())
        with key_lock:
            if key not in self._open:
                manager = open_()
                value = manager.__enter__()
                with self._lock:
                    if self._closed:
                        manager.__exit__(None, None, None)
                        raise RuntimeError("the run has ended; its resources are closed")
                    self._stack.push(manager)
                    self._open[key] = value
            value_of_key: T = self._open[key]
            return value_of_key

    def close(self) -> None:
        """Closes everything, last opened first. May block."""
        with self._lock:
            self._closed = True
            self._open.clear()
            stack, self._stack = self._stack, contextlib.ExitStack()
        stack.close()
