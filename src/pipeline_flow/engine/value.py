"""What a step leaves behind for the next ones: data in a handoff, or an object that nobody may touch."""

from __future__ import annotations

import inspect
import io
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline_flow.data import BatchStream, Handoff, StreamingHandoff, Tables, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from pipeline_flow.core.context import Context
    from pipeline_flow.engine.scope import RunScope


# A handoff through which rows flow holds a quarter of what may wait in memory: there are two in a pipeline, and two pipelines
# run at once by default.
_WINDOW_SHARE = 4


class Value:
    """The output of one step. Streams wait in a handoff and can be opened often; other objects pass as they are.

    Of a stream that flows the rows are being written while the value is there already, and can be opened once.

    ``bytes`` are those of the rows, as far as they are known; where they wait, they may take more or less.
    """

    __slots__ = ("_handoff", "_object", "_rows", "bytes")

    def __init__(self, value: Any = None, handoff: Handoff | None = None, size: int | None = None) -> None:
        self._object = value
        self._handoff = handoff
        self._rows = None if handoff is not None else count_rows(value)
        self.bytes = size

    @property
    def rows(self) -> int | None:
        """How many rows there are, so far; ``None`` where they cannot be counted."""
        return self._rows if self._handoff is None else self._handoff.rows

    def open(self) -> Any:
        """What a consumer is given: a stream of its own, or the object."""
        return self._object if self._handoff is None else self._handoff.open()

    @property
    def is_stream(self) -> bool:
        """Whether the data waits in a handoff."""
        return self._handoff is not None

    @property
    def is_nothing(self) -> bool:
        """Whether the step returned ``None``."""
        return self._handoff is None and self._object is None

    @property
    def handoff(self) -> Handoff | None:
        """Where the data waits, if it does."""
        return self._handoff

    @property
    def flows(self) -> bool:
        """Whether it is read while it is written."""
        return isinstance(self._handoff, StreamingHandoff) and self._handoff.flows

    @property
    def reader_waited(self) -> float:
        """Seconds for which who reads it has waited for who writes it."""
        return self._handoff.reader_waited if isinstance(self._handoff, StreamingHandoff) else 0.0

    @property
    def writer_waited(self) -> float:
        """Seconds for which who writes it has waited for who reads it."""
        return self._handoff.writer_waited if isinstance(self._handoff, StreamingHandoff) else 0.0

    @property
    def failed(self) -> bool:
        """Whether the step that writes it has failed, so that who reads it gets an error that is not its own."""
        return isinstance(self._handoff, StreamingHandoff) and self._handoff.error is not None

    @property
    def is_read_once(self) -> bool:
        """Whether a consumer uses the data up."""
        return self._handoff is None and is_lazy(self._object)

    def close(self) -> None:
        """Frees the memory and the files of the data."""
        self._object = None
        if self._handoff is not None:
            self._handoff.close()


def open_data(data: Value | dict[str, Value], watch: Callable[[int, int], None] | None = None) -> Any:
    """What a consumer is given for ``data``: a stream, an object, or several of them by step id.

    ``watch`` is called with the rows and bytes of each batch that the consumer reads.
    """
    opened = (
        Tables({name: value.open() for name, value in data.items()})
        if isinstance(data, dict)
        else data.open()
    )
    if watch is not None:
        for item in opened.values() if isinstance(opened, Tables) else (opened,):
            if isinstance(item, BatchStream):
                item.watch = watch
    return opened


def wake(data: Value | dict[str, Value] | None) -> None:
    """Gives an error to who waits for rows of ``data`` that are still to come."""
    for value in _values(data):
        if value.flows:
            value.close()


def waited(data: Value | dict[str, Value] | None, result: Value | dict[str, Value] | None = None) -> float:
    """The seconds for which a step has waited for rows of ``data``, or for those of its ``result`` to be taken."""
    return sum(value.reader_waited for value in _values(data)) + sum(
        value.writer_waited for value in _values(result)
    )


def has_failed(data: Value | dict[str, Value] | None) -> bool:
    """Whether a step that still writes ``data`` has failed."""
    return any(value.failed for value in _values(data))


def close_data(data: Value | dict[str, Value] | None, *, but: Value | dict[str, Value] | None = None) -> None:
    """Frees everything that ``data`` holds, except what ``but`` holds too."""
    kept = _values(but)
    for value in _values(data):
        if not any(value is other for other in kept):
            value.close()


def _values(data: Value | dict[str, Value] | None) -> tuple[Value, ...]:
    if data is None:
        return ()
    return tuple(data.values()) if isinstance(data, dict) else (data,)


def close_streams(opened: Any) -> None:
    """Closes the streams that a consumer was given and may not have read to their end."""
    for item in opened.values() if isinstance(opened, Tables) else (opened,):
        if isinstance(item, BatchStream):
            item.close()


def rows_of(data: Value | dict[str, Value] | None) -> int | None:
    """The rows of ``data``, together; ``None`` where they cannot be counted."""
    if data is None:
        return None
    counts = [value.rows for value in _values(data)]
    return None if None in counts else sum(count for count in counts if count is not None)


def bytes_of(data: Value | dict[str, Value]) -> int | None:
    """The bytes of ``data``, together; ``None`` where they are not known."""
    sizes = [value.bytes for value in _values(data)]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def is_read_once(data: Value | dict[str, Value] | None) -> bool:
    """Whether who reads ``data`` uses it up, or a part of it."""
    return any(value.is_read_once for value in _values(data))


def count_rows(value: Any) -> int | None:
    """The rows of an object that can say so without being read."""
    if isinstance(value, list):
        return len(value)
    library = type(value).__module__.partition(".")[0]
    if library == "pyarrow":
        rows = getattr(value, "num_rows", None)
        return rows if isinstance(rows, int) else None
    # Other libraries' frames may compute everything to answer len().
    if library in ("pandas", "polars") and type(value).__name__ == "DataFrame":
        return len(value)
    return None


def is_lazy(value: Any) -> bool:
    """Whether ``value`` can be read only once, so that it has to be staged to be read by several."""
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
    data: dict[str, Value],
) -> dict[str, Value]:
    """Stages several tables, each by itself; one of ``opened`` is the value of ``data`` that it was opened from."""
    held: dict[str, Value] = {}
    try:
        for name, item in result.items():
            same = next((key for key, stream in opened.items() if stream is item), None)
            held[str(name)] = await hold_async(scope, context, item) if same is None else data[same]
    except BaseException:
        close_data({name: value for name, value in held.items() if value not in data.values()})
        raise
    return held


async def hold_each(
    scope: RunScope, context: Context, tables: Tables, limit: int | None = None
) -> dict[str, Value]:
    """Stages the tables that one step returned, one after the other; the first ``limit`` rows of each.

    All their streams are closed in any case.
    """
    held: dict[str, Value] = {}
    rows = size = 0

    def progress(more_rows: int, more_bytes: int) -> None:
        context.progress(rows + more_rows, size + more_bytes)

    try:
        for name, item in tables.items():
            held[name] = await hold_async(scope, context, item, limit, name=name, progress=progress)
            rows += held[name].rows or 0
            size += held[name].bytes or 0
    except BaseException:
        close_data(held)
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
    take_back = context.on_cancel(partial(wake, held))  # it may wait for a reader
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
