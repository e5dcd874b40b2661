"""What goes into PostgreSQL in COPY's binary form is what would be there if it had gone as CSV."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConversionFailed, DestinationFailed
from pipeline_flow.sql import postgres_binary
from pipeline_flow.sql.postgres_type import TypeInfo
from tests.connectors.postgres_server import database, run
from tests.connectors.test_postgres import load
from tests.connectors.test_postgres_types import FLOATS32, TEXTS, UTC, _array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with database() as url:
        yield url


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda number: Decimal(f"{number}e-{scale}"))


# The types, in which columns they go, and their values.
COLUMNS: list[tuple[pa.DataType, str, st.SearchStrategy[Any]]] = [
    (pa.bool_(), "boolean", st.booleans()),
    (pa.int8(), "smallint", st.integers(-(2**7), 2**7 - 1)),
    (pa.uint16(), "integer", st.integers(0, 2**16 - 1)),
    (pa.int32(), "integer", st.integers(-(2**31), 2**31 - 1)),
    (pa.int32(), "bigint", st.integers(-(2**31), 2**31 - 1)),
    (pa.uint32(), "double precision", st.integers(0, 2**32 - 1)),
    (pa.int64(), "bigint", st.integers(-(2**63), 2**63 - 1)),
    (pa.float16(), "real", st.floats(width=16)),
    (pa.float32(), "real", FLOATS32),
    (pa.float32(), "double precision", FLOATS32),
    (pa.float64(), "double precision", st.floats()),
    (pa.decimal128(1, 1), "numeric", _decimals(1, 1)),
    (pa.decimal128(15, 2), "numeric(15,2)", _decimals(15, 2)),
    (pa.decimal128(18, 5), "numeric(38,20)", _decimals(18, 5)),
    (pa.decimal128(20, 1), "numeric", _decimals(20, 1)),
    (pa.decimal128(38, 0), "numeric(38,0)", _decimals(38, 0)),
    (pa.decimal128(38, 37), "numeric(38,37)", _decimals(38, 37)),
    (pa.string(), "text", TEXTS),
    (pa.large_string(), "varchar(8)", TEXTS),
    (pa.string_view(), "char(8)", TEXTS),
    (pa.json_(), "json", st.sampled_from(['{"a" : 1}', "null", "[]"])),
    (pa.json_(), "jsonb", st.sampled_from(['{"a" : 1}', "null", "[]"])),
    (pa.binary(), "bytea", st.binary(max_size=5)),
    (pa.binary(2), "bytea", st.binary(min_size=2, max_size=2)),
    (pa.date32(), "date", st.dates()),
    (pa.time64("us"), "time", st.times()),
    (pa.timestamp("us"), "timestamp", st.datetimes()),
    (pa.timestamp("us", "UTC"), "timestamptz", st.datetimes(timezones=st.just(UTC))),
    (pa.uuid(), "uuid", st.uuids()),
    (pa.dictionary(pa.int8(), pa.string()), "text", TEXTS),
    (pa.null(), "inet", st.none()),
    (pa.struct([("a", pa.int64())]), "jsonb", st.fixed_dictionaries({"a": st.integers(0, 9)})),
]
NAMES = [f"c{index}" for index in range(len(COLUMNS))]


def _filled(values: list[Any], type_: pa.DataType) -> pa.Array:
    if isinstance(type_, pa.JsonType):
        return pa.ExtensionArray.from_storage(type_, pa.array(values, pa.string()))
    return _array(values, type_)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    nulls=st.booleans(),
    count=st.integers(1, 4),
    picked=st.sets(st.sampled_from(range(len(COLUMNS))), min_size=1, max_size=8),
    offset=st.integers(0, 1),
)
def test_the_binary_form_gives_what_csv_gives(
    bench: Bench, url: str, data: st.DataObject, nulls: bool, count: int, picked: set[int], offset: int
) -> None:
    columns = [(NAMES[index], *COLUMNS[index]) for index in sorted(picked)]
    listed = ", ".join(f"{name} {declared}" for name, _, declared, _ in columns)
    run(
        url,
        "drop table if exists t, u",
        f"create table t ({listed})",
        f"create table u ({listed}, other int[])",
    )
    arrays = {
        name: _filled(
            data.draw(st.lists(st.none() | values if nulls else values, min_size=count, max_size=count)),
            type_,
        )
        for name, type_, _, values in columns
    }
    table = pa.table(arrays).slice(min(offset, count - 1))
    load(bench, url, table)
    other = pa.nulls(table.num_rows, pa.list_(pa.int32()))
    load(bench, url, table.append_column("other", other), table="u")
    names = ", ".join(f"{name}::text" for name, *_ in columns)
    assert run(url, f"select {names} from t") == run(url, f"select {names} from u")


def test_the_columns_of_this_test_go_in_the_form_that_is_named() -> None:
    """Else the two sides of the comparison are one."""
    info = {
        declared: TypeInfo(name, -1, declared)
        for declared, name in {
            "bigint": "int8", "numeric": "numeric", "text": "text", "bytea": "bytea", "date": "date", "uuid": "uuid",
            "jsonb": "jsonb", "inet": "inet", "oid": "oid", "integer": "int4",
        }.items()
    }  # fmt: skip
    binary = [
        (pa.int64(), "bigint"), (pa.decimal128(38, 2), "numeric"), (pa.string(), "text"), (pa.binary(2), "bytea"),
        (pa.date32(), "date"), (pa.uuid(), "uuid"), (pa.string(), "jsonb"), (pa.null(), "inet"),
    ]  # fmt: skip
    csv = [
        (pa.int64(), "integer"), (pa.int64(), "numeric"), (pa.decimal256(50, 2), "numeric"), (pa.string(), "uuid"),
        (pa.string(), "inet"), (pa.uint32(), "oid"), (pa.uint64(), "bigint"), (pa.decimal128(2, -2), "numeric"),
    ]  # fmt: skip
    assert all(postgres_binary.form(type_, info[declared]) is not None for type_, declared in binary)
    assert all(postgres_binary.form(type_, info[declared]) is None for type_, declared in csv)
    assert postgres_binary.form(pa.list_(pa.int64()), TypeInfo("int8", -1, "bigint[]", is_array=True)) is None
    assert postgres_binary.form(pa.string(), TypeInfo("mood", -1, "mood", built_in=False, kind="e")) is None


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("numeric(3,1)", pa.array([None, Decimal("100.0")], pa.decimal128(5, 1)), "field overflow.*row 2"),
        ("json", pa.array(["1", "{"]), "invalid input syntax for type json.*row 2, column `a`"),
        ("jsonb", pa.array(["1", "{"]), "invalid input syntax for type json.*row 2, column `a`"),
    ],
)
def test_a_value_that_the_server_refuses_is_named(
    bench: Bench, url: str, declared: str, values: pa.Array, said: str
) -> None:
    run(url, "drop table if exists t", f"create table t (a {declared})")
    with pytest.raises(DestinationFailed, match=said):
        load(bench, url, pa.table({"a": values}))


def test_a_date_beyond_what_we_write_is_named_before_it_is_sent(bench: Bench, url: str) -> None:
    run(url, "drop table if exists t", "create table t (a date)")
    with pytest.raises(ConversionFailed, match="column `a`.*row 2.*not from year 1 to 32767"):
        load(bench, url, pa.table({"a": pa.array([0, 2**31 - 1], pa.date32())}))


def test_a_decimal_with_more_digits_than_its_type_is_refused(bench: Bench, url: str) -> None:
    run(url, "drop table if exists t", "create table t (a numeric)")
    wide = pa.array([Decimal(10**20)], pa.decimal128(38, 0))
    liar = pa.Array.from_buffers(pa.decimal128(4, 0), 1, wide.buffers())
    with pytest.raises(ConversionFailed, match="column `a`.*row 1.*more than 4 digits"):
        load(bench, url, pa.table({"a": liar}))
