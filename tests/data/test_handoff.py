"""What waits in a handoff comes out as it went in, within the budget, as often and as slowly as readers want."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from pipeline_flow.data import BatchStream, Budget, Handoff, Spill, handoff, lock, remove_stale, to_stream
from pipeline_flow.errors import (
    ConversionFailed,
    DataError,
    InternalError,
    NotTabular,
    SpillFull,
    StreamConsumed,
)
from tests.data import arrow

SCHEMA = pa.schema([("n", pa.int64())])
PLENTY = 2**40


def batch(rows: int = 1000, start: int = 0) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(range(start, start + rows), pa.int64())})


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[Spill]:
    with Spill(tmp_path / "spill" / "run") as folder:
        yield folder


def written(
    batches: list[pa.RecordBatch], budget: Budget, spill: Spill, schema: pa.Schema | None = None
) -> Handoff:
    waiting = Handoff("shop.extract.orders", budget, spill)
    waiting.write(BatchStream(schema or batches[0].schema, batches))
    return waiting


# ---------------------------------------------------------------------------------------------- what comes out


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flat_type_comes_out_as_it_went_in(spill: Spill, data: st.DataObject) -> None:
    for kind in arrow.FLAT:
        batches = [pa.record_batch({"c": data.draw(arrow.arrays(kind, rows))}) for rows in (1, 3)]
        for limit in (PLENTY, 0):
            with written(batches, Budget(limit), spill) as waiting:
                arrow.same(list(waiting.open()), batches)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=arrow.tables(), in_memory=st.sampled_from([0, 1, 2, 99]))
def test_every_type_comes_out_as_it_went_in(
    spill: Spill, batches: list[pa.RecordBatch], in_memory: int
) -> None:
    with Handoff("any", Budget(PLENTY), spill) as waiting:
        waiting.start(batches[0].schema)
        for number, each in enumerate(batches):
            if number == in_memory:
                waiting._budget = Budget(waiting.memory_bytes)  # nothing is left: from here on, disk
                assert waiting._budget.try_reserve(waiting.memory_bytes)
            waiting.append(each)
        waiting.finish()
        arrow.same(list(waiting.open()), batches)
        assert waiting.open().schema.equals(batches[0].schema, check_metadata=True)
    assert spill.used == 0


@pytest.mark.parametrize("limit", [PLENTY, 0])
@pytest.mark.parametrize("array", arrow.special(12), ids=lambda array: str(array.type).split("<")[0])
def test_unions_run_ends_and_tensors_come_out_as_they_went_in(
    spill: Spill, array: pa.Array, limit: int
) -> None:
    batches = [pa.record_batch({"c": array}), pa.record_batch({"c": array}).slice(3, 5)]
    with written(batches, Budget(limit), spill) as waiting:
        arrow.same(list(waiting.open()), batches)


@pytest.mark.parametrize("limit", [PLENTY, 0, 5000])
def test_dictionaries_may_change_from_batch_to_batch(spill: Spill, limit: int) -> None:
    def words(*values: str) -> pa.RecordBatch:
        flat = pa.array(values).dictionary_encode()
        return pa.record_batch(
            {"flat": flat, "nested": pa.ListArray.from_arrays([*range(len(values) + 1)], flat)}
        )

    batches = [words("a", "b"), words("c"), words("a", "c", "d"), words("c"), words("a", "b")]
    with written(batches, Budget(limit), spill) as waiting:
        arrow.same(list(waiting.open()), batches)


def test_rows_without_columns_are_counted_and_kept(spill: Spill) -> None:
    rows = pa.RecordBatch.from_struct_array(pa.array([{}] * 5, pa.struct([])))
    for limit in (PLENTY, 0):
        with written([rows, rows], Budget(limit), spill) as waiting:
            assert (waiting.rows, waiting.open().to_table().num_rows) == (10, 10)


def test_an_empty_handoff_has_a_schema_and_no_batch(spill: Spill) -> None:
    with written([], Budget(0), spill, SCHEMA) as waiting:
        assert (waiting.rows, waiting.memory_bytes, waiting.disk_bytes, list(waiting.open())) == (0, 0, 0, [])
        assert waiting.open().schema == SCHEMA
    with written([batch(0)], Budget(0), spill) as waiting:
        assert list(waiting.open()) == []
    assert not spill.folder.exists(), "nothing to keep, no folder"


def test_a_batch_larger_than_the_budget_and_cells_of_ten_megabytes(spill: Spill) -> None:
    big = pa.record_batch({"cell": [os.urandom(10 * 2**20) for _ in range(3)]})
    budget = Budget(12 * 2**20)
    batches = [big.slice(0, 1), big, big.slice(2)]
    with written(batches, budget, spill) as waiting:
        assert (budget.used, waiting.memory_bytes) == (0, 0)
        assert waiting.disk_bytes < 51 * 2**20, "a slice is written without the rest of its parent"
        arrow.same(list(waiting.open()), batches)


def test_anything_tabular_can_be_written(spill: Spill) -> None:
    async def pieces() -> AsyncIterator[list[dict[str, int]]]:
        yield [{"n": 1}]
        yield [{"n": 2}]

    async def main() -> None:
        with Handoff("pages", Budget(PLENTY), spill) as waiting:
            # The writer is a thread; the producer stays on this loop.
            await asyncio.to_thread(waiting.write, to_stream(pieces()))
            assert waiting.open().to_table().to_pylist() == [{"n": 1}, {"n": 2}]

    asyncio.run(main())
    with Handoff("numbers", Budget(PLENTY), spill) as waiting:
        with pytest.raises(NotTabular):
            waiting.write([1, 2])
        with pytest.raises(NotTabular):
            waiting.open()


# ---------------------------------------------------------------------------------------------- memory and disk


def test_memory_first_then_disk_in_order(spill: Spill) -> None:
    budget = Budget(40_000)
    batches = [batch(1000, start) for start in range(0, 10_000, 1000)]
    with written(batches, budget, spill) as waiting:
        # 8,000 bytes each, and a little for the batch itself: four fit.
        assert len(waiting._memory) == 4
        assert budget.used == waiting.memory_bytes <= 40_000
        (file,) = spill.folder.iterdir()
        assert file.stat().st_size == waiting.disk_bytes == spill.used
        assert waiting.open().to_table()["n"].to_pylist() == list(range(10_000))
        assert repr(waiting).startswith("<Handoff shop.extract.orders, 10000 rows, ")
    assert (budget.used, spill.used, list(spill.folder.iterdir())) == (0, 0, [])


def test_once_on_disk_always_on_disk_even_when_memory_is_free_again(spill: Spill) -> None:
    budget = Budget(20_000)
    with Handoff("order", budget, spill) as waiting:
        waiting.start(SCHEMA)
        assert budget.try_reserve(15_000)
        waiting.append(batch())
        budget.release(15_000)
        waiting.append(batch(1000, 1000))
        waiting.finish()
        assert waiting.memory_bytes == 0
        assert waiting.open().to_table()["n"].to_pylist() == list(range(2000))


def test_slices_of_one_table_count_it_once_and_one_slice_counts_all_of_it(spill: Spill) -> None:
    whole = batch(1_000_000)
    budget = Budget(PLENTY)
    with written([whole.slice(start, 1000) for start in range(0, 1_000_000, 1000)], budget, spill) as waiting:
        overhead = 1000 * 1280
        assert 8_000_000 <= waiting.memory_bytes <= 8_000_000 + overhead
    with written([whole.slice(0, 10)], budget, spill) as waiting:
        assert waiting.memory_bytes >= 8_000_000, "ten rows keep the million alive"
    with written([whole.slice(0, 10)], Budget(1_000_000), spill) as waiting:
        assert waiting.memory_bytes == 0
        assert waiting.disk_bytes < 2000


def test_a_buffer_seen_before_costs_what_it_is_longer_now(spill: Spill) -> None:
    whole = batch(1000)
    # Through the C interface, a slice's buffers end where the slice ends.
    slices = [pa.record_batch(ArrayOnly(whole.slice(0, rows))) for rows in (500, 10, 1000, 1)]
    with written(slices, Budget(PLENTY), spill) as waiting:
        assert waiting.memory_bytes == 8000 + 4 * 1280


class ArrayOnly:
    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self.batch.__arrow_c_array__(requested_schema)


def test_what_arrow_hides_is_accounted_for(spill: Spill) -> None:
    # A column of an IPC message keeps the message; arrays keep their dictionaries, at any depth.
    sink = pa.BufferOutputStream()
    wide = pa.record_batch({"small": pa.array([1]), "large": [os.urandom(1_000_000)]})
    with ipc.new_stream(sink, wide.schema) as writer:
        writer.write_batch(wide)
    column = ipc.open_stream(sink.getvalue()).read_next_batch().select(["small"])
    words = pa.array([f"{number:010}" for number in range(100_000)])
    coded = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)
    for array in (
        column["small"],
        coded,
        pa.StructArray.from_arrays([coded], ["f"]),
        pa.ListArray.from_arrays([0, 1], coded),
        pa.MapArray.from_arrays([0, 1], pa.array(["k"]), coded),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [coded]),
        pa.ExtensionArray.from_storage(pa.opaque(coded.type, "k", "v"), coded),
    ):
        with written([pa.record_batch({"c": array})], Budget(PLENTY), spill) as waiting:
            assert waiting.memory_bytes >= 1_000_000, array.type
    # Foreign memory counts as well.
    with written([pa.record_batch({"c": pa.array(np.arange(1000))})], Budget(PLENTY), spill) as waiting:
        assert waiting.memory_bytes >= 8000


def test_tiny_batches_are_not_free(spill: Spill) -> None:
    with written([batch(1)] * 100, Budget(PLENTY), spill) as waiting:
        assert waiting.memory_bytes >= 100 * 1024


@settings(max_examples=30, deadline=None)
@given(
    limit=st.integers(0, 300_000),
    sizes=st.lists(st.lists(st.integers(0, 4000), max_size=12), min_size=2, max_size=6),
    seed=st.integers(),
)
def test_the_budget_is_right_whatever_threads_do(
    tmp_path_factory: Any, limit: int, sizes: list[list[int]], seed: int
) -> None:
    class Watched(Budget):
        """Notes the most that was ever in use."""

        most = 0

        def try_reserve(self, n: int) -> bool:
            reserved = super().try_reserve(n)
            self.most = max(self.most, self.used)
            return reserved

    budget = Watched(limit)
    chance = random.Random(seed)
    ends = [chance.choice(["close", "fail", "half"]) for _ in sizes]
    errors: list[BaseException] = []
    with Spill(tmp_path_factory.mktemp("spill") / "run") as spill:
        handoffs = [Handoff(f"h{number}", budget, spill) for number in range(len(sizes))]
        started = threading.Barrier(len(sizes))

        def work(waiting: Handoff, rows: list[int], end: str) -> None:
            try:
                started.wait(10)
                waiting.start(SCHEMA)
                for each in rows:
                    waiting.append(batch(each))
                if end == "half":
                    return
                waiting.finish()
                assert waiting.open().to_table()["n"].to_pylist() == [n for each in rows for n in range(each)]
                if end == "fail":
                    waiting.fail(ZeroDivisionError())
                waiting.close()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        threads = [
            threading.Thread(target=work, args=each) for each in zip(handoffs, sizes, ends, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert budget.used == sum(waiting.memory_bytes for waiting in handoffs)
        assert spill.used == sum(waiting.disk_bytes for waiting in handoffs)
        assert budget.most <= limit
        for waiting in handoffs:
            waiting.close()
        assert (budget.used, spill.used) == (0, 0)


@given(limit=st.integers(0, 1000), amounts=st.lists(st.integers(0, 400), max_size=30))
def test_a_budget_gives_what_is_free_and_nothing_more(limit: int, amounts: list[int]) -> None:
    budget, held = Budget(limit), []
    for amount in amounts:
        if budget.try_reserve(amount):
            held.append(amount)
        else:
            assert sum(held) + amount > limit
            if held:
                budget.release(held.pop())
        assert budget.used == sum(held) <= limit


def test_a_budget_gives_its_last_byte_and_refuses_nonsense() -> None:
    budget = Budget(10)
    assert not budget.try_reserve(11)
    assert [budget.try_reserve(n) for n in (10, 0, 1)] == [True, True, False]
    budget.release(10)
    with pytest.raises(InternalError):
        budget.release(1)
    with pytest.raises(InternalError):
        budget.try_reserve(-1)


class Slow(int):
    """A number whose addition lets other threads in between."""

    def __radd__(self, other: int) -> int:
        time.sleep(0.0001)
        return int(self) + other


def test_a_budget_is_right_under_many_threads() -> None:
    budget, held, most = Budget(100), [], []

    def work() -> None:
        for _ in range(50):
            if budget.try_reserve(Slow(60)):
                held.append(1)
                most.append(len(held))
                time.sleep(0.0001)
                held.pop()
                budget.release(60)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (budget.used, max(most)) == (0, 1), "two of sixty are more than a hundred"


# ---------------------------------------------------------------------------------------------- readers


def test_readers_go_at_their_own_pace(spill: Spill) -> None:
    batches = [batch(1000, start) for start in range(0, 20_000, 1000)]
    with written(batches, Budget(40_000), spill) as waiting:
        fast, slow = waiting.open(), waiting.open()
        assert next(slow)["n"][0].as_py() == 0
        assert fast.to_table().num_rows == 20_000
        assert [each["n"][0].as_py() for each in slow] == [*range(1000, 20_000, 1000)]
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(sum(each.num_rows for each in waiting.open())))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [20_000] * 8


@pytest.mark.parametrize("read_first", [0, 2, 15])
def test_closing_a_handoff_that_is_being_read_is_an_error_for_the_reader(
    spill: Spill, read_first: int
) -> None:
    budget = Budget(40_000)
    waiting = written([batch(1000, start) for start in range(0, 20_000, 1000)], budget, spill)
    reader = waiting.open()
    for _ in range(read_first):
        next(reader)
    waiting.close()
    waiting.close()
    for _ in range(2):
        with pytest.raises(
            StreamConsumed, match=r"`shop.extract.orders` was removed before it was read to its end"
        ):
            next(reader)
    with pytest.raises(StreamConsumed):
        waiting.open()
    assert (budget.used, spill.used, list(spill.folder.iterdir())) == (0, 0, [])


def test_a_reader_that_stops_early_leaves_no_file_open(spill: Spill) -> None:
    waiting = written([batch()] * 5, Budget(0), spill)
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    with waiting.open() as reader:
        next(reader)
    if sys.platform == "linux":
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    waiting.close()


def test_a_file_that_somebody_cut_or_damaged_is_an_error_and_never_fewer_rows(spill: Spill) -> None:
    waiting = written([batch(10)] * 5, Budget(0), spill)
    (file,) = spill.folder.iterdir()
    content = file.read_bytes()
    found = set()
    for length in range(0, len(content) - 8, 8):  # the last eight bytes only say that the stream ends
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"`shop\.extract\.orders`") as info:
            list(waiting.open())
        found.add("rows where" in info.value.message)
    assert found == {True, False}, "cut between two batches, and inside one"
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(waiting.open())


def test_a_handoff_is_written_once_and_read_after_that(spill: Spill) -> None:
    waiting = Handoff("once", Budget(PLENTY), spill)
    with pytest.raises(InternalError, match="before it was started"):
        waiting.schema  # noqa: B018 - it raises
    with pytest.raises(InternalError, match="is not being written"):
        waiting.append(batch())
    with pytest.raises(InternalError, match="is not being written"):
        waiting.finish()
    waiting.start(SCHEMA)
    with pytest.raises(InternalError, match="started twice"):
        waiting.start(SCHEMA)
    with pytest.raises(InternalError, match="opened before it was finished"):
        waiting.open()
    with pytest.raises(InternalError, match="column `n` is string, expected int64"):
        waiting.append(pa.record_batch({"n": ["x"]}))
    waiting.append(batch())
    assert (waiting.append(batch(0)), waiting.memory_bytes) == (None, 8000 + 1280), "no rows cost nothing"  # type: ignore[func-returns-value]
    before = waiting.finished
    waiting.finish()
    assert (before, waiting.finished) == (False, True)
    with pytest.raises(InternalError, match="is not being written"):
        waiting.append(batch())
    with pytest.raises(ConversionFailed, match="more than once"):
        Handoff("twice", Budget(0), spill).start(pa.schema([("n", pa.int64())] * 2))


# ---------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("good", [0, 1, 30])
def test_a_producer_that_fails_half_way_leaves_nothing_behind(spill: Spill, good: int) -> None:
    budget = Budget(20_000)

    def produce() -> Iterator[pa.RecordBatch]:
        yield from itertools.repeat(batch(), good)
        raise ZeroDivisionError("the source broke")

    waiting = Handoff("half", budget, spill)
    with pytest.raises(ZeroDivisionError):
        waiting.write(BatchStream(SCHEMA, produce()))
    assert (budget.used, spill.used, waiting.memory_bytes, waiting.disk_bytes, waiting.finished) == (
        0,
        0,
        0,
        0,
        False,
    )
    assert not spill.folder.exists() or list(spill.folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        waiting.open()


def test_the_limit_of_the_spill_folder_is_never_exceeded(tmp_path: Path) -> None:
    with Spill(tmp_path / "run", limit=50_000) as spill:
        first = written([batch()] * 3, Budget(0), spill)
        second = Handoff("second", Budget(0), spill)
        with pytest.raises(
            SpillFull, match=r"bytes would wait on disk in .*run, the limit is 50,000"
        ) as info:
            second.write(BatchStream(SCHEMA, [batch()] * 5))
        assert "spill_limit" in info.value.hint
        assert second.disk_bytes == 0
        third = Handoff("third", Budget(0), spill)
        third.start(SCHEMA)
        with pytest.raises(SpillFull):
            third.append(batch(100_000))
        with pytest.raises(SpillFull):
            third.append(batch(1))
        assert spill.used == first.disk_bytes == sum(file.stat().st_size for file in spill.folder.iterdir())
        assert first.open().to_table().num_rows == 3000
        first.close()
        assert written([batch()] * 5, Budget(0), spill).open().to_table().num_rows == 5000


def test_the_limit_is_asked_before_anything_is_written(tmp_path: Path) -> None:
    class Watched(Spill):
        allowed = 1000  # for the schema; the size of a batch does not say what its dictionaries add

        def account(self, n: int) -> None:
            on_disk = sum(file.stat().st_size for file in self.folder.iterdir())
            assert on_disk <= self.used + self.allowed
            super().account(n)

    def words(start: int) -> pa.RecordBatch:
        values = pa.array([f"{number:010}" for number in range(start, start + 10_000)])
        return pa.record_batch({"c": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), values)})

    with Watched(tmp_path / "changing", limit=10_000_000) as spill:
        spill.allowed = 200_000
        written([words(number * 10_000) for number in range(10)], Budget(0), spill).close()
    with Watched(tmp_path / "run", limit=1_000_000) as spill, pytest.raises(SpillFull):
        written([batch(10_000)] * 20, Budget(0), spill)


def test_the_account_includes_dictionaries(tmp_path: Path) -> None:
    words = pa.array([f"{number:010}" for number in range(10_000)])
    coded = pa.record_batch({"c": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)})
    with Spill(tmp_path / "run", limit=100_000) as spill:
        with pytest.raises(SpillFull):
            written([coded], Budget(0), spill)
        assert spill.used == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spill(tmp_path / "run") as spill:
        waiting = Handoff("orders", Budget(0), spill)
        monkeypatch.setattr(spill, "new_path", lambda name: Path("/dev/full"))
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: None)
        with pytest.raises(SpillFull, match=r"the disk is full: .* of `orders` wait in .*run"):
            waiting.write(BatchStream(SCHEMA, [batch()] * 3))
        assert spill.used == 0


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpillFull, match=r"cannot be made: .*file"):
        Spill(tmp_path / "file" / "run").new_path("x")
    (tmp_path / "there").mkdir()
    with pytest.raises(SpillFull, match=r"cannot be made: .*there"):
        Spill(tmp_path / "there").new_path("x")
    assert (tmp_path / "there").exists(), "a folder that was there is not ours to remove"


# ---------------------------------------------------------------------------------------------- the folder


def test_the_folder_is_private_made_when_needed_and_removed(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "a" / "run")
    assert not (tmp_path / "a").exists()
    first, second = spill.new_path("shop.extract.orders/../x"), spill.new_path("shop.extract.orders/../x")
    assert first != second
    assert first.parent == spill.folder
    assert stat.S_IMODE(spill.folder.stat().st_mode) == 0o700
    first.write_text("data")
    spill.account(4)
    spill.close()
    spill.close()
    spill.release(4)  # a handoff may be closed after its folder
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(InternalError, match="is closed"):
        spill.new_path("x")


_RUN = """
import sys, time
from pathlib import Path
from pipeline_flow.data import Spill
spill = Spill(Path(sys.argv[1]))
spill.new_path("x").write_text("data")
print("ready", flush=True)
sys.stdin.read()
"""


def _process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(folder)], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_remove_stale_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    alive, dead = _process(tmp_path / "alive"), _process(tmp_path / "dead")
    own = Spill(tmp_path / "own")
    own.new_path("x").write_text("data")
    (tmp_path / "foreign").mkdir()
    with alive, dead:
        assert remove_stale(tmp_path) == []
        dead.kill()
        dead.wait()
        assert remove_stale(tmp_path) == [tmp_path / "dead"]
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
            "alive",
            "foreign",
            "own",
        ]
        assert [path.name for path in (tmp_path / "alive").iterdir()] == ["0001-x.arrows"]
        assert not list(tmp_path.glob("dead*"))
        alive.communicate("")  # it ends without closing, as after a crash
        assert remove_stale(tmp_path) == [tmp_path / "alive"]
    own.close()
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]
    assert remove_stale(tmp_path / "nowhere") == []


def test_remove_stale_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("data")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "precious")
    (root / f"link{handoff._LOCK_SUFFIX}").touch()
    (root / f"lock{handoff._LOCK_SUFFIX}").symlink_to(tmp_path / "precious" / "file")
    remove_stale(root)
    assert (tmp_path / "precious" / "file").exists()
    assert (root / f"lock{handoff._LOCK_SUFFIX}").is_symlink()


def test_a_lock_on_a_file_that_was_removed_meanwhile_guards_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "lock", lock._try_lock
    removals = iter([path])

    def try_lock(file: Any) -> bool:
        for mine in removals:  # between opening and locking, the one who held it removes it
            mine.unlink()
        return real(file)

    monkeypatch.setattr(lock, "_try_lock", try_lock)
    with lock.hold_new(path) as held:
        assert os.path.samestat(os.fstat(held.fileno()), path.stat())


def test_a_folder_is_never_removed_between_its_making_and_its_locking(tmp_path: Path) -> None:
    stop = threading.Event()
    sweepers = [
        threading.Thread(target=lambda: [remove_stale(tmp_path) for _ in iter(stop.is_set, True)])
        for _ in range(3)
    ]
    for thread in sweepers:
        thread.start()
    try:
        for number in range(50):
            with Spill(tmp_path / f"run{number}") as spill:
                spill.new_path("x").write_text("data")
                assert [path.name for path in spill.folder.iterdir()] == ["0001-x.arrows"]
    finally:
        stop.set()
        for thread in sweepers:
            thread.join()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away"
)
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with Spill(theirs / "run") as spill, pytest.raises(SpillFull, match="belongs to another user"):
        spill.new_path("x")
