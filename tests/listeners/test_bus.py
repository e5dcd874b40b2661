"""Events reach every listener in order, and no listener can fail or hold up a run."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow import extract
from pipeline_flow.events import Address, Event, Notice, RunFinished, StepFinished, StepProgress
from pipeline_flow.listeners import Bus, InOrder
from pipeline_flow.testing import Recorder, memory_store

if TYPE_CHECKING:
    from pathlib import Path


def _notice(number: int) -> Notice:
    return Notice(at=float(number), text=str(number))


class Breaks:
    """Raises at its first event."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.heard = 0

    def handle(self, event: Event) -> None:
        self.heard += 1
        raise self.error


class Blocks(Recorder):
    """Blocks until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def handle(self, event: Event) -> None:
        self.go.wait()
        super().handle(event)


def test_each_listener_sees_every_event_in_order_from_whatever_thread_it_comes() -> None:
    recorders = [Recorder(), Recorder()]
    with Bus(recorders) as bus:

        def emit(start: int) -> None:
            for number in range(200):
                bus.emit(_notice(start + number))

        threads = [threading.Thread(target=emit, args=(start,)) for start in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for recorder in recorders:
        for start in (0, 1000, 2000):
            own = [event.at for event in recorder.events if start <= event.at < start + 1000]
            assert own == [start + n for n in range(200)]
    assert recorders[0].events == recorders[1].events


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_a_listener_that_raises_hears_no_more_and_the_others_do(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    bad, good = Breaks(error), Recorder()
    with Bus([bad, good]) as bus:
        for number in range(3):
            bus.emit(_notice(number))
    assert bad.heard == 1
    assert len(good.events) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Breaks" in caplog.text


def test_listeners_in_order_share_a_thread() -> None:
    heard: list[tuple[str, str]] = []

    class Notes:
        def __init__(self, name: str) -> None:
            self.name = name

        def handle(self, event: Event) -> None:
            heard.append((self.name, threading.current_thread().name))

    with Bus([InOrder(Notes("a"), Notes("b"))]) as bus:
        bus.emit(_notice(1))
        bus.emit(_notice(2))
    assert [name for name, _ in heard] == ["a", "b", "a", "b"]
    assert len({thread for _, thread in heard}) == 1


def test_a_listener_far_behind_loses_progress_and_nothing_else() -> None:
    slow, address = Blocks(), Address("p", "extract", "x")
    with Bus([slow]) as bus:
        for number in range(1000):
            bus.emit(StepProgress(at=float(number), address=address, rows=number, bytes=0))
        for number in range(1000):
            bus.emit(_notice(number))
        slow.go.set()
    assert len(slow.of(StepProgress)) <= 102
    assert len(slow.of(Notice)) == 1000


@extract(name="listeners_rows")
async def _rows() -> Any:
    return [{"n": 1}]


def _configuration() -> dict[str, Any]:
    load = {"steps": [{"plugin": "memory", "args": {"table": "t"}}]}
    return {
        "pipelines": {"p": {"phases": {"extract": {"steps": [{"plugin": "listeners_rows"}]}, "load": load}}}
    }


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *listeners: Any) -> Any:
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path))
    with memory_store():
        return pipeline_flow.run(_configuration(), listeners=listeners)


def test_a_listener_may_use_the_event_loop_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the last events, which it sees while the run waits for it."""

    class Sends(Recorder):
        loop: asyncio.AbstractEventLoop

        def handle(self, event: Event) -> None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(timeout=30)
            super().handle(event)

    async def main() -> Sends:
        sends = Sends()
        sends.loop = asyncio.get_running_loop()
        await pipeline_flow.start_orchestration(_configuration(), listeners=[sends])
        return sends

    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path))
    with memory_store():
        assert isinstance(asyncio.run(main()).events[-1], RunFinished)


def test_a_listener_that_raises_does_not_fail_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Recorder()
    assert _run(tmp_path, monkeypatch, Breaks(ValueError("broken")), good).succeeded
    assert isinstance(good.events[-1], RunFinished)


def test_a_listener_that_blocks_does_not_delay_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocked one goes on only after another has heard the run's end."""
    slow = Blocks()

    class Releases(Recorder):
        def handle(self, event: Event) -> None:
            super().handle(event)
            if isinstance(event, RunFinished):
                slow.go.set()

    quick = Releases()
    assert _run(tmp_path, monkeypatch, slow, quick).succeeded
    assert slow.events == quick.events
    assert len(quick.of(StepFinished)) == 2
