"""What flows through a handoff comes out as it went in, within its window, and nobody waits for somebody who has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.data import Budget, Spill, StreamingHandoff
from pipeline_flow.errors import InternalError, StreamConsumed

PLENTY = 2**40
WINDOW = 20_000
PATIENCE = 30.0  # seconds, after which a test that hangs has failed


def batch(rows: int = 1000, start: int = 0) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(range(start, start + rows), pa.int64())})


class Bed:
    """A handoff, a thread that writes into it, and what it has told."""

    def __init__(self, folder: Path, budget: Budget, window: int) -> None:
        self.full = threading.Event()
        self.budget = budget
        self.spill = Spill(folder / "spill")
        self.handoff = StreamingHandoff("p.extract.e", budget, self.spill, window, self.full.set)
        self.written = 0
        self._threads = ThreadPoolExecutor(4)

    def write(self, batches: list[pa.RecordBatch], error: Exception | None = None) -> Any:
        """The result of writing them all, in a thread."""

        def work() -> None:
            self.handoff.start(batches[0].schema)
            for item in batches:
                self.handoff.append(item)
                self.written += item.num_rows
            if error is None:
                self.handoff.finish()
            else:
                self.handoff.fail(error)

        return self._threads.submit(work)

    def run(self, function: Callable[[], Any]) -> Any:
        return self._threads.submit(function)

    def close(self) -> None:
        self.handoff.close()
        self._threads.shutdown()
        self.spill.close()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Callable[..., Bed]]:
    made: list[Bed] = []

    def make(window: int = WINDOW, budget: Budget | None = None) -> Bed:
        made.append(Bed(tmp_path / str(len(made)), budget or Budget(PLENTY), window))
        return made[-1]

    yield make
    for item in made:
        item.close()
        assert item.budget.used == 0


def test_what_fits_into_the_window_is_staged(bed: Callable[..., Bed]) -> None:
    small = bed()
    small.write([batch(), batch(start=1000)]).result(PATIENCE)
    assert not small.full.is_set()
    assert not small.handoff.flows
    for _ in range(2):
        assert small.handoff.open().to_table()["n"].to_pylist() == list(range(2000))


def test_more_than_the_window_waits_for_its_reader(bed: Callable[..., Bed]) -> None:
    large = bed()
    writing = large.write([batch(start=start) for start in range(0, 10_000, 1000)])
    assert large.full.wait(PATIENCE)
    assert large.handoff.memory_bytes <= WINDOW
    reader = large.handoff.open()
    assert next(reader).num_rows == 1000
    assert large.written <= 4000  # two wait, one was read, and one is on its way
    assert [item.num_rows for item in reader] == [1000] * 9
    writing.result(PATIENCE)
    assert large.handoff.rows == 10_000
    assert large.handoff.finished


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=30),
    window=st.integers(1, 60_000),
    budget=st.integers(0, 60_000),
)
def test_everything_comes_out_once_and_in_order(
    bed: Callable[..., Bed], sizes: list[int], window: int, budget: int
) -> None:
    at = bed(window, Budget(budget))
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    writing = at.write([batch(rows, start) for rows, start in zip(sizes, starts, strict=True)])
    while not writing.done() and not at.full.wait(0.01):
        pass
    with at.handoff.open() as reader:
        assert reader.to_table()["n"].to_pylist() == list(range(sum(sizes)))
    writing.result(PATIENCE)
    assert at.budget.used == at.handoff.memory_bytes


def test_a_batch_larger_than_window_and_budget_passes(bed: Callable[..., Bed]) -> None:
    at = bed(window=10, budget=Budget(5))
    writing = at.write([batch(), batch(start=1000)])
    assert at.full.wait(PATIENCE)
    assert at.handoff.open().to_table().num_rows == 2000
    writing.result(PATIENCE)


def test_a_reader_that_leaves_holds_up_nobody(bed: Callable[..., Bed]) -> None:
    at = bed()
    writing = at.write([batch(start=start) for start in range(0, 50_000, 1000)])
    assert at.full.wait(PATIENCE)
    reader = at.handoff.open()
    next(reader)
    reader.close()
    writing.result(PATIENCE)
    assert at.handoff.rows == 50_000
    assert at.budget.used == 0


def test_so_does_one_that_never_began(bed: Callable[..., Bed]) -> None:
    at = bed()
    writing = at.write([batch(start=start) for start in range(0, 50_000, 1000)])
    assert at.full.wait(PATIENCE)
    at.handoff.open().close()
    writing.result(PATIENCE)
    assert at.handoff.rows == 50_000


def test_the_reader_gets_what_the_writer_failed_with(bed: Callable[..., Bed]) -> None:
    at = bed()
    broken = ValueError("the source is gone")
    writing = at.write([batch(start=start) for start in range(0, 5000, 1000)], error=broken)
    assert at.full.wait(PATIENCE)
    with pytest.raises(ValueError, match="the source is gone"):
        at.handoff.open().to_table()
    writing.result(PATIENCE)
    assert at.handoff.error is broken


def test_a_failure_wakes_the_reader_that_waits(bed: Callable[..., Bed]) -> None:
    at = bed(window=1)
    at.handoff.start(batch().schema)
    writing = at.run(lambda: at.handoff.append(batch()))
    writing.result(PATIENCE)
    reader = at.handoff.open()
    next(reader)
    reading = at.run(lambda: next(reader))
    at.handoff.fail(ValueError("the source is gone"))
    with pytest.raises(ValueError, match="the source is gone"):
        reading.result(PATIENCE)


def test_closing_wakes_the_writer_and_the_reader(bed: Callable[..., Bed]) -> None:
    at = bed()
    writing = at.write([batch(start=start) for start in range(0, 50_000, 1000)])
    assert at.full.wait(PATIENCE)
    at.handoff.close()
    with pytest.raises(StreamConsumed):
        writing.result(PATIENCE)

    waiting = bed(window=1)
    waiting.handoff.start(batch().schema)
    waiting.handoff.append(batch())
    reader = waiting.handoff.open()
    next(reader)
    reading = waiting.run(lambda: next(reader))
    waiting.handoff.close()
    with pytest.raises(StreamConsumed):
        reading.result(PATIENCE)


def test_rows_flow_on_while_others_have_the_whole_budget(bed: Callable[..., Bed]) -> None:
    budget = Budget(100_000)
    at = bed(window=50_000, budget=budget)
    assert budget.try_reserve(100_000)
    writing = at.write([batch(start=start) for start in range(0, 50_000, 1000)])
    assert at.full.wait(PATIENCE)
    assert at.handoff.open().to_table().num_rows == 50_000
    writing.result(PATIENCE)
    budget.release(100_000)


def test_what_was_read_is_gone(bed: Callable[..., Bed]) -> None:
    at = bed()
    writing = at.write([batch(start=start) for start in range(0, 50_000, 1000)])
    assert at.full.wait(PATIENCE)
    with at.handoff.open() as reader:
        with pytest.raises(InternalError, match="opened twice"):
            at.handoff.open()
        assert reader.to_table().num_rows == 50_000
    writing.result(PATIENCE)


def test_what_slices_keep_alive_counts_once(bed: Callable[..., Bed]) -> None:
    at = bed(window=100_000)
    wholes = [batch(10_000, start) for start in range(0, 50_000, 10_000)]  # 80 kB each
    slices = [whole.slice(offset, 10) for whole in wholes for offset in range(0, 10_000, 1000)]
    writing = at.write(slices)
    assert at.full.wait(PATIENCE)
    assert 80_000 <= at.handoff.memory_bytes <= 100_000
    assert at.written == 100  # the ten slices of the first batch; one of the second has no room beside them
    reader = at.handoff.open()
    for _ in range(9):
        next(reader)
    assert at.handoff.memory_bytes >= 80_000  # the tenth holds on to all of it
    assert sum(item.num_rows for item in reader) == 410
    writing.result(PATIENCE)
