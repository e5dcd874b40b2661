"""SQLite and DuckDB files when it goes wrong: each failure is one clear message, and the file is as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import (
    DataError,
    DestinationFailed,
    PipelineFlowError,
    QueryFailed,
    SourceMalformed,
    SourceUnreadable,
    TargetUnwritable,
)
from tests.connectors.small_disk import only_read, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

ENGINES = ("sqlite", "duckdb")
HOLD = {
    "sqlite": "import sqlite3; c = sqlite3.connect({path!r}, isolation_level=None); c.execute('begin exclusive')",
    "duckdb": "import duckdb; c = duckdb.connect({path!r})",
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "4M") as disk:
        yield disk


def url_of(engine: str, path: Path) -> str:
    return f"{engine}:///{path}"


def load(bench: Bench, url: str, data: Any, mode: str = "append", table: str = "t") -> int:
    try:
        written: int = bench.load("sql", data, url=url, table=table, mode=mode)
    finally:
        bench.close()  # a run ends, and its files are closed
    return written


def read(bench: Bench, url: str, query: str = "select * from t") -> pa.Table:
    try:
        return bench.extract("sql", url=url, query=query)
    finally:
        bench.close()


def random_rows(count: int) -> pa.Table:
    """Rows that no compression makes smaller."""
    import hashlib

    texts = ["".join(hashlib.sha256(b"%d %d" % (n, k)).hexdigest() for k in range(8)) for n in range(count)]
    return pa.table({"a": range(count), "s": texts})


def is_clear(error: BaseException) -> None:
    """One short line for people."""
    text = f"{error}{getattr(error, 'hint', '')}"
    assert "\n" not in text
    assert len(str(error)) < 300
    assert "Traceback" not in text


def test_a_file_that_another_process_holds_is_an_error(
    bench: Bench, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_flow.sql.sqlite._BUSY_SECONDS", 0.05)
    path = tmp_path / f"x.{engine}"
    url = url_of(engine, path)
    load(bench, url, pa.table({"a": [1]}))
    code = f"{HOLD[engine].format(path=str(path))}; import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with pytest.raises((TargetUnwritable, DestinationFailed), match="locked") as caught:
            load(bench, url, pa.table({"a": [2]}))
        is_clear(caught.value)
        with pytest.raises((SourceUnreadable, QueryFailed), match="locked") as unread:
            read(bench, url)
        is_clear(unread.value)
        holder.communicate(b"")
    assert read(bench, url)["a"].to_pylist() == [1]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_full_disk_is_named_and_leaves_the_old_rows(
    bench: Bench, engine: str, small: Path, mode: str
) -> None:
    url = url_of(engine, small / f"x.{engine}")
    load(bench, url, pa.table({"a": [1], "s": ["old"]}))
    with pytest.raises(DestinationFailed, match=f"(?i)the disk is full.*x.{engine}") as caught:
        load(bench, url, random_rows(20_000), mode)
    is_clear(caught.value)
    assert read(bench, url).to_pylist() == [{"a": 1, "s": "old"}]
    assert load(bench, url, pa.table({"a": [2], "s": ["new"]})) == 1


def test_a_full_disk_leaves_no_file_where_none_was(bench: Bench, engine: str, small: Path) -> None:
    url = url_of(engine, small / f"x.{engine}")
    with pytest.raises(DestinationFailed, match="(?i)the disk is full"):
        load(bench, url, random_rows(20_000))
    assert load(bench, url, pa.table({"a": [1]}), "replace", "u") == 1
    with pytest.raises((QueryFailed, SourceUnreadable)):
        read(bench, url)


def test_a_full_disk_for_temporary_files_is_named(bench: Bench, small: Path, tmp_path: Path) -> None:
    """SQLite's rows wait in a private file."""
    bench.resources._folder = small
    url = url_of("sqlite", tmp_path / "x.sqlite")
    load(bench, url, pa.table({"a": [1], "s": ["old"]}))
    with pytest.raises(DestinationFailed, match="(?i)the disk is full") as caught:
        load(bench, url, random_rows(20_000))
    is_clear(caught.value)
    assert read(bench, url).num_rows == 1
    assert list(small.iterdir()) == []


def test_a_file_that_may_only_be_read_is_read_and_not_written(bench: Bench, engine: str, small: Path) -> None:
    url = url_of(engine, small / f"x.{engine}")
    load(bench, url, pa.table({"a": [1]}))
    with only_read(small):
        assert read(bench, url)["a"].to_pylist() == [1]
        with pytest.raises(
            (TargetUnwritable, DestinationFailed), match="cannot be written|only be read|read-only"
        ) as caught:
            load(bench, url, pa.table({"a": [2]}))
        is_clear(caught.value)
        with pytest.raises(PipelineFlowError, match="cannot be written|only be read|read-only") as refused:
            bench.at_load("sql", url=url, query="delete from t")
        bench.close()
        is_clear(refused.value)
        with pytest.raises((TargetUnwritable, DestinationFailed)) as caught:
            load(bench, url_of(engine, small / f"new.{engine}"), pa.table({"a": [2]}))
        is_clear(caught.value)
    assert read(bench, url)["a"].to_pylist() == [1]
    assert [path.name for path in small.iterdir()] == [f"x.{engine}"]


@pytest.mark.parametrize("damage", ["cut", "scribbled"])
def test_a_damaged_file_is_an_error_and_not_other_rows(
    bench: Bench, engine: str, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / f"x.{engine}"
    url = url_of(engine, path)
    load(bench, url, random_rows(4000))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        for start in range(16_384, len(content), 8192):
            content[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises((SourceMalformed, SourceUnreadable, QueryFailed, DataError)) as caught:
        read(bench, url)
    is_clear(caught.value)
    assert f"{path} is damaged" in str(caught.value)
    assert path.read_bytes() == content


def test_what_was_left_by_an_error_in_a_load_is_the_old_table(
    bench: Bench, engine: str, tmp_path: Path
) -> None:
    url = url_of(engine, tmp_path / f"x.{engine}")
    load(bench, url, pa.table({"a": [1]}))

    def breaking() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"a": [2]})
        raise DataError("the source broke")

    for mode in ("append", "replace"):
        with pytest.raises(DataError, match="the source broke"):
            load(bench, url, BatchStream(pa.schema([("a", pa.int64())]), breaking()), mode)
        assert read(bench, url)["a"].to_pylist() == [1]
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == [f"x.{engine}"]


def test_a_commit_that_was_killed_is_taken_back_by_whoever_reads_next(bench: Bench, tmp_path: Path) -> None:
    """SQLite leaves a journal, and a reader that may not write the file could not open it."""
    path = tmp_path / "x.sqlite"
    url = url_of("sqlite", path)
    load(bench, url, pa.table({"a": [1]}))
    code = (
        f"import sqlite3, os, signal; c = sqlite3.connect({str(path)!r}, isolation_level=None); "
        "c.execute('pragma cache_size = 1'); c.execute('begin immediate'); c.execute('delete from t'); "
        "c.executemany('insert into t values (?)', ((n,) for n in range(100_000))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert path.with_name("x.sqlite-journal").stat().st_size
    assert read(bench, url)["a"].to_pylist() == [1]
