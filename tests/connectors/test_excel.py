"""Excel workbooks as a source."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.errors import SourceMalformed, SourceUnreadable, WrongArgument
from tests.connectors.excel import Fault, write

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench


def read(bench: Bench, *rows: list[Any], **args: Any) -> pa.Table:
    write("data.xlsx", {"Sheet": rows})
    return bench.extract("excel", path="data.xlsx", **args)


def column(bench: Bench, *values: Any, **args: Any) -> pa.ChunkedArray:
    return read(bench, ["id", "a"], *([1, value] for value in values), **args)["a"]


DAY, MOMENT = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 13, 30, 15)


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        ([1, 2.0, None], pa.int64(), [1, 2, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1e300, 1], pa.float64(), [1e300, 1.0]),
        ([DAY, None, dt.date(1950, 1, 1)], pa.date32(), [DAY, None, dt.date(1950, 1, 1)]),
        ([DAY, MOMENT], pa.timestamp("ms"), [dt.datetime(2024, 2, 29), MOMENT]),
        ([dt.time(13, 30), dt.time(0, 0, 5)], pa.time32("ms"), [dt.time(13, 30), dt.time(0, 0, 5)]),
        ([dt.timedelta(hours=30)], pa.duration("ms"), [dt.timedelta(hours=30)]),
        ([True, False, None], pa.bool_(), [True, False, None]),
        (["007", "", " x ", None], pa.string(), ["007", "", " x ", None]),
        ([1, "x", 2.5, None], pa.string(), ["1", "x", "2.5", None]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([DAY, "x"], pa.string(), ["2024-02-29 00:00:00", "x"]),
        ([None, None], pa.string(), [None, None]),
    ],
)
def test_a_column_has_the_type_of_its_cells(
    bench: Bench, values: list[Any], type_: pa.DataType, expected: list[Any]
) -> None:
    found = column(bench, *values)
    assert found.type == type_
    assert found.to_pylist() == expected


def test_rows_and_columns_without_values_are_left_out(bench: Bench) -> None:
    table = read(bench, [], [None, None, "a", None, " b "], [], [None, None, 1], [None, None, None, 5, 2], [])
    assert table.to_pylist() == [
        {"a": 1, "column_2": None, "b": None},
        {"a": None, "column_2": 5, "b": 2},
    ]


def test_header_skip_and_sheet(bench: Bench) -> None:
    sheets: dict[str, Any] = {
        "One": [["note"], ["a", "b"], [1, "x"]],
        "Two 2": [[1, "x"], [2, "y"]],
        "Three": [],
    }
    write("data.xlsx", sheets)
    assert bench.extract("excel", path="data.xlsx", skip=1).to_pylist() == [{"a": 1, "b": "x"}]
    assert bench.extract("excel", path="data.xlsx", sheet="Two 2", header=False).to_pydict() == {
        "column_1": [1, 2],
        "column_2": ["x", "y"],
    }
    assert bench.extract("excel", path="data.xlsx", sheet=2).column_names == ["1", "x"]
    for sheet, message in (("Tow 2", "no sheet `Tow 2`"), (4, "no sheet 4"), ("Three", "`Three` .*is empty")):
        with pytest.raises(SourceMalformed, match=message):
            bench.extract("excel", path="data.xlsx", sheet=sheet)


def test_a_header_alone_has_columns_and_no_rows(bench: Bench) -> None:
    table = read(bench, ["a", "b"])
    assert table.column_names == ["a", "b"]
    assert table.num_rows == 0


def test_declared_types(bench: Bench) -> None:
    rows = [[1, 1.10, DAY, dt.time(13, 30), "2.50"], [2, 2, DAY, None, 3]]
    columns = {"n": "VARCHAR", "p": "DECIMAL(10,2)", "d": "DATE", "t": "TIME", "s": "DECIMAL(5,1)"}
    table = read(bench, ["n", "p", "d", "t", "s"], *rows, columns=columns)
    assert table.to_pylist() == [
        {"n": "1", "p": Decimal("1.10"), "d": DAY, "t": dt.time(13, 30), "s": Decimal("2.5")},
        {"n": "2", "p": Decimal("2.00"), "d": DAY, "t": None, "s": Decimal("3.0")},
    ]
    for type_, value in (("DATE", MOMENT), ("INTEGER", 1.5), ("DECIMAL(5,1)", 1.25), ("BOOLEAN", "yes")):
        message = r"data\.xlsx, sheet `Sheet`, row 4, column `a`: it is declared .* and here is"
        with pytest.raises(SourceMalformed, match=message):
            column(bench, None, None, value, columns={"a": type_})
    with pytest.raises(WrongArgument, match="declares `b`"):
        column(bench, 1, columns={"b": "DATE"})
    with pytest.raises(WrongArgument, match="not read from Excel"):
        column(bench, 1, columns={"a": "BIGINT[]"})


def test_error_cells_are_named_or_empty(bench: Bench) -> None:
    for values in ([1, Fault("#DIV/0!")], ["x", Fault("#DIV/0!")], [None, Fault("#DIV/0!")]):
        with pytest.raises(SourceMalformed, match=r"row 3, column `a` holds the error #DIV/0!"):
            column(bench, *values)
    assert column(bench, 1, Fault("#N/A"), error_cells="empty").to_pylist() == [1, None]


def test_a_cell_of_another_kind_after_the_sample(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.plugins.extract.excel.SAMPLE_ROWS", 2)
    message = "row 4, column `a`: it is a number in the first 2 rows, and here is 'x'"
    with pytest.raises(SourceMalformed, match=message) as caught:
        column(bench, 1, 2, "x", 3)
    assert "on_type_error: text" in caught.value.hint
    for policy in ("widen", "text"):
        assert column(bench, 1, 2, "x", 3, on_type_error=policy).to_pylist() == ["1", "2", "x", "3"]
    assert column(bench, 1, 2, "x", columns={"a": "VARCHAR"}).to_pylist() == ["1", "2", "x"]
    assert column(bench, None, None, "x").to_pylist() == [None, None, "x"]


def test_several_files_decide_a_type_together(bench: Bench) -> None:
    write("1.xlsx", {"S": [["a", "b", "c", "d"], [1, DAY, None, 5]]})
    write("2.xlsx", {"S": [["a", "b", "c", "d"], [1.5, MOMENT, True, "x"]]})
    table = bench.extract("excel", path="?.xlsx", file_column="f")
    assert table.schema.types == [pa.float64(), pa.timestamp("ms"), pa.bool_(), pa.string(), pa.string()]
    assert table["d"].to_pylist() == ["5", "x"]
    assert table["f"].to_pylist() == ["1.xlsx", "2.xlsx"]
    write("3.xlsx", {"S": [["b", "a"], [1, 2]]})
    with pytest.raises(SourceMalformed, match=r"3\.xlsx has other columns than .*1\.xlsx"):
        bench.extract("excel", path="?.xlsx")
    with pytest.raises(WrongArgument, match="has already"):
        bench.extract("excel", path="1.xlsx", file_column="a")


def test_files_that_cannot_be_read(bench: Bench) -> None:
    Path("junk.xlsx").write_bytes(b"junk" * 100)
    with pytest.raises(SourceMalformed, match=r"junk\.xlsx is not a workbook"):
        bench.extract("excel", path="junk.xlsx")
    with pytest.raises(SourceUnreadable, match=r"none\.xlsx does not exist"):
        bench.extract("excel", path="none.xlsx")
    with pytest.raises(SourceMalformed, match="2 columns called `a`"):
        read(bench, ["a", "a"], [1, 2])


@pytest.mark.parametrize(("plugin", "library"), [("excel", "fastexcel"), ("avro", "fastavro")])
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, plugin: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    Path("data").write_bytes(b"x")
    with pytest.raises(SourceUnreadable, match=f"{library} is not installed") as caught:
        bench.extract(plugin, path="data")
    assert caught.value.hint == f'pip install "pipeline-flow[{plugin}]"'
