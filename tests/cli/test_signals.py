"""Ended by a signal: in order at the first, at once at the second; nothing half-done is left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.cli.shell import etl

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.shell import Running, Shell

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
PLUGINS = """
import asyncio, sys, threading, time
from pipeline_flow.plugins import ITransformPlugin

@extract
async def waits():
    try:
        await asyncio.Event().wait()
    finally:
        print("the extract was cancelled", flush=True)

@extract
async def holds_the_loop():
    print("held", flush=True)
    while True:
        time.sleep(60)

@extract
async def rows(number: int = 3):
    return [{"n": n} for n in range(number)]

@extract
async def many():
    for n in range(40):
        yield [{"n": n, "text": "x" * 100_000}] * 20
        print("piece", n, flush=True)
    await asyncio.Event().wait()

@transform
def stubborn(data):
    print("blocking", flush=True)
    threading.Event().wait()

class Polite(ITransformPlugin, plugin_name="polite"):
    def __call__(self, data):
        print("looking", flush=True)
        while not self.context.cancelled:
            time.sleep(0.01)
        self.context.check()

@load
async def slow_load(data):
    print("everything atomic is staged", flush=True)
    await asyncio.Event().wait()
"""
# Our own process, with a grace of 0.1 s instead of 5 for steps that do not stop.
IMPATIENT = """
import sys
from pathlib import Path
from pipeline_flow.cli import run, streams
from pipeline_flow.engine import WorkerThreads
streams.prepare()
sys.exit(run.run(Path("p.yaml"), run.Options(json=True), threads=WorkerThreads(grace=0.1)))
"""


def _configure(shell: Shell, pipelines: dict[str, Any], **keys: Any) -> None:
    shell.configure(plugins=PLUGINS, pipelines=pipelines, **keys)


def _lines(shell: Shell, *arguments: str) -> Running:
    """Runs with people's lines on stderr, redirected so that they can be waited for."""
    command = "import os, sys; os.dup2(1, 2); from pipeline_flow.cli import main; main()"
    return shell.start("run", "p.yaml", "-v", *arguments, python=("-c", command))


@pytest.mark.parametrize("number", CODES)
def test_a_signal_cancels_a_waiting_extract_and_the_summary_tells(
    shell: Shell, number: signal.Signals
) -> None:
    later = {**etl({"plugin": "rows"}), "needs": "p"}
    _configure(shell, {"p": etl({"plugin": "waits"}), "later": later})
    running = _lines(shell)
    running.until("p.extract.waits: waits started")
    running.send(number)
    done = running.end()
    assert done.code == CODES[number]
    assert "the extract was cancelled" in done.out
    assert f"{number.name}: stopping; once more ends at once" in done.out
    assert "p.extract.waits: cancelled after" in done.out
    assert "later: skipped, it needs `p`, which was cancelled" in done.out
    assert "2 pipelines: 1 cancelled, 1 skipped" in done.out
    assert f"({number.name})" in done.out
    assert "next: " in done.out
    assert "Traceback" not in done.out
    assert shell.left_behind() == []


def test_pipelines_that_have_no_slot_yet_are_not_started(shell: Shell) -> None:
    _configure(shell, {"p": etl({"plugin": "waits"}), "q": etl({"plugin": "rows"})}, concurrency=1)
    running = shell.start("run", "p.yaml", "--json")
    running.until("StepStarted", "p.extract.waits")
    running.send(signal.SIGTERM)
    done = running.end()
    assert done.code == 143
    assert [event["reason"] for event in done.of("PipelineSkipped")] == ["not started: SIGTERM"]
    assert done.of("RunFinished")[0]["status"] == "cancelled"
    assert done.of("PipelineFinished")[0]["status"] == "cancelled"


def test_a_transform_that_looks_at_its_flag_stops(shell: Shell) -> None:
    _configure(shell, {"p": etl({"plugin": "rows"}, transform={"plugin": "polite"})})
    running = _lines(shell)
    running.until("looking")
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert "p.transform.polite: cancelled" in done.out
    assert "left behind" not in done.out


def test_a_transform_that_ignores_everything_is_abandoned_after_the_grace_period(shell: Shell) -> None:
    _configure(shell, {"p": etl({"plugin": "rows"}, transform={"plugin": "stubborn"})})
    running = shell.start(python=("-c", IMPATIENT))
    running.until("StepStarted", "p.transform.stubborn")
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert "left behind" in done.of("Notice")[0]["text"]
    assert done.of("StepFailed")[0]["status"] == "cancelled"
    assert done.events[-1]["event"] == "RunFinished"
    assert shell.left_behind() == []


def test_a_query_in_duckdb_is_interrupted(shell: Shell) -> None:
    # Without the interruption it would count for hours, and the thread be abandoned with a notice.
    query = (
        "select count(*) as n from range(100000000) a, range(100000000) b where (a.range * b.range) % 7 = 3"
    )
    _configure(shell, {"p": etl({"plugin": "rows"}, transform={"plugin": "sql", "args": {"query": query}})})
    running = shell.start("run", "p.yaml", "--json")
    running.until("StepStarted", "p.transform.sql")
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert done.of("Notice") == []
    assert done.of("StepFailed")[0]["status"] == "cancelled"
    assert shell.left_behind() == []


def _old_state(shell: Shell) -> Path:
    shell.write("out.parquet", b"the old file")
    database = shell.folder / "shop.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("create table t as select 41 as n, 'old' as text")
    return database


def _assert_old_state(shell: Shell, database: Path) -> None:
    assert (shell.folder / "out.parquet").read_bytes() == b"the old file"
    with duckdb.connect(str(database), read_only=True) as connection:
        assert connection.execute("select * from t").fetchall() == [(41, "old")]
        assert connection.execute("select table_name from duckdb_tables()").fetchall() == [("t",)]
    assert sorted(path.name for path in shell.folder.iterdir() if path.is_file()) == [
        "in.csv",
        "out.parquet",
        "p.yaml",
        "plugs.py",
        "shop.duckdb",
    ]
    assert shell.left_behind() == []


LOADS: list[dict[str, Any]] = [
    {"id": "file", "plugin": "parquet", "args": {"path": "out.parquet"}},
    {
        "id": "table",
        "plugin": "sql",
        "args": {"url": "duckdb:///shop.duckdb", "table": "t", "mode": "replace"},
    },
    {
        "id": "new",
        "plugin": "sql",
        "args": {"url": "duckdb:///shop.duckdb", "table": "other", "mode": "append"},
    },
    {"id": "deep", "plugin": "csv", "args": {"path": "new/folder/out.csv"}},
]


def test_what_was_staged_before_a_signal_is_taken_back(shell: Shell) -> None:
    database = _old_state(shell)
    extract = {"plugin": "rows", "args": {"number": 100_000}}
    _configure(shell, {"p": etl(extract, [*LOADS, {"plugin": "slow_load"}])})
    running = shell.start("run", "p.yaml", "--json")
    running.until("StepStarted", "p.load.slow_load")
    running.send(signal.SIGTERM)
    done = running.end()
    assert done.code == 143
    assert len(done.of("LoadAborted")) == 3
    assert done.of("LoadCommitted") == []
    assert not (shell.folder / "new").exists()
    _assert_old_state(shell, database)


def test_a_signal_while_a_load_stages_leaves_the_targets_as_they_were(shell: Shell) -> None:
    database = _old_state(shell)
    extract = {"plugin": "rows", "args": {"number": 1000}}
    slow = {"plugin": "sql", "args": {"query": "select a.n, b.n as m from data a, data b"}}
    _configure(shell, {"p": etl(extract, LOADS[:3], slow)})
    running = shell.start("run", "p.yaml", "--json")
    running.until("StepStarted", "p.load.table")
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert done.of("LoadCommitted") == []
    _assert_old_state(shell, database)


def test_a_second_signal_ends_the_process_at_once(shell: Shell) -> None:
    _configure(shell, {"p": etl({"plugin": "rows"}, transform={"plugin": "stubborn"})})
    running = _lines(shell)
    running.until("blocking")
    running.send(signal.SIGINT)
    running.until("once more ends at once")
    running.send(signal.SIGTERM)
    done = running.end()
    assert done.code == 143
    assert "p.transform.stubborn: cancelled" not in done.out


def test_a_plugin_that_holds_up_the_event_loop_does_not_keep_the_second_signal_away(shell: Shell) -> None:
    _configure(shell, {"p": etl({"plugin": "holds_the_loop"})})
    running = _lines(shell)
    running.until("held")
    running.send(signal.SIGINT)
    running.until("once more ends at once")
    running.send(signal.SIGINT)
    assert running.end().code == 130


def test_a_signal_stops_a_secret_manager_that_waits(shell: Shell) -> None:
    code = """
    import threading
    from pipeline_flow.plugins import ISecretManager
    class Waits(ISecretManager, plugin_name="waits"):
        def __init__(self, plugin_id): ...
        def __call__(self):
            import os
            os.write(1, b"asking\\n")
            threading.Event().wait()
    """
    rows = {"plugin": "csv", "args": {"path": "${{ secrets.s }}"}}
    shell.configure(plugins=code, secrets={"s": {"plugin": "waits"}}, pipelines={"p": etl(rows)})
    running = shell.start(python=("-c", IMPATIENT.replace("json=True", "level=1")))
    running.until("asking")
    running.send(signal.SIGINT)
    done = running.end()
    assert done.code == 130
    assert "p: skipped, not started: SIGINT" in done.err


def test_after_a_kill_the_next_run_removes_what_was_left_and_succeeds(shell: Shell) -> None:
    pipelines = {
        "p": etl({"plugin": "many"}),
        "q": etl({"plugin": "rows"}, {"plugin": "csv", "args": {"path": "q.csv"}}),
    }
    _configure(shell, pipelines, memory_limit="8MB")
    running = shell.start("run", "p.yaml", "--select", "p", python=("-u", "-m", "pipeline_flow"))
    running.until("piece 30")
    running.process.kill()
    assert running.end().code == -signal.SIGKILL
    assert shell.left_behind() != []
    shell("run", "p.yaml", "--select", "q").assert_told(0, "run succeeded")
    assert shell.left_behind() == []
