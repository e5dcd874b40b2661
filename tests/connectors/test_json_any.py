"""Random JSON records come back equal or are refused, however they are read."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import SourceMalformed
from tests.connectors.test_jsonl import read

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["", "007", "1", "null", "2024-01-01", '"', "\\", "\n", "NaN"]
)
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**53 + 1, 2**63, 2**64, 0.1 + 0.2, 10**40, 1e16, 5e-324])
)
KEYS = st.sampled_from(["a", "b", "A", "a.b", "ü", ""]) | st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=8)
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def same(value: Any, found: Any, type_: pa.DataType) -> bool:
    """Whether ``found`` in a column of ``type_`` means ``value``."""
    if value is None:
        return found is None
    if pa.types.is_struct(type_) and isinstance(value, dict):
        return set(value) <= set(found) and all(
            same(value.get(field.name), found[field.name], field.type) for field in type_
        )
    if pa.types.is_list(type_) and isinstance(value, list):
        return len(value) == len(found) and all(
            same(item, other, type_.value_type) for item, other in zip(value, found, strict=True)
        )
    if pa.types.is_string(type_):
        return found == value if isinstance(value, str) and found == value else json.loads(found) == value
    if isinstance(value, float) and isinstance(found, Decimal):
        return Decimal(repr(value)) == found
    return (
        type(found) in (int, float, bool, Decimal)
        and isinstance(found, bool) == isinstance(value, bool)
        and found == value
    )


def check(bench: Bench, records: list[dict[str, Any]], **args: Any) -> pa.Table:
    table = read(bench, *map(json.dumps, records), **args)
    assert table.num_rows == len(records)
    for record, row in zip(records, table.to_pylist(), strict=True):
        assert set(record) <= set(row)
        for field in table.schema:
            assert same(record.get(field.name), row[field.name], field.type), (field, record, row)
    assert table.column_names == list(dict.fromkeys(name for record in records for name in record))
    assert read(bench, *map(json.dumps, records), **args).schema == table.schema
    return table


@SETTINGS
@given(records=RECORDS)
def test_records_in_the_sample_come_back_equal(bench: Bench, records: list[dict[str, Any]]) -> None:
    assume(any(records))
    check(bench, records)


@SETTINGS
@given(records=RECORDS, sample=st.integers(1, 4), policy=st.sampled_from(["fail", "widen", "text"]))
def test_records_after_the_sample_come_back_equal_or_are_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, records: list[dict[str, Any]], sample: int, policy: str
) -> None:
    assume(any(records[:sample]))
    monkeypatch.setattr("pipeline_flow.files.json_records.SAMPLE_ROWS", sample)
    monkeypatch.setattr("pipeline_flow.files.json_records.PIECE_BYTES", 50)
    try:
        check(bench, records, on_type_error=policy)
    except SourceMalformed:
        assert policy == "fail"


@SETTINGS
@given(records=RECORDS, size=st.integers(1, 60))
def test_documents_give_the_same_as_lines(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, records: list[dict[str, Any]], size: int
) -> None:
    assume(any(records))
    whole = read(bench, *map(json.dumps, records))
    monkeypatch.setattr("pipeline_flow.files.json_records.PIECE_BYTES", size)
    monkeypatch.setattr("pipeline_flow.files.json_document.PIECE_BYTES", size)
    text = json.dumps({"skip": records, "r": {"items": records}, "more": [records]})
    Path("data.json").write_text(text, encoding="utf-8")
    assert bench.extract("json", path="data.json", data_path="r.items").equals(whole)
