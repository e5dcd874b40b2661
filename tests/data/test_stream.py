"""What a stream promises its producer and its reader, in threads and on event loops."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream, producer_errors
from pipeline_flow.errors import ConversionFailed, DataError, StreamConsumed

SCHEMA = pa.schema([("n", pa.int64())])
WAIT = 10  # seconds until a test that hangs gives up; nothing here takes a hundredth of it


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


class Boom(Exception):
    """What producers here raise."""


class Producer:
    """A producer that counts how often it was closed, and fails after ``good`` batches if told so."""

    def __init__(self, batches: int = 3, *, fails: bool = False, wait: threading.Event | None = None) -> None:
        self.batches = batches
        self.fails = fails
        self.wait = wait
        self.inside = threading.Event()
        self.generator_closed = 0
        self.on_close_called = 0
        self.order: list[str] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for number in range(self.batches):
                self.inside.set()
                if self.wait is not None:
                    assert self.wait.wait(WAIT)
                yield batch(number)
            if self.fails:
                raise Boom("the source broke")
        finally:
            self.generator_closed += 1
            self.order.append("producer")

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        try:
            for number in range(self.batches):
                self.inside.set()
                while self.wait is not None and not self.wait.is_set():  # noqa: ASYNC110 - threads set it too
                    await asyncio.sleep(0.001)
                yield batch(number)
            if self.fails:
                raise Boom("the source broke")
        finally:
            await asyncio.sleep(0)  # cleaning up may wait
            self.generator_closed += 1
            self.order.append("producer")

    def on_close(self) -> None:
        self.on_close_called += 1
        self.order.append("on_close")

    def stream(self) -> BatchStream:
        return BatchStream(SCHEMA, Sync(self), on_close=self.on_close)

    def async_stream(self) -> BatchStream:
        return BatchStream(SCHEMA, Async(self), on_close=self.on_close)

    @property
    def closed(self) -> tuple[int, int]:
        return self.generator_closed, self.on_close_called


class Sync:
    """Only the synchronous side of a producer."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.producer)


class Async:
    """Only the asynchronous side of a producer."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        return self.producer.__aiter__()


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    return [value for each in batches for value in each["n"].to_pylist()]


async def collect(stream: BatchStream) -> list[pa.RecordBatch]:
    return [each async for each in stream]


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Starts ``function``; the list gets its result, or what it raised."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


# ---------------------------------------------------------------------------------------------- reading


def test_each_side_may_be_synchronous_or_asynchronous() -> None:
    async def main() -> None:
        for make in (Producer.stream, Producer.async_stream):
            producer = Producer()
            assert numbers(await collect(make(producer))) == [0, 1, 2]
            assert producer.closed == (1, 1)
            producer = Producer()
            assert numbers(await asyncio.to_thread(lambda: list(make(producer)))) == [0, 1, 2]  # noqa: B023
            assert producer.closed == (1, 1)

    # A thread that was handed an asynchronous stream reads it through the loop on which it was made.
    async def made_on_the_loop() -> None:
        producer = Producer()
        stream = producer.async_stream()
        assert numbers(await asyncio.to_thread(list, stream)) == [0, 1, 2]
        assert producer.closed == (1, 1)

    asyncio.run(made_on_the_loop())
    with pytest.raises(DataError, match="no event loop"):
        asyncio.run(main())


def test_rows_and_bytes_count_what_was_handed_out() -> None:
    stream = BatchStream(SCHEMA, [batch(1, 2), batch(3)])
    next(stream)
    assert (stream.rows, stream.bytes) == (2, 16)
    next(stream)
    assert (stream.rows, stream.bytes) == (3, 24)


def test_empty_means_schema_and_no_batch() -> None:
    stream = BatchStream(SCHEMA, [batch(), batch()])
    assert stream.schema == SCHEMA
    assert list(stream) == []
    assert BatchStream(SCHEMA, []).to_table().equals(SCHEMA.empty_table())
    assert BatchStream(SCHEMA, iter([])).to_reader().read_all().equals(SCHEMA.empty_table())


def test_batches_without_columns_keep_their_rows() -> None:
    empty = pa.RecordBatch.from_struct_array(pa.array([{}] * 5, pa.struct([])))
    assert BatchStream(empty.schema, [empty]).to_table().num_rows == 5
    stream = BatchStream(empty.schema, [empty, empty])
    assert [each.num_rows for each in stream.to_reader()] == [5, 5]
    assert stream.rows == 10


def test_the_producer_is_not_touched_before_the_first_read() -> None:
    producer = Producer()
    with producer.stream() as stream:
        assert stream.schema == SCHEMA
        assert not producer.inside.is_set()
    assert producer.closed == (0, 1)


def test_a_stream_can_be_read_on_where_a_reader_stopped() -> None:
    stream = Producer().stream()
    for _ in stream:
        break
    assert numbers(list(stream)) == [1, 2]


@pytest.mark.parametrize(
    "again",
    [
        iter,
        BatchStream.__aiter__,
        BatchStream.to_table,
        BatchStream.to_reader,
        BatchStream.__arrow_c_stream__,
        lambda stream: asyncio.run(stream.read_table()),
        lambda stream: stream.map(SCHEMA, lambda each: each),
    ],
)
def test_a_second_reading_is_refused(again: Callable[[BatchStream], object]) -> None:
    stream = Producer().stream()
    list(stream)
    with pytest.raises(StreamConsumed, match=r"already read \(3 rows\)"):
        again(stream)
    for take in (BatchStream.to_table, BatchStream.to_reader):
        stream = Producer().stream()
        take(stream)
        with pytest.raises(StreamConsumed, match="handed over"):
            again(stream)
        with pytest.raises(StreamConsumed, match="handed over"):
            next(stream)


def test_what_is_begun_cannot_be_taken_as_a_whole() -> None:
    stream = Producer().stream()
    next(stream)
    with pytest.raises(StreamConsumed, match=r"already read \(1 rows\)"):
        stream.to_table()


def test_several_threads_share_the_batches_of_one_stream() -> None:
    stream = BatchStream(SCHEMA, (batch(number) for number in range(2000)))
    threads = [in_thread(lambda: numbers(list(stream))) for _ in range(8)]
    found = []
    for thread, results in threads:
        thread.join(WAIT)
        # A thread that comes after the end is told that the stream was read.
        found += results[0] if isinstance(results[0], list) else []
    assert sorted(found) == list(range(2000))
    assert stream.rows == 2000


# ---------------------------------------------------------------------------------------------- schema


def test_the_schema_may_be_work_and_is_asked_for_once() -> None:
    asked = []

    def schema() -> pa.Schema:
        asked.append(1)
        return SCHEMA

    stream = BatchStream(schema, [batch(1)])
    assert not asked
    assert (stream.schema, stream.schema, len(list(stream))) == (SCHEMA, SCHEMA, 1)
    assert asked == [1]
    stream = BatchStream(schema, (batch(number) for number in range(100)))
    threads = [in_thread(lambda: [stream.schema, list(stream)][0]) for _ in range(8)]
    for thread, _ in threads:
        thread.join(WAIT)
    assert asked == [1, 1]


def test_threads_that_ask_for_the_schema_at_once_get_one_answer() -> None:
    gate, asked = threading.Event(), []

    def schema() -> pa.Schema:
        asked.append(1)
        assert gate.wait(WAIT)
        return SCHEMA

    stream = BatchStream(schema, [])
    threads = [in_thread(lambda: stream.schema) for _ in range(4)]
    time.sleep(0.02)  # all are inside: one asks, the others wait for it
    gate.set()
    for thread, results in threads:
        thread.join(WAIT)
        assert results == [SCHEMA]
    assert asked == [1]


def test_an_asynchronous_schema_is_awaited_by_ready() -> None:
    async def schema() -> pa.Schema:
        await asyncio.sleep(0)
        return SCHEMA

    async def main() -> None:
        for source in (schema, schema()):
            stream = BatchStream(source, Async(Producer()))
            with pytest.raises(DataError, match="wait for itself"):
                stream.schema  # noqa: B018 - it would block the loop
            assert await stream.ready() == SCHEMA
            assert stream.schema == SCHEMA
            assert len(await collect(stream)) == 3
        stream = BatchStream(schema, Async(Producer()))
        assert await asyncio.to_thread(lambda: stream.schema) == SCHEMA
        await stream.aclose()

    asyncio.run(main())


def test_ready_does_not_run_a_synchronous_producer_on_the_event_loop() -> None:
    where = []

    def schema() -> pa.Schema:
        where.append(threading.current_thread())
        return SCHEMA

    assert asyncio.run(BatchStream(schema, []).ready()) == SCHEMA
    assert where != [threading.main_thread()]


def test_two_columns_of_one_name_are_refused() -> None:
    twice = pa.schema([("id", pa.int64()), ("x", pa.int64()), ("id", pa.int64())])
    with pytest.raises(ConversionFailed, match="column `id` is more than once among 3 columns"):
        BatchStream(twice, [])
    with pytest.raises(ConversionFailed, match="`id`"):
        BatchStream(lambda: twice, []).to_table()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pa.record_batch({"n": ["text"]}), "after row 1 .* column `n` is string, expected int64"),
        (pa.record_batch({"m": [1]}), "column `n` is missing"),
        (pa.record_batch({"n": [1], "m": [1]}), "column `m` is new"),
        (
            pa.record_batch([pa.array([1])], schema=pa.schema([pa.field("n", pa.int64(), nullable=False)])),
            "not null",
        ),
        ("a string", "gave a str, expected a pyarrow.RecordBatch"),
    ],
)
def test_a_batch_that_is_not_what_the_schema_says_is_an_error(wrong: Any, message: str) -> None:
    closed = []
    stream = BatchStream(SCHEMA, iter([batch(1), wrong, batch(2)]), on_close=lambda: closed.append(1))
    with pytest.raises(ConversionFailed, match=message):
        list(stream)
    assert closed == [1]
    with pytest.raises(ConversionFailed, match=message):
        next(stream)

    async def main() -> None:
        async def producer() -> AsyncIterator[Any]:
            yield batch(1)
            yield wrong

        with pytest.raises(ConversionFailed, match=message):
            await collect(BatchStream(SCHEMA, producer()))

    asyncio.run(main())


def test_metadata_passes_and_may_differ_between_batches() -> None:
    schema = SCHEMA.with_metadata({"key": "value"})
    assert BatchStream(schema, [batch(1)]).to_reader().schema.metadata == {b"key": b"value"}
    assert BatchStream(schema, [batch(1)]).to_table().schema.metadata == {b"key": b"value"}


# ---------------------------------------------------------------------------------------------- errors


def test_the_producers_error_is_raised_in_the_reader_and_again_on_every_later_read() -> None:
    for read in (list, BatchStream.to_table, lambda stream: asyncio.run(collect(stream))):
        producer = Producer(fails=True)
        stream = producer.stream()
        with pytest.raises(Boom, match="the source broke"):
            read(stream)
        assert producer.closed == (1, 1)
        with pytest.raises(Boom):
            read(stream)
        with pytest.raises(Boom):
            next(stream)
        assert isinstance(stream.error, Boom)


def test_an_asynchronous_producers_error_is_raised_in_the_reader() -> None:
    async def main() -> None:
        for read in (collect, BatchStream.read_table, lambda stream: asyncio.to_thread(list, stream)):
            producer = Producer(fails=True)
            stream = producer.async_stream()
            for _ in range(2):
                with pytest.raises(Boom):
                    await read(stream)
            assert producer.closed == (1, 1)

    asyncio.run(main())


def test_an_error_while_finding_the_schema_is_the_streams_error() -> None:
    def schema() -> pa.Schema:
        raise Boom

    stream = BatchStream(schema, [batch(1)])
    for _ in range(2):
        with pytest.raises(Boom):
            stream.schema  # noqa: B018 - it raises
        with pytest.raises(Boom):
            list(stream)


@pytest.mark.parametrize(
    "native",
    [
        lambda stream: pa.RecordBatchReader.from_stream(stream).read_all(),
        lambda stream: pl.DataFrame(stream.to_reader()),
        lambda stream: _duckdb(stream.to_reader()),
    ],
)
def test_producer_errors_gives_back_what_native_code_turned_into_its_own_error(
    native: Callable[[Any], Any],
) -> None:
    with pytest.raises(Exception, match="the source broke") as info, Producer(fails=True).stream() as stream:
        native(stream)
    assert not isinstance(info.value, Boom), "native code keeps the error now: producer_errors can go"
    producer = Producer(fails=True)
    with (
        pytest.raises(Boom, match="the source broke") as info,
        producer.stream() as stream,
        producer_errors(stream),
    ):
        native(stream)
    assert info.value.__suppress_context__
    assert producer.closed == (1, 1)


def _duckdb(reader: pa.RecordBatchReader) -> Any:
    connection = duckdb.connect()
    try:
        return connection.execute("select sum(n) from reader").fetchall()
    finally:
        connection.close()


def test_producer_errors_leaves_other_errors_and_raises_what_was_swallowed() -> None:
    stream = Producer().stream()
    with pytest.raises(ZeroDivisionError), producer_errors(stream):
        1 / 0  # noqa: B018 - it raises
    stream = Producer(fails=True).stream()
    with pytest.raises(Boom), producer_errors(Producer().stream(), stream), suppress(Boom):
        list(stream)


def test_an_error_while_closing_is_raised_where_nothing_else_is_and_noted_where_something_is() -> None:
    def on_close() -> None:
        raise Boom("closing broke")

    with pytest.raises(Boom, match="closing broke"):
        list(BatchStream(SCHEMA, [batch(1)], on_close=on_close))
    with pytest.raises(Boom, match="closing broke"), BatchStream(SCHEMA, [batch(1)], on_close=on_close):
        pass
    with pytest.raises(ZeroDivisionError) as info, BatchStream(SCHEMA, [batch(1)], on_close=on_close):
        1 / 0  # noqa: B018 - it raises
    assert "closing broke" in info.value.__notes__[0]
    with pytest.raises(Boom, match="the source broke") as failed:
        list(BatchStream(SCHEMA, Sync(Producer(fails=True)), on_close=on_close))
    assert "closing broke" in failed.value.__notes__[0]

    async def main() -> None:
        with pytest.raises(Boom, match="closing broke"):
            await collect(BatchStream(SCHEMA, Async(Producer()), on_close=on_close))
        with pytest.raises(Boom, match="closing broke"):
            async with BatchStream(SCHEMA, Async(Producer()), on_close=on_close) as stream:
                await anext(stream)
        with pytest.raises(Boom, match="the source broke") as failed:
            await collect(BatchStream(SCHEMA, Async(Producer(fails=True)), on_close=on_close))
        assert "closing broke" in failed.value.__notes__[0]

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- closing


def test_close_ends_the_producer_once() -> None:
    producer = Producer()
    stream = producer.stream()
    next(stream)
    stream.close()
    stream.close()
    assert producer.order == ["producer", "on_close"]
    # A closed stream must not look like one that ended.
    for read in (next, list, BatchStream.to_table):
        with pytest.raises(StreamConsumed, match="closed before its end, after 1 rows"):
            read(stream)


def test_closing_after_the_end_changes_nothing() -> None:
    producer = Producer()
    with producer.stream() as stream:
        assert len(list(stream)) == 3
    assert producer.closed == (1, 1)
    assert next(stream, "end") == "end"


def test_close_from_another_thread_while_the_producer_works() -> None:
    gate = threading.Event()
    producer = Producer(wait=gate)
    stream = producer.stream()
    thread, results = in_thread(lambda: next(stream))
    assert producer.inside.wait(WAIT)
    stream.close()  # comes back at once, and leaves the producer to the thread inside
    assert producer.closed == (0, 0)
    gate.set()
    thread.join(WAIT)
    assert producer.closed == (1, 1)
    assert isinstance(results[0], StreamConsumed)


def test_close_at_any_moment_closes_once() -> None:
    for round_ in range(200):
        producer = Producer(batches=50)
        stream = producer.stream()
        reader, results = in_thread(partial(list, stream))
        closer = threading.Timer(round_ / 200_000, stream.close)
        closer.start()
        reader.join(WAIT)
        closer.join(WAIT)
        # Closed before its first step, the generator had nothing to clean up.
        assert producer.closed in ((1, 1), (0, 1))
        assert isinstance(results[0], StreamConsumed) or len(results[0]) == 50


def test_a_producer_may_close_its_own_stream() -> None:
    closed = []

    def produce() -> Iterator[pa.RecordBatch]:
        yield batch(1)
        stream.close()
        yield batch(2)

    stream = BatchStream(SCHEMA, produce(), on_close=lambda: closed.append(1))
    next(stream)
    with pytest.raises(StreamConsumed):
        next(stream)
    assert closed == [1]


def test_readers_and_capsules_close_the_producer_at_their_end() -> None:
    for read in (lambda s: s.to_reader().read_all(), pl.DataFrame, pa.table):
        producer = Producer()
        read(producer.stream())
        assert producer.closed == (1, 1)
    producer = Producer()
    stream = producer.stream()
    reader = stream.to_reader()
    reader.read_next_batch()
    stream.close()
    assert producer.closed == (1, 1)
    with pytest.raises(StreamConsumed):
        reader.read_next_batch()


def test_map_changes_batches_counts_both_sides_and_closes_the_source() -> None:
    doubled = pa.schema([("n", pa.float64())])

    def double(each: pa.RecordBatch) -> pa.RecordBatch:
        assert threading.current_thread() is not loop_thread
        return pa.record_batch({"n": [value * 2.0 for value in each["n"].to_pylist()]})

    loop_thread: threading.Thread | None = None
    producer = Producer()
    stream = producer.stream()
    assert stream.map(doubled, double).to_table()["n"].to_pylist() == [0.0, 2.0, 4.0]
    assert (stream.rows, producer.closed) == (3, (1, 1))
    producer = Producer()
    with producer.stream().map(doubled, double):
        pass
    assert producer.closed == (0, 1)

    async def main() -> None:
        producer = Producer()
        mapped = producer.async_stream().map(doubled, double)
        assert (await mapped.read_table())["n"].to_pylist() == [0.0, 2.0, 4.0]
        assert producer.closed == (1, 1)
        producer = Producer(fails=True)
        with pytest.raises(Boom):
            await producer.async_stream().map(doubled, double).read_table()
        producer = Producer()
        async with producer.async_stream().map(doubled, double) as mapped:
            await anext(mapped)
        assert producer.closed == (1, 1)

    loop_thread = threading.current_thread()
    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- on event loops


def test_a_synchronous_producer_never_runs_on_the_event_loop() -> None:
    threads = set()
    used = []

    def produce() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(3):
                threads.add(threading.current_thread())
                yield batch(number)
        finally:
            threads.add(threading.current_thread())

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        used.append(function)
        return await asyncio.to_thread(function, *args)

    async def main() -> None:
        stream = BatchStream(SCHEMA, produce(), on_close=lambda: threads.add(threading.current_thread()))
        stream.run_in_thread = run
        async with stream:
            await anext(stream)
        assert used
        assert threading.main_thread() not in threads

    asyncio.run(main())


def test_the_event_loop_goes_on_while_a_thread_reads_an_asynchronous_stream() -> None:
    async def main() -> None:
        gate = threading.Event()
        stream = Producer(wait=gate).async_stream()
        reading = asyncio.create_task(asyncio.to_thread(stream.to_table))
        await asyncio.sleep(0.01)
        assert not reading.done()
        gate.set()
        assert (await reading).num_rows == 3

    asyncio.run(main())


def test_a_plain_for_on_the_producers_own_loop_is_refused_and_harms_nothing() -> None:
    async def main() -> None:
        stream = Producer().async_stream()
        for read in (next, list, BatchStream.to_table, lambda s: s.to_reader().read_all()):
            fresh = Producer().async_stream()
            with pytest.raises(Exception, match="wait for itself"):
                read(fresh)
        assert len(await collect(stream)) == 3

    asyncio.run(main())


def test_all_steps_of_an_asynchronous_producer_run_in_one_task() -> None:
    tasks = set()

    async def produce() -> AsyncIterator[pa.RecordBatch]:
        # Task groups and timeouts around a `yield` break in any other task than the one that opened them.
        async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(asyncio.sleep(0))
                tasks.add(asyncio.current_task())
                yield batch(number)

    async def main() -> None:
        stream = BatchStream(SCHEMA, produce())
        await asyncio.create_task(anext(stream))
        assert numbers(await asyncio.to_thread(list, stream)) == [1, 2]
        assert len(tasks) == 1
        stream = BatchStream(SCHEMA, produce())
        await asyncio.create_task(anext(stream))
        await asyncio.create_task(stream.aclose())

    asyncio.run(main())


def test_a_producer_that_fails_in_its_task_group_fails_its_reader() -> None:
    async def fail() -> None:
        raise Boom("in a task of the producer")

    async def produce() -> AsyncIterator[pa.RecordBatch]:
        async with asyncio.TaskGroup() as group:
            yield batch(1)
            group.create_task(fail())
            await asyncio.sleep(WAIT)
            yield batch(2)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as info:
            await collect(BatchStream(SCHEMA, produce()))
        assert info.group_contains(Boom)

    asyncio.run(main())


@pytest.mark.parametrize("make", [Producer.stream, Producer.async_stream])
def test_a_cancelled_read_closes_the_stream(make: Callable[[Producer], BatchStream]) -> None:
    # Otherwise the batch under way would be lost, and the next read would not know.
    async def main() -> None:
        gate = threading.Event()
        producer = Producer(wait=gate)
        stream = make(producer)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(stream)
        with pytest.raises(StreamConsumed, match="closed before its end"):
            await anext(stream)
        gate.set()
        await stream.aclose()
        for _ in range(1000):
            if producer.closed == (1, 1):
                break
            await asyncio.sleep(0.005)
        assert producer.closed == (1, 1)

    asyncio.run(main())


def test_a_read_that_is_cancelled_before_its_thread_begins_closes_the_stream() -> None:
    async def main() -> None:
        async def never(function: Callable[..., Any], *args: Any) -> Any:
            if function == stream._producer.ask:
                await asyncio.sleep(WAIT)
            return function(*args)

        producer = Producer()
        stream = producer.stream()
        stream.run_in_thread = never
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(stream)
        assert producer.closed == (0, 1)

    asyncio.run(main())


def test_aclose_cancels_an_asynchronous_producer_and_waits_for_its_clean_up() -> None:
    async def main() -> None:
        for from_thread in (False, True):
            producer = Producer(wait=threading.Event())
            stream = producer.async_stream()
            reading = asyncio.create_task(collect(stream))
            assert await asyncio.to_thread(producer.inside.wait, WAIT)
            await (asyncio.to_thread(stream.close) if from_thread else stream.aclose())
            assert producer.closed == (1, 1)
            with pytest.raises(StreamConsumed):
                await reading

    asyncio.run(main())


def test_close_on_the_loop_ends_the_producer_soon() -> None:
    async def main() -> None:
        producer = Producer()
        stream = producer.async_stream()
        await anext(stream)
        stream.close()
        with pytest.raises(StreamConsumed):
            await anext(stream)
        await stream.aclose()
        assert producer.order == ["producer", "on_close"]
        producer = Producer()
        producer.async_stream().close()
        assert producer.closed == (0, 1)
        producer = Producer()
        await producer.async_stream().aclose()
        assert producer.closed == (0, 1)

    asyncio.run(main())


def test_closing_again_does_not_interrupt_the_clean_up() -> None:
    steps = []

    async def produce() -> AsyncIterator[pa.RecordBatch]:
        try:
            await asyncio.sleep(WAIT)
            yield batch(1)
        finally:
            steps.append("cleaning")
            await asyncio.sleep(0.01)
            steps.append("clean")

    async def main() -> None:
        stream = BatchStream(SCHEMA, produce())
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.001)
        while not steps:
            stream.close()
            await asyncio.sleep(0)
        stream.close()
        await stream.aclose()
        assert steps == ["cleaning", "clean"]
        with pytest.raises(StreamConsumed):
            await reading

    asyncio.run(main())


def test_a_stream_may_be_closed_before_its_task_has_begun() -> None:
    async def main() -> None:
        producer = Producer()
        stream = producer.async_stream()
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        stream.close()
        with pytest.raises(StreamConsumed):
            async with asyncio.timeout(WAIT):
                await reading
        assert producer.on_close_called == 1

    asyncio.run(main())


def test_a_thread_that_waits_for_a_batch_is_freed_by_close() -> None:
    async def main() -> None:
        producer = Producer(wait=threading.Event())
        stream = producer.async_stream()
        thread, results = in_thread(lambda: list(stream))
        assert await asyncio.to_thread(producer.inside.wait, WAIT)
        await stream.aclose()
        await asyncio.to_thread(thread.join, WAIT)
        assert isinstance(results[0], StreamConsumed)

    asyncio.run(main())


def test_a_thread_that_waits_for_a_batch_is_freed_when_the_loop_ends() -> None:
    producer = Producer(wait=threading.Event())
    started = []

    async def main() -> None:
        stream = producer.async_stream()
        started.append(in_thread(lambda: list(stream)))
        assert await asyncio.to_thread(producer.inside.wait, WAIT)

    asyncio.run(main())
    thread, results = started[0]
    thread.join(WAIT)
    assert isinstance(results[0], StreamConsumed)
    assert producer.closed == (1, 1)


def test_a_stream_that_outlives_its_loop_says_so() -> None:
    async def main() -> BatchStream:
        stream = Producer().async_stream()
        await anext(stream)
        return stream

    stream = asyncio.run(main())
    with pytest.raises(StreamConsumed, match="closed before its end"):
        next(stream)
    stream.close()

    async def unread() -> BatchStream:
        return Producer().async_stream()

    with pytest.raises(DataError, match="no event loop"):
        next(asyncio.run(unread()))


def test_a_forgotten_stream_ends_its_producer() -> None:
    async def main() -> None:
        producer = Producer()
        stream = producer.async_stream()
        await anext(stream)
        del stream
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        assert producer.closed == (1, 1)

    asyncio.run(main())


def test_a_producer_that_ignores_its_cancellation_is_still_closed() -> None:
    steps = []
    inside = asyncio.Event()

    async def produce() -> AsyncIterator[pa.RecordBatch]:
        try:
            while True:
                try:
                    steps.append("inside")
                    inside.set()
                    await asyncio.sleep(WAIT)
                except asyncio.CancelledError:
                    steps.append("ignored")
                yield batch(1)
        finally:
            steps.append("closed")

    async def main() -> None:
        stream = BatchStream(SCHEMA, produce())
        reading = asyncio.create_task(anext(stream))
        await inside.wait()
        await stream.aclose()
        assert steps == ["inside", "ignored", "closed"]
        with pytest.raises(StreamConsumed):
            await reading

    asyncio.run(main())


def test_several_tasks_share_the_batches_of_one_asynchronous_stream() -> None:
    async def main() -> None:
        stream = BatchStream(SCHEMA, Async(Producer(100)))

        async def read() -> list[int]:
            return numbers(await collect(stream))

        parts = await asyncio.gather(*(read() for _ in range(5)))
        assert sorted(number for part in parts for number in part) == list(range(100))

    asyncio.run(main())
