"""A handoff through which rows flow: its reader begins before its writer has ended."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow.data.handoff import Handoff, buffers, overhead
from pipeline_flow.data.stream import BatchStream
from pipeline_flow.errors import DataError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from pipeline_flow.data.handoff import Budget, Spill


@dataclass(slots=True)
class _Share:
    """A buffer that waits: what it has of the budget, and how many batches hold on to it."""

    size: int
    holders: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A batch that waits, the addresses of its buffers, and what it has of the budget besides them."""

    batch: pa.RecordBatch
    buffers: tuple[int, ...]
    overhead: int


class StreamingHandoff(Handoff):
    """A handoff for one reader, who may begin as soon as ``window`` bytes wait; what was read is gone.

    Data that is smaller is staged, as in any handoff. Of more, ``window`` bytes wait at most, in memory: then the writer
    waits for the reader. A reader that leaves early holds up nobody: what is still written is counted, and thrown away.

    Args:
        name: as for :class:`Handoff`.
        budget: as for :class:`Handoff`. One batch may wait here without room in it, when nothing else does.
        spill: as for :class:`Handoff`; what flows never goes there.
        window: bytes; a buffer that batches share counts once.
        on_full: called once, by the writer's thread, when the reader may begin. It must not wait.

    Attributes:
        flows: whether the reader may begin, or might have, before everything was written.
        writer_waited: seconds for which the writer has waited for room.
        reader_waited: seconds for which the reader has waited for rows.
    """

    def __init__(
        self, name: str, budget: Budget, spill: Spill, window: int, on_full: Callable[[], None]
    ) -> None:
        super().__init__(name, budget, spill)
        self._window = window
        self._on_full = on_full
        self._change = threading.Condition(self._lock)
        self._waiting: deque[_Waiting] = deque()
        self._shares: dict[int, _Share] = {}  # of the buffers of what waits, by address
        self._reader_left = False
        self._opened = False
        self.flows = False
        self.writer_waited = 0.0
        self.reader_waited = 0.0

    @property
    def error(self) -> BaseException | None:
        """What the writer failed with, if it did."""
        return self._error

    # ------------------------------------------------------------------------------------------ writing

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds a batch; blocks while the window is full.

        Raises:
            StreamConsumed: the handoff was closed.
        """
        with self._change:
            self._check_batch(batch)
            if not batch.num_rows:
                return
            held, more = buffers(batch), overhead(batch)
            waiting = self._admitted(batch, held, more)
            if waiting is None and not self.flows:
                self.flows = True
                self._on_full()
            while waiting is None and self._waiting and not self._reader_left:
                self.writer_waited += self._wait()
                waiting = self._admitted(batch, held, more)
            self.rows += batch.num_rows
            if self._reader_left:
                if waiting is not None:
                    self._let_go(waiting)
                return
            self._waiting.append(waiting or self._noted(batch, dict.fromkeys(held, 0), 0))
            self._change.notify_all()

    def _wait(self) -> float:
        """Waits until something has changed; gives the seconds."""
        started = time.monotonic()
        self._change.wait()
        self._check_open()
        return time.monotonic() - started

    def _admitted(self, batch: pa.RecordBatch, held: dict[int, int], more: int) -> _Waiting | None:
        """The batch with what it takes of window and budget; ``None`` where they have no room for it.

        ``held`` are the sizes of its buffers by address, ``more`` is what it takes besides.
        """
        new = sum(size for at, size in held.items() if at not in self._shares) + more
        if self.memory_bytes + new > self._window or not self._budget.try_reserve(new):
            return None
        self.memory_bytes += new
        return self._noted(batch, held, more)

    def _noted(self, batch: pa.RecordBatch, held: dict[int, int], more: int) -> _Waiting:
        """Notes what the batch has of the budget: for each of its buffers, and besides."""
        for at, size in held.items():
            self._shares.setdefault(at, _Share(size)).holders += 1
        return _Waiting(batch, tuple(held), more)

    def _let_go(self, waiting: _Waiting) -> None:
        """Gives back what nothing else that waits holds on to."""
        size = waiting.overhead
        for at in waiting.buffers:
            share = self._shares[at]
            share.holders -= 1
            if not share.holders:
                size += share.size
                del self._shares[at]
        self.memory_bytes -= size
        self._budget.release(size)

    def finish(self) -> None:
        """Ends writing."""
        with self._change:
            super().finish()
            self._change.notify_all()

    def fail(self, error: BaseException) -> None:
        """Gives up; the reader gets ``error``."""
        with self._change:
            super().fail(error)
            self._change.notify_all()

    # ------------------------------------------------------------------------------------------ reading

    def open(self) -> BatchStream:
        """The reader: the only one, unless everything was written before the window was full.

        Raises:
            Exception: what the writer failed with.
            StreamConsumed: it was closed.
        """
        with self._lock:
            self._check_open()
            if not self.flows:
                self._memory = [waiting.batch for waiting in self._waiting]
                return super().open()
            if self._opened:
                raise InternalError(f"the handoff `{self.name}` was opened twice, and what was read is gone")
            self._opened = True
            return BatchStream(self.schema, self._flow(), on_close=self._leave)

    def _flow(self) -> Iterator[pa.RecordBatch]:
        rows = 0
        while (batch := self._next()) is not None:
            rows += batch.num_rows
            yield batch
        if rows != self.rows:
            raise DataError(f"`{self.name}` gave {rows} rows where {self.rows} were written")

    def _next(self) -> pa.RecordBatch | None:
        with self._change:
            self._check_open()
            while not self._waiting and not self.finished:
                self.reader_waited += self._wait()
            if not self._waiting:
                return None
            waiting = self._waiting.popleft()
            self._let_go(waiting)
            self._change.notify_all()
            return waiting.batch

    def _leave(self) -> None:
        with self._change:
            if self.finished and not self._waiting:
                return
            self._reader_left = True
            self._free()
            self._change.notify_all()

    # ------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Frees the memory; who waits here, on either side, gets an error."""
        with self._change:
            super().close()
            self._change.notify_all()

    def _free(self) -> None:
        self._waiting.clear()
        self._shares.clear()
        super()._free()
