"""Runs started from Python: what is raised, what is returned, and what is left alone."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow import events, extract, transform
from pipeline_flow.engine import RunResult
from pipeline_flow.errors import ConfigError, RunFailed, StepFailed
from pipeline_flow.events import Status
from pipeline_flow.testing import Recorder, memory_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@extract(name="cli_rows")
async def _rows() -> Any:
    yield [{"n": 1}, {"n": 2}]


@extract(name="cli_waits")
async def _waits() -> None:
    await asyncio.Event().wait()


@transform(name="cli_breaks")
def _breaks(data: Any) -> None:
    raise ValueError("broken")


def _pipeline(extract: str = "cli_rows", transform: str | None = None, table: str = "out") -> dict[str, Any]:
    phases: dict[str, Any] = {"extract": {"steps": [{"plugin": extract}]}}
    if transform:
        phases["transform"] = {"steps": [{"plugin": transform}]}
    phases["load"] = {"steps": [{"plugin": "memory", "args": {"table": table}}]}
    return {"phases": phases}


@pytest.fixture(autouse=True)
def _spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))


@pytest.fixture(autouse=True)
def _nothing_of_the_process_is_touched() -> Iterator[None]:
    def state() -> tuple[Any, ...]:
        root, own = logging.getLogger(), logging.getLogger("pipeline_flow")
        numbers = (signal.SIGINT, signal.SIGTERM)
        return (
            [signal.getsignal(number) for number in numbers],
            list(root.handlers),
            root.level,
            list(own.handlers),
            own.level,
            own.propagate,
        )

    before = state()
    yield
    assert state() == before


def test_run_gives_the_result() -> None:
    with memory_store() as store:
        result = pipeline_flow.run({"pipelines": {"p": _pipeline()}})
        assert store.rows("out") == [{"n": 1}, {"n": 2}]
    assert result.succeeded
    assert result.pipelines["p"].status is Status.SUCCEEDED
    assert [step.rows_out for step in result.pipelines["p"].steps] == [2, 2]


def test_a_failed_pipeline_is_raised_with_the_result() -> None:
    pipelines = {"bad": _pipeline(transform="cli_breaks"), "good": _pipeline()}
    with memory_store() as store, pytest.raises(RunFailed, match="1 of 2 pipelines failed: `bad`") as caught:
        pipeline_flow.run({"pipelines": pipelines})
    assert isinstance(caught.value, ExceptionGroup)
    assert store.rows("out") == [{"n": 1}, {"n": 2}]
    (error,) = caught.value.exceptions
    assert isinstance(error, StepFailed)
    assert (error.pipeline, error.phase, error.step) == ("bad", "transform", "cli_breaks")
    assert isinstance(error.__cause__, ValueError)
    result = caught.value.result
    assert isinstance(result, RunResult)
    assert result.pipelines["good"].status is Status.SUCCEEDED


def test_the_result_survives_except_star() -> None:
    found = []
    with memory_store():
        try:
            pipeline_flow.run({"pipelines": {"bad": _pipeline(transform="cli_breaks")}})
        except* StepFailed as group:
            found.append(group)
    assert isinstance(found[0], RunFailed)
    assert isinstance(found[0].result, RunResult)


def test_a_failed_pipeline_is_not_raised_where_nobody_wants_that() -> None:
    with memory_store():
        result = pipeline_flow.run(
            {"pipelines": {"p": _pipeline(transform="cli_breaks")}}, raise_on_failure=False
        )
    assert result.status is Status.FAILED
    assert result.pipelines["p"].failure is not None
    assert result.pipelines["p"].failure.message == "ValueError: broken"


def test_a_wrong_configuration_is_raised_with_all_its_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline_flow.run(
            {"pipelines": {"p": _pipeline("no_such_plugin", "nor_this_one")}}, raise_on_failure=False
        )
    assert [problem.code for problem in caught.value.problems] == ["plugin.unknown"] * 2


def test_runs_within_a_running_loop_are_awaited_side_by_side() -> None:
    async def main() -> RunResult:
        with memory_store():
            one, two = await asyncio.gather(
                pipeline_flow.start_orchestration({"pipelines": {"p": _pipeline(table="a")}}),
                pipeline_flow.start_orchestration({"pipelines": {"p": _pipeline(table="b")}}),
            )
        assert one.run_id != two.run_id
        return one

    assert asyncio.run(main()).succeeded


def test_run_works_within_a_running_loop_and_waits() -> None:
    async def main() -> RunResult:
        with memory_store() as store:
            result = pipeline_flow.run({"pipelines": {"p": _pipeline()}})
            assert store.rows("out") == [{"n": 1}, {"n": 2}]
            with pytest.raises(RunFailed):
                pipeline_flow.run({"pipelines": {"p": _pipeline(transform="cli_breaks")}})
        return result

    assert asyncio.run(main()).succeeded


def test_a_run_works_in_any_thread() -> None:
    results: list[RunResult] = []
    with memory_store():
        thread = threading.Thread(
            target=lambda: results.append(pipeline_flow.run({"pipelines": {"p": _pipeline()}}))
        )
        thread.start()
        thread.join()
    assert results[0].succeeded


def test_listeners_hear_every_event_in_order() -> None:
    recorder = Recorder()
    with memory_store():
        pipeline_flow.run({"pipelines": {"p": _pipeline()}}, listeners=[recorder])
    assert isinstance(recorder.events[0], events.RunStarted)
    assert isinstance(recorder.events[-1], events.RunFinished)
    assert recorder.of(events.LoadCommitted)[0].loads == ("memory",)


def test_a_cancelled_caller_ends_the_run_in_an_orderly_way() -> None:
    recorder = Recorder()
    started = threading.Event()

    class Tells:
        def handle(self, event: events.Event) -> None:
            if isinstance(event, events.StepStarted):
                started.set()

    async def main(store: Any) -> None:
        stream = {"pipelines": {"p": _pipeline("cli_waits"), "q": {**_pipeline(), "needs": "p"}}}
        task = asyncio.create_task(pipeline_flow.start_orchestration(stream, listeners=[recorder, Tells()]))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.tables == {}

    with memory_store() as store:
        asyncio.run(main(store))
    finished = recorder.of(events.RunFinished)
    assert [event.status for event in finished] == [Status.CANCELLED]
    assert recorder.of(events.StepFailed)[0].status is Status.CANCELLED
    assert len(asyncio.run(_tasks())) == 1


async def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks()


def test_a_timeout_around_a_run_ends_it() -> None:
    async def main() -> None:
        async with asyncio.timeout(0.05):
            await pipeline_flow.start_orchestration({"pipelines": {"p": _pipeline("cli_waits")}})

    with memory_store(), pytest.raises(TimeoutError):
        asyncio.run(main())


def test_events_go_to_the_logger_where_somebody_listens_there(caplog: pytest.LogCaptureFixture) -> None:
    with memory_store(), caplog.at_level(logging.INFO, "pipeline_flow"):
        pipeline_flow.run({"pipelines": {"p": _pipeline()}})
    messages = [record.message for record in caplog.records]
    assert any("p.extract.cli_rows: 2 rows in" in message for message in messages)
    assert all(isinstance(record.__dict__["event"], dict) for record in caplog.records)


def test_a_failed_run_logs_errors_and_what_follows_as_warnings(caplog: pytest.LogCaptureFixture) -> None:
    pipelines = {"p": _pipeline(transform="cli_breaks"), "q": {**_pipeline(), "needs": "p"}}
    with memory_store(), caplog.at_level(logging.INFO, "pipeline_flow"):
        pipeline_flow.run({"pipelines": pipelines}, raise_on_failure=False)
    by_level = {record.levelname: record.message for record in caplog.records}
    assert "p.transform.cli_breaks: FAILED: ValueError: broken" in by_level["ERROR"]
    assert "q: skipped" in by_level["WARNING"]
