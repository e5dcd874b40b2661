"""JSON lines as a destination: every value is written exactly, or refused."""

from __future__ import annotations

import base64
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConversionFailed, TargetUnwritable
from tests.connectors.conftest import every_type, nested
from tests.connectors.suites import Broken, breaking

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench


def lines(path: str = "x.jsonl") -> list[Any]:
    return [json.loads(line, parse_float=Decimal) for line in Path(path).read_text().splitlines()]


def test_json_values_are_exact(bench: Bench) -> None:
    assert bench.load("jsonl", every_type(), path="x.jsonl") == 3
    first, second, third = Path("x.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "whole": 7,
        "real": 0.1,
        "truth": True,
        "word": "007",
        "odd": 'say "hi",\nthen; go',
        "price": 12.5,
        "huge": 1.2345678901234568e27,
        "day": "2024-02-29",
        "clock": "23:59:59.999999",
        "moment": "2024-02-29T01:02:03.456789",
        "instant": "2024-02-29T01:02:03.456789Z",
        "bytes": base64.b64encode(b"\x00\xff,\"'").decode(),
    }
    assert '"price":12.50,"huge":1234567890123456789012345678.9012345678,' in first
    assert '"whole":-9223372036854775808,"real":1.7976931348623157e308' in second
    assert set(json.loads(third).values()) == {None}


def test_json_integers_and_decimals_have_all_digits(bench: Bench) -> None:
    table = pa.table(
        {
            "u": pa.array([2**64 - 1], pa.uint64()),
            "d": pa.array([Decimal("1234567890123456.78")], pa.decimal128(18, 2)),
            "p": pa.array([Decimal("-0.05")], pa.decimal128(2, 2)),
            "q": pa.array([Decimal("0.05")], pa.decimal128(2, 2)),
            "l": pa.array([[Decimal("0.10")]], pa.list_(pa.decimal128(4, 2))),
        }
    )
    bench.load("jsonl", table, path="x.jsonl")
    assert Path("x.jsonl").read_text() == (
        '{"u":18446744073709551615,"d":1234567890123456.78,"p":-0.05,"q":0.05,"l":[0.10]}\n'
    )


def test_nested_json(bench: Bench) -> None:
    bench.load("jsonl", nested(), path="x.jsonl")
    assert [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()] == [
        {"list": ["a", None, 'it\'s "x", [y]'], "struct": {"n": 1.1, "d": "2024-01-01"}, "map": {"k": 1}},
        {"list": [], "struct": {"n": None, "d": None}, "map": {}},
        {"list": None, "struct": None, "map": None},
    ]
    deep = pa.table({'a"b': pa.array([[{"x": [{"y": [1, None]}]}]])})
    bench.load("jsonl", deep, path="x.jsonl")
    assert lines() == deep.to_pylist()


def test_json_text_stays_json(bench: Bench) -> None:
    bench.load("sql", pa.table({"n": [1]}), url="duckdb:///x.db", table="t", mode="replace")
    query = "select '{\"a\":\n 1.10000000000000000000000001}'::json as j"
    found = bench.extract("sql", url="duckdb:///x.db", query=query)
    bench.load("jsonl", found, path="x.jsonl")
    assert Path("x.jsonl").read_text() == '{"j":{"a":  1.10000000000000000000000001}}\n'


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.5, math.nan]), "`x` holds NaN or infinity"),
        (pa.array([[math.inf]]), "`x` holds NaN or infinity"),
        (pa.array([{"y": math.nan}]), r"`x\.y` holds NaN or infinity"),
        (pa.array([-800_000], pa.date32()), "outside of the years 1 to 9999"),
    ],
)
def test_what_json_does_not_have_is_an_error(bench: Bench, column: pa.Array, message: str) -> None:
    Path("x.jsonl").write_text("old\n")
    with pytest.raises(ConversionFailed, match=message):
        bench.load("jsonl", pa.table({"x": column}), path="x.jsonl")
    assert Path("x.jsonl").read_text() == "old\n"


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | TEXT,
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "d": st.none()
        | st.decimals(allow_nan=False, allow_infinity=False, places=4).filter(lambda d: abs(d) < 10**15),
        "b": st.none() | st.booleans(),
        "list": st.none() | st.lists(st.none() | TEXT, max_size=3),
    }
)
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "n": pa.int64(),
        "f": pa.float64(),
        "d": pa.decimal128(20, 4),
        "b": pa.bool_(),
        "list": pa.list_(pa.string()),
    }
)
any_rows = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@any_rows
@given(rows=st.lists(ROW, max_size=6))
def test_any_rows_are_the_json_that_python_reads(bench: Bench, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    bench.load("jsonl", table, path="x.jsonl")
    text = Path("x.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line, parse_float=Decimal) for line in text.split("\n")[:-1]]
    for row in found:
        row["f"] = None if row["f"] is None else float(row["f"])
    assert found == table.to_pylist()


def test_a_failure_half_way_leaves_the_old_file(bench: Bench) -> None:
    Path("x.jsonl").write_text("old\n")
    with pytest.raises(Broken):
        bench.load("jsonl", breaking(every_type()), path="x.jsonl")
    assert Path("x.jsonl").read_text() == "old\n"
    assert bench.leftovers() == []


def test_a_folder_as_file_is_named(bench: Bench) -> None:
    Path("x").mkdir()
    with pytest.raises(TargetUnwritable, match="is a folder") as caught:
        bench.load("jsonl", every_type(), path="x")
    assert "end the path with /" in caught.value.hint


def test_an_empty_load_makes_an_empty_file(bench: Bench) -> None:
    assert bench.load("jsonl", every_type().slice(0, 0), path="x.jsonl") == 0
    assert Path("x.jsonl").read_bytes() == b""
