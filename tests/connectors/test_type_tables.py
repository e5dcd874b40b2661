"""Each row of the pages of types is what the database does."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.sql import duckdb_type, mariadb_type, postgres_type, sqlite_type
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

# ---------------------------------------------------------------------------------------------- DuckDB

IN_DUCKDB = {
    "BOOLEAN": "true",
    "TINYINT": "-128",
    "SMALLINT": "-32768",
    "INTEGER": "-2147483648",
    "BIGINT": "-9223372036854775808",
    "UTINYINT": "255",
    "USMALLINT": "65535",
    "UINTEGER": "4294967295",
    "UBIGINT": "18446744073709551615",
    "HUGEINT": "-99999999999999999999999999999999999999",
    "UHUGEINT": "99999999999999999999999999999999999999",
    "BIGNUM": "'99999999999999999999999999999999999999'",
    "DECIMAL(9,2)": "-9999999.99",
    "FLOAT": "'nan'",
    "DOUBLE": "'-0.0'",
    "VARCHAR": "'a' || chr(0) || '😀'",
    "BLOB": "'\\x00\\xff'::blob",
    "ENUM('a', 'b')": "'b'",
    "UUID": "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    "JSON": """'{"a" : 1, "a": 2}'""",
    "DATE": "'infinity'",
    "TIME": "'24:00:00'",
    "TIME_NS": "'23:59:59.999999999'",
    "TIMESTAMP": "'-infinity'",
    "TIMESTAMP_S": "'0044-03-15 (BC) 12:00:00'",
    "TIMESTAMP_MS": "'2024-01-01 01:02:03.004'",
    "TIMESTAMP_NS": "'2024-01-01 01:02:03.123456789'",
    "TIMESTAMP WITH TIME ZONE": "'2024-01-01 01:02:03.123456+05:30'",
    "TIME WITH TIME ZONE": "'10:00:00+02'",
    "BIT": "'0101'",
    "INTERVAL": "interval '1 month -2 days 3.5 seconds'",
    "INTEGER[]": "[1, null]",
    "INTEGER[2]": "[1, null]",
    "STRUCT(a INTEGER, b VARCHAR)": "{'a': 1, 'b': null}",
    "MAP(VARCHAR, INTEGER)": "map {'k': 1}",
    "UNION(num INTEGER, str VARCHAR)": "union_value(str := '1')",
    "HUGEINT[]": "['-170141183460469231731687303715884105728'::hugeint]",
    "GEOMETRY": "'POINT(1 2)'",
    "VARIANT": "{'a': 1}::variant",
}
SOURCE, COPY = "duckdb:///source.duckdb", "duckdb:///copy.duckdb"


@pytest.mark.parametrize("rule", duckdb_type.RULES, ids=lambda rule: rule.names[0])
def test_each_row_of_duckdbs_page_is_true(bench: Bench, rule: duckdb_type.Rule) -> None:
    for name in rule.names:
        query = f"select * from (values (1, cast({IN_DUCKDB[name]} as {name})), (2, null)) v (n, a)"
        with duckdb.connect("source.duckdb") as connection:
            connection.execute("set TimeZone = 'UTC'")
            if rule.arrow:
                connection.execute(f"create or replace table t as {query}")
            else:
                connection.execute("create or replace table t as select 1 as n")
        if not rule.arrow:
            with pytest.raises(ConversionFailed, match=f"column `a` is {name}"):
                bench.extract("sql", url=SOURCE, query=query)
            continue
        found = bench.extract("sql", url=SOURCE, table="t")
        assert str(found.schema.field("a").type) == rule.arrow
        bench.load("sql", found, url=COPY, table="t", mode="replace")
        bench.close()
        with duckdb.connect("copy.duckdb") as connection:
            connection.execute("set TimeZone = 'UTC'; attach 'source.duckdb' as source (read_only)")
            assert _type(connection, "copy") == (rule.back or _type(connection, "source"))
            ours, theirs = (
                connection.execute(f"select a::varchar from {database}.t order by n").fetchall()
                for database in ("copy", "source")
            )
        assert ours == theirs


def _type(connection: duckdb.DuckDBPyConnection, database: str) -> str:
    rows = connection.execute(
        "select data_type from duckdb_columns() where column_name = 'a' and database_name = ?", [database]
    ).fetchall()
    return str(rows[0][0])


@pytest.mark.parametrize("row", duckdb_type.WRITTEN, ids=lambda row: row[0])
def test_what_duckdbs_page_says_of_other_types_is_true(bench: Bench, row: tuple[str, str, str]) -> None:
    type_ = OTHER[row[0]]
    bench.load("sql", pa.table({"a": pa.nulls(1, type_)}), url=COPY, table="t", mode="replace")
    bench.close()
    with duckdb.connect("copy.duckdb") as connection:
        assert _type(connection, "copy") == row[1]


OTHER = {
    str(type_): type_
    for type_ in (
        pa.float16(), pa.float32(), pa.decimal256(38, 2), pa.decimal128(5, -2), pa.large_string(), pa.large_binary(), pa.date64(),
        pa.time32("ms"), pa.timestamp("ns", "UTC"), pa.duration("us"), pa.null(), pa.int8(), pa.uint64(), pa.timestamp("ns"),
        pa.json_(), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.map_(pa.string(), pa.int64()),
        pa.decimal128(15, 2), pa.decimal128(16, 2), pa.decimal128(18, 0), pa.decimal128(19, 0), pa.dictionary(pa.int32(), pa.string()),
    )
}  # fmt: skip

# ---------------------------------------------------------------------------------------------- SQLite

# Values as Python's driver takes them, and what is read then; for a column without a type, by the type that they make.
IN_SQLITE: dict[str, tuple[Any, Any]] = {
    "BOOLEAN": (1, True),
    "BOOL": (0, False),
    "INTEGER": (-(2**63), -(2**63)),
    "INT": (2**63 - 1, 2**63 - 1),
    "BIGINT": (7, 7),
    "UNSIGNED BIG INT": (7, 7),
    "REAL": (float("inf"), float("inf")),
    "DOUBLE": (0.1, 0.1),
    "FLOAT": (1.7976931348623157e308, 1.7976931348623157e308),
    "DOUBLE PRECISION": (5e-324, 5e-324),
    "DECIMAL(15,2)": (9999999999999.99, Decimal("9999999999999.99")),
    "NUMERIC(15,2)": ("12.5", Decimal("12.50")),
    "DECIMAL_TEXT(38,10)": ("1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
    "TEXT": ("a\0😀", "a\0😀"),
    "VARCHAR(5)": ("longer than 5", "longer than 5"),
    "CLOB": ("", ""),
    "STRING": ("x", "x"),
    "JSON_TEXT": ('{"a": 1}', '{"a": 1}'),
    "BLOB": (b"\0\xff", b"\0\xff"),
    "DATE": ("9999-12-31", dt.date(9999, 12, 31)),
    "TIME": ("23:59:59.999999", dt.time(23, 59, 59, 999999)),
    "TIMESTAMP": ("0001-01-01 00:00:00", dt.datetime(1, 1, 1)),
    "DATETIME": ("2024-02-29T01:02", dt.datetime(2024, 2, 29, 1, 2)),
    "TIMESTAMP_NS": ("2024-01-01 00:00:00.123456000", dt.datetime(2024, 1, 1, 0, 0, 0, 123456)),
    "TIMESTAMPTZ": ("2024-01-01 01:00:00+01:00", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    "TIMESTAMP WITH TIME ZONE": ("2024-01-01 00:00:00Z", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    "UUID": ("ffffffff-ffff-ffff-ffff-ffffffffffff", uuid.UUID(int=2**128 - 1)),
    "NUMERIC": ("x", "x"),
    "JSON": ("[]", "[]"),
    "MONEY": ("1 €", "1 €"),
    "int64": (5, 5),
    "double": (1.5, 1.5),
    "string": ("x", "x"),
    "binary": (b"x", b"x"),
}  # fmt: skip


@pytest.mark.parametrize("rule", sqlite_type.RULES, ids=lambda rule: f"{rule.names[0]}-{rule.arrow}")
def test_each_row_of_sqlites_page_is_true(bench: Bench, rule: sqlite_type.Rule) -> None:
    for name in rule.names:
        given, expected = IN_SQLITE[name or rule.arrow]
        _sqlite("source.db", f"drop table if exists t; create table t (n integer, a {name.lower()})")
        _sqlite("source.db", "insert into t values (1, ?), (2, null)", given)
        values = [expected, None]
        if len(rule.names) > 1 and "" in rule.names:  # values of several kinds
            _sqlite("source.db", "insert into t values (3, 5), (4, 1.5)")
            values += ["5", "1.5"]
        found = bench.extract("sql", url="sqlite:///source.db", table="t")
        assert str(found.schema.field("a").type) == rule.arrow
        assert [_without_nanoseconds(item) for item in found["a"].to_pylist()] == values
        bench.load("sql", found, url="sqlite:///copy.db", table="t", mode="replace")
        assert _declared("copy.db") == rule.back
        again = bench.extract("sql", url="sqlite:///copy.db", table="t")
        assert again.equals(found)


def _without_nanoseconds(value: Any) -> Any:
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value


def _sqlite(path: str, statements: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            if values or ";" not in statements:
                return connection.execute(statements, values).fetchall()
            connection.executescript(statements)
            return []
    finally:
        connection.close()


def _declared(path: str) -> str:
    return str(next(row[2] for row in _sqlite(path, "pragma table_info(t)") if row[1] == "a"))


@pytest.mark.parametrize("row", sqlite_type.WRITTEN, ids=lambda row: row[0])
def test_what_sqlites_page_says_of_other_types_is_true(bench: Bench, row: tuple[str, str, str]) -> None:
    table = pa.table({"a": pa.nulls(1, OTHER[row[0]])})
    if not row[1]:
        with pytest.raises(ConversionFailed, match="no form for the column `a`"):
            bench.load("sql", table, url="sqlite:///copy.db", table="t", mode="replace")
        return
    bench.load("sql", table, url="sqlite:///copy.db", table="t", mode="replace")
    assert _declared("copy.db") == row[1]


# ---------------------------------------------------------------------------------------------- servers

IN_POSTGRES = {
    "bool": ("bool", "true"),
    "int2": ("int2", "-32768"),
    "int4": ("int4", "-2147483648"),
    "int8": ("int8", "-9223372036854775808"),
    "oid": ("oid", "4294967295"),
    "float4": ("float4", "NaN"),
    "float8": ("float8", "-Infinity"),
    "numeric": ("numeric", "1e-16383"),
    "text": ("text", ""),
    "varchar": ("varchar(5)", "ä€😀"),
    "bpchar": ("char(4)", "ab"),
    "name": ("name", "x"),
    "char": ('"char"', "x"),
    "citext": ("citext", "Ab"),
    "bytea": ("bytea", "\\x00ff"),
    "date": ("date", "9999-12-31"),
    "time": ("time", "23:59:59.999999"),
    "timestamp": ("timestamp", "0001-01-01 00:00:00"),
    "timestamptz": ("timestamptz", "2024-02-29 01:02:03.456789+05:30"),
    "uuid": ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "json": ("json", '{"a" :  1, "a": 2}'),
    "jsonb": ("jsonb", '{"a": 1}'),
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server.database() as url:
        postgres_server.run(url, "create extension if not exists citext")
        yield url


@pytest.mark.parametrize("rule", postgres_type.RULES, ids=lambda rule: rule.names[0])
def test_each_row_of_postgresqls_page_is_true(bench: Bench, postgres: str, rule: postgres_type.Rule) -> None:
    for name in rule.names:
        declared, text = IN_POSTGRES[name]
        quoted = text.replace("'", "''")
        postgres_server.run(
            postgres,
            "drop table if exists t, u",
            f"create table t (n int, a {declared})",
            f"insert into t values (1, '{quoted}'), (2, null)",
        )
        found = bench.extract("sql", url=postgres, table="t")
        assert found.schema.field("a").type == (rule.arrow or pa.string())
        bench.load("sql", found, url=postgres, table="u", mode="append")
        query = "select a::text, pg_typeof(a)::text = $${}$$ from {} order by n"
        kind = {"citext": "text"}.get(name) or postgres_server.run(
            postgres, "select pg_typeof(a)::text from t"
        )[0][0]
        ours, theirs = (postgres_server.run(postgres, query.format(kind, table)) for table in ("u", "t"))
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        assert all(row[1] for row in ours)


@pytest.mark.parametrize("type_", postgres_type.SIMPLE, ids=str)
def test_what_postgresqls_page_says_of_arrows_types_is_true(bench: Bench, postgres: str, type_: Any) -> None:
    postgres_server.run(postgres, "drop table if exists u")
    bench.load("sql", pa.table({"a": pa.nulls(1, type_)}), url=postgres, table="u", mode="append")
    query = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'u'::regclass and attname = 'a'"
    assert postgres_server.run(postgres, query) == [(postgres_type.SIMPLE[type_],)]


IN_MARIADB = {
    "boolean": "1",
    "tinyint(1)": "0",
    "tinyint": "-128",
    "smallint": "-32768",
    "mediumint": "-8388608",
    "int": "-2147483648",
    "bigint": "-9223372036854775808",
    "tinyint unsigned": "255",
    "smallint unsigned": "65535",
    "mediumint unsigned": "16777215",
    "int unsigned": "4294967295",
    "bigint unsigned": "18446744073709551615",
    "decimal(p, s)": "-99999999.99",
    "float": "0.1",
    "double": "1.7976931348623157e308",
    "bit(1)": "b'1'",
    "bit(n)": "b'1000000001'",
    "year": "2155",
    "date": "'9999-12-31'",
    "datetime": "'0001-01-01 00:00:00'",
    "timestamp": "'2038-01-19 03:14:07'",
    "time": "'23:59:59'",
    "inet4": "'192.0.2.1'",
    "inet6": "'::1'",
    "json": "'[1]'",
    "uuid": "'123e4567-e89b-12d3-a456-426655440000'",
    "point": "point(1, 2)",
    "geometry": "point(1, 2)",
    "…": "st_geomfromtext('linestring(0 0, 1 1)')",
}
_DECLARED = {
    "decimal(p, s)": "decimal(10,2)",
    "bit(n)": "bit(10)",
    "…": "linestring",
    "char": "char(5)",
    "varchar": "varchar(5)",
    "enum": "enum('a', 'x')",
    "set": "set('a', 'x')",
    "binary": "binary(3)",
    "varbinary": "varbinary(3)",
}


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("rule", mariadb_type.RULES, ids=lambda rule: rule.names[0])
def test_each_row_of_mariadbs_page_is_true(bench: Bench, rule: mariadb_type.Rule) -> None:
    for name in rule.names:
        value = IN_MARIADB.get(name, "'x'")
        mariadb_server.execute(
            f"create or replace table t (n int, a {_DECLARED.get(name, name)} null)",
            f"insert into t values (1, {value}), (2, null)",
        )
        found = mariadb_server.read(bench, "select * from t")
        shown = rule.arrow.replace("decimal(p, s)", "decimal128(10, 2)")
        assert str(found.schema.field("a").type) == shown
        assert found["a"].null_count == 1
        mariadb_server.load(bench, found, table="u")
        again = (
            mariadb_server.read(bench, "select * from u order by n")
            if name != "float"
            else bench.extract("sql", url=mariadb_server.URL, table="u")
        )
        assert again["a"].to_pylist() == found["a"].to_pylist()
        mariadb_server.execute("drop table u")


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("row", mariadb_type.WRITTEN, ids=lambda row: str(row[0]))
def test_what_mariadbs_page_says_of_arrows_types_is_true(bench: Bench, row: tuple[Any, str]) -> None:
    mariadb_server.load(bench, pa.table({"a": pa.nulls(1, row[0])}))
    query = "select column_type from information_schema.columns where table_name = 't' and table_schema = database()"
    ((made,),) = mariadb_server.root(query, mariadb_server.NAME)
    declared = mariadb_type.writer(pa.field("a", row[0])).declared
    # MariaDB calls some types by other names, and older ones show a width.
    assert re.sub(r"int\(\d+\)", "int", made) == {"boolean": "tinyint", "json": "longtext"}.get(
        declared, declared
    )
