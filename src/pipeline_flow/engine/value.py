"""What a step leaves behind for the next ones: data in a handoff, or an object that nobody may touch."""

from __future__ import annotations

import inspect
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline_flow.data import BatchStream, Handoff, StreamingHandoff, Tables, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pyarrow as pa

    from pipeline_flow.core.context import Context
    from pipeline_flow.engine.scope import RunScope


Watch: TypeAlias = "Callable[[int, int], None]"
"""Called with the rows and bytes of each batch that is read, in whatever thread reads."""

# A handoff through which rows flow holds a quarter of what may wait in memory: there are two in a pipeline, and two pipelines
# run at once by default.
_WINDOW_SHARE = 4
_READ_OFTEN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
_FRAMES = frozenset({"pandas", "polars"})


class Value:
    """The output of one step. Streams wait in a handoff and can be opened often; other objects pass as they are.

    Of a stream that flows the rows are being written while the value is there already, and can be opened once.

    ``bytes`` are those of the rows, as far as they are known; where they wait, they may take more or less.
    """

    __slots__ = ("_object", "_rows", "bytes", "handoff")

    def __init__(self, value: Any = None, handoff: Handoff | None = None, size: int | None = None) -> None:
        self._object = value
        self.handoff = handoff
        self._rows = None if handoff is not None else count_rows(value)
        self.bytes = size

    @property
    def rows(self) -> int | None:
        """How many rows there are, so far; ``None`` where they cannot be counted."""
        return self._rows if self.handoff is None else self.handoff.rows

    def open(self, watch: Watch) -> Any:
        """What a consumer is given: a stream of its own, or the object. ``watch`` is told of what is read of streams."""
        opened = self._object if self.handoff is None else self.handoff.open()
        if type(opened) in _READ_OFTEN:
            return opened
        for stream in _streams_in(opened):
            stream.watch = watch
        return opened

    @property
    def is_nothing(self) -> bool:
        """Whether the step returned ``None``."""
        return self.handoff is None and self._object is None

    @property
    def _flowing(self) -> StreamingHandoff | None:
        return self.handoff if isinstance(self.handoff, StreamingHandoff) else None

    @property
    def reader_waited(self) -> float:
        """Seconds for which who reads it has waited for who writes it."""
        return 0.0 if (flowing := self._flowing) is None else flowing.reader_waited

    @property
    def writer_waited(self) -> float:
        """Seconds for which who writes it has waited for who reads it."""
        return 0.0 if (flowing := self._flowing) is None else flowing.writer_waited

    @property
    def has_failed(self) -> bool:
        """Whether the step that writes it has failed, so that who reads it gets an error that is not its own."""
        return (flowing := self._flowing) is not None and flowing.error is not None

    @property
    def is_read_once(self) -> bool:
        """Whether a consumer uses the data up."""
        return self.handoff is None and is_lazy(self._object)

    def wake(self) -> None:
        """Gives an error to who waits for rows that are still to come."""
        if (flowing := self._flowing) is not None and flowing.flows:
            self.close()

    def close(self, but: Output | None = None) -> None:
        """Frees the memory and the files of the data, unless ``but`` holds them too."""
        if but is not None and any(self is other for other in but.parts):
            return
        self._object = None
        if self.handoff is not None:
            self.handoff.close()

    @property
    def parts(self) -> tuple[Value, ...]:
        """The values that this one is made of: itself."""
        return (self,)


class Values(dict[str, Value]):
    """The outputs of several steps by their ids, or the tables of one by their names. They answer together what one answers."""

    __slots__ = ()

    @property
    def rows(self) -> int | None:
        """See :attr:`Value.rows`."""
        return _sum(value.rows for value in self.values())

    @property
    def bytes(self) -> int | None:
        """See :class:`Value`."""
        return _sum(value.bytes for value in self.values())

    def open(self, watch: Watch) -> Tables:
        """See :meth:`Value.open`."""
        return Tables({name: value.open(watch) for name, value in self.items()})

    @property
    def reader_waited(self) -> float:
        """See :attr:`Value.reader_waited`."""
        return sum(value.reader_waited for value in self.values())

    @property
    def writer_waited(self) -> float:
        """See :attr:`Value.writer_waited`."""
        return sum(value.writer_waited for value in self.values())

    @property
    def has_failed(self) -> bool:
        """See :attr:`Value.has_failed`."""
        return any(value.has_failed for value in self.values())

    @property
    def is_read_once(self) -> bool:
        """Whether a consumer uses the data up, or a part of it."""
        return any(value.is_read_once for value in self.values())

    def wake(self) -> None:
        """See :meth:`Value.wake`."""
        for value in self.values():
            value.wake()

    def close(self, but: Output | None = None) -> None:
        """See :meth:`Value.close`."""
        for value in self.values():
            value.close(but)

    @property
    def parts(self) -> tuple[Value, ...]:
        """The values that these are."""
        return tuple(self.values())


Output: TypeAlias = Value | Values
"""What a step has given: one thing, or several by name."""


def _sum(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else sum(count for count in found if count is not None)


def close_streams(opened: Any) -> None:
    """Closes the streams that a consumer was given and may not have read to their end."""
    for stream in _streams_in(opened):
        stream.close()


def _streams_in(opened: Any) -> Iterator[BatchStream]:
    for item in opened.values() if isinstance(opened, Tables) else (opened,):
        if isinstance(item, BatchStream):
            yield item


def count_rows(value: Any) -> int | None:
    """The rows of an object that can say so without being read."""
    kind = type(value)
    if kind in _READ_OFTEN:
        return len(value) if kind is list else None
    if isinstance(value, list):
        return len(value)
    library = kind.__module__.partition(".")[0]
    if library == "pyarrow":
        rows = getattr(value, "num_rows", None)
        return rows if isinstance(rows, int) else None
    # Other libraries' frames may compute everything to answer len().
    return len(value) if library in _FRAMES and kind.__name__ == "DataFrame" else None


def is_lazy(value: Any) -> bool:
    """Whether ``value`` can be read only once, so that it has to be staged to be read by several."""
    if type(value) in _READ_OFTEN:
        return False
    if isinstance(value, io.IOBase):  # an open file is an iterator too, and an object like any other here
        return False
    return isinstance(value, BatchStream) or inspect.isasyncgen(value) or adapt.is_iterator(value)


def hold(
    scope: RunScope,
    context: Context,
    result: Any,
    limit: int | None = None,
    *,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
    flow: Callable[[Value], None] | None = None,
) -> Value:
    """Stages what a synchronous step returned, in the step's own thread; see :func:`hold_async`."""
    if not is_lazy(result):
        return Value(result)
    stream = adapt.to_stream(result)
    told = progress or context.progress
    with _filled(scope, context, name, flow) as (held, handoff), stream:
        handoff.start(stream.schema)
        for batch in stream:
            context.check()
            handoff.append(_within(limit, handoff, batch))
            told(handoff.rows, stream.bytes)
            if handoff.rows == limit:
                break
    held.bytes = stream.bytes
    return held


async def hold_tables(
    scope: RunScope,
    context: Context,
    result: Mapping[Any, Any],
    opened: Mapping[str, Any],
    data: Values,
) -> Values:
    """Stages several tables, each by itself; one of ``opened`` is the value of ``data`` that it was opened from."""
    held = Values()
    try:
        for name, item in result.items():
            same = next((key for key, stream in opened.items() if stream is item), None)
            held[str(name)] = await hold_async(scope, context, item) if same is None else data[same]
    except BaseException:
        held.close(but=data)
        raise
    return held


async def hold_each(scope: RunScope, context: Context, tables: Tables, limit: int | None = None) -> Values:
    """Stages the tables that one step returned, one after the other; the first ``limit`` rows of each.

    All their streams are closed in any case.
    """
    held = Values()
    rows = size = 0

    def progress(more_rows: int, more_bytes: int) -> None:
        context.progress(rows + more_rows, size + more_bytes)

    try:
        for name, item in tables.items():
            held[name] = await hold_async(scope, context, item, limit, name=name, progress=progress)
            rows += held[name].rows or 0
            size += held[name].bytes or 0
    except BaseException:
        held.close()
        raise
    finally:
        await context.to_thread(close_streams, tables)
    return held


async def hold_async(
    scope: RunScope,
    context: Context,
    result: Any,
    limit: int | None = None,
    *,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
    flow: Callable[[Value], None] | None = None,
) -> Value:
    """Stages what an asynchronous step returned: blocking producers and disk writes run off the event loop.

    Where ``limit`` is set the stream is closed after so many rows. ``name`` tells one table of several; ``progress`` is
    told the rows and bytes so far, by default the context's. Where ``flow`` is given, a stream of more than a window
    flows: ``flow`` is called with the value, in any thread, as soon as somebody may read it.
    """
    if not is_lazy(result):
        return Value(result)
    stream = adapt.to_stream(result)
    stream.run_in_thread = context.to_thread
    if not stream.is_async:
        staged: Value = await context.to_thread(
            hold, scope, context, stream, limit, name=name, progress=progress, flow=flow
        )
        return staged
    told = progress or context.progress
    with _filled(scope, context, name, flow) as (held, handoff):
        async with stream:
            handoff.start(await stream.ready())
            async for batch in stream:
                await context.to_thread(handoff.append, _within(limit, handoff, batch))
                told(handoff.rows, stream.bytes)
                if handoff.rows == limit:
                    break
    held.bytes = stream.bytes
    return held


@contextmanager
def _filled(
    scope: RunScope, context: Context, name: str, flow: Callable[[Value], None] | None
) -> Iterator[tuple[Value, Handoff]]:
    """A value and its handoff, which is finished at the end of the block, or has failed with what the block raises."""
    held, handoff = _new(scope, context, name, flow)
    take_back = context.on_cancel(held.wake)  # it may wait for a reader
    try:
        yield held, handoff
        handoff.finish()
    except BaseException as error:
        handoff.fail(error)
        raise
    finally:
        take_back()


def _new(
    scope: RunScope, context: Context, name: str, flow: Callable[[Value], None] | None
) -> tuple[Value, Handoff]:
    """A value and the handoff in which its rows will wait."""
    called = _called(context, name)
    if flow is None or not scope.threads.may_wait:
        handoff = Handoff(called, scope.budget, scope.spill)
        return Value(handoff=handoff), handoff
    streaming = StreamingHandoff(
        called, scope.budget, scope.spill, scope.budget.limit // _WINDOW_SHARE, lambda: flow(value)
    )
    value = Value(handoff=streaming)
    return value, streaming


def _called(context: Context, name: str) -> str:
    return f"{context.address}.{name}" if name else str(context.address)


def _within(limit: int | None, handoff: Handoff, batch: pa.RecordBatch) -> pa.RecordBatch:
    left = batch.num_rows if limit is None else limit - handoff.rows
    return batch if left >= batch.num_rows else batch.slice(0, left)
