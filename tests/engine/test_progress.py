"""Every step tells how far it has got, whatever reads its data and in whatever thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow.engine import step
from pipeline_flow.events import StepFinished, StepProgress
from pipeline_flow.testing import Recorder

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 30_000
LOADS: list[dict[str, Any]] = [
    {"id": "duck", "plugin": "sql", "args": {"url": "duckdb:///x.duckdb", "table": "t", "mode": "replace"}},
    {"id": "lite", "plugin": "sql", "args": {"url": "sqlite:///x.db", "table": "t", "mode": "append"}},
    {"id": "text", "plugin": "csv", "args": {"path": "out.csv"}},
    {"id": "file", "plugin": "parquet", "args": {"path": "out.parquet"}},
]
CUSTOM = """
import polars as pl
from pipeline_flow import load, transform
from pipeline_flow.data import BatchStream

@transform
def through_polars(data: pl.DataFrame) -> pl.DataFrame:
    return data

@load
async def counts(data: BatchStream):
    async for batch in data:
        pass
"""


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """What a run told that read a CSV file, changed it twice and wrote it five times; every progress is told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))
    monkeypatch.setattr(step, "PROGRESS_SECONDS", 0.0)
    (tmp_path / "in.csv").write_text("n,text\n" + "".join(f"{n},text {n}\n" for n in range(ROWS)))
    (tmp_path / "plugs.py").write_text(CUSTOM)
    phases: dict[str, list[dict[str, Any]]] = {
        "extract": [{"plugin": "csv", "args": {"path": "in.csv"}}],
        "transform": [
            {
                "id": "count",
                "plugin": "sql",
                "args": {"query": "select n // 2 as half, count(*) from data group by 1"},
            },
            {"plugin": "through_polars"},
            {"id": "double", "plugin": "sql", "args": {"query": "from data union all from data"}},
        ],
        "load": [*LOADS, {"plugin": "counts"}],
    }
    recorder = Recorder()
    pipeline_flow.run(
        {
            "plugins": {"custom": {"files": ["plugs.py"]}},
            "pipelines": {"p": {"phases": {name: {"steps": steps} for name, steps in phases.items()}}},
        },
        listeners=[recorder],
    )
    return recorder


def _last(heard: Recorder, name: str) -> StepProgress:
    return [event for event in heard.of(StepProgress) if str(event.address) == f"p.{name}"][-1]


def test_what_a_step_gives_and_takes_is_told_while_it_runs(heard: Recorder) -> None:
    assert _last(heard, "extract.csv").rows == ROWS
    counted = _last(heard, "transform.count")
    assert (counted.rows_in, counted.rows) == (ROWS, ROWS // 2)
    assert _last(heard, "transform.through_polars").rows_in == ROWS // 2
    assert _last(heard, "transform.double").rows == ROWS


@pytest.mark.parametrize("load", ["duck", "lite", "text", "file", "counts"])
def test_a_load_tells_what_it_has_taken(heard: Recorder, load: str) -> None:
    progress = _last(heard, f"load.{load}")
    assert progress.rows == progress.rows_in == ROWS
    assert progress.bytes > ROWS * 8
    (finished,) = [event for event in heard.of(StepFinished) if str(event.address) == f"p.load.{load}"]
    assert finished.bytes == progress.bytes


TABLES = """
from pipeline_flow import extract
from pipeline_flow.data import BatchStream, Tables
from pipeline_flow.plugins import ILoadPlugin, IMergeExtractPlugin, IPostProcessPlugin
import pyarrow as pa

@extract
async def ten():
    table = pa.table({"n": list(range(10))})
    return BatchStream(table.schema, table.to_batches())

class Both(IMergeExtractPlugin, plugin_name="both"):
    takes_tables = True

    def __call__(self, extracted_data):
        return Tables({name: BatchStream(stream.schema, list(stream)) for name, stream in extracted_data.items()})

class Read(IPostProcessPlugin, plugin_name="read"):
    takes_tables = True

    async def __call__(self, data):
        read = {name: await stream.read_table() for name, stream in data.items()}
        return {name: BatchStream(table.schema, table.to_batches()) for name, table in read.items()}

class Drain(ILoadPlugin, plugin_name="drain"):
    takes_tables = True

    async def __call__(self, data):
        for stream in data.values():
            async for _ in stream:
                pass
"""


@pytest.mark.parametrize(
    ("around", "reader"),
    [({"merge": {"plugin": "both"}}, "load.drain"), ({"post": [{"plugin": "read"}]}, "extract.post.read")],
    ids=["a load", "a post"],
)
def test_who_reads_several_tables_tells_the_rows_of_all(
    around: dict[str, Any], reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))
    (tmp_path / "plugs.py").write_text(TABLES)
    phases = {
        "extract": {"steps": [{"id": "a", "plugin": "ten"}, {"id": "b", "plugin": "ten"}], **around},
        "load": {"steps": [{"plugin": "drain"}]},
    }
    recorder = Recorder()
    pipeline_flow.run(
        {
            "plugins": {"custom": {"files": [str(tmp_path / "plugs.py")]}},
            "pipelines": {"p": {"phases": phases}},
        },
        listeners=[recorder],
    )
    assert _last(recorder, reader).rows_in == 20


def test_without_a_listener_nothing_is_counted_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An event that nobody hears is not made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step, "StepProgress", None)
    monkeypatch.setattr(step, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))
    (tmp_path / "in.csv").write_text("n\n1\n")
    phases = {
        "extract": {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}]},
        "load": {"steps": [LOADS[3]]},
    }
    assert pipeline_flow.run({"pipelines": {"p": {"phases": phases}}}).succeeded
