"""Rows flow from phase to phase, and what is promised of phases holds all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import pytest

from pipeline_flow import start_orchestration
from pipeline_flow.data import BatchStream
from pipeline_flow.engine import RunResult
from pipeline_flow.events import (
    Event,
    LoadAborted,
    LoadCommitted,
    PhaseFinished,
    PhaseStarted,
    Status,
    StepFailed,
    StepFinished,
    StepStarted,
)
from pipeline_flow.plugins import IAtomicLoadPlugin, IExtractPlugin, ITransformPlugin, Transaction
from pipeline_flow.testing import Recorder, Simulation

PATIENCE = 30.0  # seconds, after which a test that hangs has failed
ROWS, BATCHES = 10_000, 100  # of 80 kB
SCHEMA = pa.schema([("n", pa.int64())])


class Stage:
    """What the plugins of this module share in one test."""

    arrived = threading.Event()  # the load has its first rows
    go_on = threading.Event()  # the extract may read its second half
    seen: ClassVar[list[str]] = []
    visible: ClassVar[list[pa.RecordBatch]] = []
    fails: str = ""

    @classmethod
    def note(cls, what: str) -> None:
        cls.seen.append(what)

    @classmethod
    def fail(cls, where: str) -> None:
        if cls.fails == where:
            raise ValueError(f"broken: {where}")


@pytest.fixture(autouse=True)
def stage() -> type[Stage]:
    Stage.arrived, Stage.go_on, Stage.fails = threading.Event(), threading.Event(), ""
    Stage.go_on.set()
    for kept in (Stage.seen, Stage.visible):
        kept.clear()
    return Stage


def batches() -> Iterator[pa.RecordBatch]:
    for number in range(BATCHES):
        if number == BATCHES // 2:
            Stage.note(
                f"half: {'arrived' if Stage.go_on.wait(PATIENCE) and Stage.arrived.is_set() else 'nothing'}"
            )
            Stage.fail("extract")
        yield pa.record_batch([pa.array(range(number * ROWS, (number + 1) * ROWS), pa.int64())], SCHEMA)
    Stage.fail("the end of extract")
    Stage.note("read")


class Flowing(IExtractPlugin, plugin_name="flowing"):
    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False

    async def __call__(self) -> BatchStream:
        return BatchStream(SCHEMA, batches())


class FlowingAsync(IExtractPlugin, plugin_name="flowing_async"):
    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False

    async def __call__(self) -> BatchStream:
        async def each() -> AsyncIterator[pa.RecordBatch]:
            for item in batches():
                await asyncio.sleep(0)
                yield item

        return BatchStream(SCHEMA, each())


class Through(ITransformPlugin, plugin_name="through"):
    streams: ClassVar[bool] = True

    def __call__(self, data: BatchStream) -> BatchStream:
        def each() -> Iterator[pa.RecordBatch]:
            for number, item in enumerate(data):
                if number == BATCHES // 2:
                    Stage.fail("transform")
                yield item
            Stage.fail("the end of transform")

        return BatchStream(data.schema, each(), on_close=data.close)


class FirstOnly(ITransformPlugin, plugin_name="first_only"):
    streams: ClassVar[bool] = True

    def __call__(self, data: BatchStream) -> BatchStream:
        return BatchStream(data.schema, [next(data)], on_close=data.close)


class Kept(Transaction):
    def __init__(self) -> None:
        self.rows: list[pa.RecordBatch] = []

    async def commit(self) -> None:
        Stage.note("committed")
        Stage.visible.extend(self.rows)

    async def abort(self) -> None:
        Stage.note("aborted")


class Store(IAtomicLoadPlugin, plugin_name="store"):
    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False

    @property
    def destination(self) -> str:
        return "store:"

    async def begin(self) -> Transaction:
        Stage.fail("begin")
        return Kept()

    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        assert isinstance(transaction, Kept)
        return await self.context.to_thread(self._read, data, transaction.rows)

    def _read(self, data: BatchStream, stored: list[pa.RecordBatch]) -> int:
        if Stage.fails == "nothing read":
            return 0
        for item in data:
            Stage.arrived.set()
            stored.append(item)
            if len(stored) == BATCHES // 2:
                Stage.fail("load")
        Stage.fail("the end of load")
        return data.rows


def phases(extract: str = "flowing", transform: tuple[str, ...] = ("through",)) -> dict[str, Any]:
    return {
        "phases": {
            "extract": {"steps": [{"id": "e", "plugin": extract}]},
            **(
                {
                    "transform": {
                        "steps": [
                            {"id": f"t{number}", "plugin": name} for number, name in enumerate(transform)
                        ]
                    }
                }
                if transform
                else {}
            ),
            "load": {"steps": [{"id": "l", "plugin": "store"}]},
        }
    }


def run(
    pipelines: dict[str, Any] | None = None, listener: Any = None, **top: Any
) -> tuple[RunResult, list[Event]]:
    recorder = Recorder()
    # A window of 1 MiB: a quarter of a quarter.
    stream = {"memory_limit": "16MiB", "pipelines": pipelines or {"p": phases()}, **top}
    listeners = [recorder, *([listener] if listener else [])]
    result = asyncio.run(
        asyncio.wait_for(
            start_orchestration(stream, listeners=listeners, raise_on_failure=False), PATIENCE * 2
        )
    )
    return result, recorder.events


def steps(events: list[Event], kind: type[Any]) -> list[str]:
    return [str(event.address.phase) for event in events if isinstance(event, kind)]


def numbers(kept: list[pa.RecordBatch]) -> list[int]:
    return pa.Table.from_batches(kept, SCHEMA)["n"].to_pylist()


FAILURES = [
    "extract",
    "the end of extract",
    "transform",
    "the end of transform",
    "begin",
    "load",
    "the end of load",
]


def _check_threads(before: list[threading.Thread]) -> None:
    """Nobody still waits for rows, or for room."""
    for thread in set(threading.enumerate()) - set(before):
        thread.join(PATIENCE)
        assert not thread.is_alive()


every_source = pytest.mark.parametrize("extract", ["flowing", "flowing_async"])


@every_source
@pytest.mark.parametrize("transform", [(), ("through",)])
def test_rows_arrive_while_extract_still_reads(
    stage: type[Stage], extract: str, transform: tuple[str, ...]
) -> None:
    stage.go_on = stage.arrived  # the second half is read when the first rows have arrived
    result, events = run({"p": phases(extract, transform)})
    assert result.status is Status.SUCCEEDED
    assert stage.seen == ["half: arrived", "read", "committed"]
    assert numbers(stage.visible) == list(range(ROWS * BATCHES))
    assert [(step.rows_in, step.rows_out) for step in result.pipelines["p"].steps] == [
        (None, ROWS * BATCHES),
        *[(ROWS * BATCHES, ROWS * BATCHES)] * (1 + len(transform)),
    ]
    order = ["extract", "transform", "load"] if transform else ["extract", "load"]
    assert steps(events, StepStarted) == steps(events, StepFinished) == order
    assert [event.phase for event in events if isinstance(event, PhaseStarted)] == order
    assert [event.phase for event in events if isinstance(event, PhaseFinished)] == order
    places = [type(event) for event in events]
    assert places.index(LoadCommitted) > max(at for at, kind in enumerate(places) if kind is StepFinished)


def test_handoff_stage_keeps_the_phases_apart(stage: type[Stage]) -> None:
    _, events = run(handoff="stage")
    assert stage.seen == ["half: nothing", "read", "committed"]
    kinds = [
        (type(event).__name__, event.phase)
        for event in events
        if isinstance(event, PhaseStarted | PhaseFinished)
    ]
    assert kinds == [
        (kind, phase)
        for phase in ("extract", "transform", "load")
        for kind in ("PhaseStarted", "PhaseFinished")
    ]


def test_between_two_transform_steps_rows_wait(stage: type[Stage]) -> None:
    result, _ = run({"p": phases(transform=("through", "through"))})
    assert result.status is Status.SUCCEEDED
    assert stage.seen == ["half: nothing", "read", "committed"]
    assert numbers(stage.visible) == list(range(ROWS * BATCHES))


@every_source
@pytest.mark.parametrize(
    ("where", "phase"),
    [
        ("extract", "extract"),
        ("the end of extract", "extract"),
        ("transform", "transform"),
        ("the end of transform", "transform"),
        ("begin", "load"),
        ("load", "load"),
        ("the end of load", "load"),
    ],
)
def test_a_failure_is_told_of_the_step_that_failed_and_nothing_is_visible(
    stage: type[Stage], extract: str, where: str, phase: str
) -> None:
    stage.fails = where
    result, events = run({"p": phases(extract), "q": {**phases(), "needs": "p"}})
    failed = [event for event in events if isinstance(event, StepFailed)]
    assert [
        (event.address.phase, event.failure.message) for event in failed if event.status is Status.FAILED
    ] == [(phase, f"ValueError: broken: {where}")]
    assert {event.status for event in failed} <= {Status.FAILED, Status.CANCELLED}
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert failure.message == f"ValueError: broken: {where}"
    assert result.pipelines["q"].status is Status.SKIPPED
    assert stage.visible == []
    assert "committed" not in stage.seen
    begun = "aborted" in stage.seen
    assert begun == any(isinstance(event, LoadAborted) for event in events)


def test_who_reads_a_part_gets_it_and_the_rest_is_read_all_the_same(stage: type[Stage]) -> None:
    result, _ = run({"p": phases(transform=("first_only",))})
    assert [step.rows_out for step in result.pipelines["p"].steps] == [ROWS * BATCHES, ROWS, ROWS]
    assert numbers(stage.visible) == list(range(ROWS))
    assert "read" in stage.seen


def test_who_reads_nothing_holds_up_nobody(stage: type[Stage]) -> None:
    stage.fails = "nothing read"
    result, _ = run()
    assert result.status is Status.SUCCEEDED
    assert stage.seen[-2:] == ["read", "committed"]


def test_a_run_that_is_stopped_meanwhile_ends_and_leaves_nothing(stage: type[Stage]) -> None:
    stage.go_on = threading.Event()

    async def stopped() -> Any:
        stream = {"memory_limit": "16MiB", "pipelines": {"p": phases()}}
        task = asyncio.ensure_future(start_orchestration(stream, raise_on_failure=False))
        assert await asyncio.to_thread(stage.arrived.wait, PATIENCE)
        task.cancel()
        stage.go_on.set()
        await asyncio.wait([task], timeout=PATIENCE)
        return task.cancelled()

    assert asyncio.run(stopped())
    assert stage.visible == []
    assert "aborted" in stage.seen


def test_a_writer_that_waits_for_its_reader_is_woken_by_the_stop(stage: type[Stage]) -> None:
    release = threading.Event()

    class Slow(Store, plugin_name="slow"):
        def _read(self, data: BatchStream, stored: list[pa.RecordBatch]) -> int:
            next(data)
            stage.arrived.set()
            take_back = self.context.on_cancel(release.set)
            release.wait(PATIENCE)
            take_back()
            self.context.check()
            return 0

    async def stopped() -> None:
        pipeline = phases(transform=())
        pipeline["phases"]["load"]["steps"][0]["plugin"] = "slow"
        task = asyncio.ensure_future(
            start_orchestration(
                {"memory_limit": "16MiB", "pipelines": {"p": pipeline}}, raise_on_failure=False
            )
        )
        assert await asyncio.to_thread(stage.arrived.wait, PATIENCE)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)

    before = threading.enumerate()
    asyncio.run(stopped())
    assert release.is_set()
    assert "aborted" in stage.seen
    _check_threads(before)


@pytest.mark.parametrize("answer", ["another error", "an early end"])
def test_a_load_that_takes_its_cancellation_for_something_else_ends_all_the_same(
    stage: type[Stage], answer: str
) -> None:
    class Deaf(Store, plugin_name="deaf_store"):
        async def stage(self, data: BatchStream, transaction: Transaction) -> int:
            assert await self.context.to_thread(next, data)
            stage.arrived.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                if answer == "another error":
                    raise RuntimeError("the driver was interrupted") from None
            return 0

    stage.fails, stage.go_on = "extract", stage.arrived
    pipeline = phases(transform=())
    pipeline["phases"]["load"]["steps"][0]["plugin"] = "deaf_store"
    result, events = run({"p": pipeline})
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert failure.message == "ValueError: broken: extract"
    assert [event.status for event in events if isinstance(event, StepFailed)] == [
        Status.FAILED,
        Status.CANCELLED,
    ]
    assert stage.seen == ["half: arrived", "aborted"]


def test_a_failed_load_stops_who_feeds_it_and_is_rolled_back_to_the_end(stage: type[Stage]) -> None:
    stopped = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    class Patient(Kept):
        async def abort(self) -> None:
            await asyncio.wait_for(stopped.wait(), PATIENCE)  # extract has ended, while this still goes on
            stage.note("aborted")

    class Failing(Store, plugin_name="failing_store"):
        async def begin(self) -> Transaction:
            return Patient()

    def heard(event: Event) -> None:
        if isinstance(event, StepFailed) and event.address.phase == "extract":
            loops[0].call_soon_threadsafe(stopped.set)

    class Listening:
        def handle(self, event: Event) -> None:
            recorder.handle(event)
            heard(event)

    recorder = Recorder()
    pipeline = phases(transform=())
    pipeline["phases"]["load"]["steps"][0]["plugin"] = "failing_store"
    stage.fails = "load"

    async def started() -> RunResult:
        loops.append(asyncio.get_running_loop())
        stream = {"memory_limit": "16MiB", "pipelines": {"p": pipeline}}
        return await start_orchestration(stream, listeners=[Listening()], raise_on_failure=False)

    result = asyncio.run(asyncio.wait_for(started(), PATIENCE * 2))
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert failure.message == "ValueError: broken: load"
    assert stage.seen[-1] == "aborted"
    assert [event.status for event in recorder.events if isinstance(event, StepFailed)] == [
        Status.FAILED,
        Status.CANCELLED,
    ]


def test_many_pipelines_share_the_budget(stage: type[Stage]) -> None:
    result, _ = run({f"p{number}": phases() for number in range(8)}, concurrency=8)
    assert result.status is Status.SUCCEEDED
    firsts = [batch["n"][0].as_py() for batch in stage.visible]
    assert firsts == list(range(0, ROWS * BATCHES, ROWS)) * 8


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_all_rows_are_visible_or_none(stage: type[Stage], seed: int) -> None:
    """Any step fails or none, at its beginning, middle or end, and the run is stopped at any event or not at all."""
    random = Random(seed)
    transforms = random.choice([0, 1, 1, 2])
    pipeline = phases(random.choice(["flowing", "flowing_async"]), ("through",) * transforms)
    stage.fails = random.choice(
        ["", "", *(where for where in FAILURES if transforms or "transform" not in where)]
    )
    stop_after = random.choice([None, random.randrange(1, 20)])

    class Stopping:
        def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
            self.events: list[Event] = []
            self._stop = partial(loop.call_soon_threadsafe, task.cancel)

        def handle(self, event: Event) -> None:
            self.events.append(event)
            if len(self.events) == stop_after:
                self._stop()

    async def started() -> tuple[bool, list[Event]]:
        task = asyncio.current_task()
        assert task is not None
        listener = Stopping(asyncio.get_running_loop(), task)
        stream = {"memory_limit": "16MiB", "pipelines": {"p": pipeline}}
        try:
            await start_orchestration(stream, listeners=[listener], raise_on_failure=False)
        except asyncio.CancelledError:
            return True, listener.events
        return False, listener.events

    before = threading.enumerate()
    stopped, events = asyncio.run(asyncio.wait_for(started(), PATIENCE * 2))
    committed = "committed" in stage.seen
    assert numbers(stage.visible) == (list(range(ROWS * BATCHES)) if committed else [])
    assert not (committed and stage.fails)
    assert committed or stopped or stage.fails
    began = [event.address for event in events if isinstance(event, StepStarted)]
    assert sorted(map(str, began)) == sorted(
        str(event.address) for event in events if isinstance(event, StepFinished | StepFailed)
    )
    _check_threads(before)


def test_under_virtual_time_everything_is_staged(stage: type[Stage]) -> None:
    result = Simulation().run({"memory_limit": "16MiB", "pipelines": {"p": phases()}})
    assert result.status is Status.SUCCEEDED
    assert stage.seen == ["half: nothing", "read", "committed"]


@pytest.mark.parametrize("handoff", ["auto", "stage"])
def test_files_through_a_query_into_a_database(
    handoff: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = 400_000
    duckdb.execute(f"copy (select range as n, 'row ' || range as name from range({rows})) to 'in.csv'")
    load = {"plugin": "sql", "args": {"url": "duckdb:///out.duckdb", "table": "t", "mode": "replace"}}
    query = "select n, name, n * 2 as twice from data where n % 4 <> 3"
    result, events = run(
        {
            "p": {
                "phases": {
                    "extract": {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}]},
                    "transform": {"steps": [{"plugin": "sql", "args": {"query": query}}]},
                    "load": {"steps": [load]},
                }
            }
        },
        handoff=handoff,
    )
    assert result.status is Status.SUCCEEDED
    order = [
        type(event).__name__[:5] + event.phase
        for event in events
        if isinstance(event, PhaseStarted | PhaseFinished)
    ]
    assert (order.index("Phaseload") < 4) == (handoff == "auto"), order
    with duckdb.connect("out.duckdb") as connection:
        found = connection.execute(
            "select count(*), sum(n), sum(twice), sum(n) filter (name <> 'row ' || n) from t"
        ).fetchone()
        ordered = connection.execute(
            "select count(*) from (select n, lag(n) over () as before from t) where n < before"
        ).fetchone()
    kept = [n for n in range(rows) if n % 4 != 3]
    assert found == (len(kept), sum(kept), 2 * sum(kept), None)
    assert ordered == (0,)
