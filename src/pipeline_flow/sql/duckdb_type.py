"""DuckDB's types as Arrow's and back: a table for people, of which each row is tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of types.

    Attributes:
        names: DuckDB's names of the types.
        arrow: the Arrow type that the extract gives; empty where it refuses the type.
        back: the type of a column that a load into DuckDB makes of that; empty for the type itself.
        note: what is to be known; empty where every value is exact.
    """

    names: tuple[str, ...]
    arrow: str
    back: str = ""
    note: str = ""


_YEARS = "with years beyond 1 to 9999 and infinity, which other databases refuse"
_OPAQUE = "kept for a load into DuckDB; other databases refuse it, cast it to VARCHAR for them"
RULES = (
    Rule(("BOOLEAN",), "bool"),
    Rule(("TINYINT",), "int8"),
    Rule(("SMALLINT",), "int16"),
    Rule(("INTEGER",), "int32"),
    Rule(("BIGINT",), "int64"),
    Rule(("UTINYINT",), "uint8"),
    Rule(("USMALLINT",), "uint16"),
    Rule(("UINTEGER",), "uint32"),
    Rule(("UBIGINT",), "uint64"),
    Rule(
        ("HUGEINT", "UHUGEINT", "BIGNUM"),
        "decimal128(38, 0)",
        "DECIMAL(38,0)",
        "up to 38 digits; one of more is an error that names column and row: cast it to VARCHAR",
    ),
    Rule(("DECIMAL(9,2)",), "decimal128(9, 2)", note="any DECIMAL(p,s), up to 38 digits"),
    Rule(("FLOAT",), "float", note="with NaN, infinities and -0"),
    Rule(("DOUBLE",), "double", note="with NaN, infinities and -0"),
    Rule(("VARCHAR",), "string", note="with null characters; `VARCHAR(n)` is VARCHAR to DuckDB"),
    Rule(("BLOB",), "binary"),
    Rule(
        ("ENUM('a', 'b')",),
        "dictionary<values=string, indices=uint8, ordered=0>",
        "VARCHAR",
        "an ENUM that is there stays one",
    ),
    Rule(("UUID",), "extension<arrow.uuid>"),
    Rule(("JSON",), "extension<arrow.json>", note="the text as it was written"),
    Rule(("DATE",), "date32[day]", note=_YEARS),
    Rule(("TIME",), "time64[us]", note="with 24:00:00, which other databases refuse"),
    Rule(("TIME_NS",), "time64[ns]"),
    Rule(("TIMESTAMP",), "timestamp[us]", note=_YEARS),
    Rule(("TIMESTAMP_S",), "timestamp[s]"),
    Rule(("TIMESTAMP_MS",), "timestamp[ms]"),
    Rule(("TIMESTAMP_NS",), "timestamp[ns]"),
    Rule(("TIMESTAMP WITH TIME ZONE",), "timestamp[us, tz=UTC]", note=f"in UTC; {_YEARS}"),
    Rule(
        ("TIME WITH TIME ZONE",),
        "extension<arrow.opaque[storage_type=fixed_size_binary[8], type_name=time_tz, vendor_name=DuckDB]>",
        note=_OPAQUE,
    ),
    Rule(
        ("BIT",),
        "extension<arrow.opaque[storage_type=binary, type_name=bit, vendor_name=DuckDB]>",
        note=_OPAQUE,
    ),
    Rule(
        ("INTERVAL",),
        "month_day_nano_interval",
        note="months, days and microseconds apart; other databases refuse it",
    ),
    Rule(("INTEGER[]",), "list<l: int32>", note="lists of any type; empty is not null"),
    Rule(("INTEGER[2]",), "fixed_size_list<: int32>[2]", note="arrays of any type"),
    Rule(("STRUCT(a INTEGER, b VARCHAR)",), "struct<a: int32, b: string>", note="of any types"),
    Rule(("MAP(VARCHAR, INTEGER)",), "map<string, int32>", note="of any types"),
    Rule(
        ("UNION(num INTEGER, str VARCHAR)",),
        "sparse_union<num: int32=0, str: string=1>",
        note="SQLite takes the value as JSON, servers refuse it",
    ),
    Rule(
        ("HUGEINT[]",),
        "list<l: extension<arrow.opaque[storage_type=fixed_size_binary[16], type_name=hugeint, vendor_name=DuckDB]>>",
        note=f"wide integers in lists, structs and maps: {_OPAQUE}",
    ),
    Rule(("GEOMETRY",), "binary", note="well-known binary, noted as `geoarrow.wkb`"),
    Rule(("VARIANT",), "", note="refused: Arrow has no such type; cast it to JSON"),
)
"""What the `sql` extract makes of each type, and what a load makes of that."""

WRITTEN = (
    ("halffloat", "FLOAT", ""),
    ("decimal256(38, 2)", "DECIMAL(38,2)", "more than 38 digits are refused"),
    ("decimal128(5, -2)", "DECIMAL(7,0)", ""),
    ("large_string", "VARCHAR", "`string_view` too"),
    ("large_binary", "BLOB", "binaries of a fixed size and views too"),
    ("date64[ms]", "DATE", ""),
    ("time32[ms]", "TIME", ""),
    (
        "timestamp[ns, tz=UTC]",
        "TIMESTAMP WITH TIME ZONE",
        "any zone, kept as the instant; nanoseconds that are not whole microseconds are an error",
    ),
    ("duration[us]", "INTERVAL", ""),
    ("null", "INTEGER", ""),
)
"""Other types of Arrow, what a load makes of them, and what is to be known."""
