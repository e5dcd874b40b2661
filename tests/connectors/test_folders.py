"""Folders of files as destinations and sources: the manifest is the commit, whatever happens when."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.data import to_stream
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    SourceMalformed,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.files import local
from pipeline_flow.files import manifest as manifests
from tests.connectors.suites import Broken, breaking

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

LAKE = Path("lake")
every_format = pytest.mark.parametrize("plugin", ["parquet", "csv", "jsonl"])
SALES = pa.table(
    {
        "id": [1, 2, 3, 4, 5],
        "day": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 1), None, None]),
        "region": ["eu", "us", "eu", "a/b=ü %", None],
    }
)
BY_DAY = {"path": "lake/", "mode": "append", "partition_by": ["day", "region"]}


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64())})


def append(bench: Bench, *values: int, plugin: str = "parquet", **args: Any) -> int:
    return bench.load(plugin, numbers(*values), **{"path": "lake/", "mode": "append", **args})


def replace(bench: Bench, *values: int, plugin: str = "parquet", **args: Any) -> int:
    return append(bench, *values, plugin=plugin, mode="replace", **args)


def outside(folder: Path = LAKE) -> list[Path]:
    """What somebody sees who knows nothing of us."""
    return sorted(path for path in folder.rglob("*.*") if local.PRIVATE not in path.parts)


def rows_of(plugin: str, files: list[Path]) -> list[int]:
    if plugin == "parquet":
        return [row for path in files for row in pq.read_table(path, partitioning=None)["n"].to_pylist()]
    texts = [path.read_text().splitlines() for path in files]
    if plugin == "csv":
        return [int(line) for lines in texts for line in lines[1:]]
    return [json.loads(line)["n"] for lines in texts for line in lines]


def seen_outside(plugin: str = "parquet", folder: Path = LAKE) -> list[int]:
    return sorted(rows_of(plugin, outside(folder)))


def private(folder: Path = LAKE) -> list[str]:
    """What lies in our own folder besides manifests."""
    return [str(path) for path in (folder / local.PRIVATE / "staged").rglob("*")]


# ---------------------------------------------------------------------------------------------- modes


@every_format
def test_append_adds_and_replace_replaces(bench: Bench, plugin: str) -> None:
    assert append(bench, 1, 2, plugin=plugin) == 2
    append(bench, 3, plugin=plugin)
    assert seen_outside(plugin) == [1, 2, 3]
    replace(bench, 4, 5, plugin=plugin)
    assert seen_outside(plugin) == [4, 5]
    assert len(outside()) == 1
    found = manifests.latest(LAKE)
    assert found is not None
    assert (found.sequence, found.rows, found.format, found.run) == (3, 2, plugin, "run-1")
    assert private() == []


@every_format
def test_an_empty_load_makes_a_folder_with_the_columns(bench: Bench, plugin: str) -> None:
    assert replace(bench, plugin=plugin) == 0
    assert len(outside()) == 1
    if plugin != "jsonl":
        assert bench.extract(plugin, path="lake").column_names == ["n"]
    append(bench, plugin=plugin)
    assert len(outside()) == 1, "rows that are not there need no second file"


@every_format
def test_what_was_staged_can_be_taken_back(bench: Bench, plugin: str) -> None:
    with pytest.raises(Broken):
        bench.load(plugin, breaking(SALES), **BY_DAY)
    assert not LAKE.exists()
    append(bench, 1, plugin=plugin)
    with pytest.raises(Broken):
        bench.load(plugin, breaking(numbers(2)), path="lake/", mode="replace")
    assert seen_outside(plugin) == [1]
    assert private() == []


@every_format
def test_nothing_is_seen_before_the_commit(bench: Bench, plugin: str) -> None:
    append(bench, 1, plugin=plugin)

    async def run() -> None:
        load = bench.plugin("load", plugin, path="lake/", mode="replace")
        transaction = await load.begin()
        await load.stage(to_stream(numbers(2)), transaction)
        assert seen_outside(plugin) == [1]
        await transaction.commit()
        await transaction.abort()

    asyncio.run(run())
    assert seen_outside(plugin) == [2]


def test_two_loads_of_one_pipeline_share_one_manifest(bench: Bench) -> None:
    async def run() -> None:
        first, second = (
            bench.plugin("load", "parquet", path=path, mode="append") for path in ("lake/", "./lake//")
        )
        assert first.destination == second.destination
        transaction = await first.begin()
        await first.stage(to_stream(numbers(1)), transaction)
        await second.stage(to_stream(numbers(2)), transaction)
        await transaction.commit()

    asyncio.run(run())
    assert seen_outside() == [1, 2]
    found = manifests.latest(LAKE)
    assert found is not None
    assert found.sequence == 1


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_who_loses_the_race_for_a_number_takes_the_next_one(bench: Bench, mode: str) -> None:
    async def run() -> None:
        loads = [bench.plugin("load", "parquet", path="lake/", mode=mode) for _ in range(4)]
        transactions = [await load.begin() for load in loads]
        for number, (load, transaction) in enumerate(zip(loads, transactions, strict=True)):
            await load.stage(to_stream(numbers(number)), transaction)
        await asyncio.gather(*(transaction.commit() for transaction in transactions))

    asyncio.run(run())
    assert len(seen_outside()) == (4 if mode == "append" else 1)
    found = manifests.latest(LAKE)
    assert found is not None
    assert found.sequence == 4
    assert private() == []


def test_a_writer_that_fell_far_behind_does_not_take_a_number_that_is_free_again(bench: Bench) -> None:
    append(bench, 0)
    late = manifests.latest(LAKE)
    assert late is not None
    for number in range(1, 25):
        append(bench, number)
    kept = sorted((LAKE / "_pipeline_flow/manifests").iterdir())
    assert len(kept) == 20
    assert manifests.create(LAKE, late) is False
    assert sorted((LAKE / "_pipeline_flow/manifests").iterdir()) == kept


# ---------------------------------------------------------------------------------------------- partitions


@every_format
def test_rows_lie_in_folders_of_their_values(bench: Bench, plugin: str) -> None:
    assert bench.load(plugin, SALES, **BY_DAY) == 5
    null = "__HIVE_DEFAULT_PARTITION__"
    assert sorted({path.parent.relative_to(LAKE).as_posix() for path in outside()}) == [
        "day=2024-01-01/region=eu",
        "day=2024-01-02/region=us",
        f"day={null}/region={null}",
        f"day={null}/region=a%2Fb%3Dü %25",
    ]
    assert len(outside()) == 4


def test_partition_columns_come_back_with_their_types_and_places(bench: Bench) -> None:
    table = pa.table(
        {
            "whole": pa.array([1, None, 3], pa.int32()),
            "text": ["007", "1", None],
            "kept": [1, 2, 3],
            "price": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
            "yes": [True, False, None],
            "day": pa.array([dt.date(2024, 1, 1), dt.date(1, 1, 1), None]),
            "at": pa.array(
                [dt.datetime(2024, 1, 1, 1, 2, 3, 4), None, dt.datetime(1999, 1, 1)], pa.timestamp("us")
            ),
            "utc": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
        }
    )
    names = [name for name in table.column_names if name != "kept"]
    bench.load("parquet", table, path="lake", mode="append", partition_by=names)
    found = bench.extract("parquet", path="lake")
    assert found.schema.equals(table.schema)
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, table.to_pylist()))


@pytest.mark.parametrize("plugin", ["parquet", "csv"])
def test_a_foreign_lake_has_its_partition_columns(bench: Bench, plugin: str) -> None:
    duckdb.connect().execute(
        "copy (select 1 as n, date '2024-01-01' as day, 5 as k, 'x y' as t union all select 2, '2024-01-02', null, '007') "
        f"to 'lake' (format {plugin}, partition_by (day, k, t))"
    )
    found = bench.extract(plugin, path="lake").sort_by("n")
    assert found.to_pylist() == [
        {"n": 1, "day": dt.date(2024, 1, 1), "k": 5, "t": "x y"},
        {"n": 2, "day": dt.date(2024, 1, 2), "k": None, "t": "007"},
    ]


def test_files_have_no_more_rows_than_asked(bench: Bench) -> None:
    table = pa.table({"n": range(10), "k": [number % 2 for number in range(10)]})
    stream = to_stream(pa.Table.from_batches(table.to_batches(max_chunksize=3)))
    bench.load("parquet", stream, path="lake", mode="append", partition_by=["k"], max_rows_per_file=2)
    sizes = [pq.read_metadata(path).num_rows for path in outside()]
    assert sizes == [2, 2, 1, 2, 2, 1]
    assert bench.extract("parquet", path="lake").to_pydict() == {
        "n": [0, 2, 4, 6, 8, 1, 3, 5, 7, 9],
        "k": [0] * 5 + [1] * 5,
    }


def test_more_partitions_than_open_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.files.parts._OPEN_FILES", 3)
    monkeypatch.setattr("pipeline_flow.files.parts._WAITING_BYTES", 100)
    table = pa.table({"n": range(300), "k": [number % 10 for number in range(300)]})
    bench.load(
        "csv", to_stream(table.to_batches(max_chunksize=20)), path="lake", mode="append", partition_by=["k"]
    )
    found = bench.extract("csv", path="lake").sort_by("n")
    assert found.to_pydict() == table.to_pydict()


@pytest.mark.parametrize(
    ("table", "names", "error", "message"),
    [
        (pa.table({"a": [1], "b": [1.5]}), ["b"], ConversionFailed, "`b` is double"),
        (pa.table({"a": [1], "b": [""]}), ["b"], ConversionFailed, "come back as null"),
        (pa.table({"a": [1], "b": ["x"]}), ["bb"], WrongArgument, "names `bb`"),
        (pa.table({"a": [1], "b": ["x"]}), ["b", "a"], WrongArgument, "names all columns"),
        (pa.table({"a": [1], "b": ["x" * 300]}), ["b"], TargetUnwritable, "too long"),
    ],
)
def test_what_cannot_be_a_partition_is_an_error(
    bench: Bench, table: pa.Table, names: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench.load("parquet", table, path="lake", mode="append", partition_by=names)
    assert not LAKE.exists()


# ---------------------------------------------------------------------------------------------- what does not fit


def test_rows_of_another_shape_are_not_appended(bench: Bench) -> None:
    append(bench, 1)
    for table, args, message in (
        (pa.table({"n": ["x"]}), {}, "n string instead of n int64"),
        (pa.table({"m": [1]}), {}, "m int64 instead of n int64"),
        (pa.table({"n": [1], "k": [1]}), {"partition_by": ["k"]}, "partitioned by nothing"),
    ):
        with pytest.raises(DestinationFailed, match=message):
            bench.load("parquet", table, **{"path": "lake/", "mode": "append", **args})
    with pytest.raises(DestinationFailed, match="files of the plugin `parquet`"):
        append(bench, 1, plugin="csv")
    replace(bench, 7, plugin="csv")
    assert seen_outside("csv") == [7]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_files_that_no_load_wrote_are_never_touched(bench: Bench, mode: str) -> None:
    LAKE.mkdir()
    (LAKE / "mine.csv").write_text("a\n1\n")
    (LAKE / "notes.txt").write_text("x")
    with pytest.raises(DestinationFailed, match=r"no load has written, such as .*mine\.csv"):
        append(bench, 1, plugin="csv", mode=mode)
    assert sorted(path.name for path in LAKE.iterdir()) == ["mine.csv", "notes.txt"]
    append(bench, 1, plugin="parquet", mode=mode)
    assert (LAKE / "mine.csv").read_text() == "a\n1\n"


def test_wrong_arguments_are_found_beforehand(bench: Bench) -> None:
    for args, message in (
        ({"path": "lake/"}, "a folder needs `mode: append` or `mode: replace`"),
        ({"path": "x.parquet", "mode": "append"}, "end `path` with / to append"),
        ({"path": "x.parquet", "max_rows_per_file": 5}, "is for folders"),
        ({"path": "lake", "mode": "append", "partition_by": ["a", "a"]}, "names `a` twice"),
    ):
        assert message in bench.faults("load", "parquet", **args)[0]
    assert bench.faults("load", "parquet", path="x.parquet", mode="replace") == []


def test_a_damaged_manifest_is_named(bench: Bench) -> None:
    append(bench, 1)
    path = LAKE / "_pipeline_flow/manifests/00000001.json"
    text = path.read_text()
    for broken in (
        "{",
        text.replace('"path": "', '"path": "../'),
        text.replace('"version": 1', '"version": 9'),
    ):
        path.write_text(broken)
        with pytest.raises(SourceMalformed, match=r"00000001\.json"):
            bench.extract("parquet", path="lake")
        with pytest.raises(SourceMalformed, match=r"00000001\.json"):
            append(bench, 1)


@pytest.mark.parametrize("plugin", ["csv", "jsonl"])
def test_packed_by_suffix(bench: Bench, plugin: str) -> None:
    bench.load(plugin, numbers(1, 2), path=f"plain.{plugin}")
    plain = Path(f"plain.{plugin}").read_bytes()
    bench.load(plugin, numbers(1, 2), path=f"x.{plugin}.gz")
    assert gzip.decompress(Path(f"x.{plugin}.gz").read_bytes()) == plain
    bench.load(plugin, numbers(1, 2), path=f"x.{plugin}.zst")
    with pa.input_stream(f"x.{plugin}.zst", compression="zstd") as text:
        assert text.read() == plain
    append(bench, 1, 2, plugin=plugin, compression="zstd")
    assert outside()[0].name.endswith(f".{plugin}.zst")
    with pa.input_stream(str(outside()[0]), compression="zstd") as text:
        assert text.read() == plain


# ---------------------------------------------------------------------------------------------- reading


def test_a_reader_sees_the_old_or_the_new_rows_while_they_are_replaced(bench: Bench) -> None:
    table = pa.table({"n": range(1000)})
    bench.load("parquet", table, path="lake/", mode="append", max_rows_per_file=100)

    async def run() -> list[int]:
        stream = await bench.plugin("extract", "parquet", path="lake")()
        found = []
        async for batch in stream:
            found += batch.column(0).to_pylist()
            if len(found) == 100:
                await asyncio.to_thread(lambda: asyncio.run(_replace(bench)))
        return found

    assert asyncio.run(run()) == list(range(1000))
    assert bench.extract("parquet", path="lake")["n"].to_pylist() == [-1]


async def _replace(bench: Bench) -> None:
    load = bench.plugin("load", "parquet", path="lake/", mode="replace")
    transaction = await load.begin()
    await load.stage(to_stream(numbers(-1)), transaction)
    await transaction.commit()


def test_files_beside_the_manifest_are_not_read(bench: Bench) -> None:
    append(bench, 1)
    pq.write_table(numbers(99), "lake/stray.parquet")
    assert bench.extract("parquet", path="lake/")["n"].to_pylist() == [1]
    outside()[0].unlink()
    with pytest.raises(SourceUnreadable, match="is missing, although"):
        bench.extract("parquet", path="lake/")


def test_patterns_do_not_look_into_our_own_folder(bench: Bench) -> None:
    append(bench, 1)
    staged = LAKE / "_pipeline_flow/staged/x"
    staged.mkdir(parents=True)
    pq.write_table(numbers(99), staged / "x.parquet")
    assert bench.extract("parquet", path="lake/**/*.parquet")["n"].to_pylist() == [1]


def test_nothing_of_it_needs_pandas(bench: Bench) -> None:
    """Pyarrow imports it with the first value that comes from Python, which takes longer than a small load."""
    bench.load("parquet", SALES, **BY_DAY)
    Path("t.csv").write_text("a\n1\n")
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.connectors.conftest import Bench\nbench = Bench(Path('b'))\n"
        "bench.extract('parquet', path='lake', file_column='f')\n"
        "table = bench.extract('csv', path='t.csv', file_column='f')\n"
        "bench.load('csv', table, path='o/', mode='append', partition_by=['f'])\n"
        "assert 'pandas' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


# ---------------------------------------------------------------------------------------------- crashes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
@pytest.mark.parametrize(("plugin", "mode"), [("parquet", "replace"), ("parquet", "append")])
def test_killed_anywhere_a_load_is_there_as_a_whole_or_not_at_all(
    bench: Bench, plugin: str, mode: str
) -> None:
    """Each case is a folder with the rows 1 and 2 and a load of 3 and 4, killed before its nth change of the disk."""
    for start in (1, 2):
        append(bench, start, plugin=plugin, max_rows_per_file=1)
    after = [1, 2, 3, 4] if mode == "append" else [3, 4]
    subprocess.run(
        [sys.executable, "-m", "tests.connectors.killed", plugin, mode],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    cases = sorted(Path("cases").iterdir())
    assert len(cases) > 15
    results = []
    for case in cases:
        found = sorted(_through_manifest(case, plugin))
        assert found in ([1, 2], after), case
        results.append(found)
        bench.load(plugin, numbers(5), path=f"{case}/", mode=mode)
        expected = [*found, 5] if mode == "append" else [5]
        assert seen_outside(plugin, case) == sorted(_through_manifest(case, plugin)) == expected
        assert private(case) == []
    first = results.index(after)
    assert results == [[1, 2]] * first + [after] * (len(results) - first), "there is one moment of commit"
    assert first < len(results) - 5


def _through_manifest(case: Path, plugin: str) -> list[int]:
    from pipeline_flow.files import folder

    files, manifest = folder.find(case, (f".{plugin}",))
    assert manifest is not None
    return rows_of(plugin, [path for _, path in files])


any_rows = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
PART = st.none() | st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=6)


@any_rows
@given(
    rows=st.lists(st.tuples(st.integers(0, 99), PART, st.none() | st.dates(), st.booleans()), max_size=12),
    plugin=st.sampled_from(["parquet", "csv"]),
)
def test_any_partitions_come_back(bench: Bench, rows: list[tuple[Any, ...]], plugin: str) -> None:
    schema = pa.schema({"n": pa.int64(), "t": pa.string(), "d": pa.date32(), "b": pa.bool_()})
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    bench.load(plugin, table, path="h/", mode="replace", partition_by=["t", "d", "b"])
    found = bench.extract(plugin, path="h/")
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, table.to_pylist()))
    if rows or plugin == "parquet":
        assert found.schema.equals(schema)


TEXTS = ["a", "", None, 'say "hi"', "a,b", "two\nlines", "\r", "#x", " x ", "(x)", "NULL", "ü€😀"]


@any_rows
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(TEXTS) | TEXT.filter(lambda text: "\0" not in text), st.sampled_from(TEXTS)
        ),
        min_size=1,
        max_size=5,
    ),
    delimiter=st.sampled_from([",", ";", "\t", "-"]),
)
def test_a_csv_file_of_a_folder_reads_like_one_file(
    bench: Bench, rows: list[tuple[Any, Any]], delimiter: str
) -> None:
    table = pa.table(
        {
            "a": pa.array([row[0] for row in rows], pa.string()),
            "b": pa.array([row[1] for row in rows], pa.string()),
            "n": [-1] * len(rows),
        }
    )
    columns = {"a": "VARCHAR", "b": "VARCHAR"}
    bench.load("csv", table, path="f/", mode="replace", delimiter=delimiter)
    assert (
        bench.extract("csv", path="f/", columns=columns, delimiter=delimiter).to_pylist() == table.to_pylist()
    )
