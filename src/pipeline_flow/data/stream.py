"""Batches of rows on the move: a schema and Arrow record batches, read once.

A stream has one producer. It and its reader may each be synchronous or asynchronous:

=============  =============================================  ==================================================
producer       read by ``for``, ``to_reader``, ``to_table``   read by ``async for``, ``read_table``
=============  =============================================  ==================================================
iterator       in the reader's thread                         each step in a thread (``run_in_thread``)
asynchronous   on its own loop; the reader must be off it     on its own loop, all steps in one task
=============  =============================================  ==================================================

The producer is closed exactly once: at its end, after its error, or by ``close``. What it raises is raised in the
reader as it is, and again on every later read: a stream that failed or was closed never looks like one that ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from pipeline_flow.data import schema as schemas
from pipeline_flow.errors import ConversionFailed, DataError, StreamConsumed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SchemaSource: TypeAlias = (
    pa.Schema | Callable[[], pa.Schema] | Callable[[], Awaitable[pa.Schema]] | Awaitable[pa.Schema]
)
RunInThread: TypeAlias = Callable[..., Awaitable[Any]]


_ONCE = "a stream can be read once; keep a table (`stream.to_table()`) where it is needed again"


class BatchStream:
    """A schema and Arrow record batches, read once.

    Empty means a schema and no batch; batches without rows are left out. Several threads may read one stream: each
    batch goes to one of them.

    Args:
        schema: what every batch has; or a callable, called once before the first batch, where finding out is work.
            With an asynchronous producer it may return an awaitable, or be one.
        batches: the producer, an iterable or asynchronous iterable of record batches, not touched before the first
            read. An iterator that has ``close`` (``aclose``), such as a generator, is closed with the stream.
        on_close: called once, after the producer was closed, even if nothing was read. With an asynchronous producer
            it runs on the event loop and must not block.

    Attributes:
        rows: how many rows were handed out so far.
        bytes: how many bytes of Arrow data they had.
        run_in_thread: runs the steps of a synchronous producer for an asynchronous reader: called with a function and
            its arguments, awaited for its result. A run sets its own threads here.
        watch: called with the rows and bytes of each batch as it is read, in whatever thread reads.
    """

    def __init__(
        self,
        schema: SchemaSource,
        batches: Iterable[pa.RecordBatch] | AsyncIterable[pa.RecordBatch],
        *,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self.rows = 0
        self.bytes = 0
        self.run_in_thread: RunInThread = asyncio.to_thread
        self.watch: Callable[[int, int], None] | None = None
        self._schema = schemas.check_names(schema) if isinstance(schema, pa.Schema) else None
        self._guard = threading.Lock()  # around the fields here; never held while foreign code runs
        self._begun = False
        self._taken_by = ""
        self._producer: _Producer | _AsyncProducer = (
            _AsyncProducer(schema, batches, on_close)
            if isinstance(batches, AsyncIterable)
            else _Producer(schema, batches, on_close)
        )

    def __repr__(self) -> str:
        producer = self._producer
        state = (
            "failed"
            if producer.error
            else "ended"
            if producer.ended
            else "closed"
            if producer.closing
            else "open"
        )
        columns = "?" if self._schema is None else len(self._schema.names)
        return f"<BatchStream {state}, {columns} columns, {self.rows} rows read>"

    # ------------------------------------------------------------------------------------------ what it is

    @property
    def is_async(self) -> bool:
        """Whether the producer is asynchronous."""
        return isinstance(self._producer, _AsyncProducer)

    @property
    def error(self) -> BaseException | None:
        """What the producer raised, if it did."""
        return self._producer.error

    @property
    def schema(self) -> pa.Schema:
        """The columns. The first time it may have to ask the producer: on an event loop, ``await ready()`` before.

        Raises:
            DataError: the producer is asynchronous, was not asked yet, and this is the thread of its event loop.
        """
        if self._schema is None:
            return self._found(self._producer.ask("schema"))
        return self._schema

    async def ready(self) -> pa.Schema:
        """The columns, asking the producer without blocking the event loop."""
        if self._schema is None:
            return self._found(await self._producer.ask_async("schema", self.run_in_thread))
        return self._schema

    def _found(self, schema: Any) -> pa.Schema:
        if schema is None:
            self._check_alive()
        try:
            if not isinstance(schema, pa.Schema):
                raise ConversionFailed(
                    f"the producer's schema is a {type(schema).__name__}, expected a pyarrow.Schema"
                )
            self._schema = schemas.check_names(schema)
        except ConversionFailed as error:
            self._refuse(error)
            raise
        return self._schema

    # ------------------------------------------------------------------------------------------ reading

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._check_readable()
        return self

    def __next__(self) -> pa.RecordBatch:
        self._check_free()
        batch = self._next()
        if batch is None:
            raise StopIteration
        return batch

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        self._check_readable()
        return self

    async def __anext__(self) -> pa.RecordBatch:
        """The next batch. Cancelled, it closes the stream: the batch under way would be lost otherwise."""
        self._check_free()
        batch = await self._next_async()
        if batch is None:
            raise StopAsyncIteration
        return batch

    def to_reader(self) -> pa.RecordBatchReader:
        """The rest of the world's form of a stream, for native code; it may be read in any thread.

        Native code makes errors of its own out of what the producer raises, so read inside :func:`producer_errors`,
        and close the stream afterwards as always.

        Raises:
            StreamConsumed: the stream was read, or begun.
        """
        schema = self.schema
        self._take("to_reader")
        return pa.RecordBatchReader.from_batches(schema, self._rest())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        # DuckDB asks an object for this three times per query: give it `to_reader()`, which it reads once.
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def to_table(self) -> pa.Table:
        """Everything, in memory. Closes the stream.

        Raises:
            StreamConsumed: the stream was read, or begun.
        """
        schema = self.schema
        self._take("to_table")
        return pa.Table.from_batches(list(self._rest()), schema)

    async def read_table(self) -> pa.Table:
        """Everything, in memory, without blocking the event loop. Closes the stream.

        Raises:
            StreamConsumed: the stream was read, or begun.
        """
        schema = await self.ready()
        self._take("read_table")
        return pa.Table.from_batches([batch async for batch in self._rest_async()], schema)

    def map(self, schema: pa.Schema, function: Callable[[pa.RecordBatch], pa.RecordBatch]) -> BatchStream:
        """A stream of what ``function`` makes of each batch. It takes this stream over and closes it.

        Args:
            schema: what ``function`` gives; a batch that differs is an error.
            function: a batch in, a batch out. Never called on the event loop.
        """
        self._take("map")
        batches = (
            self._mapped_async(function) if self.is_async else (function(batch) for batch in self._rest())
        )
        mapped = BatchStream(schema, batches, on_close=self.close)
        mapped.run_in_thread = self.run_in_thread
        return mapped

    async def _mapped_async(
        self, function: Callable[[pa.RecordBatch], pa.RecordBatch]
    ) -> AsyncIterator[pa.RecordBatch]:
        async with self:
            while (batch := await self._next_async()) is not None:
                yield await self.run_in_thread(function, batch)

    def _rest(self) -> Iterator[pa.RecordBatch]:
        with self:
            while (batch := self._next()) is not None:
                yield batch

    async def _rest_async(self) -> AsyncIterator[pa.RecordBatch]:
        async with self:
            while (batch := await self._next_async()) is not None:
                yield batch

    def _next(self) -> pa.RecordBatch | None:
        self.schema  # noqa: B018 - asks for it, once
        self._begun = True
        while True:
            batch = self._producer.ask("batch")
            if batch is None:
                self._check_alive()
                return None
            if self._accept(batch):
                return batch

    async def _next_async(self) -> pa.RecordBatch | None:
        await self.ready()
        self._begun = True
        while True:
            batch = await self._producer.ask_async("batch", self.run_in_thread)
            if batch is None:
                self._check_alive()
                return None
            if self._accept(batch):
                return batch

    def _accept(self, batch: Any) -> bool:
        """Counts a batch; whether it has rows."""
        try:
            if not isinstance(batch, pa.RecordBatch):
                raise ConversionFailed(
                    f"the producer gave a {type(batch).__name__}, expected a pyarrow.RecordBatch"
                )
            if not batch.schema.equals(self._schema):
                raise ConversionFailed(
                    f"the batch after row {self.rows} differs from the stream's schema: "
                    f"{schemas.difference(self.schema, batch.schema)}"
                )
        except ConversionFailed as error:
            self._refuse(error)
            raise
        rows, size = batch.num_rows, batch.nbytes
        with self._guard:
            self.rows += rows
            self.bytes += size
        if self.watch is not None:
            self.watch(rows, size)
        return bool(rows)

    def _refuse(self, error: ConversionFailed) -> None:
        self._producer.error = self._producer.error or error
        self.close()

    # ------------------------------------------------------------------------------------------ once

    def _take(self, by: str) -> None:
        with self._guard:
            self._check_readable(whole=True)
            self._taken_by = by

    def _check_readable(self, *, whole: bool = False) -> None:
        self._check_free()
        self._check_alive()
        if self._producer.ended or (whole and self._begun):
            raise StreamConsumed(f"the stream was already read ({self.rows} rows)", hint=_ONCE)

    def _check_free(self) -> None:
        if self._producer.error is not None:
            raise self._producer.error
        if self._taken_by:
            raise StreamConsumed(
                f"the stream was handed over by {self._taken_by}() and cannot be read a second time",
                hint=_ONCE,
            )

    def _check_alive(self) -> None:
        """Nothing, for a stream that is open or was read to its end; else why there are no more batches."""
        if self._producer.error is not None:
            raise self._producer.error
        if self._producer.closing and not self._producer.ended:
            raise StreamConsumed(
                f"the stream was closed before its end, after {self.rows} rows",
                hint="read it inside the `with` that opened it, and before its step ends",
            )

    # ------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Ends the stream and closes its producer. Safe from any thread, and more than once.

        Where another thread is inside the producer, that thread closes it as soon as the producer lets go; where the
        producer is asynchronous and this is its loop, its task does. Neither is waited for.
        """
        self._producer.close()

    async def aclose(self) -> None:
        """Like :meth:`close`, off the event loop, or waiting for an asynchronous producer's own clean-up."""
        await self._producer.aclose(self.run_in_thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as error:
            if raised is None:
                raise
            _note(raised, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except Exception as error:
            if raised is None:
                raise
            _note(raised, error)

    def __del__(self) -> None:
        producer = getattr(self, "_producer", None)
        if isinstance(producer, _AsyncProducer):
            producer.abandon()


@contextmanager
def producer_errors(*streams: BatchStream) -> Iterator[None]:
    """Raises what a producer raised, in place of what native code that read ``streams`` made of it.

    Put it around the call that reads a ``stream.to_reader()``, such as a query of DuckDB or a Parquet writer. It also
    raises where the native code took a producer's error for the end of the data.
    """
    try:
        yield
    except Exception as raised:
        error = _first_error(streams)
        if error is None or error is raised:
            raise
        raise error from error.__cause__
    error = _first_error(streams)
    if error is not None:
        raise error


def _first_error(streams: Iterable[BatchStream]) -> BaseException | None:
    return next((stream.error for stream in streams if stream.error is not None), None)


def _note(error: BaseException, other: BaseException) -> None:
    error.add_note(f"and then, while closing: {type(other).__name__}: {other}")


def _close_all(error: BaseException | None, other: BaseException) -> BaseException:
    if error is None:
        return other
    _note(error, other)
    return error


# ---------------------------------------------------------------------------------------------- producers


class _Producer:
    """A synchronous producer: one thread inside at a time, and closed by the last one inside.

    ``ask`` gives the schema, a batch, or ``None`` when there is nothing more; ``error``, ``ended`` and ``closing``
    then say why.
    """

    def __init__(self, schema: Any, batches: Iterable[Any], on_close: Callable[[], object] | None) -> None:
        self.error: BaseException | None = None
        self.ended = False
        self.closing = False
        self._schema = schema
        self._batches: Any = batches
        self._on_close = on_close
        self._released = False
        self._lock = threading.Lock()

    def ask(self, what: str) -> Any:
        closed = self.closing
        if closed:
            return None
        try:
            with self._lock:
                if self._released:
                    return None
                try:
                    answer = self._schema_now() if what == "schema" else self._batch()
                    if answer is None:
                        self._release()
                        self.ended = True
                except BaseException as error:
                    self.error = error
                    try:
                        self._release()
                    except BaseException as other:  # noqa: BLE001 - told with the first
                        _note(error, other)
                    raise
        finally:
            # A close() that found the lock taken has left the work to this thread.
            if self.closing:
                self.close()
        return None if self.closing else answer

    async def ask_async(self, what: str, run: RunInThread) -> Any:
        try:
            return await run(self.ask, what)
        except asyncio.CancelledError:
            self.closing = True
            if not self._lock.locked():
                await self.aclose(run)
            raise

    def close(self) -> None:
        self.closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._lock.release()

    async def aclose(self, run: RunInThread) -> None:
        if not self._released:
            await run(self.close)

    def _schema_now(self) -> Any:
        if callable(self._schema):
            self._schema = self._schema()
        return self._schema

    def _batch(self) -> Any:
        if not isinstance(self._batches, Iterator):
            self._batches = iter(self._batches)
        return next(self._batches, None)

    def _release(self) -> None:
        """Closes the producer, once. Only with the lock held."""
        self._released = True
        failed: BaseException | None = None
        for close in (_closer(self._batches, "close"), self._on_close):
            try:
                if close is not None:
                    close()
            except BaseException as error:  # noqa: BLE001 - raised below
                failed = _close_all(failed, error)
        self._batches = self._on_close = None
        if failed is not None:
            raise failed


class _AsyncProducer:
    """An asynchronous producer, driven by one task from its first step to its end.

    One task, whoever reads: task groups, timeouts and cancel scopes that the producer holds around a ``yield`` are
    bound to the task that opened them. Nothing here refers to the stream, so that a forgotten stream is noticed.
    """

    def __init__(
        self, schema: Any, batches: AsyncIterable[Any], on_close: Callable[[], object] | None
    ) -> None:
        self.error: BaseException | None = None
        self.ended = False
        self.closing = False
        self._schema = schema
        self._batches: Any = batches
        self._on_close = on_close
        self._loop = _running_loop()
        self._task: asyncio.Task[None] | None = None
        self._requests: asyncio.Queue[tuple[str, asyncio.Future[Any]] | None] = asyncio.Queue()
        self._inside = False
        self._over = False
        self._close_error: BaseException | None = None

    def ask(self, what: str) -> Any:
        loop = self._loop
        if self._over:
            return None
        if loop is not None and loop is _running_loop():
            raise DataError(
                "a stream with an asynchronous producer was read with a plain `for` on its event loop, which would wait for itself",
                hint="use `async for`, `await stream.ready()`, `await stream.read_table()`, or read it in a thread",
            )
        if loop is None or not loop.is_running():
            raise DataError(
                "a stream with an asynchronous producer was read where no event loop runs it",
                hint="read it with `async for`, or in a thread while its event loop runs",
            )
        try:
            return asyncio.run_coroutine_threadsafe(self.ask_async(what), loop).result()
        except concurrent.futures.CancelledError:  # the loop is shutting down
            self.closing = True
            return None

    async def ask_async(self, what: str, _run: RunInThread | None = None) -> Any:
        if self._over or self.closing:
            return None
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise DataError("an asynchronous stream was read on another event loop than its own")
        if self._task is None:
            self._task = loop.create_task(self._work(), name="pipeline-flow stream")
        answer = loop.create_future()
        self._requests.put_nowait((what, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self._stop()
            raise

    async def _work(self) -> None:
        answer = None
        try:
            while not self.closing and (request := await self._requests.get()) is not None:
                what, answer = request
                self._inside = True
                found = await (self._schema_now() if what == "schema" else self._batch())
                self._inside = False
                if found is None or self.closing:
                    break
                if not answer.done():
                    answer.set_result(found)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self.closing or (task is not None and task.cancelling()):
                self.closing = True
            else:  # nobody cancelled: the producer raised it itself
                self.error = error
        except BaseException as error:  # noqa: BLE001 - raised in the reader
            self.error = error
        self._inside = False
        failed = await self._release()
        if failed is not None and self.error is not None:
            _note(self.error, failed)
        elif failed is not None and self.closing:
            self._close_error = failed
        elif failed is not None:
            self.error = failed
        self.ended = self.error is None and not self.closing
        self._over = True
        # None wakes the readers; they find the reason in error, ended and closing.
        waiting = [answer, *(request[1] for request in self._drain())]
        for future in waiting:
            if future is not None and not future.done():
                future.set_result(None)

    def _drain(self) -> Iterator[tuple[str, asyncio.Future[Any]]]:
        while not self._requests.empty():
            request = self._requests.get_nowait()
            if request is not None:
                yield request

    async def _schema_now(self) -> Any:
        if callable(self._schema):
            self._schema = self._schema()
        if inspect.isawaitable(self._schema):
            self._schema = await self._schema
        return self._schema

    async def _batch(self) -> Any:
        if not isinstance(self._batches, AsyncIterator):
            self._batches = aiter(self._batches)
        return await anext(self._batches, None)

    async def _release(self) -> BaseException | None:
        """Closes the producer; gives what went wrong in it."""
        failed: BaseException | None = None
        close, self._batches = _closer(self._batches, "aclose"), None
        try:
            if close is not None:
                await close()
        except BaseExceptionGroup as group:
            # A task group that a closed generator holds around its `yield` takes the closing for an error.
            _, failed = group.split(GeneratorExit)
        except BaseException as error:  # noqa: BLE001 - given back
            failed = error
        on_close, self._on_close = self._on_close, None
        try:
            if on_close is not None:
                on_close()
        except BaseException as error:  # noqa: BLE001 - given back
            failed = _close_all(failed, error)
        return failed

    def _stop(self) -> None:
        self.closing = True
        if self._task is None or self._over:
            return
        # A task that was never begun must not be cancelled: it would not clean up.
        if not self._inside:
            self._requests.put_nowait(None)
        elif not self._task.cancelling():  # a second time would interrupt the clean-up
            self._task.cancel()

    def close(self) -> None:
        loop = self._loop
        if self._task is None or loop is None:
            # Not begun, so there is nothing inside to unwind.
            self.closing = self._over = True
            on_close, self._on_close = self._on_close, None
            if on_close is not None:
                on_close()
        elif loop is _running_loop():
            self._stop()
        elif self._over or not loop.is_running():
            self.closing = True
        else:
            with suppress(concurrent.futures.CancelledError):
                asyncio.run_coroutine_threadsafe(self.aclose(), loop).result()

    async def aclose(self, _run: RunInThread | None = None) -> None:
        self._stop()
        if self._task is None:
            self._over = True
            failed = await self._release()
            if failed is not None:
                raise failed
            return
        await asyncio.wait([self._task])
        failed, self._close_error = self._close_error, None
        if failed is not None:
            raise failed

    def abandon(self) -> None:
        """Ends the task of a stream that nobody refers to any more."""
        if self._task is not None and not self._over and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and has ended its tasks
                self._loop.call_soon_threadsafe(self._stop)


def _closer(producer: Any, name: str) -> Callable[[], Any] | None:
    """How ``producer`` is closed. Only iterators: a list, a table or a dataset is not ours to close."""
    if isinstance(producer, Iterator | AsyncIterator):
        close: Callable[[], Any] | None = getattr(producer, name, None)
        return close
    return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
