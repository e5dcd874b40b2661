"""The page of extremes is what the databases do: a value survives, or is refused with its column and row."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from pipeline_flow.errors import PipelineFlowError
from pipeline_flow.sql.extremes import DATABASES, EXTREMES, KEPT, NONE, REFUSED, Extreme
from tests.connectors import mariadb_server, postgres_server
from tests.connectors.pairs import invalid_text, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

POSTGRES, MARIADB, SQLITE, DUCKDB = DATABASES
_NINES = Decimal("9" * 38)
_LOW = Decimal("0." + "9" * 38)
_WIDE = Decimal("9" * 65)
_BIG = bytes(1 << 20)
_NS = 1_700_000_000_000_000_001

# How each database is given the value: the type of its column, and SQL for the value.
Made = tuple[str, str]
_FLOAT = ("double precision", "double", "real", "double")


def _floats(postgres: str, sqlite: str, others: str = "") -> dict[str, Made]:
    other = others or postgres
    return dict(zip(DATABASES, zip(_FLOAT, (postgres, other, sqlite, other), strict=True), strict=True))


def _typed(types: tuple[str, str, str, str], values: str | tuple[str, str, str, str]) -> dict[str, Made]:
    listed = (values,) * 4 if isinstance(values, str) else values
    return dict(zip(DATABASES, zip(types, listed, strict=True), strict=True))


_DATE = ("date", "date", "date", "date")
_STAMP = ("timestamp", "datetime(6)", "timestamp", "timestamp")
_ZONED = ("timestamptz", "timestamp(6) null", "timestamptz", "timestamptz")
_TEXT = ("text", "text", "text", "varchar")
_BYTES = ("bytea", "longblob", "blob", "blob")
CASES: dict[str, tuple[dict[str, Made], pa.Array | None]] = {
    "NaN": (_floats("'NaN'", "null"), pa.array([math.nan])),
    "NaN of a decimal": (_typed(("numeric(5,2)", "", "", ""), "'NaN'"), None),
    "infinity": (_floats("'Infinity'", "9e999"), pa.array([math.inf])),
    "-infinity": (_floats("'-Infinity'", "-9e999"), pa.array([-math.inf])),
    "-0.0": (_floats("'-0.0'", "-0.0"), pa.array([-0.0])),
    "5e-324, the smallest double": (_floats("'5e-324'", "5e-324"), pa.array([5e-324])),
    "1.7976931348623157e308, the largest double": (_floats("'1.7976931348623157e308'", "1.7976931348623157e308"), pa.array([1.7976931348623157e308])),
    "-9223372036854775808, the smallest bigint": (_typed(("bigint", "bigint", "integer", "bigint"), "-9223372036854775808"), pa.array([-(2**63)])),
    "18446744073709551615, the largest unsigned bigint": (_typed(("", "bigint unsigned", "", "ubigint"), "18446744073709551615"), pa.array([2**64 - 1], pa.uint64())),
    "38 nines": (_typed(("numeric(38,0)", "decimal(38,0)", "decimal_text(38,0)", "decimal(38,0)"), f"'{_NINES}'"), pa.array([_NINES], pa.decimal128(38, 0))),
    "38 nines behind the point": (_typed(("numeric(38,38)", "decimal(38,38)", "decimal_text(38,38)", "decimal(38,38)"), f"'{_LOW}'"), pa.array([_LOW], pa.decimal128(38, 38))),
    "65 nines": (_typed(("numeric(65,0)", "decimal(65,0)", "decimal_text(65,0)", ""), f"'{_WIDE}'"), pa.array([_WIDE], pa.decimal256(65, 0))),
    "2^127 - 1, the largest hugeint": (_typed(("", "", "", "hugeint"), "170141183460469231731687303715884105727"), None),
    "1e-16383, the smallest numeric": (_typed(("numeric", "", "", ""), "1e-16383"), None),
    "0001-01-01": (_typed(_DATE, "'0001-01-01'"), pa.array([dt.date(1, 1, 1)])),
    "9999-12-31": (_typed(_DATE, "'9999-12-31'"), pa.array([dt.date(9999, 12, 31)])),
    "0001-01-01 00:00:00": (_typed(_STAMP, "'0001-01-01 00:00:00'"), pa.array([-62_135_596_800_000_000], pa.timestamp("us"))),
    "9999-12-31 23:59:59.999999": (_typed(_STAMP, "'9999-12-31 23:59:59.999999'"), pa.array([253_402_300_799_999_999], pa.timestamp("us"))),
    "9999-12-31 23:59:59.999999 UTC": (_typed(_ZONED, "'9999-12-31 23:59:59.999999+00:00'"), pa.array([253_402_300_799_999_999], pa.timestamp("us", "UTC"))),
    "0000-00-00": (_typed(_DATE, "'0000-00-00'"), None),
    "0044-03-15 BC": (_typed(_DATE, ("'0044-03-15 BC'", "", "'-0043-03-15'", "'0044-03-15 (BC)'")), pa.array([-735_160], pa.int32()).cast(pa.date32())),
    "0044-03-15 12:00:00 BC": (_typed(_STAMP, ("'0044-03-15 12:00:00 BC'", "", "'-0043-03-15 12:00:00'", "'0044-03-15 (BC) 12:00:00'")), pa.array([-63_517_780_800_000_000], pa.timestamp("us"))),
    "year 10000": (_typed(_DATE, "'10000-01-01'"), pa.array([2_932_897], pa.int32()).cast(pa.date32())),
    "infinity as a date": (_typed(_DATE, "'infinity'"), pa.array([2**31 - 1], pa.int32()).cast(pa.date32())),
    "infinity as a timestamp": (_typed(_STAMP, "'infinity'"), pa.array([2**63 - 1], pa.timestamp("us"))),
    "24:00:00": (_typed(("time", "time", "time", "time"), "'24:00:00'"), pa.array([86_400_000_000], pa.int64()).view(pa.time64("us"))),
    "a nanosecond": (_typed(("", "", "timestamp_ns", "timestamp_ns"), "'2023-11-14 22:13:20.000000001'"), pa.array([_NS], pa.timestamp("ns"))),
    "an empty text, beside a null": (_typed(_TEXT, "''"), pa.array([""])),
    "NUL in a text": (_typed(_TEXT, ("", "char(97, 0, 98)", "char(97, 0, 98)", "'a' || chr(0) || 'b'")), pa.array(["a\0b"])),
    "half of a surrogate pair": (_typed(_TEXT, ("", "_utf8mb4 x'eda080'", "cast(x'eda080' as text)", "")), invalid_text(b"\xed\xa0\x80")),
    "U+10FFFF, the last character": (_typed(_TEXT, "'\U0010ffff'"), pa.array(["\U0010ffff"])),
    "empty bytes, beside a null": (_typed(_BYTES, ("''", "''", "x''", "''::blob")), pa.array([b""])),
    "a mebibyte of zero bytes": (_typed(_BYTES, ("decode(repeat('00', 1048576), 'hex')", "repeat('\\0', 1048576)", "zeroblob(1048576)", "repeat('\\x00'::blob, 1048576)")), pa.array([_BIG])),
    "an empty list, beside a null": (_typed(("int8[]", "", "", "bigint[]"), ("'{}'", "", "", "[]")), pa.array([[]], pa.list_(pa.int64()))),
}  # fmt: skip


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


class Place:
    """A database with a table `t`, made and looked into by its own driver."""

    def __init__(self, name: str, request: pytest.FixtureRequest) -> None:
        self.name = name
        if name in (POSTGRES, MARIADB):
            self.url: str = request.getfixturevalue({POSTGRES: "postgres", MARIADB: "mariadb"}[name])
        else:
            self.url = f"{name.lower()}:///x.{name.lower()}"

    def run(self, *statements: str) -> None:
        if self.name == POSTGRES:
            postgres_server.run(self.url, *statements)
        elif self.name == MARIADB:
            connection = mariadb_server.connect()
            with contextlib.closing(connection), connection.cursor() as cursor:
                cursor.execute("set sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
                for statement in statements:
                    cursor.execute(statement)
        elif self.name == SQLITE:
            with contextlib.closing(sqlite3.connect("x.sqlite")) as sqlite, sqlite:
                for statement in statements:
                    sqlite.execute(statement)
        else:
            with duckdb.connect("x.duckdb") as connection:
                connection.execute("set TimeZone = 'UTC'")
                for statement in statements:
                    connection.execute(statement)


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest) -> Place:
    return Place(request.param, request)


def test_every_row_of_the_page_is_tried() -> None:
    assert [extreme.value for extreme in EXTREMES] == list(CASES)


@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda extreme: extreme.value)
def test_an_extreme_is_read_or_refused(bench: Bench, place: Place, extreme: Extreme) -> None:
    outcome = extreme.read[DATABASES.index(place.name)]
    made, array = CASES[extreme.value]
    if outcome == NONE:
        return
    declared, value = made[place.name]
    place.run(
        "drop table if exists t",
        f"create table t (n int, a {declared})",
        f"insert into t values (1, null), (2, {value})",
    )
    if outcome == REFUSED:
        with pytest.raises(PipelineFlowError, match=r"(?s)column `a`.*row 2\b"):
            bench.extract("sql", url=place.url, table="t")
        return
    found = bench.extract("sql", url=place.url, table="t").sort_by("n")["a"]
    assert found[0].as_py() is None
    if outcome == "as text":
        assert found[1].as_py() == f"{Decimal(value):f}"
    else:
        assert outcome == KEPT
        assert plain(found)[1:] == plain(array)


@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda extreme: extreme.value)
def test_an_extreme_is_loaded_or_refused(bench: Bench, place: Place, extreme: Extreme) -> None:
    outcome = extreme.written[DATABASES.index(place.name)]
    array = CASES[extreme.value][1]
    assert (array is None) == (extreme.written == (NONE,) * 4)
    if outcome == NONE or array is None:
        return
    data = pa.table({"n": [1, 2], "a": pa.concat_arrays([pa.nulls(1, array.type), array])})
    place.run("drop table if exists t")
    if outcome == REFUSED:
        with pytest.raises(PipelineFlowError, match="column `a`") as caught:
            bench.load("sql", data, url=place.url, table="t", mode="append")
        assert "row 2" in str(caught.value) or "digits" in str(caught.value)
        return
    bench.load("sql", data, url=place.url, table="t", mode="append")
    if outcome.startswith("kept, and refused"):
        with pytest.raises(PipelineFlowError, match=r"column `a`.*row 2\b"):
            bench.extract("sql", url=place.url, table="t")
        return
    found = bench.extract("sql", url=place.url, table="t").sort_by("n")["a"]
    assert found[0].as_py() is None
    if outcome == "0.0":
        assert str(found[1].as_py()) == "0.0"
    elif outcome == "as JSON":
        assert found[1].as_py() == "[]"
    else:
        assert outcome in (KEPT, "as decimal")
        assert plain(found)[1:] == plain(array)
