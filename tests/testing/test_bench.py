"""A plugin called without a run: its arguments are checked, its data converted, its result read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest

from pipeline_flow import Context, extract, load, transform, transform_at_load
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConfigError, RowRejected
from pipeline_flow.plugins import (
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPostProcessPlugin,
    ITransformPlugin,
)
from pipeline_flow.testing import Bench, call, memory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROWS = [{"name": "tea", "price": 5}, {"name": "cake", "price": 15}]


@transform
def cheap(data: list[dict], limit: int = 10) -> list[dict]:
    return [row for row in data if row["price"] <= limit]


@transform
def doubled(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(price=data["price"] * 2)


@transform
def streamed(data: BatchStream) -> Iterator[pa.RecordBatch]:
    yield from data


@transform
def sorted_out(data: list[dict], context: Context) -> list[dict]:
    for row in data:
        if row["price"] > 10:
            context.reject(row, "too dear")
    context.notice("looked")
    return [row for row in data if row["price"] <= 10]


@extract
async def counted(count: int) -> AsyncIterator[dict]:
    for number in range(count):
        yield {"n": number}


@extract(threaded=True)
def blocking(count: int) -> list[dict]:
    return [{"n": number} for number in range(count)]


@load(threaded=True)
def kept(data: list[dict], path: str) -> None:
    Path(path).write_text(repr(data))


@transform_at_load
def touched(path: str) -> str:
    Path(path).touch()
    return path


class Merged(IMergeExtractPlugin, plugin_name="merged_here"):
    def __call__(self, extracted_data: dict[str, Any]) -> Any:
        return {name: type(item).__name__ for name, item in extracted_data.items()}


class Summed(IPostProcessPlugin, plugin_name="summed_here"):
    async def __call__(self, data: Any) -> Any:
        return sum(row["price"] for row in data)


class Shouting(ITransformPlugin, plugin_name="shouting_here"):
    def __init__(self, plugin_id: str, mark: str = "!") -> None:
        self.id = plugin_id
        self.mark = mark

    def __call__(self, data: str) -> str:
        return data.upper() + self.mark


def test_a_function_is_called_with_checked_arguments_and_gives_rows() -> None:
    assert call(cheap, ROWS) == ROWS[:1]
    assert call(cheap, ROWS, limit="20") == ROWS  # "20" is 20, as from a YAML file
    with pytest.raises(ConfigError, match=r"(?s)unknown argument `limt`.*did you mean `limit`"):
        call(cheap, ROWS, limt=1)
    with pytest.raises(ConfigError, match=r"takes a whole number.*'much'"):
        call(cheap, ROWS, limit="much")


def test_data_comes_in_the_form_that_the_plugin_asks_for_and_back_as_rows() -> None:
    assert call(doubled, pa.table({"price": [1]})) == [{"price": 2}]
    assert call(streamed, ROWS) == ROWS
    assert call(cheap, pd.DataFrame(ROWS)) == ROWS[:1]
    assert call(Shouting, "hey", mark="?") == "HEY?"


def test_an_extract_is_awaited_and_its_rows_are_read() -> None:
    assert call(counted, count=2) == [{"n": 0}, {"n": 1}]
    assert call(blocking, count=1) == [{"n": 0}]


def test_loads_merges_posts_and_built_ins_are_called_as_by_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(kept, ROWS, path="kept.txt") is None
    assert Path("kept.txt").read_text() == repr(ROWS)
    assert call(touched, path="touched.txt") == "touched.txt"
    assert call(Merged, {"a": ROWS, "b": pa.table({"x": [1]})}) == {"a": "list", "b": "Table"}
    assert call(Summed, ROWS) == 20
    assert call("load.csv", ROWS, path="rows.csv") == 2
    assert call("extract.csv", path="rows.csv") == ROWS
    assert call("transform.sql", ROWS, query="select sum(price)::int as s from data") == [{"s": 20}]
    with memory_store() as store:
        assert call("load.memory", ROWS, table="t") == 2
        assert store.rows("t") == ROWS


def test_rejected_rows_are_an_error_or_counted() -> None:
    with pytest.raises(RowRejected, match="too dear"):
        call(sorted_out, ROWS)
    with Bench(on_bad_row="skip") as bench:
        assert bench.call(sorted_out, ROWS) == ROWS[:1]
        assert (bench.rejected, bench.notices) == (1, ["looked"])


def test_a_plugin_of_the_wrong_mode_is_refused() -> None:
    class Blocking(IExtractPlugin, plugin_name="blocking_here"):
        def __call__(self) -> Any:
            return []

    with pytest.raises(ConfigError, match="`Blocking` is synchronous"):
        call(Blocking)


def test_what_cannot_be_called_says_so() -> None:
    with pytest.raises(TypeError, match="a transform plugin takes data"):
        call(cheap)
    with pytest.raises(TypeError, match="an? extract plugin takes no data"):
        call(counted, ROWS, count=1)
    with pytest.raises(TypeError, match="is no plugin: decorate the function"):
        call(len, ROWS)
    with pytest.raises(TypeError, match="called by another plugin"):
        call("pagination.page_based_pagination")


def test_the_result_of_a_stream_keeps_its_types_on_a_bench() -> None:
    with Bench() as bench:
        found = bench.call(streamed, pa.table({"small": pa.array([1], pa.int8())}))
    assert found.schema.field("small").type == pa.int8()


def test_the_folder_of_a_bench_is_gone_at_its_end() -> None:
    with Bench() as bench:
        assert bench.folder.is_dir()
    assert not bench.folder.exists()


class Printed(ILoadPlugin, plugin_name="printed_here"):
    async def __call__(self, data: Any) -> None:
        print(data)


def test_only_suites_and_fixtures_need_pytest() -> None:
    code = """
import sys
sys.modules["pytest"] = None
import pipeline_flow.testing as testing
assert "pyarrow" not in sys.modules
needing = []
for name in testing.__all__:
    try:
        getattr(testing, name)
    except ImportError:
        needing.append(name)
print(needing)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['DestinationSuite', 'SourceSuite', 'not_applicable']"
