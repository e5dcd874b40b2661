"""cast and mask: what becomes of values."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.secret import Secret
from tests.connectors.verbs import a_bench

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

D = Decimal
UTC = dt.UTC

# What each value becomes as a type; `...` where it does not fit.
CASTS: list[tuple[str, pa.DataType, str, list[tuple[Any, Any]]]] = [
    ("text to whole number", pa.string(), "INTEGER", [
        ("1", 1), (" 2 ", 2), ("007", 7), ("-0", 0), ("+5", 5), ("1.5", ...), ("5.0", ...), ("1e2", ...), ("", ...), ("x", ...),
        ("2147483648", ...), ("1_000", ...), (None, None),
    ]),
    ("text to decimal", pa.string(), "DECIMAL(10,2)", [
        ("1", D("1.00")), ("1.500", D("1.50")), ("-.25", D("-0.25")), ("1.505", ...), ("123456789.12", ...), ("1e2", ...),
    ]),
    ("text to double", pa.string(), "DOUBLE", [
        ("0.1", 0.1), ("0.30000000000000004", 0.30000000000000004), ("0.123456789012345678", ...), ("1e400", ...), ("1_000", ...),
        ("inf", float("inf")),
    ]),
    ("text to date", pa.string(), "DATE", [
        ("2024-02-29", dt.date(2024, 2, 29)), ("2024-13-01", ...), ("2023-02-29", ...), ("2024-01-05 10:00", ...),
        ("2024-01-05 00:00:00", dt.date(2024, 1, 5)), ("1.2.2024", ...),
    ]),
    ("text to timestamp", pa.string(), "TIMESTAMP", [
        ("2024-02-29", dt.datetime(2024, 2, 29)), ("2024-02-29T10:00:00.123456", dt.datetime(2024, 2, 29, 10, 0, 0, 123456)),
        ("2024-02-29 10:00:00.1234567", ...), ("2024-02-29 10:00:00+02", ...),
    ]),
    ("text to instant", pa.string(), "TIMESTAMPTZ", [
        ("2024-02-29 10:00:00+02", dt.datetime(2024, 2, 29, 8, tzinfo=UTC)), ("2024-02-29 10:00:00", ...),
    ]),
    ("text to truth", pa.string(), "BOOLEAN", [("true", True), ("0", False), ("x", ...)]),
    ("double to whole number", pa.float64(), "INTEGER", [(2.0, 2), (1.5, ...), (float("nan"), ...), (1e300, ...)]),
    ("double to decimal", pa.float64(), "DECIMAL(10,2)", [
        (0.1, D("0.10")), (0.125, ...), (0.1 + 0.2, ...), (1e20, ...), (float("inf"), ...),
    ]),
    ("double to float", pa.float64(), "FLOAT", [(0.5, 0.5), (0.1, ...), (1e300, ...)]),
    ("whole number to double", pa.int64(), "DOUBLE", [(2**53, 2.0**53), (2**53 + 1, ...), (2**63 - 1, ...)]),
    ("whole number to smaller", pa.int64(), "UTINYINT", [(255, 255), (256, ...), (-1, ...)]),
    ("whole number to widest", pa.int64(), "HUGEINT", [(2**63 - 1, D(2**63 - 1))]),
    ("whole number to truth", pa.int64(), "BOOLEAN", [(1, True), (0, False), (2, ...)]),
    ("decimal to double", pa.decimal128(38, 1), "DOUBLE", [(D("0.1"), 0.1), (D("12345678901234567890.1"), ...)]),
    ("timestamp to date", pa.timestamp("us"), "DATE", [
        (dt.datetime(2024, 1, 1), dt.date(2024, 1, 1)), (dt.datetime(2024, 1, 1, 12), ...),
    ]),
    ("instant to timestamp", pa.timestamp("us", "Europe/Zurich"), "TIMESTAMP", [
        (dt.datetime(2024, 1, 1, 12, tzinfo=UTC), dt.datetime(2024, 1, 1, 12)),
    ]),
    ("lists", pa.list_(pa.int64()), "INTEGER[]", [([1, 2], [1, 2]), ([2**40], ...), ([], [])]),
    ("structs", pa.struct([("a", pa.int64())]), "STRUCT(a INTEGER)", [({"a": 1}, {"a": 1}), ({"a": 2**40}, ...)]),
    ("a dictionary", pa.dictionary(pa.int8(), pa.string()), "INTEGER", [("7", 7), ("x", ...)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "type_", "pairs"), [case[1:] for case in CASTS], ids=[case[0] for case in CASTS]
)
def test_a_value_fits_exactly_or_is_refused(
    bench: Bench, kind: pa.DataType, type_: str, pairs: list[tuple[Any, Any]]
) -> None:
    table = pa.table({"v": pa.array([value for value, _ in pairs], kind)})
    found = bench.transform("cast", table, columns={"v": type_}, on_error="null").to_table()
    assert found["v"].to_pylist() == [None if wanted is ... else wanted for _, wanted in pairs]
    refused = sum(wanted is ... for _, wanted in pairs)
    assert bench.notices == (
        [f"{refused} of {len(pairs)} rows have null in `v` now, where the value did not fit"]
        if refused
        else []
    )
    for value, wanted in pairs:
        one = pa.table({"v": pa.array([value], kind)})
        if wanted is ...:
            with pytest.raises(ConversionFailed, match="row 1: the column `v` holds .* does not fit"):
                bench.transform("cast", one, columns={"v": type_}).to_table()
        else:
            assert bench.transform("cast", one, columns={"v": type_}).to_table()["v"].to_pylist() == [wanted]


def test_the_error_of_a_cast_names_row_column_value_and_what_to_do(bench: Bench) -> None:
    table = pa.table({"Price": ["1.50", None, "1.505"]})
    with pytest.raises(ConversionFailed) as caught:
        bench.transform("cast", table, columns={"price": "DECIMAL(10,2)"}).to_table()
    assert (
        str(caught.value)
        == "row 3: the column `Price` holds '1.505', which does not fit DECIMAL(10,2) exactly"
    )
    assert "on_error: null" in caught.value.hint
    assert "cast(Price as DECIMAL(10,2))" in caught.value.hint


def test_dates_are_read_and_written_as_the_format_says(bench: Bench) -> None:
    table = pa.table({"d": ["01.02.2024", "31.02.2024", None], "t": ["1.2.2024 10:30", "x", None]})
    args = {
        "columns": {"d": "DATE", "t": "TIMESTAMP"},
        "format": {"d": "%d.%m.%Y", "t": "%d.%m.%Y %H:%M"},
    }
    found = bench.transform("cast", table, on_error="null", **args).to_table()
    assert found["d"].to_pylist() == [dt.date(2024, 2, 1), None, None]
    assert found["t"].to_pylist() == [dt.datetime(2024, 2, 1, 10, 30), None, None]
    back = bench.transform("cast", found, columns={"d": "VARCHAR"}, format={"d": "%d.%m.%Y"}).to_table()
    assert back["d"].to_pylist() == ["01.02.2024", None, None]
    cut = pa.table({"d": ["01.02.2024 10:00"]})
    with pytest.raises(ConversionFailed):
        bench.transform("cast", cut, columns={"d": "DATE"}, format={"d": "%d.%m.%Y %H:%M"}).to_table()


# ---------------------------------------------------------------------------------------------- mask


@settings(deadline=None, max_examples=20)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=16, max_size=90),
    st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))), max_size=5),
    st.integers(8, 64),
)
def test_the_keyed_hash_is_hmac_sha256(key: str, values: list[str | None], length: int) -> None:
    table = pa.table(
        {
            "t": pa.array(values, pa.string()),
            "b": pa.array([None if v is None else v.encode() for v in values], pa.binary()),
        }
    )
    with a_bench() as bench:
        way = {"hash": {"key": Secret(key), "length": length}}
        found = bench.transform("mask", table, columns={"t": way, "b": way}).to_table()
    expected = [
        None if v is None else hmac.new(key.encode(), v.encode(), hashlib.sha256).hexdigest()[:length]
        for v in values
    ]
    assert found["t"].to_pylist() == found["b"].to_pylist() == expected


def test_what_is_redacted_and_what_is_kept(bench: Bench) -> None:
    table = pa.table(
        {
            "note": pa.array(["secret", "", None], pa.large_string()),
            "born": pa.array([dt.date(2000, 1, 1), None, None]),
            "card": [4111111111111111, 123, None],
            "flag": ["🇨🇭🇨🇭🇨🇭🇨🇭", "e\u0301a", "abc"],
        }
    )
    columns = {"note": "redact", "born": "redact", "card": {"keep_last": 4}, "flag": {"keep_last": 2}}
    found = bench.transform("mask", table, columns=columns).to_table()
    assert found.to_pydict() == {
        "note": ["***", "***", None],
        "born": [None, None, None],
        "card": ["************1111", "***", None],
        "flag": ["**🇨🇭🇨🇭", "**", "***"],
    }
    assert found.schema.types[:2] == [pa.large_string(), pa.date32()]


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ({"hash": {"key": "hunter2"}}, "shorter than 16 bytes"),
        ({"hash": {"kex": "hunter2hunter2hunter2"}}, "hash: key: Field required"),
        ({"hash": {"key": "hunter2hunter2hunter2", "length": 7}}, "length"),
        ({"keep_last": 0}, "greater than or equal to 1"),
        ({"keep_last": 1, "hash": {"key": "hunter2hunter2hunter2"}}, "write redact"),
        ({}, "write redact"),
        ("readct", "redact"),
    ],
)
def test_a_wrong_way_is_refused_and_no_key_is_shown(bench: Bench, way: Any, text: str) -> None:
    [fault] = bench.faults("transform", "mask", columns={"email": way})
    assert text in fault
    assert "hunter2" not in fault


def test_no_key_is_in_an_error(bench: Bench) -> None:
    interval = pa.table({"v": pa.array([1], pa.int64())})
    plugin = bench.plugin("transform", "mask", columns={"w": {"hash": {"key": "hunter2hunter2hunter2"}}})
    assert "hunter2" not in repr(plugin.config)
    with pytest.raises(Exception, match="`w`") as caught:
        plugin(interval)
    assert "hunter2" not in f"{caught.value!r} {caught.value}"
