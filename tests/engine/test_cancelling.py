"""A run that is stopped ends: whoever stops it, and whatever its plugins make of that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline_flow import start_orchestration
from pipeline_flow.engine import Orchestrator
from pipeline_flow.events import Event, RunFinished, Status, StepStarted
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin
from pipeline_flow.testing import Recorder, Simulation, memory_store
from tests.engine.conftest import etl, step
from tests.engine.plugins import Journal


class Deaf(IExtractPlugin, plugin_name="deaf"):
    """Takes its cancellation for an early end."""

    async def __call__(self) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            Journal.note("deaf")
        return [{"x": 1}]


class DeafLoad(ILoadPlugin, plugin_name="deaf"):
    """The same, as a load that cannot roll back."""

    async def __call__(self, data: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            Journal.note("deaf")


class _Started:
    """Sets ``event`` when a step has started."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.event = asyncio.Event()
        self._loop = loop

    def handle(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._loop.call_soon_threadsafe(self.event.set)


async def _stop_after_a_second(orchestrator: Orchestrator) -> None:
    await asyncio.sleep(1)
    orchestrator.stop("SIGINT")


def test_a_plugin_that_swallows_its_cancellation_does_not_hold_up_the_end(journal: type[Journal]) -> None:
    result = Simulation().run(
        {"pipelines": {"p": etl(extract=[step("deaf")]), "q": etl(needs="p")}}, meanwhile=_stop_after_a_second
    )
    assert result.status is Status.CANCELLED
    assert journal.entries == [("deaf", None)]


def test_nothing_is_committed_once_the_run_is_stopped_although_a_load_swallows_it(
    journal: type[Journal],
) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        loads = [step("memory", "m", table="out"), step("deaf")]
        pipeline = etl(extract=[step("memory", table="in")], load=loads)
        result = Simulation().run({"pipelines": {"p": pipeline}}, meanwhile=_stop_after_a_second)
        assert store.history == [("staged", "out"), ("aborted", "out")]
    assert result.status is Status.CANCELLED


@pytest.mark.parametrize("plugin", ["wait", "deaf"])
def test_a_cancelled_caller_hears_of_nothing_but_its_cancellation(
    journal: type[Journal], plugin: str
) -> None:
    """Also where pipelines are waiting for a free slot at that moment."""
    recorder = Recorder()

    async def main() -> None:
        started = _Started(asyncio.get_running_loop())
        extract = step(seconds=3600) if plugin == "wait" else step(plugin)
        pipelines = {f"p{number}": etl(extract=[extract]) for number in range(5)}
        run = asyncio.create_task(
            start_orchestration({"pipelines": pipelines}, listeners=[recorder, started])
        )
        await started.event.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    (finished,) = recorder.of(RunFinished)
    assert finished.status is Status.CANCELLED
