"""MariaDB's types to Arrow and back, at a real server."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Context, Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConversionFailed, WrongArgument
from pipeline_flow.sql import mariadb_type
from tests.connectors.conftest import nested
from tests.connectors.mariadb_server import execute, load, read

if TYPE_CHECKING:
    from typing import Any

    from tests.connectors.conftest import Bench

pytestmark = pytest.mark.usefixtures("mariadb")

UTC = dt.UTC
DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("declared", "written", "type_", "value"),
    [
        ("tinyint", "-128", pa.int8(), -128),
        ("tinyint unsigned", "255", pa.uint8(), 255),
        ("smallint", "-32768", pa.int16(), -32768),
        ("mediumint unsigned", "16777215", pa.uint32(), 16777215),
        ("int(8) zerofill", "42", pa.uint32(), 42),
        ("bigint", "-9223372036854775808", pa.int64(), -(2**63)),
        ("bigint unsigned", "18446744073709551615", pa.uint64(), 2**64 - 1),
        ("boolean", "true", pa.bool_(), True),
        ("decimal(10,2)", "-12.50", pa.decimal128(10, 2), Decimal("-12.50")),
        ("decimal(10,2) unsigned", "12.50", pa.decimal128(10, 2), Decimal("12.50")),
        ("decimal(5,5)", "0.00001", pa.decimal128(5, 5), Decimal("0.00001")),
        ("decimal(65,0)", "9" * 65, pa.decimal256(65, 0), Decimal("9" * 65)),
        ("decimal(65,38)", f"{'9' * 27}.{'9' * 38}", pa.decimal256(65, 38), Decimal(f"{'9' * 27}.{'9' * 38}")),
        ("float", "16777217", pa.float32(), 16777216.0),
        ("double", "2.2250738585072014e-308", pa.float64(), 2.2250738585072014e-308),
        ("double(10,2)", "1.25", pa.float64(), 1.25),
        ("bit(1)", "b'1'", pa.bool_(), True),
        ("bit(10)", "b'1000000001'", pa.uint64(), 513),
        ("bit(64)", "18446744073709551615", pa.uint64(), 2**64 - 1),
        ("year", "2155", pa.int16(), 2155),
        ("date", "'9999-12-31'", pa.date32(), dt.date(9999, 12, 31)),
        ("datetime", "'0001-01-01 00:00:00'", pa.timestamp("us"), dt.datetime(1, 1, 1)),
        ("datetime(3)", "'2024-02-29 01:02:03.004'", pa.timestamp("us"), dt.datetime(2024, 2, 29, 1, 2, 3, 4000)),
        ("timestamp(6) null", "'2038-01-19 03:14:07.999999'", pa.timestamp("us", "UTC"), dt.datetime(2038, 1, 19, 3, 14, 7, 999999, UTC)),
        ("time(6)", "'23:59:59.999999'", pa.time64("us"), dt.time(23, 59, 59, 999999)),
        ("char(5)", "'ab'", pa.string(), "ab"),
        ("varchar(5) character set latin1", "'ä€'", pa.string(), "ä€"),
        ("varchar(5) character set utf16", "'ä😀'", pa.string(), "ä😀"),
        ("tinytext", "''", pa.string(), ""),
        ("longtext", "'ä 😀'", pa.string(), "ä 😀"),
        ("binary(3)", "x'61'", pa.binary(), b"a\0\0"),
        ("varbinary(3)", "x'00ff'", pa.binary(), b"\x00\xff"),
        ("mediumblob", "x'27225c'", pa.binary(), b"'\"\\"),
        ("enum('a','it''s')", "'it''s'", pa.string(), "it's"),
        ("set('a','b')", "'b,a'", pa.string(), "a,b"),
        ("json", "'{\"a\": 1}'", pa.json_(), '{"a": 1}'),
        ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", pa.uuid(), uuid.UUID("123e4567-e89b-12d3-a456-426655440000")),
        ("inet6", "'::1'", pa.string(), "::1"),
    ],
)  # fmt: skip
def test_every_type_is_read_exactly(
    bench: Bench, declared: str, written: str, type_: Any, value: Any
) -> None:
    execute(f"create table t (a {declared})", f"insert into t values (null), ({written})")
    found = read(bench)
    assert found.schema.field("a").type == type_
    assert found["a"].to_pylist() == [None, value]


@pytest.mark.parametrize(
    ("query", "type_", "value"),
    [
        ("select 1 as a", pa.int32(), 1),
        ("select 1.50 as a", pa.decimal128(3, 2), Decimal("1.50")),
        ("select null as a", pa.null(), None),
        ("select sum(n) as a from (select 9223372036854775807 as n union all select 1) x", pa.decimal256(41, 0), Decimal(2**63)),
        ("select point(1, 2) as a", pa.binary(), bytes(4) + b"\1\1" + bytes(3) + bytes(6) + b"\xf0?" + bytes(7) + b"@"),
    ],
)  # fmt: skip
def test_expressions_have_types(bench: Bench, query: str, type_: Any, value: Any) -> None:
    found = read(bench, query)
    if pa.types.is_integer(type_):
        assert pa.types.is_integer(found.schema.field("a").type)
    elif not pa.types.is_decimal(type_):
        assert found.schema.field("a").type == type_
    else:
        assert pa.types.is_decimal(found.schema.field("a").type)
    assert found["a"].to_pylist() == [value]


@pytest.mark.parametrize(
    ("declared", "value", "hint"),
    [
        ("date", "0000-00-00", "nullif(a, '0000-00-00') as a"),
        ("date", "2024-00-15", "nullif(a, '0000-00-00') as a"),
        ("datetime", "0000-00-00 00:00:00", "columns: {a: VARCHAR}"),
        ("datetime", "0000-05-05 00:00:00", "columns: {a: VARCHAR}"),
        ("time", "24:00:00", "columns: {a: INTERVAL}"),
        ("time", "-00:00:01", "columns: {a: VARCHAR}"),
        ("boolean", "2", "columns: {a: TINYINT}"),
    ],
)
def test_a_value_without_a_form_is_named_and_can_be_read_another_way(
    bench: Bench, declared: str, value: str, hint: str
) -> None:
    execute(f"create table t (a {declared} null)", "set @@sql_mode = ''")
    good = {"boolean": "1", "time": "01:02:03"}.get(declared, "2024-01-01")
    execute(f"insert ignore into t values ('{good}'), (null), ('{value}')")
    with pytest.raises(ConversionFailed, match=f"column `a` holds '{value}' in row 3") as caught:
        read(bench)
    assert hint in caught.value.hint
    if hint.startswith("columns"):
        wanted = hint.removesuffix("}").partition(": ")[2].partition(": ")[2]
        found = read(bench, columns={"a": wanted})["a"].to_pylist()
        expected: Any = {"VARCHAR": value, "INTERVAL": DAY, "TINYINT": 2}[wanted]
        assert found[1:] == [None, expected]
    else:
        assert read(bench, f"select {hint} from t where a is null or a < '2024-00-01'")["a"].to_pylist() == (
            [None, None] if value.startswith("0") else [None]
        )


def test_types_that_cannot_be_had_are_refused(bench: Bench) -> None:
    execute("create table t (a int, b blob)")
    for wanted in ({"a": "POINT"}, {"b": "VARCHAR"}, {"c": "VARCHAR"}):
        with pytest.raises(WrongArgument, match="`columns`"):
            read(bench, columns=wanted)


def test_a_float_in_an_ordered_query_is_refused_and_in_others_exact(bench: Bench) -> None:
    execute("create table t (a int, f float)", "insert into t values (1, 0.1), (2, 16777215)")
    with pytest.raises(ConversionFailed, match="six digits") as caught:
        read(bench, "select * from t order by a")
    assert "cast(f as double) as f" in caught.value.hint
    assert (
        read(bench, "select f from t limit 2")["f"].to_pylist()
        == pa.array([0.1, 16777215], pa.float32()).to_pylist()
    )


def test_nested_values_are_json(bench: Bench) -> None:
    load(bench, nested().select(["list", "struct"]), "replace")
    found = read(bench)
    assert found.schema.types == [pa.json_(), pa.json_()]
    assert found["list"].to_pylist() == ['["a", null, "it\'s \\"x\\", [y]"]', "[]", None]
    assert found["struct"].to_pylist()[0] == '{"n": "1.10", "d": "2024-01-01"}'


def test_what_is_too_wide_is_refused(bench: Bench) -> None:
    for type_ in (pa.decimal256(66, 0), pa.decimal256(60, 39), pa.month_day_nano_interval()):
        with pytest.raises(ConversionFailed, match="column `a`"):
            load(bench, pa.table({"a": pa.nulls(1, type_)}))


def test_other_forms_of_the_same_values_arrive(bench: Bench) -> None:
    table = pa.table(
        {
            "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
            "view": pa.array(["a", None, "b"], pa.string_view()),
            "large": pa.array([b"a", None, b"b"], pa.large_binary()),
            "half": pa.array([0.5, None, -2.0]).cast(pa.float16()),
            "seconds": pa.array([1, None, 2], pa.timestamp("s")),
            "nothing": pa.nulls(3),
            "thousands": pa.array([Decimal(1000), None, Decimal(-2000)]).cast(pa.decimal128(10, -3)),
        }
    )
    load(bench, table, "replace")
    found = read(bench)
    for name in ("dictionary", "view", "large", "half", "seconds", "nothing", "thousands"):
        assert found[name].to_pylist() == table[name].to_pylist(), name


_MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999))
_INSTANTS = st.datetimes(
    dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(2038, 1, 19, 3, 14, 7), timezones=st.just(UTC)
)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_WIDE = Context(prec=80)


def _whole(bits: int, *, signed: bool) -> Any:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


_VALUES: dict[str, tuple[Any, Any]] = {
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), _whole(8, signed=True)),
    "int16": (pa.int16(), _whole(16, signed=True)),
    "int32": (pa.int32(), _whole(32, signed=True)),
    "int64": (pa.int64(), _whole(64, signed=True)),
    "uint8": (pa.uint8(), _whole(8, signed=False)),
    "uint16": (pa.uint16(), _whole(16, signed=False)),
    "uint32": (pa.uint32(), _whole(32, signed=False)),
    "uint64": (pa.uint64(), _whole(64, signed=False)),
    "double": (pa.float64(), _FLOATS),
    "float": (pa.float32(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "decimal": (pa.decimal128(38, 10), st.decimals(Decimal(-10) ** 27, Decimal(10) ** 27, places=10)),
    "wide": (pa.decimal256(65, 38), st.integers(-(10**64), 10**64).map(lambda n: _WIDE.scaleb(Decimal(n), -38))),
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=50)),
    "bytes": (pa.binary(), st.binary(max_size=50)),
    "date": (pa.date32(), st.dates()),
    "time": (pa.time64("us"), st.times()),
    "datetime": (pa.timestamp("us"), _MOMENTS),
    "instant": (pa.timestamp("us", "UTC"), _INSTANTS),
    "uuid": (pa.uuid(), st.uuids(version=4)),
}  # fmt: skip
_ROWS = st.lists(st.tuples(*(st.none() | values for _, values in _VALUES.values())), min_size=1, max_size=30)


@given(rows=_ROWS)
@settings(
    deadline=None,
    phases=[Phase.generate],
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_values_round_trip(bench: Bench, rows: list[tuple[Any, ...]]) -> None:
    arrays = [
        _array(type_, values)
        for (type_, _), values in zip(_VALUES.values(), zip(*rows, strict=True), strict=True)
    ]
    table = pa.table([pa.array(range(len(rows))), *arrays], names=["n", *_VALUES])
    load(bench, table, "replace")
    found = read(bench, "select * from t").sort_by("n")
    for name in _VALUES:
        assert found.schema.field(name).type == table.schema.field(name).type
        assert found[name].to_pylist() == table[name].to_pylist(), name


def _array(type_: Any, values: Any) -> Any:
    if isinstance(type_, pa.UuidType):
        storage = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(type_, storage)
    return pa.array(values, type_)


@given(
    values=st.lists(
        st.none() | st.timedeltas(-838 * dt.timedelta(hours=1), 838 * dt.timedelta(hours=1)), min_size=1
    )
)
@settings(
    deadline=None,
    phases=[Phase.generate],
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_spans_of_time_round_trip(bench: Bench, values: list[dt.timedelta | None]) -> None:
    load(bench, pa.table({"a": pa.array(values, pa.duration("us"))}), "replace")
    found = read(bench, columns={"a": "INTERVAL"})
    assert sorted(found["a"].to_pylist(), key=repr) == sorted(values, key=repr)


def test_the_table_of_types_tells_what_the_code_does() -> None:
    """Each row is made by the reader itself; none of them falls through to bytes by accident."""
    for rule in mariadb_type.RULES:
        assert rule.arrow.split()[0] != "binary" or "blob" in rule.names or "geometry" in rule.names
